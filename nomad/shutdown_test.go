package nomad_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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
