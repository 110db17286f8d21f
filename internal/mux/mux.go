// Package mux shares one TCP port among protocols: the first byte of a
// connection picks the handler, TLS comes in front of it where configured, and
// a yamux session carries many streams over one connection.
package mux

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/tlsconf"
)

// Defaults of Config.
const (
	// DefaultHandshakeTimeout is how long a peer may take for its first byte.
	DefaultHandshakeTimeout = 5 * time.Second
	// DefaultSilenceTimeout is how long it may then take to use the protocol.
	DefaultSilenceTimeout = 10 * time.Second
	// DefaultMaxStreams is how many streams one session may have open.
	DefaultMaxStreams = 1024
)

// Info says where a connection came from.
type Info struct {
	// Remote is the address of the peer, the same for all streams of a session.
	Remote net.Addr
	// Protocol is the first byte of the connection: for a stream of a session
	// that of the session, within TLS the byte after the handshake.
	Protocol Protocol
	// Multiplexed is true for a stream of a session.
	Multiplexed bool
	// TLS is nil for a connection in clear. It is shared, do not change it.
	TLS *tls.ConnectionState
	// Peer is what the certificate of the peer proves, nothing in clear.
	Peer tlsconf.Peer
	// Session is the session of a multiplexed stream, nil otherwise. Its holder
	// may Open streams back to the peer but must not Accept or Close.
	Session Session
}

// Handler serves one connection or stream and owns it: it must see to it that
// the connection is closed, be it after the handler returned. ctx ends when
// the mux stops and, for a stream, when its session ends.
type Handler func(ctx context.Context, conn net.Conn, info Info)

// Explainer tells a peer why its RPC connection or stream is refused, and owns
// it. It should be done soon: few run at once, and beyond them refusals are mute.
type Explainer func(ctx context.Context, conn net.Conn, info Info, why Reason)

// Config tunes a Mux. Zero values of durations and MaxStreams mean the defaults.
type Config struct {
	// Logger may be nil.
	Logger hclog.Logger
	// HandshakeTimeout bounds the wait for the first byte of a connection or
	// stream, and once more the TLS handshake with the byte behind it.
	HandshakeTimeout time.Duration
	// SilenceTimeout bounds the wait for what follows the first byte of a
	// connection or stream; from then on its handler says how long to wait.
	SilenceTimeout time.Duration
	// MaxConnsPerClient bounds the connections of one IP address, 0 for no
	// bound. Raft has a budget of this size of its own, and so have connections
	// that have not yet sent their first byte.
	MaxConnsPerClient int
	// MaxConns bounds all connections in the same way, 0 for no bound.
	MaxConns int
	// MaxStreams bounds the open streams of one session.
	MaxStreams int
	// MaxStreamsTotal bounds the open streams of all sessions, 0 for no bound.
	MaxStreamsTotal int
	// TLS serves TLS, with and without the byte in front; nil refuses it.
	TLS *tls.Config
	// RequireTLS refuses every protocol outside of TLS.
	RequireTLS bool
	// Region is the one whose certificates open a protocol within TLS as Table
	// says; with "" any that the handshake accepts does.
	Region string
	// Session tunes the sessions of multiplexed connections.
	Session SessionConfig
	// Explain answers what a limit refuses, nil for nobody.
	Explain Explainer
	// OnSession is told of each session in a goroutine of its own, nil for
	// nobody. ctx ends with the session. It must not Accept or Close.
	OnSession func(ctx context.Context, s Session, info Info)
}

// Mux serves the shared port. Its methods are safe for concurrent use unless
// they say otherwise.
type Mux struct {
	cfg      Config
	log      hclog.Logger
	handlers map[Protocol]Handler
	limits   *limiter
	counters counters
	explains chan struct{}  // a token for each refusal that is being explained
	wg       sync.WaitGroup // connections and streams in a goroutine of ours
}

// New returns a Mux without handlers.
func New(cfg Config) *Mux {
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if cfg.HandshakeTimeout <= 0 {
		cfg.HandshakeTimeout = DefaultHandshakeTimeout
	}
	if cfg.SilenceTimeout <= 0 {
		cfg.SilenceTimeout = DefaultSilenceTimeout
	}
	if cfg.MaxStreams <= 0 {
		cfg.MaxStreams = DefaultMaxStreams
	}
	if cfg.Session.Logger == nil {
		cfg.Session.Logger = cfg.Logger
	}
	return &Mux{
		cfg:      cfg,
		log:      cfg.Logger,
		handlers: make(map[Protocol]Handler),
		explains: make(chan struct{}, maxExplained),
		limits:   newLimiter(cfg.MaxConnsPerClient, cfg.MaxConns),
	}
}

// Handle sets the handler of a protocol; TLS and the sessions are the mux's own.
// Call it before Serve. A protocol without a handler is refused.
func (m *Mux) Handle(p Protocol, h Handler) {
	switch p {
	case ProtoRPC, ProtoRaft, ProtoStreaming, ProtoSnapshot, ProtoJoin, ProtoNodeLink, ProtoGRPC:
		m.handlers[p] = h
	default:
		panic("mux: no handler can be set for protocol " + p.String())
	}
}

// Serve accepts connections until ctx ends, and then returns nil, or until l
// fails for good. It closes l and every connection, also those that handlers
// passed on, and returns when all handlers have. Call it once.
func (m *Mux) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { l.Close() })
	err := m.acceptLoop(ctx, l)
	stopped := ctx.Err() != nil
	cancel()
	stop()
	l.Close()
	m.limits.closeAll()
	m.wg.Wait()
	if stopped {
		return nil
	}
	return err
}

// The pauses after a failed accept, and how many failures in a row that are
// not a shortage of the system end Serve.
const (
	minAcceptPause    = 5 * time.Millisecond
	maxAcceptPause    = time.Second
	maxAcceptFailures = 10
)

func (m *Mux) acceptLoop(ctx context.Context, l net.Listener) error {
	pause, failures := minAcceptPause, 0
	for {
		conn, err := l.Accept()
		if err == nil {
			pause, failures = minAcceptPause, 0
			m.admit(ctx, conn)
			continue
		}
		if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			return err
		}
		if !shortage(err) {
			if failures++; failures >= maxAcceptFailures {
				return err
			}
		}
		m.log.Warn("accept failed", "error", err, "pause", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ctx.Err()
		}
		pause = min(2*pause, maxAcceptPause)
	}
}

// shortage reports whether an accept failed for want of something that may be
// freed again, or because that one peer went away.
func shortage(err error) bool {
	for _, no := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
		syscall.ECONNABORTED, syscall.ECONNRESET, syscall.EINTR} {
		if errors.Is(err, no) {
			return true
		}
	}
	return false
}
