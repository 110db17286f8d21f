package nodelink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"time"
)

// replyTimeout is how long the caller may take to read the end of a call.
const replyTimeout = 30 * time.Second

// errCallerGone is the cause of the end of the context of a call whose caller
// closed its stream.
var errCallerGone = errors.New("the caller went away")

// serve answers the call on a stream.
func (a *Agent) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(handshakeTimeout)); err != nil {
		return
	}
	t, b, err := readFrame(conn, a.cfg.Limits.MaxMessage+maxControl)
	var f callFrame
	if err == nil {
		err = decode(b, &f)
	}
	if err != nil || t != frameCall {
		a.log.Debug("refused a stream", "frame", t, "error", err)
		return
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if f.Timeout > 0 {
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, f.Timeout)
		defer stop()
	}
	watched := watch(conn, cancel)
	reply, failure := a.answer(ctx, conn, &f)
	a.finish(conn, reply, failure)
	_ = conn.SetReadDeadline(time.Unix(1, 0))
	<-watched
}

// watch cancels a call when its caller closes the stream. The channel is closed
// when it has ended.
func watch(conn net.Conn, cancel context.CancelCauseFunc) <-chan struct{} {
	done := make(chan struct{})
	_ = conn.SetReadDeadline(time.Time{}) // a closed connection is noticed by the read
	go func() {
		defer close(done)
		var b [1]byte
		_, _ = conn.Read(b[:])
		cancel(errCallerGone)
	}()
	return done
}

// answer runs the handler of a call within the limits of its class.
func (a *Agent) answer(ctx context.Context, conn net.Conn, f *callFrame) (json.RawMessage, *Failure) {
	h, m := a.cfg.Handlers[f.Method], Lookup(f.Method)
	if h == nil || m == nil {
		return nil, &Failure{Outcome: Unsupported, Help: fmt.Sprintf("this agent has no method %s: upgrade the agent", f.Method)}
	}
	g := a.gates[m.Class]
	if busy := g.enter(ctx); busy != nil {
		return nil, busy
	}
	defer g.leave()
	c := &Call{Method: f.Method, Revision: f.Revision, Body: f.Body, Idempotent: f.Idempotent, Trace: f.Trace, Caller: f.Caller, Hops: f.Hops}
	if m.Class == Stream {
		ended := make(chan struct{})
		stop := context.AfterFunc(ctx, func() { _ = conn.SetWriteDeadline(time.Unix(1, 0)); close(ended) })
		defer func() {
			if !stop() {
				<-ended
			}
		}()
		c.send = func(b []byte) error { return sendData(conn, b) }
	}
	reply, err := a.run(ctx, h, c)
	if err != nil {
		if ctx.Err() != nil {
			return nil, late(ctx)
		}
		return nil, failed(err, f.Trace)
	}
	b, err := encode(reply)
	if err != nil {
		return nil, failed(fmt.Errorf("encode the reply of %s: %w", f.Method, err), f.Trace)
	}
	return b, nil
}

// run calls a handler; one that panics fails alone.
func (a *Agent) run(ctx context.Context, h Handler, c *Call) (reply any, err error) {
	defer func() {
		if p := recover(); p != nil {
			a.log.Error("a method of the link panicked", "method", c.Method, "trace", c.Trace, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return h(ctx, c)
}

func sendData(conn net.Conn, b []byte) error {
	for len(b) > 0 {
		n := min(len(b), maxData)
		if err := writeFrame(conn, frameData, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// finish sends the end of a call.
func (a *Agent) finish(conn net.Conn, reply json.RawMessage, failure *Failure) {
	if err := conn.SetWriteDeadline(time.Now().Add(replyTimeout)); err != nil {
		return
	}
	if failure == nil && len(reply) > a.cfg.Limits.MaxMessage {
		failure = &Failure{Outcome: Refused, Kind: User,
			Help: fmt.Sprintf("the reply has %d bytes, at most %d are sent: ask for less", len(reply), a.cfg.Limits.MaxMessage)}
	}
	if failure == nil {
		if err := writeFrame(conn, frameResult, reply); err != nil {
			a.log.Debug("reply not sent", "error", err)
		}
		return
	}
	if err := writeJSON(conn, frameFailure, failure, replyTimeout); err != nil {
		a.log.Debug("failure not sent", "error", err)
	}
}
