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

// blockingQuery runs a read, again and again while the index it gives is not
// above the one asked for, and wakes only when a row that the read touched
// changes. run returns the index of a single object, 0 for that of the tables, and
// is told when it runs again. When the wait is over the current result stands. A read
// of no table never blocks, nor does one that is instant.
func (s *Server) blockingQuery(ctx context.Context, m *methodInfo, opts *structs.QueryOptions, run func(v *view, again bool) (uint64, error), meta *structs.QueryMeta) error {
	var waitCtx context.Context
	var ws memdb.WatchSet
	blocks := opts.MinQueryIndex > 0 && len(m.tables) > 0 && !m.instant
	if blocks {
		defer func() { s.state.Unwatch(ws) }()
	}
	for {
		if err := s.confirmUnlessStale(ctx, opts); err != nil {
			return err
		}
		abandoned := s.state.AbandonCh()
		v := &view{Snapshot: s.state.Snapshot(), srv: s}
		if blocks {
			s.state.Unwatch(ws) // of the round before
			ws = memdb.NewWatchSet()
			v.ws = ws
			v.ws.Add(abandoned)
			v.ws.Add(s.ctx.Done())
			if err := s.watchTerm(v.ws, opts); err != nil {
				return err
			}
		}
		index, err := run(v, waitCtx != nil)
		if err != nil {
			return err
		}
		if index == 0 {
			index = v.TableIndex(m.tables...)
		}
		meta.Index = max(index, 1)
		s.fillMeta(meta)
		if v.ws == nil || meta.Index > opts.MinQueryIndex || waitCtx != nil && waitCtx.Err() != nil {
			return nil
		}
		if waitCtx == nil {
			var cancel context.CancelFunc
			waitCtx, cancel = context.WithTimeout(ctx, blockingWait(opts.MaxQueryTime))
			defer cancel()
		}
		s.metrics.blocked(1)
		s.gate.Park(m.class)
		waitAny(waitCtx, ws)
		s.gate.Resume(m.class)
		s.metrics.blocked(-1)
		if err := ctx.Err(); err != nil {
			return errs.Wrap(errs.Deadline, "the caller went away", err)
		}
		if s.ctx.Err() != nil {
			return errs.New(errs.Unavailable, "this server is stopping: ask another one")
		}
	}
}

// waitAny waits until a channel of ws is closed or ctx ends. Most sets are small:
// a select of few channels costs each of ten thousand waiters less.
func waitAny(ctx context.Context, ws memdb.WatchSet) {
	var few [4]<-chan struct{}
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
	case <-ctx.Done():
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
