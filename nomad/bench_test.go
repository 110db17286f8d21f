package nomad_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/structs"
)

// realServers starts n servers on loopback with their logs on disk.
func realServers(b *testing.B, n int) []*nomad.Server {
	b.Helper()
	var out []*nomad.Server
	var joins []string
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		conf := nomad.DefaultConfig()
		conf.NodeName, conf.DataDir = fmt.Sprintf("s%d", i), b.TempDir()
		conf.BootstrapExpect = n
		conf.RPCListener, conf.RPCAdvertise = l, l.Addr().String()
		conf.Gossip.BindAddr, conf.Gossip.BindPort = "127.0.0.1", freePort(b)
		conf.Gossip.RetryJoin, conf.Gossip.RetryInterval = joins, 100*time.Millisecond
		joins = append(joins, fmt.Sprintf("127.0.0.1:%d", conf.Gossip.BindPort))
		s, err := nomad.NewServer(conf)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = s.Abort() })
		out = append(out, s)
	}
	return out
}

func freePort(b *testing.B) int {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func leaderOf(b *testing.B, servers []*nomad.Server) *nomad.Server {
	b.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, s := range servers {
			if s.IsLeader() {
				return s
			}
		}
	}
	b.Fatal("no leader")
	return nil
}

// inParallel runs do b.N times from c goroutines.
func inParallel(b *testing.B, c int, do func(i int64) error) {
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	began := cpuTime(b)
	for range c {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := do(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(float64((cpuTime(b)-began).Nanoseconds())/1e3/float64(b.N), "cpu-us/op")
}

// cpuTime returns what the process has spent so far, its kernel time included:
// on a shared machine the figure that says most.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkVariables measures the server below HTTP: writes and default reads
// of 256-byte values on the leader.
func BenchmarkVariables(b *testing.B) {
	value := strings.Repeat("v", 256)
	for _, n := range []int{1, 3} {
		servers := realServers(b, n)
		leader := leaderOf(b, servers)
		ctx := context.Background()
		put := func(i int64) error {
			req := &structs.VariablesApplyRequest{Op: structs.VarOpSet, Var: &structs.VariableDecrypted{
				VariableMetadata: structs.VariableMetadata{Path: fmt.Sprintf("bench/%d", i%20000)},
				Items:            structs.VariableItems{"v": value + fmt.Sprint(i)},
			}}
			return leader.RPC(ctx, "Variables.Apply", req, &structs.VariablesApplyResponse{})
		}
		get := func(i int64) error {
			req := &structs.VariablesReadRequest{Path: "bench/1"}
			return leader.RPC(ctx, "Variables.Read", req, &structs.VariablesReadResponse{})
		}
		if err := put(1); err != nil {
			b.Fatal(err)
		}
		for _, c := range []int{1, 64} {
			b.Run(fmt.Sprintf("write/servers=%d/c=%d", n, c), func(b *testing.B) { inParallel(b, c, put) })
			b.Run(fmt.Sprintf("read/servers=%d/c=%d", n, c), func(b *testing.B) { inParallel(b, c, get) })
		}
	}
}
