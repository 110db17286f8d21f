package nomad_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/presence"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// slow gives every link a delay, so that calls are under way when something happens.
func slow(c *nomadtest.Cluster, d time.Duration) {
	for i, a := range c.Nodes {
		for _, b := range c.Nodes[i+1:] {
			c.Fabric.Delay(a.Host, b.Host, d)
		}
	}
}

func otherThan(c *nomadtest.Cluster, not *nomadtest.Node) *nomadtest.Node {
	for _, n := range c.Nodes {
		if n != not {
			return n
		}
	}
	return nil
}

func TestTransferOfLeadershipFailsNoWrite(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		slow(c, 5*time.Millisecond)
		ctx, cancel := context.WithCancel(context.Background())
		failed := make(chan error, 100)
		writes := make(chan int, 100)
		for w := range 12 {
			n := c.Nodes[w%3]
			go func() {
				i := 0
				for ; ctx.Err() == nil; i++ {
					if _, err := n.Put(context.Background(), fmt.Sprintf("app/%d", w), structs.VariableItems{"v": fmt.Sprint(i)}); err != nil {
						failed <- err
						break
					}
				}
				writes <- i
			}()
		}
		for range 5 {
			time.Sleep(2 * time.Second)
			leader := c.WaitLeader()
			req := &structs.RaftPeerRequest{ID: raft.ServerID(otherThan(c, leader).NodeID())}
			if err := leader.RPC(context.Background(), "Operator.TransferLeadershipToPeer", req, &structs.LeadershipTransferResponse{}); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		cancel()
		for range 12 {
			if n := <-writes; n < 50 {
				t.Errorf("a writer got %d writes through", n)
			}
		}
		select {
		case err := <-failed:
			t.Fatalf("a write failed: %v", err)
		default:
		}
	})
}

func TestWriteWaitsForALeader(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		n := c.Nodes[0]
		c.Crash(c.Nodes[1])
		c.Crash(c.Nodes[2])
		time.Sleep(5 * time.Second)
		done := make(chan error, 1)
		go func() {
			_, err := n.Put(context.Background(), "app/db", structs.VariableItems{"v": "1"})
			done <- err
		}()
		time.Sleep(time.Second)
		c.Restart(c.Nodes[1])
		if err := <-done; err != nil {
			t.Fatalf("a write that waited for a leader: %v", err)
		}
		if got := mustGet(t, n, "app/db"); got != "1" {
			t.Fatalf("read %q", got)
		}
	})
}

func TestCallsToAFrozenLeaderEndAtTheElection(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		leader, follower := c.WaitLeader(), c.Follower()
		mustPut(t, follower, "app/db", "before")
		slow(c, 20*time.Millisecond)
		type outcome struct {
			err  error
			took time.Duration
			read string
		}
		write, read := make(chan outcome, 1), make(chan outcome, 1)
		start := time.Now()
		go func() {
			_, err := follower.Put(context.Background(), "app/db", structs.VariableItems{"v": "after"})
			write <- outcome{err: err, took: time.Since(start)}
		}()
		go func() {
			got, err := follower.Get(context.Background(), "app/other", structs.QueryOptions{})
			o := outcome{err: err, took: time.Since(start)}
			if err == nil && got.Data != nil {
				o.read = got.Data.Items["v"]
			}
			read <- o
		}()
		time.Sleep(5 * time.Millisecond) // both are on their way
		c.Fabric.Isolate(leader.Host)
		r := <-read
		if r.err != nil || r.took > 4*time.Second {
			t.Fatalf("the read ended after %v with %v", r.took, r.err)
		}
		w := <-write
		if w.err != nil || w.took > 4*time.Second {
			t.Fatalf("the write ended after %v with %v", w.took, w.err)
		}
		if got := mustGet(t, follower, "app/db"); got != "after" {
			t.Fatalf("read %q", got)
		}
	})
}

// A client that left may have written elsewhere meanwhile: what it asked for before
// is not tried again after that.
func TestWriteIsNotTriedAgainForAClientThatLeft(t *testing.T) {
	for name, there := range map[string]bool{"waits": true, "left": false} {
		t.Run(name, func(t *testing.T) {
			nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
				leader, follower := c.WaitLeader(), c.Follower()
				mustPut(t, follower, "app/db", "before")
				slow(c, 20*time.Millisecond)
				time.AfterFunc(5*time.Millisecond, func() { c.Fabric.Isolate(leader.Host) })
				ctx := presence.With(context.Background(), func() bool { return there })
				_, err := follower.Put(ctx, "app/db", structs.VariableItems{"v": "after"})
				if (err == nil) != there {
					t.Errorf("the write ended with %v", err)
				}
				want := "before"
				if there {
					want = "after"
				}
				if got := mustGet(t, follower, "app/db"); got != want {
					t.Errorf("read %q", got)
				}
			})
		})
	}
}

func TestCallIsPassedOnTwiceAtMost(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		leader, follower := c.WaitLeader(), c.Follower()
		req := &structs.GenericRequest{}
		far := wire.WithCall(context.Background(), &wire.Call{Method: "Operator.RaftGetConfiguration", Hops: 2})
		if err := leader.RPC(far, "Operator.RaftGetConfiguration", req, &structs.RaftConfigurationResponse{}); err != nil {
			t.Fatalf("the leader refused a call that came the longest way: %v", err)
		}
		if err := follower.RPC(far, "Operator.RaftGetConfiguration", req, &structs.RaftConfigurationResponse{}); !errors.Is(err, errs.NoLeader) {
			t.Fatalf("a third hop gave %v", err)
		}
		req.Region = "elsewhere"
		if err := leader.RPC(far, "Status.Leader", req, new(string)); !errors.Is(err, errs.NoPath) {
			t.Fatalf("a third hop to another region gave %v", err)
		}
	})
}

func TestUnknownRegionHasNoPath(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		start := time.Now()
		for _, method := range []string{"Status.Leader", "Operator.RaftGetConfiguration"} {
			req := &structs.GenericRequest{QueryOptions: structs.QueryOptions{Region: "mars"}}
			var reply any = new(string)
			if method != "Status.Leader" {
				reply = &structs.RaftConfigurationResponse{}
			}
			if err := c.Nodes[0].RPC(context.Background(), method, req, reply); !errors.Is(err, errs.NoPath) {
				t.Errorf("%s: %v", method, err)
			}
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestOtherRegionWithoutALeaderIsAskedOnce(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		home := c.Nodes[0]
		mars := func(conf *nomad.Config) { conf.Region = "mars" }
		a := c.Add(mars, expects(3), joins(home.Host))
		b := c.Add(mars, expects(3), joins(home.Host))
		within(t, "three servers in gossip", func() bool { return len(home.Members()) == 3 && len(b.Members()) == 3 })
		start := time.Now()
		req := &structs.VariablesReadRequest{Path: "x", QueryOptions: structs.QueryOptions{Region: "mars"}}
		err := home.RPC(context.Background(), "Variables.Read", req, &structs.VariablesReadResponse{})
		if !errors.Is(err, errs.NoLeader) {
			t.Fatalf("got %v", err)
		}
		if took := time.Since(start); took > 7*time.Second {
			t.Fatalf("held for %v, once for each of its servers", took)
		}
		c.Crash(a)
		c.Crash(b)
	})
}

func TestLastVoterCannotBeRemoved(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		n := c.Nodes[0]
		req := &structs.RaftPeerByIDRequest{ID: raft.ServerID(n.NodeID())}
		if err := n.RPC(context.Background(), "Operator.RaftRemovePeerByID", req, &structs.GenericResponse{}); !errors.Is(err, errs.PreconditionFailed) {
			t.Fatalf("got %v", err)
		}
		mustPut(t, n, "app/db", "1")
	})
}

func TestCallToAServerOfAnotherRegionThatHangsEnds(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		home := c.Nodes[0]
		far := c.Add(func(conf *nomad.Config) { conf.Region = "mars" }, expects(1), joins(home.Host))
		read := func() error {
			req := &structs.VariablesReadRequest{Path: "x", QueryOptions: structs.QueryOptions{Region: "mars"}}
			return home.RPC(context.Background(), "Variables.Read", req, &structs.VariablesReadResponse{})
		}
		within(t, "an answer from the other region", func() bool { return read() == nil })
		c.Fabric.Isolate(far.Host)
		failed := make(chan error, 2)
		go func() { failed <- read() }()
		go func() {
			req := &structs.VariablesApplyRequest{Op: structs.VarOpSet, WriteRequest: structs.WriteRequest{Region: "mars"}, Var: &structs.VariableDecrypted{
				VariableMetadata: structs.VariableMetadata{Path: "x"}, Items: structs.VariableItems{"v": "1"},
			}}
			failed <- home.RPC(context.Background(), "Variables.Apply", req, &structs.VariablesApplyResponse{})
		}()
		start := time.Now()
		for range 2 {
			select {
			case err := <-failed:
				if !errors.Is(err, errs.Unavailable) {
					t.Errorf("got %v", err)
				}
			case <-time.After(3 * time.Minute):
				t.Fatalf("still waiting after %v", time.Since(start))
			}
		}
	})
}
