package h1

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Server serves connections with the handler and the settings of an
// http.Server, which gets the connections that are not ordinary.
type Server struct {
	// StallTimeout is how long a client may take nothing of an answer before its
	// connection is closed, 0 for ever. It is set before Serve.
	StallTimeout time.Duration
	// Room tells whether a connection that has sent nothing may stay for IdleTimeout and
	// not only for ReadHeaderTimeout; nil if none may. It is asked again and again, must not block,
	// and is set before Serve.
	Room func(net.Conn) bool

	http *http.Server
	// odd is where the http.Server accepts from.
	odd   *handover
	clock clock

	closing atomic.Bool

	mu sync.Mutex // guards what follows
	// listener is what is served, nil before and after.
	listener net.Listener
	conns    []*conn
	// ticking says that the janitor runs.
	ticking bool
	// stirred tells the janitor to look at once: the server is closing.
	stirred chan struct{}
}

// New returns a server for hs, which must not be used directly nor changed any
// more. Of its settings ReadHeaderTimeout, IdleTimeout, BaseContext, ErrorLog
// and Handler, which must not be nil, hold for all connections. The time-outs of whole requests, the other hooks
// and TLS are only known to net/http: with those, use hs itself.
func New(hs *http.Server) *Server {
	s := &Server{http: hs, odd: newHandover(), stirred: make(chan struct{}, 1)}
	s.clock.start = time.Now()
	s.clock.update(s.clock.start)
	return s
}

// Serve accepts connections from ln until Shutdown or Close, and returns
// http.ErrServerClosed then. It closes ln. A server serves one listener, once.
func (s *Server) Serve(ln net.Listener) error {
	defer func() { _ = ln.Close() }()
	if !s.open(ln) {
		return http.ErrServerClosed
	}
	base := context.Background()
	if s.http.BaseContext != nil {
		base = s.http.BaseContext(ln)
	}
	base = context.WithValue(base, http.ServerContextKey, s.http)
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.odd) }()
	err := s.accept(base, ln)
	if !s.closing.Load() {
		_ = s.Close() // net/http cannot go on without us
	}
	<-served
	return err
}

// open notes the listener, unless the server was stopped before it began.
func (s *Server) open(ln net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener = ln
	return !s.closing.Load()
}

// The pause after a failure to accept, such as a lack of file descriptors,
// starts at the first value and doubles up to the second.
const (
	minPause = 5 * time.Millisecond
	maxPause = time.Second
)

func (s *Server) accept(base context.Context, ln net.Listener) error {
	var pause time.Duration
	for {
		nc, err := ln.Accept()
		if err == nil {
			pause = 0
			s.start(base, nc)
			continue
		}
		if s.closing.Load() {
			return http.ErrServerClosed
		}
		var passing interface{ Temporary() bool }
		if !errors.As(err, &passing) || !passing.Temporary() {
			return err
		}
		pause = min(max(2*pause, minPause), maxPause)
		s.logf("http: accept error: %v; retrying in %v", err, pause)
		time.Sleep(pause)
	}
}

// start serves one connection in a goroutine of its own.
func (s *Server) start(base context.Context, nc net.Conn) {
	c := newConn(s, base, nc)
	if !s.add(c) {
		c.close()
		return
	}
	go c.serve()
}

// add takes a connection in, and starts the janitor for the first one.
func (s *Server) add(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing.Load() {
		return false
	}
	if !s.ticking {
		s.ticking = true
		s.clock.update(time.Now())
		go s.janitor()
	}
	c.state.swap(fresh, s.clock.now.Load())
	c.index = len(s.conns)
	s.conns = append(s.conns, c)
	return true
}

// remove forgets a connection.
func (s *Server) remove(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := len(s.conns) - 1
	s.conns[c.index] = s.conns[last]
	s.conns[c.index].index = c.index
	s.conns[last] = nil
	s.conns = s.conns[:last]
	s.stir()
}

// stir lets the janitor end early when the server is closing.
func (s *Server) stir() {
	if !s.closing.Load() {
		return
	}
	select {
	case s.stirred <- struct{}{}:
	default:
	}
}

func (s *Server) logf(format string, args ...any) {
	if s.http.ErrorLog != nil {
		s.http.ErrorLog.Printf(format, args...)
	}
}
