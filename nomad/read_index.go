package nomad

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/structs"
)

// confirmUnlessStale makes the store as new as the moment of the call, unless
// the caller accepts less.
func (s *Server) confirmUnlessStale(ctx context.Context, opts *structs.QueryOptions) error {
	if opts.AllowStale {
		return nil
	}
	return s.confirmRead(ctx)
}

// confirmRead returns once the local store holds every write that was
// acknowledged before the call: it notes the commit index, has a majority
// confirm that no other leader was elected before the call, and waits until the
// noted index is applied.
func (s *Server) confirmRead(ctx context.Context) error {
	term := s.leadership.Load()
	if term == nil || !term.established() {
		return errNotLeader
	}
	commit := s.raft.CommitIndex()
	config := s.raft.GetConfiguration()
	if err := s.transport.Confirm(ctx, term.number, voters(config.Configuration())); err != nil {
		if ctx.Err() != nil {
			return err
		}
		lost := errs.Wrap(errs.NoLeader, errNoLeader.Msg, err)
		lost.Executed = errs.ExecutedNo
		return lost
	}
	return s.waitApplied(ctx, commit)
}

// voters returns the servers that count for a majority.
func voters(c raft.Configuration) []raft.Server {
	for _, srv := range c.Servers {
		if srv.Suffrage != raft.Voter {
			return filterVoters(c.Servers)
		}
	}
	return c.Servers
}

func filterVoters(all []raft.Server) []raft.Server {
	var out []raft.Server
	for _, srv := range all {
		if srv.Suffrage == raft.Voter {
			out = append(out, srv)
		}
	}
	return out
}

// barrierAfter is how long an index may seem stuck before a barrier is worth
// its cost: only entries that never reach the store leave such a gap.
const barrierAfter = 50 * time.Millisecond

// waitApplied returns once the store holds the entry at index.
func (s *Server) waitApplied(ctx context.Context, index uint64) error {
	for {
		reached := s.fsm.reached(index)
		if reached == nil {
			return nil
		}
		t := time.NewTimer(barrierAfter)
		select {
		case <-reached:
			t.Stop()
			return nil
		case <-ctx.Done():
			t.Stop()
			return errs.Gone(ctx.Err())
		case <-t.C:
		}
		// On a busy machine both may have come before this goroutine ran.
		if s.fsm.known.Load() < index && s.raft.AppliedIndex() >= index {
			if err := s.barrier(2 * time.Second); err != nil {
				return err
			}
		}
	}
}

// barrier waits until everything committed before it is in the store.
func (s *Server) barrier(timeout time.Duration) error {
	f := s.raft.Barrier(timeout)
	if err := f.Error(); err != nil {
		return errs.Wrap(errs.NoLeader, errNoLeader.Msg, err)
	}
	if i, ok := f.(interface{ Index() uint64 }); ok {
		s.fsm.advance(i.Index())
	}
	return nil
}

// catchUp holds reads back until this server has applied what was committed
// when it started.
type catchUp struct {
	once sync.Once
	done chan struct{}
}

func newCatchUp() *catchUp { return &catchUp{done: make(chan struct{})} }

// finish lets reads pass from now on.
func (c *catchUp) finish() { c.once.Do(func() { close(c.done) }) }

// finished reports whether reads pass.
func (c *catchUp) finished() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// wait returns once reads pass, or an error after limit.
func (c *catchUp) wait(ctx context.Context, limit time.Duration) error {
	if c.finished() {
		return nil
	}
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return errs.Gone(ctx.Err())
	case <-t.C:
		return errs.New(errs.Unavailable, "this server has not caught up with the cluster since it started; ask another one or try again")
	}
}

// runCatchUp asks the leader how far its store is and waits until ours is as
// far. It ends at the first success.
func (s *Server) runCatchUp(ctx context.Context) {
	for !s.catchUp.finished() && ctx.Err() == nil {
		changed := s.leaders.changed()
		if leader := s.leaders.current(); leader.addr != "" && leader.id != s.nodeID {
			if s.catchUpWith(ctx) == nil {
				s.catchUp.finish()
				s.logger.Info("caught up with the leader")
				return
			}
		}
		select {
		case <-ctx.Done():
		case <-s.catchUp.done:
		case <-changed:
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (s *Server) catchUpWith(ctx context.Context) error {
	own := &wire.Call{} // this server asks for itself: that is no further hop of the call at hand
	if c, ok := wire.CallFrom(ctx); ok {
		own.RequestID = c.RequestID
	}
	ctx = wire.WithCall(ctx, own)
	var reply structs.ReadIndexResponse
	if err := s.RPC(ctx, "Status.ReadIndex", &structs.ReadIndexRequest{}, &reply); err != nil {
		return err
	}
	if reached := s.fsm.reached(reply.RaftIndex); reached != nil {
		select {
		case <-reached:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
