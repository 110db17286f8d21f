package drpc

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairn-project/cairn/internal/errs"
)

// inFlight is one call on its way through the server.
type inFlight struct {
	session  *Session
	msg      Message
	call     Call
	started  time.Time
	held     int  // bytes that count against the session
	left     bool // its place is free; touched by run's goroutine alone
	answered atomic.Bool
}

// run decodes the call, runs its method and answers. It returns when the
// handler has, which may be after the answer.
func (c *inFlight) run(closing bool) {
	c.held = len(c.msg.Data)
	if err := decodeCall(c.msg.Data, c.session.server.cfg.MaxMessage, &c.call); err != nil {
		c.call = Call{Sequence: -1}
		c.answer(nil, err, c.leave)
		return
	}
	c.msg.Data = nil // the call has a copy
	if closing {
		c.answer(nil, errClosing(), c.leave)
		return
	}
	method, err := c.session.server.registry.find(&c.call, c.session.peer)
	if err != nil {
		c.answer(nil, err, c.leave)
		return
	}
	ctx, stop := c.context()
	defer stop()
	if charge := c.session.server.cfg.Charge; charge != nil {
		if err := charge(ctx, c.session.peer, method); err != nil {
			c.answer(nil, err, c.leave)
			return
		}
	}
	body, err := c.handle(ctx, method)
	c.answer(body, err, c.leave)
}

// decodeCall reads a message as a Call.
func decodeCall(msg []byte, maxMessage int, into *Call) error {
	if len(msg) > maxMessage {
		return Fail(Status_TOO_LARGE, fmt.Sprintf("the call has %d bytes, at most %d are taken", len(msg), maxMessage))
	}
	if err := proto.Unmarshal(msg, into); err != nil {
		return failf(Status_FAILED_UNMARSHAL_CALL, "the packet is not a call: %w", err)
	}
	return nil
}

// context returns the handler's context. When the call's time is up it is
// answered, whether or not the handler heeds the context.
func (c *inFlight) context() (context.Context, func()) {
	if c.call.TimeoutMs <= 0 {
		return c.session.ctx, func() {}
	}
	const most = 365 * 24 * time.Hour
	wait := time.Duration(min(c.call.TimeoutMs, most.Milliseconds())) * time.Millisecond
	ctx, cancel := context.WithTimeout(c.session.ctx, wait)
	answered := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(answered)
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			c.answer(nil, errs.Newf(errs.Deadline, "the call did not end within its %s", wait), func() {})
		}
	})
	return ctx, func() {
		if !stop() {
			<-answered
		}
		cancel()
	}
}

// handle runs the method. A panic fails the call and nothing else.
func (c *inFlight) handle(ctx context.Context, m *Method) (body []byte, err error) {
	defer func() {
		if p := recover(); p != nil {
			body, err = nil, fmt.Errorf("method %s panicked: %v\n%s", m.Name, p, debug.Stack())
		}
	}()
	return m.Handle(ctx, &Request{
		Module: c.call.Module, Method: c.call.Method, Body: c.call.Body, Trace: c.call.Trace,
		Peer: c.session.peer, Session: c.session,
	})
}

// leave gives the call's place back.
func (c *inFlight) leave() {
	if !c.left {
		c.left = true
		c.session.free(c.held)
	}
}

// answer sends the first outcome of the call and drops a second. begin runs before
// the peer can see it: a call whose handler is done has left by then, so that a
// peer at its limit can send the next one.
func (c *inFlight) answer(body []byte, err error, begin func()) {
	if !c.answered.CompareAndSwap(false, true) {
		return
	}
	server := c.session.server
	c.log(err)
	resp, b := encode(respond(c.call.Sequence, body, err, c.id()), c.msg.Framed, server.cfg.MaxMessage)
	c.session.hold(len(b))
	_ = c.session.write(b, c.msg.Framed, begin) // an error has ended the session
	c.session.hold(-len(b))
	if server.cfg.Observe != nil {
		server.cfg.Observe(Stat{Module: c.call.Module, Method: c.call.Method, Status: resp.Status,
			Took: time.Since(c.started), Peer: c.session.peer})
	}
}

// log leaves a line about what an operator should see: a peer that asked for
// what it may not have, and a cause that the answer does not tell.
func (c *inFlight) log(err error) {
	server := c.session.server
	switch {
	case errors.Is(err, errs.PermissionDenied):
		if n, ok := server.denied.allow(c.session.peer.UID); ok {
			server.cfg.Logger.Warn("call on the agent's socket denied", "peer", c.session.peer.String(), "call", c.id(),
				"module", c.call.Module, "method", c.call.Method, "unlogged", n)
		}
	case StatusOf(err) == Status_FAILURE && errs.CodeOf(err) == errs.Internal:
		if n, ok := server.failed.allow(c.session.peer.UID); ok {
			server.cfg.Logger.Warn("call on the agent's socket failed", "call", c.id(),
				"module", c.call.Module, "method", c.call.Method, "error", err, "unlogged", n)
		}
	}
}

// id names the call in the log and in the answer to an error without a code.
func (c *inFlight) id() string { return fmt.Sprintf("%d/%d", c.session.id, c.call.Sequence) }

// refuseBusy answers a call that its session has no room for.
func (s *Server) refuseBusy(session *Session, msg []byte) *Response {
	var call Call
	if err := decodeCall(msg, s.cfg.MaxMessage, &call); err != nil {
		return respond(-1, nil, err, "")
	}
	err := errs.Newf(errs.Busy, "the session has %d calls in flight, or the calls of this user hold too many bytes: wait for answers", session.Calls()).
		WithRetryAfter(100 * time.Millisecond)
	return respond(call.Sequence, nil, err, "")
}
