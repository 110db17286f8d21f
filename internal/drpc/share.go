package drpc

import "sync/atomic"

// share is what the sessions of one user have together.
type share struct {
	sessions int // under the server's mu; with those whose handlers are still on their way out
	max      int64
	bytes    atomic.Int64
}

// take counts n bytes, or none of them where they are too many.
func (s *share) take(n int) bool {
	if s.bytes.Add(int64(n)) <= s.max {
		return true
	}
	s.bytes.Add(int64(-n))
	return false
}

// add counts bytes that are there already, such as those of an answer.
func (s *share) add(n int) { s.bytes.Add(int64(n)) }

// give takes n bytes off again.
func (s *share) give(n int) { s.bytes.Add(int64(-n)) }
