package jsonrpc

import "sync/atomic"

// counters are what a Server counts.
type counters struct {
	calls, notifications, failed, refused, withoutID, denied, limited, busy, panics atomic.Uint64
}

// Stats are totals since the server was made.
type Stats struct {
	// Calls and Notifications were well formed, whatever became of them.
	Calls, Notifications uint64
	// Failed are those of both that ended in an error.
	Failed uint64
	// Refused are messages and elements of batches that were no request.
	Refused uint64
	// WithoutID are methods that were called without an id and therefore not run.
	WithoutID uint64
	// Denied were refused by the Authorizer, Limited by Charge, Busy for want of a slot.
	Denied, Limited, Busy uint64
	// Panics of handlers were recovered.
	Panics uint64
	// Running is how many handlers run at present, those included whose caller has stopped waiting.
	Running int
}

// Stats returns the totals.
func (s *Server) Stats() Stats {
	c := &s.stats
	return Stats{
		Calls: c.calls.Load(), Notifications: c.notifications.Load(), Failed: c.failed.Load(),
		Refused: c.refused.Load(), WithoutID: c.withoutID.Load(), Denied: c.denied.Load(), Limited: c.limited.Load(),
		Busy: c.busy.Load(), Panics: c.panics.Load(), Running: len(s.slots),
	}
}
