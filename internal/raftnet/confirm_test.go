package raftnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
)

// voter is a scripted follower behind a pipe: it answers heartbeats with its term
// and holds answers back while it is held.
type voter struct {
	trans *Transport
	term  atomic.Uint64
	beats atomic.Int64
	sulks atomic.Bool // answers without success in the same term
	mu    sync.Mutex
	held  chan struct{} // nil when not held
	down  atomic.Bool
}

func (v *voter) hold() (release func()) {
	gate := make(chan struct{})
	v.mu.Lock()
	v.held = gate
	v.mu.Unlock()
	return sync.OnceFunc(func() {
		v.mu.Lock()
		v.held = nil
		v.mu.Unlock()
		close(gate)
	})
}

// answer decides at arrival, as raft does, and delivers when it is let.
func (v *voter) answer(rpc raft.RPC) {
	req := rpc.Command.(*raft.AppendEntriesRequest)
	term := v.term.Load()
	ok := req.Term >= term
	if ok {
		term = req.Term
		ok = !v.sulks.Load()
	}
	v.beats.Add(1)
	v.mu.Lock()
	gate := v.held
	v.mu.Unlock()
	if gate != nil {
		<-gate
	}
	rpc.Respond(&raft.AppendEntriesResponse{Term: term, Success: ok}, nil)
}

// scripted starts a leader "a" with voters "b", "c", … over pipes.
func scripted(t *testing.T, others int, change func(*Config)) (*Transport, []*voter, []raft.Server) {
	t.Helper()
	voters := map[string]*voter{}
	var list []*voter
	servers := []raft.Server{{ID: "a", Address: "a"}}
	ctx, cancel := context.WithCancel(context.Background())
	for i := range others {
		name := string(rune('b' + i))
		v := &voter{trans: New(Config{LocalID: raft.ServerID(name), LocalAddr: raft.ServerAddress(name)})}
		go func() {
			for {
				select {
				case rpc := <-v.trans.Consumer():
					v.answer(rpc)
				case <-ctx.Done():
					return
				}
			}
		}()
		voters[name], list = v, append(list, v)
		servers = append(servers, raft.Server{ID: raft.ServerID(name), Address: raft.ServerAddress(name)})
	}
	cfg := Config{LocalID: "a", LocalAddr: "a", Timeout: time.Second, Dial: func(_ context.Context, addr string) (net.Conn, error) {
		v := voters[addr]
		if v == nil || v.down.Load() {
			return nil, errors.New("nobody there")
		}
		here, there := net.Pipe()
		go v.trans.HandleConn(ctx, there)
		return here, nil
	}}
	if change != nil {
		change(&cfg)
	}
	leader := New(cfg)
	t.Cleanup(func() {
		leader.Close()
		cancel()
		for _, v := range list {
			v.trans.Close()
		}
	})
	return leader, list, servers
}

func TestConfirmNeedsAMajority(t *testing.T) {
	for _, c := range []struct {
		others, down int
		ok           bool
	}{{0, 0, true}, {1, 0, true}, {1, 1, false}, {2, 1, true}, {2, 2, false}, {4, 2, true}, {4, 3, false}} {
		t.Run(fmt.Sprintf("%d of %d down", c.down, c.others+1), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				leader, voters, servers := scripted(t, c.others, nil)
				for _, v := range voters[:c.down] {
					v.down.Store(true)
				}
				began := time.Now()
				err := leader.Confirm(t.Context(), 5, servers)
				if c.ok {
					if err != nil || time.Since(began) != 0 {
						t.Errorf("got %v after %s, want success at once", err, time.Since(began))
					}
					return
				}
				if !errors.Is(err, errs.NoLeader) || time.Since(began) != time.Second {
					t.Errorf("got %v after %s, want no leader after the timeout", err, time.Since(began))
				}
			})
		})
	}
}

func TestConfirmIgnoresAnswersToOlderHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader, voters, servers := scripted(t, 2, nil)
		first := voters[0].hold()
		second := voters[1].hold()
		older := make(chan error, 1)
		go func() { older <- leader.Confirm(t.Context(), 5, servers) }()
		synctest.Wait() // both voters have decided to say yes; the answers are on their way
		for _, v := range voters {
			v.term.Store(6) // another leader is elected, and writes
		}
		read := make(chan error, 1)
		go func() { read <- leader.Confirm(t.Context(), 5, servers) }()
		synctest.Wait()
		began := time.Now()
		first()
		second()
		if err := <-older; err != nil {
			t.Errorf("the question asked before the election: %v", err)
		}
		if err := <-read; !errors.Is(err, errs.NoLeader) {
			t.Errorf("the question asked after the election: %v, want no leader", err)
		}
		if err := leader.Confirm(t.Context(), 5, servers); !errors.Is(err, errs.NoLeader) {
			t.Errorf("a later question: %v, want no leader", err)
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("the end of the term took %s to show", d)
		}
		if err := leader.Confirm(t.Context(), 7, servers); err != nil {
			t.Errorf("elected again in term 7: %v", err)
		}
	})
}

func TestConfirmSharesRounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader, voters, servers := scripted(t, 2, nil)
		first, second := voters[0].hold(), voters[1].hold()
		var wg sync.WaitGroup
		var failed atomic.Int64
		ask := func() {
			wg.Go(func() {
				if leader.Confirm(t.Context(), 5, servers) != nil {
					failed.Add(1)
				}
			})
		}
		ask()
		synctest.Wait()
		for range 1000 {
			ask()
		}
		synctest.Wait()
		first()
		second()
		wg.Wait()
		if failed.Load() != 0 {
			t.Errorf("%d of 1001 failed", failed.Load())
		}
		if s := leader.Stats(); s.ConfirmRounds != 2 || s.ConfirmHeartbeats > 4 {
			t.Errorf("1001 questions took %d rounds and %d heartbeats, want 2 and at most 4", s.ConfirmRounds, s.ConfirmHeartbeats)
		}
	})
}

func TestConfirmIsNotDelayedByADeadVoter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader, voters, servers := scripted(t, 2, nil)
		release := voters[0].hold() // it takes the heartbeat and never answers
		defer release()
		began := time.Now()
		for range 100 {
			if err := leader.Confirm(t.Context(), 5, servers); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(began); d != 0 {
			t.Errorf("100 rounds took %s", d)
		}
		synctest.Wait()
		if got := voters[0].beats.Load(); got > 1 {
			t.Errorf("the silent voter was sent %d heartbeats before it answered one", got)
		}
	})
}

func TestConfirmWantsSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader, voters, servers := scripted(t, 2, nil)
		voters[0].sulks.Store(true)
		voters[1].sulks.Store(true)
		if err := leader.Confirm(t.Context(), 5, servers); !errors.Is(err, errs.NoLeader) {
			t.Errorf("got %v, want no leader", err)
		}
		if got := voters[0].beats.Load(); got > 20 {
			t.Errorf("%d heartbeats within a second to a voter that refuses them", got)
		}
	})
}

func TestConfirmEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader, voters, servers := scripted(t, 2, nil)
		first, second := voters[0].hold(), voters[1].hold()
		patient := make(chan error, 1)
		go func() { patient <- leader.Confirm(t.Context(), 5, servers) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if err := leader.Confirm(ctx, 5, servers); !errors.Is(err, errs.Deadline) {
			t.Errorf("got %v, want deadline", err)
		}
		first()
		second()
		if err := <-patient; err != nil {
			t.Errorf("the other caller got %v", err)
		}
	})
}

func TestConfirmFailsWhenTheLocalTermMovedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var own atomic.Uint64
		own.Store(5)
		leader, _, servers := scripted(t, 2, func(c *Config) { c.Term = own.Load })
		if err := leader.Confirm(t.Context(), 5, servers); err != nil {
			t.Errorf("got %v", err)
		}
		own.Store(6)
		if err := leader.Confirm(t.Context(), 5, servers); !errors.Is(err, errs.NoLeader) {
			t.Errorf("got %v, want no leader", err)
		}
	})
}

func TestConfirmFollowsTheConfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader, voters, servers := scripted(t, 4, nil)
		if err := leader.Confirm(t.Context(), 5, servers[:3]); err != nil {
			t.Fatal(err)
		}
		for _, v := range voters[:2] {
			v.down.Store(true)
		}
		replaced := []raft.Server{servers[0], servers[3], servers[4]}
		if err := leader.Confirm(t.Context(), 5, replaced); err != nil {
			t.Errorf("with two voters replaced: %v", err)
		}
		// A leader that has left the voters needs a majority of the others.
		release := voters[2].hold()
		err := leader.Confirm(t.Context(), 5, replaced[1:])
		if !errors.Is(err, errs.NoLeader) {
			t.Errorf("one of two voters was enough: %v", err)
		}
		release()
		if err := leader.Confirm(t.Context(), 5, replaced[1:]); err != nil {
			t.Errorf("with both of two voters: %v", err)
		}
	})
}

func TestConfirmAVoterThatComesBackCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader, voters, servers := scripted(t, 4, nil)
		var gates []func()
		for _, v := range voters[1:] {
			gates = append(gates, v.hold())
		}
		five := make(chan error, 1)
		go func() { five <- leader.Confirm(t.Context(), 5, servers) }()
		synctest.Wait() // b has answered for the round of five
		if err := leader.Confirm(t.Context(), 5, servers[:1]); err != nil {
			t.Fatal(err)
		}
		without := make(chan error, 1) // a round that b has no part in
		go func() { without <- leader.Confirm(t.Context(), 5, []raft.Server{servers[0], servers[3], servers[4]}) }()
		synctest.Wait()
		if err := leader.Confirm(t.Context(), 5, servers[:2]); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		select {
		case err := <-five:
			t.Errorf("two of five were a majority: %v", err)
		default:
		}
		for _, g := range gates {
			g()
		}
		if err := <-five; err != nil {
			t.Errorf("with all five: %v", err)
		}
		if err := <-without; err != nil {
			t.Errorf("with all three: %v", err)
		}
	})
}

func TestConfirmFailsAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leader, voters, servers := scripted(t, 2, nil)
		first, second := voters[0].hold(), voters[1].hold()
		defer first()
		defer second()
		waiting := make(chan error, 1)
		go func() { waiting <- leader.Confirm(t.Context(), 5, servers) }()
		synctest.Wait()
		leader.Close()
		for _, err := range []error{<-waiting, leader.Confirm(t.Context(), 5, servers)} {
			if !errors.Is(err, errs.Unavailable) {
				t.Errorf("got %v, want unavailable", err)
			}
		}
	})
}

func BenchmarkConfirm(b *testing.B) {
	peers, servers := cluster(b, 3, nil)
	leader := leaderOf(b, peers)
	term := leader.raft.CurrentTerm()
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			before := leader.trans.Stats()
			var left atomic.Int64
			left.Store(int64(b.N))
			b.ResetTimer()
			var wg sync.WaitGroup
			for range callers {
				wg.Go(func() {
					for left.Add(-1) >= 0 {
						if err := leader.trans.Confirm(context.Background(), term, servers); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			s := leader.trans.Stats()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "confirms/s")
			b.ReportMetric(float64(s.ConfirmHeartbeats-before.ConfirmHeartbeats)/b.Elapsed().Seconds(), "heartbeats/s")
		})
	}
}
