package nomad_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// TestLocksAreRenewedWhileWritesAreShed has a hundred writers ask for several times
// as much as a cluster with slow connections can do.
func TestLocksAreRenewedWhileWritesAreShed(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		c.WaitReady()
		leader := c.WaitLeader()
		id := mustAcquire(t, leader, 10*time.Second, 15*time.Second)
		for _, a := range c.Nodes {
			for _, b := range c.Nodes {
				if a != b {
					c.Fabric.Delay(a.Host, b.Host, 20*time.Millisecond)
				}
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		var done, shed atomic.Int64
		var wg sync.WaitGroup
		for i := range 100 {
			n := c.Nodes[i%len(c.Nodes)]
			wg.Go(func() {
				for ctx.Err() == nil {
					_, err := n.Put(context.WithoutCancel(ctx), fmt.Sprintf("w/%d", i), structs.VariableItems{"v": "1"})
					var e *errs.Error
					switch {
					case err == nil:
						done.Add(1)
					case errors.As(err, &e) && e.Code == errs.Busy && e.RetryAfter >= shortestRetry:
						shed.Add(1)
						time.Sleep(50 * time.Millisecond) // much too soon
					default:
						t.Errorf("a write ended with %v", err)
						return
					}
				}
			})
		}
		renewals := 0
		for ; ctx.Err() == nil; time.Sleep(250 * time.Millisecond) {
			began := time.Now()
			if err := renew(c.Nodes[renewals%len(c.Nodes)], id); err != nil {
				t.Errorf("renewal %d: %v", renewals, err)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("a renewal took %v", took)
			}
			renewals++
		}
		wg.Wait()
		t.Logf("%d writes done, %d shed, %d renewals", done.Load(), shed.Load(), renewals)
		if done.Load() == 0 || shed.Load() < done.Load() || renewals < 40 {
			t.Errorf("%d writes done, %d shed, %d renewals: that was no overload", done.Load(), shed.Load(), renewals)
		}
		if now := c.WaitLeader(); now != leader {
			t.Error("the leader changed")
		}
		refused, urgent := 0.0, 0.0
		for _, n := range c.Nodes {
			refused += counted(t, n, "cairn_overload_refused_total", limit.Write)
			urgent += counted(t, n, "cairn_overload_refused_total", limit.Control)
			for _, gauge := range []string{"cairn_overload_running", "cairn_overload_waiting"} {
				if left := counted(t, n, gauge, limit.Write); left != 0 {
					t.Errorf("%s is %v in the end", gauge, left)
				}
			}
		}
		if refused != float64(shed.Load()) || urgent != 0 {
			t.Errorf("%v writes refused, %d shed; %v urgent calls refused", refused, shed.Load(), urgent)
		}
	}, func(c *nomad.Config) { c.Limits.InFlight = limit.PerClass[int]{Control: 3, Write: 2, Read: 2, Bulk: 1} })
}

// shortestRetry is what a writer that was shed is told to wait at least.
const shortestRetry = 500 * time.Millisecond

func TestBlockingQueriesHoldNoPlaceWhileTheyWait(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		n := c.WaitLeader()
		index := mustPut(t, n, "a", "1")
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				reply, err := n.Get(t.Context(), "a", structs.QueryOptions{MinQueryIndex: index, MaxQueryTime: time.Minute})
				if err != nil || reply.Data == nil || reply.Data.Items["v"] == "1" {
					t.Errorf("a blocking query ended with %v, %v", reply.Data, err)
				}
			})
			time.Sleep(100 * time.Millisecond) // each begins when the one before waits
		}
		if got := mustGet(t, n, "a"); got != "1" {
			t.Errorf("read %q", got)
		}
		mustPut(t, n, "a", "2")
		wg.Wait()
		if running := counted(t, n, "cairn_overload_running", limit.Read); running != 0 {
			t.Errorf("%v reads run in the end", running)
		}
	}, func(c *nomad.Config) { c.Limits.InFlight.Read = 1 })
}

// TestFollowersHoldWhatTheLeaderHasNoPlaceFor: what many clients of a follower ask
// for waits there, and the leader sees no more of it than may run.
func TestFollowersHoldWhatTheLeaderHasNoPlaceFor(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		c.WaitReady()
		leader := c.WaitLeader()
		follower := c.Nodes[0]
		if follower == leader {
			follower = c.Nodes[1]
		}
		for _, n := range c.Nodes {
			if n != leader {
				c.Fabric.Delay(leader.Host, n.Host, 50*time.Millisecond)
				c.Fabric.Delay(n.Host, leader.Host, 50*time.Millisecond)
			}
		}
		var wg sync.WaitGroup
		for i := range 3 * 5 {
			wg.Go(func() {
				if _, err := follower.Put(t.Context(), fmt.Sprintf("w/%d", i), structs.VariableItems{"v": "1"}); err != nil {
					t.Errorf("write %d: %v", i, err)
				}
			})
		}
		time.Sleep(75 * time.Millisecond) // the first are on the leader, their answers are not back
		if running, waiting := counted(t, follower, "cairn_overload_running", limit.Write), counted(t, follower, "cairn_overload_waiting", limit.Write); running != 3 || waiting != 12 {
			t.Errorf("the follower passes %v on and has %v wait, want 3 and 12", running, waiting)
		}
		if running, waiting := counted(t, leader, "cairn_overload_running", limit.Write), counted(t, leader, "cairn_overload_waiting", limit.Write); running != 3 || waiting != 0 {
			t.Errorf("on the leader %v run and %v wait, want 3 and none", running, waiting)
		}
		wg.Wait()
	}, func(c *nomad.Config) { c.Limits.InFlight.Write = 3 })
}
