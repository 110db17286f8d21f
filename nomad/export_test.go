package nomad

import (
	"slices"

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
