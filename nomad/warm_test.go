package nomad_test

import (
	"context"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/pool"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// warmTo waits until n has a connection to as many servers as it should.
func warmTo(t *testing.T, n *nomadtest.Node, servers int) {
	t.Helper()
	within(t, "connections of "+n.Host, func() bool {
		st := n.Pool()
		return st.Cold == 0 && st.Conns >= servers
	})
}

// A call that an election cuts off costs its connection, so that there are none under
// way while they are counted.
func TestCallsFindTheirConnectionThere(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		for range 3 {
			leader := c.WaitLeader()
			time.Sleep(time.Second) // all have heard of it
			before := map[*nomadtest.Node]pool.Stats{}
			for _, n := range c.Nodes {
				warmTo(t, n, 2)
				before[n] = n.Pool()
			}
			for _, n := range c.Nodes {
				mustPut(t, n, "app/db", "1")
			}
			for _, n := range c.Nodes {
				if st := n.Pool(); st.Dials != before[n].Dials {
					t.Errorf("%s dialed %d times for calls", n.Host, st.Dials-before[n].Dials)
				}
			}
			req := &structs.RaftPeerRequest{ID: raft.ServerID(otherThan(c, leader).NodeID())}
			if err := leader.RPC(context.Background(), "Operator.TransferLeadershipToPeer", req, &structs.LeadershipTransferResponse{}); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestConnectionsFollowTheServers(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		home := c.Follower()
		gone := otherThan(c, home)
		warmTo(t, home, 2)
		c.Crash(gone)
		within(t, "one server less", func() bool {
			st := home.Pool()
			return st.Cold == 0 && st.Conns == 1
		})
		c.Restart(gone)
		warmTo(t, home, 2)
		far := c.Add(inRegion("mars"), expects(1), joins(home.Host))
		c.Add(inRegion("mars"), expects(1), joins(home.Host))
		within(t, "two servers more in gossip", func() bool { return len(home.Members()) == 5 })
		warmTo(t, home, 3)
		time.Sleep(time.Minute)
		if st := home.Pool(); st.Conns != 3 {
			t.Errorf("%+v, want connections to two servers of this region and one of the other", st)
		}
		warmTo(t, far, 1)
	})
}

// Of a region that has several servers a read that one of them took with it is
// answered by another.
func TestReadsOfAnotherRegionOutliveAServer(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		home := c.Nodes[0]
		var far []*nomadtest.Node
		for range 3 {
			far = append(far, c.Add(inRegion("mars"), expects(3), joins(home.Host)))
		}
		within(t, "a leader of mars", func() bool { return far[0].IsLeader() || far[1].IsLeader() || far[2].IsLeader() })
		index := mustPut(t, far[0], "app/db", "1")
		within(t, "mars", func() bool {
			got, err := home.Get(context.Background(), "app/db", structs.QueryOptions{Region: "mars", AllowStale: true})
			return err == nil && got.Data != nil
		})
		const readers = 12
		ended := make(chan error, readers)
		for range readers {
			go func() {
				opts := structs.QueryOptions{Region: "mars", AllowStale: true, MinQueryIndex: index + 100, MaxQueryTime: 30 * time.Second}
				_, err := home.Get(context.Background(), "app/db", opts)
				ended <- err
			}()
			time.Sleep(10 * time.Millisecond)
		}
		var doomed *nomadtest.Node
		for _, n := range far {
			if !n.IsLeader() {
				doomed = n
			}
		}
		time.Sleep(time.Second)
		c.Crash(doomed)
		for range readers {
			if err := <-ended; err != nil {
				t.Errorf("a read of the other region: %v", err)
			}
		}
	})
}
