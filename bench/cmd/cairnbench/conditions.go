package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/cairn-project/cairn/bench/cluster"
	"github.com/cairn-project/cairn/bench/load"
)

// conditions are what a figure must be read with.
type conditions struct {
	Time     string
	Cores    int
	Kernel   string
	Load     string // of the last 1, 5 and 15 minutes, before the run
	FsyncP50 time.Duration
	FsyncP99 time.Duration
	Value    int // bytes
	Versions map[string]string
}

func observe(dir string, systems []cluster.System) (conditions, error) {
	c := conditions{Time: time.Now().UTC().Format(time.RFC3339), Cores: runtime.NumCPU(), Value: valueSize, Versions: map[string]string{}}
	c.Kernel = strings.TrimSpace(readFile("/proc/sys/kernel/osrelease"))
	if f := strings.Fields(readFile("/proc/loadavg")); len(f) >= 3 {
		c.Load = strings.Join(f[:3], " ")
	}
	for _, sys := range systems {
		v, err := sys.Version()
		if err != nil {
			return c, fmt.Errorf("version of %s: %w", sys.Name(), err)
		}
		c.Versions[sys.Name()] = v
	}
	var err error
	c.FsyncP50, c.FsyncP99, err = fsyncLatency(dir)
	return c, err
}

func readFile(name string) string {
	raw, err := os.ReadFile(name)
	if err != nil {
		return ""
	}
	return string(raw)
}

// fsyncLatency appends small records to a file and syncs each.
func fsyncLatency(dir string) (p50, p99 time.Duration, err error) {
	f, err := os.Create(filepath.Join(dir, "fsync"))
	if err != nil {
		return 0, 0, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	const records = 500
	took := make([]time.Duration, 0, records)
	record := make([]byte, 2*valueSize)
	for range records {
		start := time.Now()
		if _, err := f.Write(record); err != nil {
			return 0, 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, 0, err
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	return load.Quantile(took, 0.5), load.Quantile(took, 0.99), nil
}
