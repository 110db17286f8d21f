package nomad

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// barrierTimeout bounds the wait of a new leader for its own log.
	barrierTimeout = 2 * time.Minute
	// establishRetry is the pause before a leader that could not take up its
	// duties tries again.
	establishRetry = 5 * time.Second
)

// term is the time in which this server leads.
type term struct {
	number uint64 // of Raft; set before ready is closed
	ready  chan struct{}
	ctx    context.Context // ends with the leadership
	cancel context.CancelFunc
	wg     sync.WaitGroup // the duties
}

// established reports whether the store holds everything earlier leaders wrote.
func (t *term) established() bool {
	select {
	case <-t.ready:
		return true
	default:
		return false
	}
}

// duty is something that only the leader does. start must return soon; what
// goes on runs in t.wg and ends with t.ctx.
type duty struct {
	name  string
	start func(s *Server, t *term) error
}

// duties are started in this order, behind a barrier.
var duties = []duty{
	{"unfinished archive", (*Server).startArchives},
	{"cluster id", (*Server).startClusterID},
	{"keyring", (*Server).startKeyring},
	{"certificate authority", (*Server).startAuthority},
	{"variable locks", (*Server).startLocks},
	{"node heartbeats", (*Server).startHeartbeats},
	{"node drains", (*Server).startDrains},
	{"ineligible nodes", (*Server).startReturns},
	{"raft peers", (*Server).startReconcile},
	{"autopilot", (*Server).startAutopilot},
	{"acl bootstrap", (*Server).startBootstrap},
	{"expired tokens", (*Server).startTokenGC},
	{"forgotten nodes", (*Server).startNodeGC},
	{"replication", (*Server).startReplication},
}

// runLeadership takes up and lays down the leader's duties as raft decides.
func (s *Server) runLeadership(ctx context.Context) {
	var current *term
	leads, hangs := false, false
	defer func() { s.stepDown(current, true) }()
	for {
		select {
		case <-ctx.Done():
			return
		case leads = <-s.notify:
		case hangs = <-s.watchdog.verdict:
		case <-s.archives.replaced: // the duties look after another state now
			s.stepDown(current, !leads)
			current = nil
			s.proposer.resume()
		}
		s.stepDown(current, !leads)
		current = nil
		if leads && !hangs {
			current = s.stepUp(ctx)
		}
	}
}

func (s *Server) stepUp(ctx context.Context) *term {
	t := &term{ready: make(chan struct{})}
	t.ctx, t.cancel = context.WithCancel(ctx)
	s.leadership.Store(t)
	s.logger.Info("cluster leadership acquired")
	t.wg.Go(func() { s.establish(t) })
	return t
}

// stepDown ends the duties of t; lost says that raft does not lead in it any more.
func (s *Server) stepDown(t *term, lost bool) {
	if t == nil {
		return
	}
	s.leadership.Store(nil)
	t.cancel()
	if lost && t.established() {
		s.transport.Depose(t.number)
	}
	t.wg.Wait()
	s.locks.clear()
	s.heartbeats.clear()
	s.logger.Info("cluster leadership lost")
}

// establish makes a new leader ready: it waits for the log of its predecessors,
// opens for reads and writes, and takes up the duties.
func (s *Server) establish(t *term) {
	number, err := s.termBarrier()
	if err != nil {
		if t.ctx.Err() == nil {
			s.logger.Error("could not establish leadership, handing it over", "error", err)
			s.transferLeadership()
		}
		return
	}
	t.number = number
	close(t.ready)
	s.catchUp.finish()
	s.logger.Info("leader is ready", "term", number)
	for _, d := range duties {
		for {
			err := d.start(s, t)
			if err == nil {
				break
			}
			if t.ctx.Err() != nil {
				return
			}
			s.logger.Error("could not take up a leader's duty, will try again", "duty", d.name, "after", establishRetry, "error", err)
			select {
			case <-t.ctx.Done():
				return
			case <-time.After(establishRetry):
			}
		}
	}
}

// termBarrier runs a barrier within one term of ours and returns that term.
// Raft changes its state before its term, so a leader seen between two equal
// terms leads in that term.
func (s *Server) termBarrier() (uint64, error) {
	before := s.raft.CurrentTerm()
	if err := s.barrier(barrierTimeout); err != nil {
		return 0, err
	}
	if s.raft.State() != raft.Leader || s.raft.CurrentTerm() != before {
		return 0, errors.New("leadership changed meanwhile")
	}
	return before, nil
}

// startClusterID gives a new cluster its ID.
func (s *Server) startClusterID(t *term) error {
	if s.state.Snapshot().ClusterMetadata(nil) == nil {
		req := &structs.ClusterMetadataRequest{ClusterID: uuid.NewString(), CreateTime: time.Now().UnixNano()}
		if _, err := s.apply(t.ctx, structs.ClusterMetadataRequestType, req); err != nil {
			return err
		}
	}
	return nil
}

// keyCheckInterval is how often the leader looks whether the root key is due to
// be replaced.
const keyCheckInterval = time.Minute

// startKeyring makes the first root key, in the background as it takes a while,
// and replaces the active one when it is old or has sealed much.
func (s *Server) startKeyring(t *term) error {
	s.lookAfter(t, "the root key", keyCheckInterval, func(ctx context.Context) error {
		if !s.rootKeyDue(time.Now()) {
			return nil
		}
		return s.createRootKey(ctx)
	})
	return nil
}

// lookAfter runs a duty now and every so often until the term ends, sooner after
// it failed.
func (s *Server) lookAfter(t *term, what string, every time.Duration, duty func(context.Context) error) {
	t.wg.Go(func() {
		for {
			pause := every
			if err := duty(t.ctx); err != nil && t.ctx.Err() == nil {
				s.logger.Error("could not look after "+what+", will try again", "after", establishRetry, "error", err)
				pause = establishRetry
			}
			if waitFor(t.ctx.Done(), pause) {
				return
			}
		}
	})
}

// rootKeyDue reports whether a new root key is needed at now.
func (s *Server) rootKeyDue(now time.Time) bool {
	active := s.state.Snapshot().ActiveRootKey()
	return active == nil || s.keyring.RotationDue() ||
		now.Sub(time.Unix(0, active.CreateTime)) >= s.config.RootKeyRotationThreshold
}

func (s *Server) createRootKey(ctx context.Context) error {
	key, err := s.keyring.NewRootKey(time.Now())
	if err != nil {
		return err
	}
	_, err = s.apply(ctx, structs.WrappedRootKeysUpsertRequestType, &structs.WrappedRootKeysUpsertRequest{WrappedRootKeys: key})
	if err == nil {
		s.logger.Info("created a root key", "key_id", key.KeyID)
	}
	return err
}
