package raftnet

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// watchPause is how long a watch waits before it tries a leader again that it
// could not connect to.
const watchPause = time.Second

// Watch says how to follow the leader.
type Watch struct {
	// Leader returns the leader the local raft knows, "" for none.
	Leader func() (raft.ServerAddress, raft.ServerID)
	// Changed receives a value when Leader may answer differently; with room for
	// one, senders need not block.
	Changed <-chan struct{}
	// Stagger is the wait before standing for election; servers that return
	// different times do not split the vote.
	Stagger func() time.Duration
	// Eligible returns whether the local server may stand: false for a
	// non-voter, which raft would let run for ever. Nil means always.
	Eligible func() bool
}

// WatchLeader keeps one idle connection to the leader's port until ctx ends. When
// it breaks and dialing again is refused, the leader's process is gone, and the
// local raft is made to stand for election at once. All other faults are left to
// raft's own time-out. A wrong conclusion costs one election.
func (t *Transport) WatchLeader(ctx context.Context, w Watch) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(t.ctx, cancel)
	defer stop()
	for ctx.Err() == nil {
		addr, id := w.Leader()
		if addr == "" || id == t.cfg.LocalID {
			w.wait(ctx, watchPause)
			continue
		}
		same := func() bool {
			a, i := w.Leader()
			return a == addr && i == id
		}
		if t.holdLeader(ctx, &w, addr, same) {
			t.hint(ctx, &w, same)
		}
		if same() {
			w.wait(ctx, watchPause)
		}
	}
}

// wait returns when the leader may have changed, ctx ends or d is over.
func (w *Watch) wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case _, ok := <-w.Changed:
		w.ended(ok)
	case <-timer.C:
	}
}

// ended forgets a closed channel.
func (w *Watch) ended(ok bool) {
	if !ok {
		w.Changed = nil
	}
}

// holdLeader keeps a connection while same holds. It returns true when one broke
// and the redial was refused. Connections that break at once, as those to a
// process about to exit or behind a full limit, are redialed ever more slowly.
func (t *Transport) holdLeader(ctx context.Context, w *Watch, addr raft.ServerAddress, same func() bool) bool {
	c, err := t.dialWatch(ctx, addr)
	for pause := time.Duration(0); err == nil; {
		began := time.Now()
		if !t.awaitBreak(ctx, w, c, same) {
			return false
		}
		if time.Since(began) > watchPause {
			pause = 0
		}
		if pause > 0 {
			w.wait(ctx, pause)
		}
		pause = min(2*pause+time.Millisecond, watchPause)
		if c, err = t.dialWatch(ctx, addr); errors.Is(err, syscall.ECONNREFUSED) {
			return true
		}
	}
	return false
}

// dialWatch connects. That the connection breaks while it says what it is for
// shows when it is read.
func (t *Transport) dialWatch(ctx context.Context, addr raft.ServerAddress) (*outConn, error) {
	c, err := t.conns.dial(ctx, t.cfg.Dial, addr)
	if err != nil {
		return nil, err
	}
	frame := beginFrame(nil, kindWatch)
	endFrame(frame, 0)
	_ = c.write(frame)
	return c, nil
}

// awaitBreak blocks until the connection breaks (true), or until ctx ends or
// another leader is known (false). It closes c.
func (t *Transport) awaitBreak(ctx context.Context, w *Watch, c *outConn, same func() bool) bool {
	broken := make(chan struct{})
	go func() {
		defer close(broken)
		c.r.ReadByte() // the leader sends nothing; any result ends the watch
	}()
	defer func() {
		c.Close()
		<-broken
	}()
	for same() {
		select {
		case <-broken:
			return ctx.Err() == nil && same()
		case <-ctx.Done():
			return false
		case _, ok := <-w.Changed:
			w.ended(ok)
		}
	}
	return false
}

// hint makes the local raft a candidate unless the leader changes during the
// stagger.
func (t *Transport) hint(ctx context.Context, w *Watch, same func() bool) {
	if w.Stagger != nil {
		for until := time.Now().Add(w.Stagger()); same() && ctx.Err() == nil; {
			left := time.Until(until)
			if left <= 0 {
				break
			}
			w.wait(ctx, left)
		}
	}
	if ctx.Err() != nil || !same() || (w.Eligible != nil && !w.Eligible()) {
		return
	}
	if t.stand(ctx, "leader's process is gone, standing for election") {
		t.stats.hints.Add(1)
	}
}

// StandAlone makes the local raft a candidate at once. Only the one voter of a cluster
// may call it, which has no other server's leadership to wait for.
func (t *Transport) StandAlone(ctx context.Context) {
	t.stand(ctx, "the only voter, standing for election")
}

// stand makes the local raft a candidate, unless ctx ends first. The request takes the
// way of one that a leader sends to hand over.
func (t *Transport) stand(ctx context.Context, why string) bool {
	reply := make(chan raft.RPCResponse, 1)
	rpc := raft.RPC{Command: &raft.TimeoutNowRequest{RPCHeader: t.header()}, RespChan: reply}
	select {
	case t.consumer <- rpc:
	case <-ctx.Done():
		return false
	}
	t.logger.Info(why)
	select {
	case <-reply:
	case <-ctx.Done():
	}
	return true
}

// header is the one raft puts on its own requests.
func (t *Transport) header() raft.RPCHeader {
	return raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax,
		ID:              []byte(t.cfg.LocalID),
		Addr:            []byte(t.cfg.LocalAddr),
	}
}
