package nomad

import (
	"context"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// leaderInfo is the leader of one term as this server knows it. It is immutable.
type leaderInfo struct {
	addr string // "" while there is none
	id   string
	// ctx ends when another leader, or none, takes its place.
	ctx    context.Context
	cancel context.CancelFunc
}

// leaderWatch follows who leads the region.
type leaderWatch struct {
	now atomic.Pointer[leaderInfo]
	// look makes run ask again who leads.
	look chan struct{} // capacity 1
}

func newLeaderWatch() *leaderWatch {
	w := &leaderWatch{look: make(chan struct{}, 1)}
	w.set("", "")
	return w
}

// current returns the leader known now; its addr is "" when there is none.
func (w *leaderWatch) current() *leaderInfo { return w.now.Load() }

// changed returns a channel that is closed at the next change.
func (w *leaderWatch) changed() <-chan struct{} { return w.now.Load().ctx.Done() }

func (w *leaderWatch) set(addr, id string) {
	ctx, cancel := context.WithCancel(context.Background())
	if old := w.now.Swap(&leaderInfo{addr: addr, id: id, ctx: ctx, cancel: cancel}); old != nil {
		old.cancel()
	}
}

// lookAgain makes run ask again who leads.
func (w *leaderWatch) lookAgain() {
	select {
	case w.look <- struct{}{}:
	default:
	}
}

// run feeds the watch from raft, and from leader where raft says nothing, until
// ctx ends.
func (w *leaderWatch) run(ctx context.Context, r *raft.Raft, leader func() (addr, id string)) {
	ch := make(chan raft.Observation, 16)
	o := raft.NewObserver(ch, true, func(o *raft.Observation) bool {
		_, ok := o.Data.(raft.LeaderObservation)
		return ok
	})
	r.RegisterObserver(o)
	defer func() { w.now.Load().cancel() }()
	defer r.DeregisterObserver(o)
	w.set(leader())
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.look:
			w.set(leader())
		case ob := <-ch:
			l := ob.Data.(raft.LeaderObservation)
			w.set(string(l.LeaderAddr), string(l.LeaderID))
		}
	}
}
