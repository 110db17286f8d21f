package nomad

import (
	"bytes"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/pool"
	"github.com/cairn-project/cairn/internal/wire"
)

// Leadership returns the term in which s leads, nil while it does not.
func (s *Server) Leadership() *term { return s.leadership.Load() }

// PretendLeadership makes s behave as a process that was paused while it led
// in t and has not heard of its successor.
func (s *Server) PretendLeadership(t *term) { s.leadership.Store(t) }

// Raft returns consensus, for tests that look below the RPCs.
func (s *Server) Raft() *raft.Raft { return s.raft }

// PretendStoreHangs makes s behave as if a batch had not come to its end until
// the function that it returns is called.
func (s *Server) PretendStoreHangs() (end func()) {
	began := s.watchdog.store.begin()
	return func() { s.watchdog.store.end(began) }
}

// OnGiveUp has s call giveUp when its log need not wait for room any more.
func (s *Server) OnGiveUp(giveUp func()) { s.stores.giveUp = giveUp }

// Pool returns what the connections to other servers are and were.
func (s *Server) Pool() pool.Stats { return s.pool.Stats() }

// HoldSession has s call a node over a session, as if its agent had dialled it.
func (s *Server) HoldSession(node string, session wire.Session) { s.nodeConns.hold(node, session) }

// Writes returns the names of the methods that change something on the leader.
func Writes() []string {
	var names []string
	for name, m := range methods {
		if m.kind == writeKind {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// StateBytes returns the state of the store as a snapshot has it.
func (s *Server) StateBytes() []byte {
	var b bytes.Buffer
	if err := s.state.Snapshot().Persist(&b); err != nil {
		panic(err)
	}
	return b.Bytes()
}

// StageArchive puts the pieces of an archive into the log, as a leader does that dies before
// it has them restored.
func (s *Server) StageArchive(archive []byte) error {
	_, err := s.proposeChunks("left behind", bytes.NewReader(archive))
	return err
}

// Staged reports whether the log has pieces of an archive that is not restored yet.
func (s *Server) Staged() bool { return s.fsm.staged.Load() != nil }

// Restoring reports whether a restore is under way, or pieces of one are dropped.
func (s *Server) Restoring() bool {
	if s.archives.restoring.TryLock() {
		s.archives.restoring.Unlock()
		return false
	}
	return true
}

// Applied is the entry up to which reads take the store for applied, Raft the one up to
// which Raft says so.
func (s *Server) Applied() (known, raft uint64) { return s.fsm.known.Load(), s.raft.AppliedIndex() }

// HeartbeatPatience is for how long a new leader lets nodes be silent.
func (s *Server) HeartbeatPatience() time.Duration { return s.config.Heartbeat.FailoverTTL }
