package nomad_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// peers returns the Raft peers as the leader that n knows sees them, by ID.
func peers(t *testing.T, n *nomadtest.Node) map[string]*structs.RaftServer {
	t.Helper()
	var reply structs.RaftConfigurationResponse
	if err := n.RPC(context.Background(), "Operator.RaftGetConfiguration", &structs.GenericRequest{}, &reply); err != nil {
		t.Fatal(err)
	}
	out := map[string]*structs.RaftServer{}
	for _, p := range reply.Servers {
		out[string(p.ID)] = p
	}
	return out
}

// within waits up to two minutes of fake time for ok.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1200 {
		if ok() {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("not within two minutes: %s", what)
}

func joins(hosts ...string) nomadtest.Option {
	return func(conf *nomad.Config) {
		conf.Gossip.RetryJoin = nil
		for _, h := range hosts {
			conf.Gossip.RetryJoin = append(conf.Gossip.RetryJoin, h+":4648")
		}
	}
}

func expects(n int) nomadtest.Option {
	return func(conf *nomad.Config) { conf.BootstrapExpect = n }
}

func TestServerOfAnotherClusterIsNotTakenIn(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		ours := c.Nodes[0]
		mustPut(t, ours, "app/db", "ours")
		a := c.Add(joins(), expects(2))
		b := c.Add(joins(a.Host), expects(2))
		within(t, "a second cluster", func() bool { return a.IsLeader() || b.IsLeader() })
		mustPut(t, a, "app/db", "theirs")
		c.Crash(a)
		c.Crash(b)

		// Alone it has no majority, so it has applied nothing of its log.
		a.Reconfigure(joins(ours.Host))
		a.Reconfigure(expects(0))
		c.Restart(a)
		time.Sleep(5 * time.Minute)
		if p := peers(t, ours); p[a.NodeID()] != nil {
			t.Fatal("a server with the state of another cluster became a peer")
		}
		if got := mustGet(t, ours, "app/db"); got != "ours" {
			t.Fatalf("read %q", got)
		}

		c.Crash(a)
		a.Reconfigure(joins(b.Host))
		c.Restart(a)
		c.Restart(b)
		within(t, "the second cluster again", func() bool { return a.IsLeader() || b.IsLeader() })
		if got := mustGet(t, a, "app/db"); got != "theirs" {
			t.Fatalf("the other cluster reads %q", got)
		}
	})
}

func TestJoinedServerVotesAndARemovedOneDoesNot(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		mustPut(t, c.Nodes[0], "app/db", "1")
		fourth := c.Add()
		within(t, "a fourth voter that has caught up", func() bool {
			p := peers(t, c.Nodes[0])[fourth.NodeID()]
			return p != nil && p.Voter && fourth.Ready() == nil
		})
		got, err := fourth.Get(context.Background(), "app/db", structs.QueryOptions{AllowStale: true})
		if err != nil || got.Data == nil || got.Data.Items["v"] != "1" {
			t.Fatalf("the new server reads %+v, %v", got, err)
		}
		id := fourth.NodeID()
		c.Crash(fourth)
		req := &structs.RaftPeerByIDRequest{ID: raft.ServerID(id)}
		if err := c.Follower().RPC(context.Background(), "Operator.RaftRemovePeerByID", req, &structs.GenericResponse{}); err != nil {
			t.Fatal(err)
		}
		if peers(t, c.Nodes[0])[id] != nil {
			t.Fatal("still a peer")
		}
		mustPut(t, c.Nodes[0], "app/db", "2")
	})
}

func TestNonVoterFollowsAndNeverCounts(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		mustPut(t, c.Nodes[0], "app/db", "1")
		extra := c.Add(func(conf *nomad.Config) { conf.NonVoter = true })
		within(t, "a peer without a vote", func() bool {
			p := peers(t, c.Nodes[0])[extra.NodeID()]
			return p != nil && !p.Voter && extra.Ready() == nil
		})
		mustPut(t, extra, "app/db", "2")
		if got := mustGet(t, extra, "app/db"); got != "2" {
			t.Fatalf("the non-voter reads %q", got)
		}
		c.Crash(c.WaitLeader())
		if n := c.WaitLeader(); n == extra {
			t.Fatal("a non-voter leads")
		}

		c.Crash(extra)
		extra.Reconfigure(func(conf *nomad.Config) { conf.NonVoter = false })
		c.Restart(extra)
		within(t, "its vote after it came back as a voter", func() bool {
			p := peers(t, extra)[extra.NodeID()]
			return p != nil && p.Voter
		})
	})
}

func TestServerThatMovedIsFoundAgain(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		mustPut(t, c.Nodes[0], "app/db", "1")
		n := c.Follower()
		c.Crash(n)
		n.Host = "10.0.0.77"
		c.Restart(n)
		within(t, "the new address among the peers", func() bool {
			return peers(t, c.WaitLeader())[n.NodeID()].Address == "10.0.0.77:4647"
		})
		mustPut(t, c.WaitLeader(), "app/db", "2")
		c.WaitReady()
		got, err := n.Get(context.Background(), "app/db", structs.QueryOptions{AllowStale: true})
		if err != nil || got.Data.Items["v"] != "2" {
			t.Fatalf("the moved server reads %+v, %v", got, err)
		}
	})
}

func TestServerThatLeftIsNoPeerAnyMore(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		leader := c.WaitLeader()
		id := leader.NodeID()
		if err := leader.Leave(context.Background()); err != nil {
			t.Fatal(err)
		}
		c.Stop(leader)
		within(t, "two peers", func() bool { p := peers(t, c.Follower()); return len(p) == 2 && p[id] == nil })
		mustPut(t, c.Follower(), "app/db", "1")
	})
}

// Others take over the state of gossip from the server just when it leaves.
func TestServerThatLeavesAmidExchangesOfStateIsNoPeerAnyMore(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		leaver := c.WaitLeader()
		id := leaver.NodeID()
		var left sync.WaitGroup
		left.Go(func() {
			if err := leaver.Leave(context.Background()); err != nil {
				t.Error(err)
			}
		})
		gone := func(m *structs.AgentMember) bool { return m.Tags["id"] == id && m.Status == "left" }
		for !slices.ContainsFunc(leaver.Members(), gone) { // by its own account
			for _, n := range c.Nodes {
				if n != leaver {
					_, _ = n.Join([]string{leaver.Host + ":4648"})
				}
			}
			time.Sleep(10 * time.Millisecond)
		}
		left.Wait()
		c.Stop(leaver)
		within(t, "two peers", func() bool { p := peers(t, c.Follower()); return len(p) == 2 && p[id] == nil })
	})
}

func TestForgottenServerIsNoPeerAnyMore(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		gone := c.Follower()
		id := gone.NodeID()
		c.Crash(gone)
		leader := c.WaitLeader()
		within(t, "gossip takes it for failed", func() bool {
			return slices.ContainsFunc(leader.Members(), func(m *structs.AgentMember) bool { return m.Tags["id"] == id && m.Status == "failed" })
		})
		for _, m := range leader.Members() {
			if m.Tags["id"] == id {
				if err := leader.ForceLeave(m.Name, true); err != nil {
					t.Fatal(err)
				}
			}
		}
		within(t, "two peers", func() bool { return len(peers(t, leader)) == 2 })
	})
}

// What gossip says of a name that a server had before it left does not count for the
// server that is back under another.
func TestServerThatLeftIsBackUnderAnotherName(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		back := c.Follower()
		id := back.NodeID()
		if err := back.Leave(context.Background()); err != nil {
			t.Fatal(err)
		}
		c.Stop(back)
		within(t, "two peers", func() bool { return len(peers(t, c.WaitLeader())) == 2 })
		back.Reconfigure(func(conf *nomad.Config) { conf.NodeName = "renamed" })
		c.Restart(back)
		within(t, "three peers", func() bool { return len(peers(t, c.WaitLeader())) == 3 })
		time.Sleep(10 * time.Second)
		for range 300 {
			if peers(t, c.WaitLeader())[id] == nil {
				t.Fatal("it was taken out again")
			}
			time.Sleep(time.Second)
		}
	})
}

// saidTimes counts how often a log says something.
type saidTimes struct {
	text string
	atomic.Int32
}

func (n *saidTimes) Write(b []byte) (int, error) {
	n.Add(int32(strings.Count(string(b), n.text)))
	return len(b), nil
}

// A server on a copied data directory is no peer, does not move the one that it is a copy
// of, and is told of once for as long as it is there.
func TestServersWithOneIDAreToldOf(t *testing.T) {
	for _, of := range []string{"a follower", "the leader"} {
		told := saidTimes{text: "have the same ID"}
		nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
			leader := c.WaitLeader()
			c.WaitReady()
			first := leader
			if of == "a follower" {
				first = c.Follower()
			}
			before := peers(t, leader)
			copied := c.Add(func(conf *nomad.Config) { conf.NodeID = first.NodeID() })
			for want := range int32(2) {
				within(t, "it is told of", func() bool { return told.Load() == want+1 })
				for range 20 {
					now := peers(t, leader)
					if at := now[first.NodeID()]; len(now) != 3 || at == nil || at.Address != before[first.NodeID()].Address {
						t.Fatalf("the peers are %v now", now)
					}
					time.Sleep(10 * time.Second)
				}
				if n := told.Load(); n != want+1 || !leader.IsLeader() {
					t.Errorf("a copy of %s: told %d times, the leader leads: %t", of, n, leader.IsLeader())
				}
				c.Crash(copied)
				time.Sleep(90 * time.Second) // gossip notices, and the leader looks
				c.Restart(copied)
			}
		}, func(conf *nomad.Config) {
			conf.Logger = hclog.New(&hclog.LoggerOptions{Output: &told, Level: hclog.Error})
		})
	}
}
