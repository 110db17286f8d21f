package h1

import "time"

const (
	// tick is how often the janitor looks at all connections.
	tick = 75 * time.Millisecond
	// watchAfter is how old a request is before somebody listens whether its
	// client goes away, in milliseconds. Most are answered by then.
	watchAfter = 100
)

// janitor does for all connections what timers and goroutines of their own
// would do: it moves the clock, closes what waits for too long, and has the connections
// of long requests watched. It ends with the last connection.
func (s *Server) janitor() {
	t := time.NewTicker(tick)
	defer t.Stop()
	for s.inspect() {
		select {
		case now := <-t.C:
			s.clock.update(now)
		case <-s.stirred:
		}
	}
}

// inspect looks at all connections once and reports whether there are any.
func (s *Server) inspect() bool {
	stall := s.StallTimeout.Milliseconds()
	if s.clock.stood() { // nobody could take anything meanwhile
		stall = 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.now.Load()
	for _, c := range s.conns {
		p, since, v := c.state.load()
		switch {
		case c.stalled(now, stall):
			c.abort()
		case s.overdue(c, p, now-since):
			c.expire(v)
		case p == serving && now-since >= watchAfter:
			c.startWatch(v)
		}
	}
	s.ticking = len(s.conns) > 0
	return s.ticking
}

// overdue reports whether a connection that has been in phase p for age milliseconds has
// waited for too long. One that was never used is like an idle one to its client: those of
// Go and of browsers dial more than they need and come back to the rest later. To close it
// at the moment it is used loses a request, so it stays as long, while there is room.
func (s *Server) overdue(c *conn, p phase, age int64) bool {
	header, rest := s.http.ReadHeaderTimeout.Milliseconds(), s.http.IdleTimeout.Milliseconds()
	switch p {
	case idle:
		return rest > 0 && age >= rest
	case heading:
		return header > 0 && age >= header
	case fresh:
		return header > 0 && age >= header && (age >= rest || s.Room == nil || !s.Room(c.nc))
	}
	return false
}
