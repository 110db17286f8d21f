package raftnet

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
)

// watched is a leader "leader" as one follower's watch sees it.
type watched struct {
	mu      sync.Mutex
	leader  raft.ServerID
	refuse  error // what dialing meets
	conn    net.Conn
	dials   int
	changed chan struct{}
	hints   int
	trans   *Transport
}

func (w *watched) dial(context.Context, string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dials++
	if w.refuse != nil {
		return nil, &net.OpError{Op: "dial", Err: w.refuse}
	}
	here, there := net.Pipe()
	w.conn = there
	go func() { // the leader's side reads until somebody closes it
		b := make([]byte, 16)
		for {
			if _, err := there.Read(b); err != nil {
				return
			}
		}
	}()
	return here, nil
}

func (w *watched) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *watched) elect(id raft.ServerID) {
	w.set(func() { w.leader = id })
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

func watch(t *testing.T, stagger time.Duration, eligible func() bool) *watched {
	t.Helper()
	w := &watched{leader: "leader", changed: make(chan struct{}, 1)}
	w.trans = New(Config{LocalID: "self", LocalAddr: "self", Dial: w.dial})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		w.trans.WatchLeader(ctx, Watch{
			Leader: func() (raft.ServerAddress, raft.ServerID) {
				w.mu.Lock()
				defer w.mu.Unlock()
				return raft.ServerAddress(w.leader), w.leader
			},
			Changed: w.changed, Eligible: eligible,
			Stagger: func() time.Duration { return stagger },
		})
	})
	wg.Go(func() {
		for {
			select {
			case rpc := <-w.trans.Consumer():
				if _, ok := rpc.Command.(*raft.TimeoutNowRequest); ok {
					w.set(func() { w.hints++; w.leader = "" })
				}
				rpc.Respond(&raft.TimeoutNowResponse{}, nil)
			case <-ctx.Done():
				return
			}
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
		w.trans.Close()
	})
	synctest.Wait()
	return w
}

func TestWatchHints(t *testing.T) {
	for name, c := range map[string]struct {
		happens func(w *watched)
		hints   int
	}{
		"process gone": {func(w *watched) {
			w.set(func() { w.refuse = syscall.ECONNREFUSED; w.conn.Close() })
		}, 1},
		"nothing":                     {func(*watched) {}, 0},
		"connection closed":           {func(w *watched) { w.set(func() { w.conn.Close() }) }, 0},
		"network gone":                {func(w *watched) { w.set(func() { w.refuse = syscall.EHOSTUNREACH; w.conn.Close() }) }, 0},
		"dialing takes too long":      {func(w *watched) { w.set(func() { w.refuse = context.DeadlineExceeded; w.conn.Close() }) }, 0},
		"port closed, process lives":  {func(w *watched) { w.set(func() { w.refuse = syscall.ECONNREFUSED }) }, 0},
		"refused only by the new one": {func(w *watched) { w.set(func() { w.refuse = syscall.ECONNREFUSED }); w.elect("other") }, 0},
		"we lead":                     {func(w *watched) { w.elect("self"); w.set(func() { w.refuse = syscall.ECONNREFUSED; w.conn.Close() }) }, 0},
		"another leader first": {func(w *watched) {
			w.set(func() { w.refuse = syscall.ECONNREFUSED; w.conn.Close() })
			time.Sleep(20 * time.Millisecond)
			w.elect("other")
		}, 0},
		"somebody stands first": {func(w *watched) {
			w.set(func() { w.refuse = syscall.ECONNREFUSED; w.conn.Close() })
			time.Sleep(20 * time.Millisecond)
			w.elect("")
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := watch(t, 50*time.Millisecond, nil)
				c.happens(w)
				time.Sleep(49 * time.Millisecond)
				synctest.Wait()
				if got := w.trans.Stats().Hints; got != 0 && name == "process gone" {
					t.Errorf("stood for election before its turn")
				}
				time.Sleep(time.Minute)
				w.mu.Lock()
				defer w.mu.Unlock()
				if w.hints != c.hints {
					t.Errorf("%d hints, want %d", w.hints, c.hints)
				}
				if w.dials > 70 {
					t.Errorf("%d dials in a minute", w.dials)
				}
			})
		})
	}
}

func TestStandAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, 0, nil)
		w.trans.StandAlone(t.Context())
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.hints != 1 {
			t.Errorf("raft was told %d times to stand for election", w.hints)
		}
		if n := w.trans.Stats().Hints; n != 0 {
			t.Errorf("%d hints are counted, of a leader that nobody missed", n)
		}
	})
}

func TestStandAloneEndsWithItsContext(t *testing.T) {
	trans := New(Config{LocalID: "self", LocalAddr: "self"})
	defer trans.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	trans.StandAlone(ctx) // nobody takes the request
}

func TestWatchSparesNonVoters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, 0, func() bool { return false })
		w.set(func() { w.refuse = syscall.ECONNREFUSED; w.conn.Close() })
		time.Sleep(time.Minute)
		if got := w.trans.Stats().Hints; got != 0 {
			t.Errorf("a server that may not lead stood for election")
		}
	})
}

func TestWatchMovesToTheNewLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, 0, nil)
		w.elect("other")
		synctest.Wait()
		w.set(func() { w.refuse = syscall.ECONNREFUSED; w.conn.Close() })
		synctest.Wait()
		if got := w.trans.Stats().Hints; got != 1 {
			t.Errorf("the new leader's end made %d hints, want 1", got)
		}
	})
}

func TestWatchLeavesNoLoopOnAPortThatClosesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, 0, nil)
		stop := time.Now().Add(time.Minute)
		for time.Now().Before(stop) {
			w.set(func() { w.conn.Close() })
			time.Sleep(time.Millisecond)
		}
		if w.set(func() {}); w.dials > 100 {
			t.Errorf("%d dials in a minute", w.dials)
		}
		if errors.Is(w.refuse, syscall.ECONNREFUSED) || w.hints != 0 {
			t.Errorf("%d hints", w.hints)
		}
	})
}
