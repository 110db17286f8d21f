package agent

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cairn-project/cairn/drpc/agentpb"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// TestLockThatIsBeingReleasedIsOver: its process comes back too late, while the servers
// were not told yet. It must not be told that it holds what is released a moment later.
func TestLockThatIsBeingReleasedIsOver(t *testing.T) {
	f := newFake()
	locks := serveLocks(f)
	a := agentWithSockets(t, f)
	one := openSockets(t, a)
	held := mustAsk[agentpb.Held](t, one, 305, &agentpb.HoldRequest{Path: "p", GraceMs: -1})
	locks.change(func() { locks.fail = errs.New(errs.Unavailable, "away") })
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the grace is over", func() bool { return a.sockets.locks.count(nil) == 0 })
	locks.change(func() { locks.fail = nil })
	two := connect(t, a.sockets.path)
	if _, err := ask[agentpb.Held](t, two, 305, &agentpb.HoldRequest{Path: "p", LockId: held.LockId}); !errors.Is(err, errs.Conflict) {
		t.Errorf("went on with it: %v", err)
	}
	eventually(t, "released", func() bool { return locks.holder("default/p") == "" })
	mustAsk[agentpb.Held](t, two, 305, &agentpb.HoldRequest{Path: "p"})
	a.sockets.locks.mu.Lock()
	defer a.sockets.locks.mu.Unlock()
	if n := len(a.sockets.locks.taking); n != 0 {
		t.Errorf("%d users are taking locks", n)
	}
}

// TestReleaseUnderWayIsNoLoss: the servers have released the lock and their answer is
// on its way when the next renewal finds it gone.
func TestReleaseUnderWayIsNoLoss(t *testing.T) {
	f := newFake()
	var gone, refused atomic.Bool
	answer := make(chan struct{})
	on(f, "Variables.Apply", func(r *structs.VariablesApplyRequest, reply *structs.VariablesApplyResponse) error {
		reply.Result = structs.VarOpResultOk
		if r.Op == structs.VarOpLockRelease {
			gone.Store(true)
			<-answer
		}
		return nil
	})
	on(f, "Variables.RenewLock", func(*structs.VariablesRenewLockRequest, *structs.VariablesRenewLockResponse) error {
		if gone.Load() {
			refused.Store(true)
			return errs.New(errs.Conflict, "the variable is not locked")
		}
		return nil
	})
	a := agentWithSockets(t, f)
	c := openSockets(t, a)
	mustAsk[agentpb.Held](t, c, 305, &agentpb.HoldRequest{Path: "p", TtlMs: 60})
	loss := make(chan *agentpb.Loss, 1)
	go func() {
		l, err := ask[agentpb.Loss](t, c, 307, &agentpb.AwaitLossRequest{Path: "p"})
		if err != nil {
			t.Error(err)
		}
		loss <- l
	}()
	eventually(t, "waits for the loss", func() bool { return a.sockets.sessions().Sessions[0].Calls == 1 })
	released := make(chan error, 1)
	go func() {
		_, err := ask[agentpb.ReleaseReply](t, c, 306, &agentpb.ReleaseRequest{Path: "p"})
		released <- err
	}()
	eventually(t, "a renewal is refused", refused.Load)
	if l := <-loss; !l.GetReleased() {
		t.Errorf("%v", l)
	}
	close(answer)
	if err := <-released; err != nil {
		t.Error(err)
	}
}

// TestLocksTakenAtOnceAreBounded: those that are asked for count too.
func TestLocksTakenAtOnceAreBounded(t *testing.T) {
	f := newFake()
	locks := serveLocks(f)
	give := f.answers["Variables.Apply"]
	gate := make(chan struct{})
	f.answers["Variables.Apply"] = func(args, reply any) error {
		<-gate
		return give(args, reply)
	}
	a := agentWithSockets(t, f)
	openSockets(t, a)
	const more = 64
	var busy, taken atomic.Int32
	var wg sync.WaitGroup
	for i := range (maxLocksPerUID + more) / 64 {
		c := connect(t, a.sockets.path)
		for j := range 64 {
			wg.Go(func() {
				switch _, err := ask[agentpb.Held](t, c, 305, &agentpb.HoldRequest{Path: fmt.Sprintf("p/%d/%d", i, j)}); {
				case err == nil:
					taken.Add(1)
				case errors.Is(err, errs.Busy):
					busy.Add(1)
				default:
					t.Error(err)
				}
			})
		}
	}
	eventually(t, "those beyond the limit are refused", func() bool { return busy.Load() == more })
	close(gate)
	wg.Wait()
	if taken.Load() != maxLocksPerUID || locks.holder("default/p/0/0") == "" && busy.Load() != more {
		t.Errorf("%d taken, %d refused", taken.Load(), busy.Load())
	}
}
