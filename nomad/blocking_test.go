package nomad_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

func TestReadOfNoTableNeverBlocks(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		start := time.Now()
		req := &structs.GenericRequest{QueryOptions: structs.QueryOptions{MinQueryIndex: 1000}}
		if err := c.Nodes[0].RPC(context.Background(), "Operator.RaftGetConfiguration", req, &structs.RaftConfigurationResponse{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > time.Second {
			t.Fatalf("blocked for %v", took)
		}
	})
}

func TestBlockingQueryEndsWithItsServer(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		index := mustPut(t, c.Nodes[0], "app/db", "1")
		n := c.Follower()
		c.WaitReady()
		ended := make(chan time.Time, 1)
		go func() {
			_, _ = n.Get(context.Background(), "app/db", structs.QueryOptions{MinQueryIndex: index + 9, AllowStale: true})
			ended <- time.Now()
		}()
		time.Sleep(time.Second)
		stopping := time.Now()
		c.Stop(n)
		if took := (<-ended).Sub(stopping); took > 5*time.Second {
			t.Fatalf("the query outlived its server by %v", took)
		}
	})
}

// A query waits as long as its client asked for, however many leaders it sees.
func TestBlockingQueryWaitsOnce(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		index := mustPut(t, c.WaitLeader(), "app/db", "1")
		const wait = 16 * time.Second
		var wg sync.WaitGroup
		for _, n := range c.Nodes {
			wg.Go(func() {
				req := &structs.VariablesReadRequest{Path: "app/db", QueryOptions: structs.QueryOptions{MinQueryIndex: index + 99, MaxQueryTime: wait}}
				start := time.Now()
				err := n.RPC(t.Context(), "Variables.Read", req, &structs.VariablesReadResponse{})
				if took := time.Since(start); err != nil || took < wait || took > wait+wait/16+time.Second {
					t.Errorf("through %s: %v after %v", n.Host, err, took)
				}
				if req.MaxQueryTime != wait {
					t.Errorf("the request of the caller says %v now", req.MaxQueryTime)
				}
			})
		}
		for range 3 {
			time.Sleep(5 * time.Second)
			leader := c.WaitLeader()
			req := &structs.RaftPeerRequest{Address: raft.ServerAddress(c.Follower().Host + ":4647")}
			if err := leader.RPC(t.Context(), "Operator.TransferLeadershipToPeer", req, &structs.LeadershipTransferResponse{}); err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
	})
}

// So does one of another region, which the servers in between pass on undecoded.
func TestBlockingQueryOfAnotherRegionWaitsOnce(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		index := mustPut(t, c.WaitLeader(), "app/db", "1")
		far := c.Add(inRegion("mars"), expects(1), joins(c.Nodes[0].Host))
		within(t, "a region beside", func() bool {
			return far.IsLeader() && far.RPC(t.Context(), "Variables.Read", &structs.VariablesReadRequest{Path: "app/db",
				QueryOptions: structs.QueryOptions{Region: "global"}}, &structs.VariablesReadResponse{}) == nil
		})
		const wait = 16 * time.Second
		var wg sync.WaitGroup
		for i := range 9 { // by whichever server
			wg.Go(func() {
				req := &structs.VariablesReadRequest{Path: "app/db", QueryOptions: structs.QueryOptions{
					Region: "global", MinQueryIndex: index + 99, MaxQueryTime: wait}}
				start := time.Now()
				err := far.RPC(t.Context(), "Variables.Read", req, &structs.VariablesReadResponse{})
				if took := time.Since(start); err != nil || took < wait || took > wait+wait/16+time.Second {
					t.Errorf("query %d: %v after %v", i, err, took)
				}
				if req.MaxQueryTime != wait {
					t.Errorf("the request of the caller says %v now", req.MaxQueryTime)
				}
			})
		}
		for range 3 {
			time.Sleep(5 * time.Second)
			leader, next := c.WaitLeader(), ""
			for _, n := range c.Nodes[:3] {
				if n != leader {
					next = n.Host
				}
			}
			req := &structs.RaftPeerRequest{Address: raft.ServerAddress(next + ":4647")}
			if err := leader.RPC(t.Context(), "Operator.TransferLeadershipToPeer", req, &structs.LeadershipTransferResponse{}); err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
	})
}

// TestBlockingQueriesLeaveNoWatch checks that whoever waits is on the list of the
// store while it waits, and not afterwards: woken, timed out or gone.
func TestBlockingQueriesLeaveNoWatch(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		n := c.Nodes[0]
		index := mustPut(t, n, "app/db", "1")
		watches := func() string {
			synctest.Wait()
			return n.Stats()["state"]["watches"]
		}
		before := watches()
		ctx, leave := context.WithCancel(context.Background())
		defer leave()
		var wg sync.WaitGroup
		wait := func(ctx context.Context, path string, opts structs.QueryOptions) {
			wg.Go(func() { _, _ = n.Get(ctx, path, opts) })
		}
		wait(context.Background(), "app/db", structs.QueryOptions{MinQueryIndex: index})
		wait(ctx, "app/gone", structs.QueryOptions{MinQueryIndex: index + 100})
		wait(ctx, "app/late", structs.QueryOptions{MinQueryIndex: index + 100, MaxQueryTime: time.Minute, AllowStale: true})
		wg.Go(func() {
			req := &structs.VariablesListRequest{QueryOptions: structs.QueryOptions{Prefix: "app/", MinQueryIndex: index + 1}}
			_ = n.RPC(ctx, "Variables.List", req, &structs.VariablesListResponse{})
		})
		if during := watches(); during == before {
			t.Fatalf("%s watches while four queries wait, as before", during)
		}
		mustPut(t, n, "app/db", "2")
		time.Sleep(2 * time.Minute)
		leave()
		wg.Wait()
		if after := watches(); after != before {
			t.Errorf("%s watches are left, %s were there before", after, before)
		}
	})
}

// TestBlockingQueryWaitsForItsIndex checks that a query which wakes too early, as
// what it watches has changed but not by enough, goes on waiting and wakes again.
func TestBlockingQueryWaitsForItsIndex(t *testing.T) {
	for _, stale := range []bool{false, true} {
		nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
			leader := c.WaitLeader()
			index := mustPut(t, leader, "app/db", "1")
			opts := structs.QueryOptions{Prefix: "app/", MinQueryIndex: index + 2, AllowStale: stale}
			answer := make(chan uint64, 1)
			go func() {
				var reply structs.VariablesListResponse
				if err := leader.RPC(context.Background(), "Variables.List", &structs.VariablesListRequest{QueryOptions: opts}, &reply); err != nil {
					t.Error(err)
				}
				answer <- reply.Index
			}()
			for n := range 2 {
				synctest.Wait()
				mustPut(t, leader, "app/db", string(rune('2'+n)))
			}
			synctest.Wait()
			select {
			case got := <-answer:
				t.Fatalf("the query for above %d ended with index %d", index+2, got)
			default:
			}
			if want, got := mustPut(t, leader, "app/db", "9"), <-answer; got != want {
				t.Fatalf("index %d, want %d", got, want)
			}
		})
	}
}
