package mux

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/yamux"
)

// Session carries streams over one connection. Either side may Open. On a
// multiplex v2 session whoever opens a stream first writes its protocol,
// ProtoRPC or ProtoStreaming. All methods are safe for concurrent use.
type Session interface {
	// Open starts a stream. It blocks while the peer is behind with accepting.
	Open(ctx context.Context) (net.Conn, error)
	// Accept blocks for a stream of the peer, and fails when the session ended.
	Accept() (net.Conn, error)
	// Close ends the session and all of its streams.
	Close() error
	// Done is closed when the session has ended.
	Done() <-chan struct{}
}

// SessionConfig tunes a session. Zero values mean the defaults of yamux, which
// are what existing node agents use: 30 s between keep-alives, 10 s for a
// write, 256 streams waiting to be accepted.
type SessionConfig struct {
	// Logger is told what yamux says, for debugging; it may be nil.
	Logger hclog.Logger
	// KeepAlive is the pause between two pings.
	KeepAlive time.Duration
	// WriteTimeout is how long a frame may wait for the connection; then the
	// session is closed, since what was lost cannot be told to the peer.
	WriteTimeout time.Duration
	// OpenTimeout is how long the peer may leave a stream unaccepted before the
	// session is closed.
	OpenTimeout time.Duration
	// AcceptBacklog is how many streams may wait to be accepted.
	AcceptBacklog int
}

func (c SessionConfig) yamux() *yamux.Config {
	y := yamux.DefaultConfig()
	y.LogOutput = nil
	y.Logger = &quietLog{log: c.Logger}
	if c.KeepAlive > 0 {
		y.KeepAliveInterval = c.KeepAlive
	}
	if c.WriteTimeout > 0 {
		y.ConnectionWriteTimeout = c.WriteTimeout
	}
	if c.OpenTimeout > 0 {
		y.StreamOpenTimeout = c.OpenTimeout
	}
	if c.AcceptBacklog > 0 {
		y.AcceptBacklog = c.AcceptBacklog
	}
	return y
}

// Server returns the accepting side of a session over conn, which it owns.
func Server(conn net.Conn, cfg SessionConfig) (Session, error) {
	return asSession(newSession(accepting, conn, cfg))
}

// Client returns the dialing side of a session over conn, which it owns. The
// protocol byte must have been written to conn before.
func Client(conn net.Conn, cfg SessionConfig) (Session, error) {
	return asSession(newSession(dialing, conn, cfg))
}

// asSession keeps a nil *session from becoming a Session that is not nil.
func asSession(s *session, err error) (Session, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

type session struct {
	y *yamux.Session
	// opening holds a token while somebody opens a stream: yamux knows no
	// contexts, so an abandoned open goes on, and there is at most one.
	opening chan struct{}
}

// side is an end of a session.
type side struct {
	start func(io.ReadWriteCloser, *yamux.Config) (*yamux.Session, error)
	// numbers are the last bits of those of the streams that it opens.
	numbers uint32
}

var (
	dialing   = side{yamux.Client, 1}
	accepting = side{yamux.Server, 0}
)

func newSession(as side, conn net.Conn, cfg SessionConfig) (*session, error) {
	y, err := as.start(&guardedConn{Conn: conn, ours: as.numbers}, cfg.yamux())
	if err != nil {
		return nil, fmt.Errorf("start session: %w", err)
	}
	return &session{y: y, opening: make(chan struct{}, 1)}, nil
}

type opened struct {
	conn net.Conn
	err  error
}

func (s *session) Open(ctx context.Context) (net.Conn, error) {
	select {
	case s.opening <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.Done():
		return nil, fmt.Errorf("open stream: %w", net.ErrClosed)
	}
	ch := make(chan opened)
	go func() {
		defer func() { <-s.opening }()
		conn, err := s.wrap(s.y.OpenStream())
		select {
		case ch <- opened{conn, err}:
		case <-ctx.Done():
			if err == nil {
				conn.Close()
			}
		}
	}()
	select {
	case o := <-ch:
		return o.conn, o.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *session) Accept() (net.Conn, error) { return s.wrap(s.y.AcceptStream()) }

// wrap ends the session when err says that a frame could not be written.
func (s *session) wrap(st *yamux.Stream, err error) (net.Conn, error) {
	if err != nil {
		s.check(err)
		if s.y.IsClosed() {
			return nil, fmt.Errorf("session ended: %w: %w", net.ErrClosed, err)
		}
		return nil, err
	}
	return &stream{Stream: st, session: s}, nil
}

// check closes the session after a frame was dropped: yamux would carry on,
// and the peer wait for ever for what was in it.
func (s *session) check(err error) {
	if errors.Is(err, yamux.ErrConnectionWriteTimeout) {
		go s.y.Close()
	}
}

func (s *session) Close() error          { return s.y.Close() }
func (s *session) Done() <-chan struct{} { return s.y.CloseChan() }

// stream is a yamux stream whose lost frames end the session.
type stream struct {
	*yamux.Stream
	session *session
}

func (s *stream) Write(b []byte) (int, error) {
	n, err := s.Stream.Write(b)
	if err != nil {
		s.session.check(err)
	}
	return n, err
}

func (s *stream) Close() error {
	err := s.Stream.Close()
	if err != nil {
		s.session.check(err)
	}
	return err
}
