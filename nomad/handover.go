package nomad

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// handOvers is how many of the servers that answer are tried.
	handOvers = 2
	// handOverLook is how often a hand-over looks whether it can go on.
	handOverLook = 20 * time.Millisecond
)

// transferLeadership hands leadership to another voter, if there is one. It does not
// wait for a disk that hangs, as raft hears nothing then.
func (s *Server) transferLeadership() {
	conf := s.raft.GetConfiguration().Configuration()
	if s.raft.State() != raft.Leader || len(voters(conf)) < 2 {
		return
	}
	if err := s.handOverSoon(voters(conf)); err != nil {
		s.logger.Warn("could not hand over leadership", "error", err)
		return
	}
	s.logger.Info("handed over leadership")
}

// handOverTry is for how long raft tries to hand over to one server.
func (s *Server) handOverTry() time.Duration {
	return s.config.Raft.ElectionTimeout * time.Duration(s.config.Raft.Multiplier)
}

// handOverSoon bounds handOver by the time to ask the servers and to try some.
func (s *Server) handOverSoon(voters []raft.Server) error {
	if err := s.awaitDisk(); err != nil {
		return err
	}
	if !s.handingOver.TryLock() {
		return errors.New("another try to do so has not ended")
	}
	limit := (1 + handOvers) * s.handOverTry()
	ctx, cancel := context.WithTimeoutCause(s.ctx, limit, fmt.Errorf("no other server took over within %s", limit))
	defer cancel()
	done := make(chan error, 1)
	go func() {
		err := s.handOver(ctx, voters)
		s.handingOver.Unlock()
		done <- err
	}()
	for {
		select {
		case err := <-done:
			return err
		case <-s.watchdog.hangs():
			return errHangs
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(handOverLook):
			if s.watchdog.writing() >= stopTimeout {
				return errHangs
			}
		}
	}
}

// awaitDisk waits until raft writes nothing: what it is asked meanwhile it may never answer.
func (s *Server) awaitDisk() error {
	limit := time.NewTimer(stopTimeout)
	defer limit.Stop()
	for s.watchdog.writing() > handOverLook {
		select {
		case <-s.watchdog.hangs():
			return errHangs
		case <-limit.C:
			return errHangs
		case <-time.After(handOverLook):
		}
	}
	return nil
}

// handOver tries servers that answer. Raft's own choice looks at logs alone, and that of
// a dead server may be as long as any; a silent one would keep raft from another try until
// its call has timed out, long after the try.
func (s *Server) handOver(ctx context.Context, voters []raft.Server) error {
	var err error
	tried := 0
	for v := range s.successors(ctx, voters) {
		err = s.handOverTo(ctx, v)
		if tried++; err == nil || s.raft.State() != raft.Leader || tried == handOvers || ctx.Err() != nil {
			break
		}
	}
	if tried == 0 && ctx.Err() == nil { // they may be too busy to answer
		err = s.raft.LeadershipTransfer().Error()
	}
	if s.raft.State() != raft.Leader {
		return nil
	}
	return err
}

// handOverTo waits for a try before, which raft may not be through with.
func (s *Server) handOverTo(ctx context.Context, v raft.Server) error {
	for {
		err := s.raft.LeadershipTransferToServer(v.ID, v.Address).Error()
		if !errors.Is(err, raft.ErrLeadershipTransferInProgress) || waitFor(ctx.Done(), handOverLook) {
			return err
		}
	}
}

// successors asks all other voters at once and yields those that answer: as they do if
// their logs hold what is committed, else at the end, as nothing can be written while
// they are sent what they lack.
func (s *Server) successors(ctx context.Context, voters []raft.Server) iter.Seq[raft.Server] {
	type answer struct {
		raft.Server
		stats *structs.RaftStatsResponse
	}
	return func(yield func(raft.Server) bool) {
		ctx, cancel := context.WithTimeout(ctx, s.handOverTry())
		defer cancel()
		committed := s.raft.CommitIndex()
		others := slices.DeleteFunc(slices.Clone(voters), func(v raft.Server) bool { return string(v.ID) == s.nodeID })
		answers := make(chan answer, len(others))
		for _, v := range others {
			go func() { answers <- answer{v, s.askRaftStats(ctx, string(v.Address))} }()
		}
		var behind []answer
		for range others {
			a := <-answers
			switch {
			case a.stats == nil:
			case a.stats.LastIndex < committed:
				behind = append(behind, a)
			case !yield(a.Server):
				return
			}
		}
		slices.SortFunc(behind, func(a, b answer) int { return cmp.Compare(b.stats.LastIndex, a.stats.LastIndex) })
		for _, a := range behind {
			if !yield(a.Server) {
				return
			}
		}
	}
}
