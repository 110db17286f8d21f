package bench_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/bench/httpc"
	"github.com/cairn-project/cairn/command/agent"
)

// BenchmarkHTTP drives a whole agent with its log on disk: writes and default
// reads of 256-byte values over 64 connections. "make pgo" takes its profile.
func BenchmarkHTTP(b *testing.B) {
	c := agent.DefaultDevConfig()
	c.Client.Enabled = false // the node of this agent is not what is looked at
	c.DevMode, c.DataDir = false, b.TempDir()
	c.NodeName, c.Ports = "n1", agent.PortsConfig{}
	c.Limits.HTTPMaxConnsPerClient = 0
	a, err := agent.Start(c, hclog.NewNullLogger())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = a.Stop(false) })
	value := strings.Repeat("v", 240)
	put := func(conn *httpc.Client, i int64) (httpc.Response, error) {
		body := fmt.Sprintf(`{"Items":{"v":"%s%016d"}}`, value, i)
		return conn.Do("PUT", fmt.Sprintf("/v1/var/bench/%d", i%5000), []byte(body))
	}
	get := func(conn *httpc.Client, i int64) (httpc.Response, error) {
		return conn.Do("GET", fmt.Sprintf("/v1/var/bench/%d", i%100), nil)
	}
	b.Run("put", func(b *testing.B) { requests(b, a.HTTPAddr(), put) })
	b.Run("get", func(b *testing.B) { requests(b, a.HTTPAddr(), get) })
}

func requests(b *testing.B, addr string, do func(*httpc.Client, int64) (httpc.Response, error)) {
	var next atomic.Int64
	var wg sync.WaitGroup
	before := cpuTime(b)
	for range 64 {
		wg.Go(func() {
			conn := httpc.New(addr, 30*time.Second)
			defer conn.Close()
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if resp, err := do(conn, i); err != nil || resp.Status != http.StatusOK && resp.Status != http.StatusNotFound {
					b.Errorf("request %d: %+v, %v", i, resp, err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64((cpuTime(b)-before).Nanoseconds())/1e3/float64(b.N), "cpu-us/op")
}

// cpuTime is what the process has used so far, clients included. Unlike a rate
// it says little about what else the machine does.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
