package nomad_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/structs"
)

// BenchmarkHeartbeats has 10,000 registered nodes heartbeat over the server port and
// reports the processor time of one heartbeat, and what share of a core all of them
// take at the TTLs that the server hands out. The client's part is in it.
func BenchmarkHeartbeats(b *testing.B) {
	const count, conns, workers = 10000, 8, 64
	leader := leaderOf(b, realServers(b, 1))
	var addr string
	if err := leader.RPC(context.Background(), "Status.Leader", &structs.GenericRequest{}, &addr); err != nil {
		b.Fatal(err)
	}
	clients := make([]*wire.Client, conns)
	for i := range clients {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Write([]byte{1}); err != nil {
			b.Fatal(err)
		}
		clients[i] = wire.NewClient(conn, wire.DefaultLimits())
		b.Cleanup(func() { _ = clients[i].Close() })
	}
	nodes := make([]*structs.Node, count)
	var ttls atomic.Int64
	call := func(i int64, method string, args any) error {
		var reply structs.NodeUpdateResponse
		err := clients[i%conns].Call(context.Background(), method, args, &reply, wire.CallOptions{})
		ttls.Add(int64(reply.HeartbeatTTL))
		return err
	}
	each := func(do func(i int64) error) {
		var next atomic.Int64
		done := make(chan error, workers)
		for range workers {
			go func() {
				for i := next.Add(1) - 1; i < count; i = next.Add(1) - 1 {
					if err := do(i); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
		}
		for range workers {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
	}
	beat := func(i int64) error {
		n := nodes[i%count]
		return call(i, "Node.UpdateStatus", &structs.NodeUpdateStatusRequest{NodeID: n.ID, Status: structs.NodeStatusReady,
			WriteRequest: structs.WriteRequest{AuthToken: n.SecretID}})
	}
	each(func(i int64) error {
		n := &structs.Node{ID: uuid.NewString(), SecretID: uuid.NewString(), Name: "worker", Datacenter: "dc1", HTTPAddr: "10.0.0.1:4646"}
		nodes[i] = n
		return call(i, "Node.Register", &structs.NodeRegisterRequest{Node: n, WriteRequest: structs.WriteRequest{AuthToken: n.SecretID}})
	})
	each(beat)
	b.Run("nodes=10000", func(b *testing.B) {
		ttls.Store(0)
		before := cpuTime(b)
		inParallel(b, workers, beat)
		each := float64(cpuTime(b)-before) / float64(b.N)
		ttl := float64(ttls.Load()) / float64(b.N)
		b.ReportMetric(each/1e3, "µs-cpu/op")
		b.ReportMetric(ttl/1e9, "s-ttl")
		b.ReportMetric(100*each*count/ttl, "%core")
	})
}
