package nomad_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// mustStop fails if the node needs longer than a user would wait for it.
func mustStop(t *testing.T, c *nomadtest.Cluster, n *nomadtest.Node) {
	t.Helper()
	start := time.Now()
	c.Stop(n)
	if took := time.Since(start); took > 3*time.Second {
		t.Fatalf("stopping took %v", took)
	}
}

func TestStopDoesNotWaitForAPeerThatHangs(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		leader, hung := c.WaitLeader(), c.Follower()
		c.Fabric.Isolate(hung.Host)
		mustPut(t, leader, "app/db", "1")
		time.Sleep(100 * time.Millisecond)
		mustStop(t, c, leader)
	})
}

func TestStopDoesNotWaitForAJoinThatHangs(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		c.Fabric.Isolate("10.0.0.2")
		c.Crash(c.Nodes[0])
		c.Nodes[0].Reconfigure(joins("10.0.0.2"))
		c.Restart(c.Nodes[0])
		time.Sleep(2 * time.Second)
		mustStop(t, c, c.Nodes[0])
	})
}

func TestStopUnderLoadAnswersEveryWriter(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		n := c.Nodes[0]
		for round := range 8 {
			ctx, cancel := context.WithCancel(context.Background())
			var writers sync.WaitGroup
			for w := range 32 {
				writers.Go(func() {
					for i := 0; ctx.Err() == nil; i++ {
						if _, err := n.Put(ctx, fmt.Sprintf("app/%d", w), structs.VariableItems{"v": fmt.Sprint(round, i)}); err != nil {
							return
						}
						time.Sleep(100 * time.Microsecond) // lets the fake clock go on
					}
				})
			}
			time.Sleep(20 * time.Millisecond)
			mustStop(t, c, n)
			cancel()
			writers.Wait()
			c.Restart(n)
			c.WaitLeader()
		}
	})
}

// A dead server has as long a log as the others while nothing is written. It does not
// keep the leader from handing over, whichever it is.
func TestLeaderHandsOverBesideADeadServer(t *testing.T) {
	for i := range 2 {
		nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
			leader := c.WaitLeader()
			c.WaitReady()
			time.Sleep(time.Minute) // nothing is written any more
			others := slices.DeleteFunc(slices.Clone(c.Nodes), func(n *nomadtest.Node) bool { return n == leader })
			c.Crash(others[i])
			if !leader.Drain() {
				t.Error("nobody is there to hand over to")
			}
			synctest.Wait()
			if leader.IsLeader() || c.WaitLeader() != others[1-i] {
				t.Error("it was not handed over to the one that is left")
			}
		})
	}
}

// A silent server refuses nothing, so that raft would wait for it. It does not keep the
// leader from handing over either, however long raft waits.
func TestLeaderHandsOverBesideASilentServer(t *testing.T) {
	for _, multiplier := range []int{1, 7, 10} {
		for i := range 2 {
			nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
				leader := c.WaitLeader()
				c.WaitReady()
				time.Sleep(time.Minute) // nothing is written any more
				others := slices.DeleteFunc(slices.Clone(c.Nodes), func(n *nomadtest.Node) bool { return n == leader })
				c.Fabric.Isolate(others[i].Host)
				start := time.Now()
				if !leader.Drain() {
					t.Error("nobody is there to hand over to")
				}
				if took := time.Since(start); took > time.Second {
					t.Errorf("multiplier %d: handing over took %v", multiplier, took)
				}
				synctest.Wait()
				if leader.IsLeader() || c.WaitLeader() != others[1-i] {
					t.Errorf("multiplier %d: it was not handed over to the one that answers", multiplier)
				}
			}, func(conf *nomad.Config) { conf.Raft.Multiplier = multiplier })
		}
	}
}

// A hand-over that nobody follows is not blamed on the disk of the leader.
func TestHandOverThatNobodyFollowsIsNoHang(t *testing.T) {
	failed := saidTimes{text: "could not hand over leadership: error=\"leadership transfer timeout\""}
	disks := map[string]*sticky{}
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		leader := c.WaitLeader()
		c.WaitReady()
		time.Sleep(time.Minute) // nothing is written any more
		others := slices.DeleteFunc(slices.Clone(c.Nodes), func(n *nomadtest.Node) bool { return n == leader })
		hung := disks[nameOf(others[0])]
		hung.writes.hang()
		defer hung.writes.work()
		c.Fabric.Isolate(others[1].Host)
		leader.Drain()
		if n := failed.Load(); n != 1 {
			t.Errorf("it was told of %d times", n)
		}
	}, stickyDisks(disks), func(conf *nomad.Config) {
		conf.Raft.Multiplier = 10
		conf.Logger = hclog.New(&hclog.LoggerOptions{Output: &failed, Level: hclog.Warn})
	})
}
