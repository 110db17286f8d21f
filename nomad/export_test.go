package nomad

import (
	"github.com/hashicorp/raft"
)

// Leadership returns the term in which s leads, nil while it does not.
func (s *Server) Leadership() *term { return s.leadership.Load() }

// PretendLeadership makes s behave as a process that was paused while it led
// in t and has not heard of its successor.
func (s *Server) PretendLeadership(t *term) { s.leadership.Store(t) }

// Raft returns consensus, for tests that look below the RPCs.
func (s *Server) Raft() *raft.Raft { return s.raft }
