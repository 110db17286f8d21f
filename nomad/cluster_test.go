package nomad_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

func mustPut(t *testing.T, n *nomadtest.Node, path, value string) uint64 {
	t.Helper()
	out, err := n.Put(context.Background(), path, structs.VariableItems{"v": value})
	if err != nil {
		t.Fatalf("put %s: %v", path, err)
	}
	return out.Index
}

func mustGet(t *testing.T, n *nomadtest.Node, path string) string {
	t.Helper()
	got, err := n.Get(context.Background(), path, structs.QueryOptions{})
	if err != nil {
		t.Fatalf("get %s: %v", path, err)
	}
	if got.Data == nil {
		return ""
	}
	return got.Data.Items["v"]
}

func TestOneServerTakesWrites(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		mustPut(t, c.Nodes[0], "app/db", "1")
		if got := mustGet(t, c.Nodes[0], "app/db"); got != "1" {
			t.Fatalf("read %q", got)
		}
	})
}

func TestOnlyVoterWaitsForNobody(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		mustPut(t, c.WaitLeader(), "app/db", "1")
		c.Crash(c.Nodes[0])
		start := time.Now()
		c.Restart(c.Nodes[0])
		if got := mustGet(t, c.WaitLeader(), "app/db"); got != "1" {
			t.Fatalf("read %q", got)
		}
		// In the time of the bubble, which passes only while everybody waits.
		if took := time.Since(start); took >= nomad.DefaultConfig().Raft.HeartbeatTimeout {
			t.Errorf("a server that can only follow itself led after %v", took)
		}
	})
}

func TestEveryServerTakesWritesAndReads(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		for i, n := range c.Nodes {
			path, want := fmt.Sprintf("app/%d", i), fmt.Sprint(i)
			mustPut(t, n, path, want)
			for _, other := range c.Nodes {
				if got := mustGet(t, other, path); got != want {
					t.Fatalf("read %q from %s, want %q", got, other.Host, want)
				}
			}
		}
	})
}

func TestLeaderCrashIsAPauseForWriters(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		leader := c.WaitLeader()
		mustPut(t, leader, "app/db", "before")
		c.Crash(leader)
		mustPut(t, c.Follower(), "app/db", "after")
		c.Restart(leader)
		c.WaitReady()
		got, err := leader.Get(context.Background(), "app/db", structs.QueryOptions{AllowStale: true})
		if err != nil || got.Data == nil || got.Data.Items["v"] != "after" {
			t.Fatalf("the restarted server reads %+v, %v", got, err)
		}
	})
}

func TestDeposedLeaderServesNoDefaultRead(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		old := c.WaitLeader()
		mustPut(t, old, "app/db", "old")
		c.Fabric.Isolate(old.Host)
		mustPut(t, c.WaitLeader(), "app/db", "new")
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		if got, err := old.Get(ctx, "app/db", structs.QueryOptions{}); err == nil {
			t.Fatalf("an isolated leader answered %q", got.Data.Items["v"])
		}
		c.Fabric.HealAll()
		if got := mustGet(t, old, "app/db"); got != "new" {
			t.Fatalf("read %q after the partition", got)
		}
	})
}

func TestNoQuorumEndsInNoLeader(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		alone := c.Nodes[0]
		c.Crash(c.Nodes[1])
		c.Crash(c.Nodes[2])
		time.Sleep(time.Minute)
		start := time.Now()
		_, err := alone.Put(context.Background(), "app/db", structs.VariableItems{"v": "1"})
		if !errors.Is(err, errs.NoLeader) {
			t.Fatalf("got %v, want no leader", err)
		}
		if held := time.Since(start); held < 4*time.Second || held > 10*time.Second {
			t.Fatalf("held for %v", held)
		}
	})
}

func TestBlockingQueryWakesForItsRowOnly(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		index := mustPut(t, c.Nodes[0], "app/db", "1")
		woken := make(chan *structs.VariablesReadResponse, 1)
		start := time.Now()
		go func() {
			got, err := c.Nodes[1].Get(context.Background(), "app/db", structs.QueryOptions{MinQueryIndex: index, MaxQueryTime: time.Minute})
			if err != nil {
				t.Error(err)
			}
			woken <- got
		}()
		time.Sleep(10 * time.Second)
		mustPut(t, c.Nodes[2], "other/key", "x")
		time.Sleep(10 * time.Second)
		want := mustPut(t, c.Nodes[2], "app/db", "2")
		got := <-woken
		if got.Index != want || got.Data.Items["v"] != "2" {
			t.Fatalf("woke with %+v, want index %d", got, want)
		}
		if waited := time.Since(start); waited < 20*time.Second || waited > 21*time.Second {
			t.Fatalf("woke after %v", waited)
		}
	})
}

func TestBlockingQueryEndsWithTheCurrentResult(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		index := mustPut(t, c.Nodes[0], "app/db", "1")
		start := time.Now()
		got, err := c.Nodes[0].Get(context.Background(), "app/db", structs.QueryOptions{MinQueryIndex: index, MaxQueryTime: time.Hour})
		if err != nil || got.Index != index || got.Data.Items["v"] != "1" {
			t.Fatalf("got %+v, %v", got, err)
		}
		if waited := time.Since(start); waited < 300*time.Second || waited > 320*time.Second {
			t.Fatalf("waited %v, want the maximum of 300 s and a sixteenth at most", waited)
		}
	})
}

func TestBlockingQuerySurvivesTheLeader(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		leader := c.WaitLeader()
		index := mustPut(t, leader, "app/db", "1")
		follower := c.Follower()
		woken := make(chan *structs.VariablesReadResponse, 1)
		go func() {
			got, err := follower.Get(context.Background(), "app/db", structs.QueryOptions{MinQueryIndex: index, MaxQueryTime: 2 * time.Minute})
			if err != nil {
				t.Error(err)
			}
			woken <- got
		}()
		time.Sleep(30 * time.Second)
		c.Crash(leader)
		time.Sleep(5 * time.Second)
		mustPut(t, c.Follower(), "app/db", "2")
		if got := <-woken; got.Data == nil || got.Data.Items["v"] != "2" {
			t.Fatalf("woke with %+v", got)
		}
	})
}

func TestGracefulStopHandsLeadershipOver(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		leader := c.WaitLeader()
		c.Stop(leader)
		start := time.Now()
		mustPut(t, c.Follower(), "app/db", "1")
		if took := time.Since(start); took > 300*time.Millisecond {
			t.Fatalf("the next write took %v", took)
		}
	})
}
