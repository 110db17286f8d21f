package nomad_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// settings returns the settings of autopilot, which the leader stores when it begins.
func settings(t testing.TB, n *nomadtest.Node, secret string) *structs.AutopilotConfig {
	t.Helper()
	var err error
	for range 600 {
		var reply structs.AutopilotConfigResponse
		req := &structs.GenericRequest{QueryOptions: structs.QueryOptions{AuthToken: secret}}
		if err = n.RPC(context.Background(), "Operator.AutopilotGetConfiguration", req, &reply); err == nil {
			return reply.Config
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal(err)
	return nil
}

// change changes the settings of autopilot.
func change(t *testing.T, n *nomadtest.Node, change func(*structs.AutopilotConfig)) {
	t.Helper()
	req := &structs.AutopilotRequest{Config: *settings(t, n, "")}
	change(&req.Config)
	var reply structs.AutopilotSetConfigResponse
	if err := n.RPC(context.Background(), "Operator.AutopilotSetConfiguration", req, &reply); err != nil || !reply.Updated {
		t.Fatal(reply, err)
	}
}

// health returns what the leader that n knows says of the servers.
func health(t *testing.T, n *nomadtest.Node) *structs.OperatorHealthReply {
	t.Helper()
	var reply structs.OperatorHealthReply
	if err := n.RPC(context.Background(), "Operator.ServerHealth", &structs.GenericRequest{}, &reply); err != nil {
		t.Fatal(err)
	}
	return &reply
}

// healthOf returns what is said of one server, nil for nothing.
func healthOf(h *structs.OperatorHealthReply, id string) *structs.ServerHealth {
	for i := range h.Servers {
		if h.Servers[i].ID == id {
			return &h.Servers[i]
		}
	}
	return nil
}

// shows reports whether a server has a metric.
func shows(t *testing.T, n *nomadtest.Node, name string) bool {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(n.Server)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return true
		}
	}
	return false
}

func TestMetricsOfHealthAreThoseOfTheLeader(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		old := c.WaitLeader()
		within(t, "three healthy servers", func() bool { return health(t, old).Healthy })
		if h, f := metric(t, old.Server, "cairn_autopilot_healthy", ""), metric(t, old.Server, "cairn_autopilot_failure_tolerance", ""); h != 1 || f != 1 {
			t.Errorf("healthy %v, tolerance %v", h, f)
		}
		c.Fabric.Isolate(old.Host)
		within(t, "who leads no more tells nothing", func() bool {
			return !shows(t, old, "cairn_autopilot_healthy") && !shows(t, old, "cairn_autopilot_failure_tolerance")
		})
		next := c.WaitLeader()
		within(t, "the next leader tells", func() bool {
			return next != old && shows(t, next, "cairn_autopilot_healthy") && metric(t, next.Server, "cairn_autopilot_healthy", "") == 0
		})
		if f := metric(t, next.Server, "cairn_autopilot_failure_tolerance", ""); f != 0 {
			t.Errorf("tolerance %v of two", f)
		}
	})
}

// longDead is longer than gossip and autopilot take to find a server dead and to remove it.
const longDead = 5 * time.Minute

func TestHealthyServers(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		leader := c.WaitLeader()
		mustPut(t, leader, "app/db", "1")
		within(t, "three healthy servers", func() bool { h := health(t, c.Follower()); return h.Healthy && len(h.Servers) == 3 })
		time.Sleep(10 * time.Second)
		h := health(t, c.Follower())
		if h.FailureTolerance != 1 || h.Leader != leader.NodeID() || len(h.Voters) != 3 {
			t.Errorf("got %+v", h)
		}
		for _, s := range h.Servers {
			if s.SerfStatus != "alive" || !s.Voter || s.Leader != (s.ID == leader.NodeID()) || s.Version != nomad.Version || s.Name == "" || s.Address == "" ||
				s.LastTerm == 0 || s.LastIndex == 0 || time.Since(s.StableSince) > time.Minute || s.LastContact > 200*time.Millisecond {
				t.Errorf("got %+v", s)
			}
		}
		stale := &structs.GenericRequest{QueryOptions: structs.QueryOptions{AllowStale: true}}
		var reply structs.OperatorHealthReply
		if err := c.Follower().RPC(context.Background(), "Operator.ServerHealth", stale, &reply); err != nil || reply.Leader != h.Leader {
			t.Errorf("a stale read: %+v, %v", reply, err)
		}
	})
}

func TestDeadOfThreeStaysUntilAnotherTakesItsPlace(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		dead := c.Follower()
		c.Crash(dead)
		time.Sleep(longDead)
		h := health(t, c.WaitLeader())
		if s := healthOf(h, dead.NodeID()); s == nil || s.Healthy || s.SerfStatus != "failed" || !s.Voter || h.Healthy || h.FailureTolerance != 0 {
			t.Fatalf("got %+v", h)
		}
		fresh := c.Add()
		within(t, "the new one takes the place", func() bool {
			p := peers(t, c.WaitLeader())
			return len(p) == 3 && p[dead.NodeID()] == nil && p[fresh.NodeID()] != nil
		})
		if n := metric(t, c.WaitLeader().Server, "cairn_autopilot_removed_servers_total", ""); n != 1 {
			t.Errorf("%v servers were removed", n)
		}
		within(t, "three healthy servers", func() bool { return health(t, c.WaitLeader()).Healthy })
		within(t, "gossip knows that it is gone", func() bool {
			return slices.ContainsFunc(c.WaitLeader().Members(), func(m *structs.AgentMember) bool {
				return m.Tags["id"] == dead.NodeID() && m.Status == "left"
			})
		})
		mustPut(t, fresh, "app/db", "1")

		c.Restart(dead) // and is welcome
		within(t, "four healthy voters", func() bool {
			h := health(t, c.WaitLeader())
			return h.Healthy && len(h.Voters) == 4
		})
		if got := mustGet(t, dead, "app/db"); got != "1" {
			t.Errorf("the server that came back reads %q", got)
		}
	})
}

func TestDeadOfFiveGoOneByOneDownToMinQuorum(t *testing.T) {
	nomadtest.Run(t, 5, func(t *testing.T, c *nomadtest.Cluster) {
		var dead []*nomadtest.Node
		for range 2 {
			n := c.Follower()
			c.Crash(n)
			dead = append(dead, n)
		}
		leader := c.WaitLeader()
		var counts []int
		var since time.Time
		for end := time.Now().Add(longDead); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
			n := len(peers(t, leader))
			if len(counts) > 0 && counts[len(counts)-1] == n {
				continue
			}
			if n == 3 && time.Since(since) < 9*time.Second {
				t.Errorf("the second went %s after the first", time.Since(since))
			}
			counts, since = append(counts, n), time.Now()
		}
		if !slices.Equal(counts, []int{5, 4, 3}) {
			t.Fatalf("peers over time: %v", counts)
		}
		third := c.Follower()
		c.Crash(third)
		time.Sleep(longDead)
		if p := peers(t, leader); len(p) != 3 || p[third.NodeID()] == nil {
			t.Errorf("below MinQuorum there are the peers %v", p)
		}
		mustPut(t, leader, "app/db", "1")
	})
}

func TestCleanupCanBeTurnedOff(t *testing.T) {
	nomadtest.Run(t, 5, func(t *testing.T, c *nomadtest.Cluster) {
		change(t, c.WaitLeader(), func(conf *structs.AutopilotConfig) { conf.CleanupDeadServers = false })
		dead := c.Follower()
		c.Crash(dead)
		time.Sleep(longDead)
		if len(peers(t, c.WaitLeader())) != 5 {
			t.Fatal("a dead server was removed although nobody may")
		}
		change(t, c.WaitLeader(), func(conf *structs.AutopilotConfig) { conf.CleanupDeadServers = true })
		within(t, "it is removed when that is allowed", func() bool { return peers(t, c.WaitLeader())[dead.NodeID()] == nil })
	})
}

// A server comes back again and again, each time before it has been dead for long enough.
func TestFlappingServerIsNotRemoved(t *testing.T) {
	nomadtest.Run(t, 5, func(t *testing.T, c *nomadtest.Cluster) {
		leader := c.WaitLeader()
		change(t, leader, func(conf *structs.AutopilotConfig) { conf.ServerStabilizationTime = 30 * time.Second })
		flaps := c.Follower()
		for range 10 {
			c.Crash(flaps)
			within(t, "gossip takes it for failed", func() bool { return healthOf(health(t, leader), flaps.NodeID()).SerfStatus == "failed" })
			time.Sleep(20 * time.Second)
			if peers(t, leader)[flaps.NodeID()] == nil {
				t.Fatal("removed before its time")
			}
			c.Restart(flaps)
			within(t, "it is back", func() bool { return healthOf(health(t, leader), flaps.NodeID()).Healthy })
		}
		c.Crash(flaps)
		within(t, "removed at last", func() bool { return peers(t, leader)[flaps.NodeID()] == nil })
	})
}

func TestNewLeaderKeepsTheSettingsAndBeginsItsClocks(t *testing.T) {
	nomadtest.Run(t, 5, func(t *testing.T, c *nomadtest.Cluster) {
		change(t, c.WaitLeader(), func(conf *structs.AutopilotConfig) { conf.ServerStabilizationTime = time.Minute })
		want := settings(t, c.WaitLeader(), "")
		dead := c.Follower()
		c.Crash(dead)
		within(t, "gossip takes it for failed", func() bool { return healthOf(health(t, c.WaitLeader()), dead.NodeID()).SerfStatus == "failed" })
		time.Sleep(50 * time.Second)
		old := c.WaitLeader()
		next := &structs.RaftPeerRequest{ID: raft.ServerID(c.Follower().NodeID())}
		if err := old.RPC(context.Background(), "Operator.TransferLeadershipToPeer", next, &structs.LeadershipTransferResponse{}); err != nil {
			t.Fatal(err)
		}
		leader := c.WaitLeader()
		began := time.Now()
		if got := settings(t, leader, ""); leader == old || *got != *want {
			t.Fatalf("%s after %s, settings %+v, were %+v", leader.Host, old.Host, got, want)
		}
		within(t, "the new leader removes it", func() bool { return peers(t, leader)[dead.NodeID()] == nil })
		if d := time.Since(began); d < 50*time.Second {
			t.Errorf("the new leader waited for %s only", d)
		}
	})
}

func TestHungServerIsUnhealthyAndHoldsUpNobody(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		leader, hangs := c.WaitLeader(), c.Follower()
		within(t, "three healthy servers", func() bool { return health(t, leader).Healthy })
		c.Fabric.Isolate(hangs.Host)
		within(t, "it is unhealthy", func() bool { return !healthOf(health(t, leader), hangs.NodeID()).Healthy })
		h := health(t, leader)
		for _, s := range h.Servers {
			if s.ID != hangs.NodeID() && (!s.Healthy || s.LastContact > 200*time.Millisecond) {
				t.Errorf("the others suffer: %+v", s)
			}
		}
		before := healthOf(h, hangs.NodeID())
		time.Sleep(20 * time.Second)
		after := healthOf(health(t, leader), hangs.NodeID())
		if after.LastContact < before.LastContact+18*time.Second || after.LastIndex != before.LastIndex || !after.StableSince.Equal(before.StableSince) {
			t.Errorf("from %+v to %+v", before, after)
		}
		c.Fabric.HealAll()
		within(t, "healthy again", func() bool { return health(t, c.WaitLeader()).Healthy })
	})
}

func TestServerThatLagsIsUnhealthy(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		leader, slow := c.WaitLeader(), c.Follower()
		within(t, "three healthy servers", func() bool { return health(t, leader).Healthy })
		change(t, leader, func(conf *structs.AutopilotConfig) { conf.LastContactThreshold = time.Millisecond })
		c.Fabric.Delay(leader.Host, slow.Host, 20*time.Millisecond)
		within(t, "its word of the leader is old", func() bool {
			s := healthOf(health(t, leader), slow.NodeID())
			return !s.Healthy && s.SerfStatus == "alive" && s.LastContact > time.Millisecond
		})
		change(t, leader, func(conf *structs.AutopilotConfig) { conf.LastContactThreshold = time.Second })
		within(t, "healthy with more patience", func() bool { return health(t, leader).Healthy })
	})
}

func TestAutopilotSettings(t *testing.T) {
	own := structs.DefaultAutopilotConfig()
	own.MaxTrailingLogs, own.MinQuorum = 77, 2
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		n := c.Follower()
		got := settings(t, n, "")
		if got.MaxTrailingLogs != 77 || got.MinQuorum != 2 || got.ModifyIndex == 0 || got.CreateIndex != got.ModifyIndex {
			t.Fatalf("the first settings are %+v", got)
		}
		set := func(c structs.AutopilotConfig) (*structs.AutopilotSetConfigResponse, error) {
			var reply structs.AutopilotSetConfigResponse
			err := n.RPC(context.Background(), "Operator.AutopilotSetConfiguration", &structs.AutopilotRequest{Config: c, CAS: true}, &reply)
			return &reply, err
		}
		mine, others := *got, *got
		mine.MinQuorum, others.MinQuorum = 4, 5
		if reply, err := set(mine); err != nil || !reply.Updated {
			t.Fatal(reply, err)
		}
		if reply, err := set(others); err != nil || reply.Updated {
			t.Fatalf("settings of before were replaced: %+v, %v", reply, err)
		}
		if got := settings(t, n, ""); got.MinQuorum != 4 || got.ModifyIndex <= mine.ModifyIndex || got.CreateIndex != mine.CreateIndex {
			t.Errorf("got %+v", got)
		}
		others.EnableCustomUpgrades = true
		if _, err := set(others); !errors.Is(err, errs.Invalid) {
			t.Errorf("a setting that is not supported: %v", err)
		}
	}, func(conf *nomad.Config) { conf.Autopilot = own })
}
