package nomad

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// jitterFraction spreads the ends of blocking queries over a sixteenth of their wait.
const jitterFraction = 16

// blockedQuery is a read that may wait until its answer changes.
type blockedQuery struct {
	*Server
	ctx  context.Context
	m    *methodInfo
	opts *structs.QueryOptions
	// run returns the index of a single object, 0 for that of the tables, and is
	// told when it runs again.
	run  func(v *view, again bool) (uint64, error)
	meta *structs.QueryMeta
	// ws is what the last look watched.
	ws memdb.WatchSet
	// timer closes over when the wait has lasted long enough; both are nil until
	// the query waits.
	timer *time.Timer
	over  chan struct{}
}

// answer runs the read, again and again while the index it gives is not above the
// one asked for, and wakes only when a row that the read touched changes.
// When the wait is over the current result stands. A read of no table never
// blocks, nor does one that is instant.
func (q *blockedQuery) answer() error {
	defer q.end()
	for {
		if err := q.confirmUnlessStale(q.ctx, q.opts); err != nil {
			return err
		}
		if done, err := q.look(q.opts.MinQueryIndex > 0 && len(q.m.tables) > 0 && !q.m.instant); done || err != nil {
			return err
		}
		if err := q.wait(); err != nil {
			return err
		}
		if q.isOver() || !q.leads() {
			continue
		}
		// The store has only grown since it was confirmed, after the query began, and
		// most often what woke the query is what it waits for: then nothing need be
		// confirmed or watched again.
		if done, err := q.look(false); done || err != nil {
			return err
		}
	}
}

// look runs the read once and reports whether its answer stands.
func (q *blockedQuery) look(watch bool) (done bool, err error) {
	abandoned := q.state.AbandonCh()
	v := &view{Snapshot: q.state.Snapshot(), srv: q.Server}
	again := q.timer != nil
	if watch {
		q.state.Unwatch(q.ws) // of the look before
		q.ws = memdb.NewWatchSet()
		v.ws = q.ws
		v.ws.Add(abandoned)
		v.ws.Add(q.Server.ctx.Done())
		if err := q.watchTerm(v.ws, q.opts); err != nil {
			return false, err
		}
	}
	index, err := q.run(v, again)
	if err != nil {
		return false, err
	}
	if index == 0 {
		index = v.TableIndex(q.m.tables...)
	}
	if len(q.m.tables) > 0 { // whoever has seen a greater one from before an archive was restored would wait for ever
		index = max(index, v.Restored())
	}
	q.meta.Index = max(index, 1)
	q.fillMeta(q.meta)
	blocks := watch || again
	return !blocks || q.isOver() || q.meta.Index > q.opts.MinQueryIndex, nil
}

// wait returns once what was watched changes or the time is over.
func (q *blockedQuery) wait() error {
	if q.timer == nil {
		over := make(chan struct{})
		q.over, q.timer = over, time.AfterFunc(blockingWait(q.opts.MaxQueryTime), func() { close(over) })
	}
	q.ws.Add(q.over)
	q.metrics.blocked(1)
	q.gate.Park(q.m.class)
	waitAny(q.ctx, q.ws)
	q.gate.Resume(q.m.class)
	q.metrics.blocked(-1)
	if err := q.ctx.Err(); err != nil {
		return errs.Gone(err)
	}
	if q.Server.ctx.Err() != nil {
		return errs.New(errs.Unavailable, "this server is stopping: ask another one")
	}
	return nil
}

// waitAny waits until a channel of ws is closed or ctx ends. Most sets are small:
// a select of few channels costs each of ten thousand waiters less.
func waitAny(ctx context.Context, ws memdb.WatchSet) {
	var few [5]<-chan struct{}
	if len(ws) > len(few) {
		_ = ws.WatchCtx(ctx)
		return
	}
	n := 0
	for ch := range ws {
		few[n] = ch
		n++
	}
	select {
	case <-few[0]:
	case <-few[1]:
	case <-few[2]:
	case <-few[3]:
	case <-few[4]:
	case <-ctx.Done():
	}
}

// isOver reports whether the time to wait has passed.
func (q *blockedQuery) isOver() bool {
	select {
	case <-q.over:
		return true
	default:
		return false
	}
}

// leads reports whether this server may still answer: it leads, or need not.
func (q *blockedQuery) leads() bool {
	return q.opts.AllowStale || q.leadership.Load() != nil
}

// end gives back what the query holds.
func (q *blockedQuery) end() {
	q.state.Unwatch(q.ws)
	if q.timer != nil {
		q.timer.Stop()
	}
}

// blockingWait returns how long to block, with jitter.
func blockingWait(asked time.Duration) time.Duration {
	asked = boundedWait(asked)
	return asked + rand.N(asked/jitterFraction+1)
}

func boundedWait(asked time.Duration) time.Duration {
	if asked <= 0 || asked > structs.MaxBlockingWait {
		return structs.MaxBlockingWait
	}
	return asked
}

// longestWait returns how long a query with these options may block at most.
func longestWait(index uint64, asked time.Duration) time.Duration {
	if index == 0 {
		return 0
	}
	asked = boundedWait(asked)
	return asked + asked/jitterFraction
}

// watchTerm wakes a default read when this server stops leading, so that it
// goes on at the new leader.
func (s *Server) watchTerm(ws memdb.WatchSet, opts *structs.QueryOptions) error {
	if opts.AllowStale {
		return nil
	}
	term := s.leadership.Load()
	if term == nil {
		return errNotLeader
	}
	ws.Add(term.ctx.Done())
	return nil
}

// fillMeta says how fresh the answer of this server can be.
func (s *Server) fillMeta(meta *structs.QueryMeta) {
	if s.leadership.Load() != nil {
		meta.LastContact, meta.KnownLeader = 0, true
		return
	}
	meta.KnownLeader = s.leaders.current().addr != ""
	if last := s.raft.LastContact(); !last.IsZero() {
		meta.LastContact = time.Since(last)
	}
}
