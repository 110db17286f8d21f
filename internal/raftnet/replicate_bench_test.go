package raftnet

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// BenchmarkReplicate applies entries through three servers with logs in memory,
// over this transport and over the library's.
func BenchmarkReplicate(b *testing.B) {
	for _, name := range []string{"raftnet", "library"} {
		for _, callers := range []int{1, 64, 512} {
			b.Run(fmt.Sprintf("%s/callers=%d", name, callers), func(b *testing.B) {
				peers := benchCluster(b, name)
				leader := leaderOf(b, peers)
				data := make([]byte, 256)
				cpu := cpuTime(b)
				b.ResetTimer()
				var wg sync.WaitGroup
				for i := range callers {
					n := b.N / callers
					if i < b.N%callers {
						n++
					}
					wg.Go(func() {
						for range n {
							if err := leader.raft.Apply(data, 0).Error(); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
				b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N)/1e3, "cpu-µs/entry")
			})
		}
	}
}

// cpuTime returns what the process has used, which other load distorts less than
// elapsed time.
func cpuTime(b *testing.B) int64 {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func benchCluster(b *testing.B, name string) []*peer {
	b.Helper()
	if name == "raftnet" {
		peers, _ := cluster(b, 3, nil)
		return peers
	}
	var peers []*peer
	var servers []raft.Server
	var transports []*raft.NetworkTransport
	for i := range 3 {
		trans, err := raft.NewTCPTransportWithConfig("127.0.0.1:0", nil, &raft.NetworkTransportConfig{MaxPool: 3, Timeout: 3 * time.Second, MaxRPCsInFlight: 16})
		if err != nil {
			b.Fatal(err)
		}
		p := &peer{id: raft.ServerID(fmt.Sprintf("server-%d", i)), fsm: &sumFSM{}}
		peers, transports = append(peers, p), append(transports, trans)
		servers = append(servers, raft.Server{ID: p.id, Address: trans.LocalAddr()})
	}
	for i, p := range peers {
		b.Cleanup(transports[i].CloseStreams)
		p.start(b, transports[i], servers, nil)
	}
	elect(b, peers[0], transports[0])
	return peers
}
