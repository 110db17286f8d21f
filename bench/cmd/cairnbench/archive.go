package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cairn-project/cairn/bench/cluster"
	"github.com/cairn-project/cairn/bench/load"
)

const (
	// archiveWriters is how many clients write while an archive is saved or restored.
	archiveWriters = 8
)

// archive saves a state and restores it, while clients write.
func (b *bench) archive(ctx context.Context, system string, c *cluster.Cluster) error {
	leader := c.Leader()
	if leader < 0 {
		return errors.New("the leader is gone")
	}
	if err := fill(c, leader, keys("archive", b.archiveVars)); err != nil {
		return err
	}
	kvs, done, err := open(c, archiveWriters, leader)
	if err != nil {
		return err
	}
	defer done()
	a := &archiving{bench: b, system: system, c: c, leader: leader, file: filepath.Join(b.opts.Dir, "archive"), workers: writers(kvs, keys("bench", keySpace))}
	defer os.Remove(a.file)
	for _, phase := range []struct {
		name string
		work func(context.Context) error
	}{
		{"idle", func(context.Context) error { time.Sleep(b.duration); return nil }},
		{"save", a.save}, {"restore", a.restore},
	} {
		time.Sleep(b.settle)
		if err := a.phase(ctx, phase.name, phase.work); err != nil {
			return fmt.Errorf("%s: %w", phase.name, err)
		}
	}
	if now := c.Leader(); now != leader {
		return fmt.Errorf("server %d led before, and server %d does now", leader, now)
	}
	return nil
}

// archiving is the work on one archive.
type archiving struct {
	*bench
	system  string
	c       *cluster.Cluster
	leader  int
	file    string
	workers []load.Worker
}

// phase does work while clients write, and notes what both showed.
func (a *archiving) phase(ctx context.Context, name string, work func(context.Context) error) error {
	before, err := a.c.CPU()
	if err != nil {
		return err
	}
	var failed error
	gaps := &silence{last: time.Now()}
	res := load.While(gaps.around(a.workers), 0, func() { failed = work(ctx) })
	if failed != nil {
		return failed
	}
	after, err := a.c.CPU()
	if err != nil {
		return err
	}
	peak, err := a.c.Servers[a.leader].PeakRSS()
	if err != nil {
		return err
	}
	fmt.Fprintf(a.log, "archive: %s took %.2fs, %d writes (%d failed, such as %q), longest time without one %s, server CPU %.2fs\n",
		name, res.Elapsed.Seconds(), res.Ops, res.Errors, res.FirstError, gaps.longest.Round(time.Millisecond), (after - before).Seconds())
	a.results.add(workArchiveP50(name), a.system, res.Latency(0.5).Seconds()*1e3)
	a.results.add(workArchiveP99(name), a.system, res.Latency(0.99).Seconds()*1e3)
	a.results.add(workArchivePeak(name), a.system, float64(peak)/1e6)
	if name != "idle" {
		a.results.add(workArchiveTook(name), a.system, res.Elapsed.Seconds())
		a.results.note(workArchiveTook(name), fmt.Sprintf("%d variables", a.archiveVars))
	}
	return nil
}

// silence watches for how long no worker got anything done.
type silence struct {
	mu      sync.Mutex
	last    time.Time
	longest time.Duration
}

func (s *silence) around(workers []load.Worker) []load.Worker {
	out := make([]load.Worker, len(workers))
	for i, w := range workers {
		out[i] = func() error {
			err := w()
			if err == nil {
				s.heard()
			}
			return err
		}
	}
	return out
}

func (s *silence) heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.longest = max(s.longest, now.Sub(s.last))
	s.last = now
}

func (a *archiving) save(ctx context.Context) error {
	f, err := os.Create(a.file)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := a.call(ctx, http.MethodGet, nil, f)
	a.results.add(workArchiveSize, a.system, float64(size)/1e6)
	return err
}

func (a *archiving) restore(ctx context.Context) error {
	f, err := os.Open(a.file)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = a.call(ctx, http.MethodPut, f, io.Discard)
	return err
}

// call sends body to the leader and copies what it answers.
func (a *archiving) call(ctx context.Context, method string, body io.Reader, to io.Writer) (int64, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+a.c.HTTP[a.leader]+"/v1/operator/snapshot", body)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1000)) // the status says enough without it
		return 0, fmt.Errorf("status %d: %s", resp.StatusCode, text)
	}
	return io.Copy(to, resp.Body)
}
