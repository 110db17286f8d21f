package nomad_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

func TestADrainingServerAnswersEverythingAndKeepsNothingWaiting(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		c.WaitReady()
		for _, leads := range []bool{true, false} {
			n := c.WaitLeader()
			if !leads {
				n = c.Follower()
			}
			index := mustPut(t, n, "a", "1")
			var wg sync.WaitGroup
			began := time.Now()
			for _, stale := range []bool{true, false} {
				wg.Go(func() {
					opts := structs.QueryOptions{MinQueryIndex: index, MaxQueryTime: 5 * time.Minute, AllowStale: stale}
					reply, err := n.Get(t.Context(), "a", opts)
					if err != nil || reply.Data == nil || reply.Index < index {
						t.Errorf("leads %t, stale %t: the query ended with %+v, %v", leads, stale, reply, err)
					}
				})
			}
			time.Sleep(time.Second)
			if !n.Drain() {
				t.Error("the server says that nobody carries on")
			}
			wg.Wait()
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("leads %t: the queries ended after %v", leads, took)
			}
			if n.Ready() == nil {
				t.Errorf("leads %t: the server says that it is healthy", leads)
			}
			synctest.Wait() // raft has handed over, the server hears of it
			if n.IsLeader() {
				t.Error("the server still leads")
			}
			mustPut(t, n, "a", "2")
			if got := mustGet(t, n, "a"); got != "2" {
				t.Errorf("leads %t: read %q", leads, got)
			}
			c.Stop(n)
			c.Restart(n)
			c.WaitReady()
		}
	})
}

func TestALoneServerHasNobodyToDrainTo(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		n := c.WaitLeader()
		if n.Drain() {
			t.Error("somebody else is said to carry on")
		}
		mustPut(t, n, "a", "1")
	})
}
