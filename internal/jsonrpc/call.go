package jsonrpc

import (
	"context"
	"encoding/json"
	"errors"
	"runtime/debug"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
)

// answer runs one request and returns its answer, nil if it gets none.
func (t *turn) answer(r *request) []byte {
	if r.problems != nil {
		t.s.stats.refused.Add(1)
		return failure(r.id, invalidRequest(r.problems...))
	}
	if r.hasID {
		t.s.stats.calls.Add(1)
	} else {
		t.s.stats.notifications.Add(1)
	}
	result, err := t.call(r)
	if err != nil {
		t.s.stats.failed.Add(1)
	}
	switch {
	case !r.hasID:
		return nil
	case err != nil:
		return failure(r.id, err)
	}
	return success(r.id, result)
}

// call finds the method and runs it if everything allows it.
func (t *turn) call(r *request) (json.RawMessage, *Error) {
	e := t.s.reg.lookup(r.method)
	if err := t.fits(e, r); err != nil {
		if !r.hasID {
			t.s.logger.Debug("dropped a notification", "method", clip(r.method), "caller", t.caller, "error", err)
		}
		if e != nil && e.Privileged {
			t.audit(AuditRecord{Caller: t.as(r), Method: e.Name, Provider: e.Provider, Params: digest(r.params), Code: err.code()})
		}
		return nil, err
	}
	caller := t.as(r)
	start := time.Now()
	result, ran, err := t.checked(e, r, caller)
	if e.Privileged {
		t.audit(AuditRecord{Caller: caller, Method: e.Name, Provider: e.Provider, Params: digest(r.params),
			Code: err.code(), Ran: ran, Duration: time.Since(start)})
	}
	if err != nil && !r.hasID {
		t.s.logger.Debug("notification failed", "method", e.Name, "caller", caller, "code", err.Code, "error", err.Message)
	}
	return result, err
}

// as returns who makes a request: the caller, with the token of the request if it has one.
func (t *turn) as(r *request) Caller {
	caller := t.caller
	if r.token != "" {
		caller.Token = r.token
	}
	return caller
}

// fits says whether the name exists and is called as its kind demands.
func (t *turn) fits(e *entry, r *request) *Error {
	switch {
	case e == nil:
		return &Error{Code: CodeMethodNotFound, Message: "method not found",
			Data: []Detail{{Code: CodeMethodNotFound, Message: "call show_registered_handlers for the names"}}}
	case e.Kind == KindNotification && r.hasID:
		return invalidRequest(requestDetail(ErrataNotification, "id"))
	case e.Kind == KindMethod && !r.hasID && !e.WithoutID:
		t.s.stats.withoutID.Add(1)
		t.s.logger.Warn("refused a method that was called without an id", "method", e.Name, "caller", t.caller)
		return invalidRequest(Detail{Code: ErrataNotification, Message: "a method is called with an id", Field: "id"})
	}
	return nil
}

// checked runs a method if the server is ready, the caller may, and the parameters fit.
func (t *turn) checked(e *entry, r *request, caller Caller) (result json.RawMessage, ran bool, err *Error) {
	if err := t.s.suspend.Load(); err != nil {
		return nil, false, err
	}
	ctx := t.ctx
	if !r.hasID {
		ctx = t.life
	}
	if ctx.Err() != nil {
		return nil, false, ended(ctx, false)
	}
	ctx = context.WithValue(ctx, callKey{}, callInfo{caller: caller, method: &e.Method})
	ctx, cancel := context.WithTimeout(ctx, t.s.timeout(e))
	defer cancel()
	if err := t.charge(ctx, e, caller); err != nil {
		return nil, false, err
	}
	if err := t.allowed(ctx, e, caller); err != nil {
		return nil, false, err
	}
	params, fault := e.schema()
	if fault != nil {
		t.s.logger.Error("cannot compile a schema", "method", e.Name, "error", fault)
		return nil, false, &Error{Code: CodeInternal, Message: "the schema of the parameters is not valid"}
	}
	if err := params.check(r.params); err != nil {
		return nil, false, err
	}
	if !t.s.take(caller) {
		t.s.stats.busy.Add(1)
		return nil, false, busy("too many calls run at present", time.Second)
	}
	result, err = t.s.run(ctx, e, r.params)
	return result, true, err
}

// charge asks whether the caller has calls left.
func (t *turn) charge(ctx context.Context, e *entry, caller Caller) *Error {
	if t.s.cfg.Charge == nil {
		return nil
	}
	err := t.s.cfg.Charge(ctx, caller, &e.Method)
	if err == nil {
		return nil
	}
	t.s.stats.limited.Add(1)
	out, _ := fromError(err, "")
	return out
}

// allowed asks the Authorizer.
func (t *turn) allowed(ctx context.Context, e *entry, caller Caller) *Error {
	err := t.s.cfg.Authorizer.Authorize(ctx, caller, &e.Method)
	if err == nil {
		return nil
	}
	t.s.stats.denied.Add(1)
	t.s.logger.Info("call not authorized", "method", e.Name, "caller", caller, "error", err)
	out, _ := fromError(unauthorized(err), "")
	return out
}

func (t *turn) audit(r AuditRecord) {
	level := hclog.Info
	if t.s.cfg.Auditor != nil {
		t.s.cfg.Auditor.Audit(t.life, r)
		level = hclog.Debug // the auditor has said it already
	}
	t.s.logger.Log(level, "privileged call", "method", r.Method, "caller", r.Caller, "params", r.Params, "code", r.Code, "ran", r.Ran)
}

// take gets a slot for a call. An eighth of them are left for root and the agent's user
// on the socket, so that nobody else keeps these from a server that has too much to do.
func (s *Server) take(caller Caller) bool {
	s.taking.Lock()
	defer s.taking.Unlock()
	if !caller.isOwner() && len(s.slots) >= s.cfg.MaxRunning-s.cfg.MaxRunning/8 {
		return false
	}
	select {
	case s.slots <- struct{}{}:
		return true
	default:
		return false
	}
}

func (s *Server) timeout(e *entry) time.Duration {
	if e.Timeout > 0 {
		return e.Timeout
	}
	return s.cfg.CallTimeout
}

// outcome is what became of a handler.
type outcome struct {
	result json.RawMessage
	err    error
}

// run calls the handler on a goroutine of its own and waits until ctx ends at
// most. A handler that does not heed ctx keeps its slot until it returns, so such
// handlers cannot pile up.
func (s *Server) run(ctx context.Context, e *entry, params json.RawMessage) (json.RawMessage, *Error) {
	done := make(chan outcome, 1)
	go func() {
		out := outcome{err: errPanic}
		defer func() {
			s.recovered(recover(), e)
			<-s.slots
			done <- out
		}()
		out = s.invoke(ctx, e, params)
	}()
	select {
	case out := <-done:
		return s.settle(ctx, e, out)
	case <-ctx.Done():
		return nil, ended(ctx, true)
	}
}

// invoke runs the handler and encodes what it returns.
func (s *Server) invoke(ctx context.Context, e *entry, params json.RawMessage) outcome {
	v, err := e.Handler(ctx, params)
	if err != nil {
		return outcome{err: err}
	}
	raw, err := encodeResult(v)
	if err != nil {
		s.logger.Error("cannot encode a result", "method", e.Name, "error", err)
		return outcome{err: &Error{Code: CodeInternal, Message: "the result cannot be encoded"}}
	}
	return outcome{result: raw}
}

// recovered logs a panic of a handler. Its text stays here: it may hold anything.
func (s *Server) recovered(p any, e *entry) {
	if p == nil {
		return
	}
	s.stats.panics.Add(1)
	s.logger.Error("handler panicked", "method", e.Name, "provider", e.Provider, "panic", p, "stack", string(debug.Stack()))
}

// settle gives an outcome the form of an answer.
func (s *Server) settle(ctx context.Context, e *entry, out outcome) (json.RawMessage, *Error) {
	if out.err == nil {
		return out.result, nil
	}
	var own *Error
	if ctx.Err() != nil && !errors.As(out.err, &own) && errs.CodeOf(out.err) == errs.Deadline {
		return nil, ended(ctx, true)
	}
	id := uuid.NewString()
	err, fault := fromError(out.err, id)
	if fault {
		s.logger.Error("call failed", "method", e.Name, "provider", e.Provider, "request", id, "error", out.err)
	}
	return nil, err
}

// errStopping is the cause of contexts that end because the server stops.
var errStopping = errors.New("server is stopping")

// ended is the error of a call whose context ended. ran is false when the
// handler had not begun.
func ended(ctx context.Context, ran bool) *Error {
	executed := errs.ExecutedUnknown
	if !ran {
		executed = errs.ExecutedNo
	}
	e := &Error{Code: CodeTimeout, Message: "call timed out"}
	switch {
	case errors.Is(context.Cause(ctx), errStopping):
		e = &Error{Code: CodeBusy, Message: errStopping.Error()}
	case errors.Is(ctx.Err(), context.Canceled):
		e.Message = "caller went away"
	}
	e.Data = []Detail{{Code: ErrataRetry, Message: e.Message, Executed: executed}}
	return e
}

// code returns e's code, 0 for no error.
func (e *Error) code() int {
	if e == nil {
		return 0
	}
	return e.Code
}

// clip bounds what a peer can put into a log line.
func clip(s string) string { return s[:min(len(s), maxName)] }
