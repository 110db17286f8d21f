package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
)

// Server serves calls on connections that others accept.
type Server struct {
	handler  Handler
	limits   Limits
	logger   hclog.Logger
	inFlight atomic.Int64
	// draining ends when peers are to use other connections.
	draining context.Context
	drain    context.CancelFunc

	mu    sync.Mutex
	conns map[*serverConn]struct{} // that are served; guarded by mu
}

// NewServer returns a server that gives every call to h. A nil logger is silent.
func NewServer(h Handler, limits Limits, logger hclog.Logger) *Server {
	if logger == nil {
		logger = hclog.NewNullLogger()
	}
	s := &Server{handler: h, limits: limits.withDefaults(), logger: logger, conns: map[*serverConn]struct{}{}}
	s.draining, s.drain = context.WithCancel(context.Background())
	return s
}

// Drain asks the peers of our kind, of this connection and of later ones, to make
// no more calls on it. Calls are answered all the same.
func (s *Server) Drain() { s.drain() }

// InFlight returns how many calls run at present, over all connections.
func (s *Server) InFlight() int { return int(s.inFlight.Load()) }

// ServeConn serves one connection until the peer leaves, breaks the protocol or
// ctx ends; then it closes conn, ends the contexts of the calls that still run,
// and returns when their handlers have. id may be nil.
func (s *Server) ServeConn(ctx context.Context, conn net.Conn, id *Identity) {
	if id == nil {
		id = &Identity{Remote: conn.RemoteAddr()}
	}
	c := newServerConn(ctx, s, conn, id)
	defer s.keep(c)()
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	defer context.AfterFunc(s.draining, c.sayDraining)()
	go c.write()
	err := c.read()
	c.end(err)
	c.calls.Wait()
	<-c.written
	if c.broken != nil {
		err = c.broken
	}
	if ctx.Err() == nil {
		s.logEnd(id, err)
	}
}

// logEnd writes the one line about a connection that did not end in order.
func (s *Server) logEnd(id *Identity, err error) {
	switch {
	case err == nil || err == io.EOF:
	case isGarbage(err):
		s.logger.Warn("closed a connection that broke the protocol", "remote", id.Remote, "error", err)
	case isTimeout(err):
		s.logger.Debug("closed a connection that was too slow", "remote", id.Remote, "error", err)
	default:
		s.logger.Debug("connection lost", "remote", id.Remote, "error", err)
	}
}

// invoke runs the handler. A panic ends that call only.
func (s *Server) invoke(ctx context.Context, c *Call) (reply any, err error) {
	defer s.guard(c, &err)
	return s.handler(ctx, c)
}

// guard is deferred around code of others: a panic is logged with its stack and
// becomes errPanic.
func (s *Server) guard(c *Call, err *error) {
	p := recover()
	if p == nil {
		return
	}
	if c.RequestID == "" {
		c.RequestID = newRequestID()
	}
	s.logger.Error("handler panicked", "method", c.Method, "request", c.RequestID,
		"panic", p, "stack", string(debug.Stack()))
	*err = errPanic
}

// errPanic was logged where it happened.
var errPanic = errors.New("handler panicked")

// fail returns the error that the peer gets for err and logs a fault of ours.
func (s *Server) fail(c *Call, err error) *errs.Error {
	id := c.RequestID
	if id == "" && errs.CodeOf(err) == errs.Internal {
		id = newRequestID()
	}
	e, fault := coded(err, id)
	if fault && err != errPanic {
		s.logger.Error("call failed", "method", c.Method, "request", id, "error", err, "cause", e.Unwrap())
	}
	return fitError(e)
}
