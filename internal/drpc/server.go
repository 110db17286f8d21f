package drpc

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// Server answers calls on one socket.
type Server struct {
	cfg      Config
	registry *Registry
	socket   *socket
	// Log lines: connections that could not be accepted, and by user connections
	// refused, calls denied, calls failed.
	accepting               throttle
	refused, denied, failed throttles

	mu       sync.Mutex
	sessions map[*Session]struct{}
	shares   map[int]*share // by uid, of those that have sessions
	total    int            // sessions of all shares
	lingers  int            // refused connections that were not closed yet
	lastID   uint64
	calls    int // in flight, of all sessions
	closing  bool
	idle     chan struct{} // closed when closing is set and calls is 0
	wg       sync.WaitGroup
}

// Listen makes the socket of a server. What connects waits until Serve runs,
// which must be called, since it alone takes the socket away again.
func Listen(cfg Config, registry *Registry) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := newServer(cfg, registry)
	var err error
	s.socket, err = openSocket(cfg.Path, cfg.Mode, cfg.Stream)
	return s, err
}

func newServer(cfg Config, registry *Registry) *Server {
	return &Server{cfg: cfg, registry: registry, sessions: map[*Session]struct{}{}, shares: map[int]*share{}, idle: make(chan struct{})}
}

// Serve answers until ctx ends. Then it takes no more connections, refuses new
// calls as UNAVAILABLE, gives those in flight the grace, and closes every
// session. Its error says what could not be closed.
func (s *Server) Serve(ctx context.Context) error {
	sessions, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	accepting := make(chan struct{})
	go func() {
		defer close(accepting)
		s.accept(ctx, sessions)
	}()
	<-ctx.Done()
	s.shutdown()
	err := s.socket.close()
	<-accepting
	s.awaitIdle()
	cancel()
	for _, session := range s.open() {
		session.link.Close()
	}
	return errors.Join(err, s.awaitHandlers())
}

// accept takes connections until the listener is closed.
func (s *Server) accept(ctx, sessions context.Context) {
	for {
		conn, err := s.socket.listener.AcceptUnix()
		switch {
		case err == nil:
			s.welcome(sessions, conn)
		case ctx.Err() != nil || errors.Is(err, net.ErrClosed):
			return
		default: // short of descriptors or memory: others may give some back
			if n, ok := s.accepting.allow(); ok {
				s.cfg.Logger.Error("cannot accept a connection to the agent's socket", "path", s.cfg.Path, "error", err, "unlogged", n)
			}
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

// welcome starts a session, or tells the peer why there is none.
func (s *Server) welcome(ctx context.Context, conn *net.UnixConn) {
	peer := peerOf(conn)
	peer.Socket = s.cfg.Path
	peer.Privileged = s.cfg.Privileged(peer)
	link := NewLink(conn, s.cfg.MaxMessage)
	session, err := s.admit(ctx, link, peer)
	if err == nil {
		s.wg.Go(session.serve)
		return
	}
	if n, ok := s.refused.allow(peer.UID); ok {
		s.cfg.Logger.Warn("connection to the agent's socket refused", "peer", peer.String(), "error", err, "unlogged", n)
	}
	s.mu.Lock()
	polite := s.lingers < 16 && !s.closing
	if polite {
		s.lingers++
	}
	s.mu.Unlock()
	if !polite {
		link.Close()
		return
	}
	s.wg.Go(func() {
		link.Refuse(respond(-1, nil, err, ""))
		s.mu.Lock()
		s.lingers--
		s.mu.Unlock()
	})
}

// admit counts a new session, or says which limit it would break.
func (s *Server) admit(ctx context.Context, link *Link, peer Peer) (*Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing:
		return nil, errClosing()
	case s.total >= s.cfg.MaxSessions:
		return nil, errs.Newf(errs.Busy, "the agent's socket has %d sessions, its limit: try again later", s.total).WithRetryAfter(time.Second)
	case s.shares[peer.UID] == nil:
		s.shares[peer.UID] = &share{max: int64(s.cfg.MaxBytesPerUID)}
	case s.shares[peer.UID].sessions >= s.cfg.MaxSessionsPerUID:
		return nil, errs.Newf(errs.Busy, "uid %d has %d sessions, its limit: close some, or send all calls over one",
			peer.UID, s.shares[peer.UID].sessions).WithRetryAfter(time.Second)
	}
	link.bound(s.shares[peer.UID], s.cfg.MessageTimeout)
	s.lastID++
	session := newSession(ctx, s, link, peer)
	s.sessions[session] = struct{}{}
	link.share.sessions++
	s.total++
	return session, nil
}

func errClosing() error {
	return errs.New(errs.Unavailable, "the agent is shutting down: try again when it is back")
}

// forget takes a session whose peer is gone from the list; its place stays
// taken until release, or a peer could start calls without end by reconnecting.
func (s *Server) forget(session *Session) {
	s.mu.Lock()
	delete(s.sessions, session)
	s.mu.Unlock()
}

func (s *Server) release(uid int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.shares[uid].sessions--; s.shares[uid].sessions == 0 {
		delete(s.shares, uid)
	}
}

// begin and end count the calls in flight; begin reports whether new ones are refused.
func (s *Server) begin() (closing bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	return s.closing
}

func (s *Server) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls--
	s.settleLocked()
}

func (s *Server) shutdown() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	s.settleLocked()
}

// settleLocked closes idle at the end of the last call; s.mu is held.
func (s *Server) settleLocked() {
	if !s.closing || s.calls > 0 {
		return
	}
	select {
	case <-s.idle:
	default:
		close(s.idle)
	}
}

func (s *Server) awaitIdle() {
	select {
	case <-s.idle:
	case <-time.After(s.cfg.Grace):
	}
}

// awaitHandlers waits for what was cancelled, for a bounded time: a handler
// that ignores its context must not keep the agent from exiting.
func (s *Server) awaitHandlers() error {
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-time.After(s.cfg.Grace + time.Second):
		s.mu.Lock()
		defer s.mu.Unlock()
		return errs.Newf(errs.Internal, "%d calls on %s did not end with their contexts", s.calls, s.cfg.Path)
	}
}

func (s *Server) open() []*Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*Session, 0, len(s.sessions))
	for session := range s.sessions {
		out = append(out, session)
	}
	return out
}

// Sessions returns the sessions whose peers are there, oldest first.
func (s *Server) Sessions() []*Session {
	out := s.open()
	slices.SortFunc(out, func(a, b *Session) int { return int(a.id) - int(b.id) })
	return out
}

// Path returns the path of the socket.
func (s *Server) Path() string { return s.cfg.Path }

// Modules returns what the server offers, by number.
func (s *Server) Modules() []Module { return s.registry.Modules() }
