package h1

import (
	"context"
	"time"
)

// freshGrace is for how long Shutdown leaves connections alone that have sent
// nothing yet, or half a head: a request may be on its way.
const freshGrace = 5 * time.Second

// Shutdown stops to accept, closes idle connections and waits until those in
// use have answered and are closed too. When ctx ends first it returns its
// error and leaves the rest to Close.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopListening()
	others := make(chan error, 1)
	go func() { others <- s.http.Shutdown(ctx) }()
	err := s.quiesce(ctx)
	if other := <-others; err == nil {
		err = other
	}
	return err
}

// Close closes all listeners and connections at once, those with requests too.
func (s *Server) Close() error {
	s.stopListening()
	err := s.http.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.abort()
	}
	return err
}

func (s *Server) stopListening() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing.Store(true)
	if s.listener != nil {
		_ = s.listener.Close()
	}
	s.stir()
}

// quiesce waits until no connection is left.
func (s *Server) quiesce(ctx context.Context) error {
	const most = 500 * time.Millisecond
	pause := time.Millisecond
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for !s.closeIdle() {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			pause = min(2*pause, most)
			timer.Reset(pause)
		}
	}
	return nil
}

// closeIdle closes the connections that wait for a request and reports whether
// there are no others.
func (s *Server) closeIdle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		p, since, v := c.state.load()
		if p == idle || (p == fresh || p == heading) && s.clock.now.Load()-since >= freshGrace.Milliseconds() {
			c.expire(v)
		}
	}
	return len(s.conns) == 0
}
