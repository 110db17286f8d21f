package jsonrpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
)

// Server dispatches messages to what is registered. Its methods may be called
// from any goroutine. A Server has no goroutines of its own but those of calls
// that run, and needs no closing.
type Server struct {
	cfg     Config
	logger  hclog.Logger
	reg     registry
	taking  sync.Mutex    // held while a slot is taken
	slots   chan struct{} // one for each call that runs
	stats   counters
	suspend atomic.Pointer[Error] // not nil: calls are refused with this
}

// New returns a server that offers the discovery methods.
func New(cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = hclog.NewNullLogger()
	}
	if cfg.Authorizer == nil {
		cfg.Authorizer = LocalOwner{}
	}
	s := &Server{cfg: cfg, logger: cfg.Logger, slots: make(chan struct{}, cfg.MaxRunning)}
	s.reg.entries = map[string]*entry{}
	for _, m := range s.discovery() {
		if err := s.Register(m); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Suspend refuses calls from now on, with CodeBusy and reason: while the agent
// starts, or when it stops. retry tells callers when to come back, 0 for unknown.
// Calls that run go on.
func (s *Server) Suspend(reason string, retry time.Duration) { s.suspend.Store(busy(reason, retry)) }

// Resume ends Suspend.
func (s *Server) Resume() { s.suspend.Store(nil) }

// Answer is what a message is answered with.
type Answer struct {
	// Body is one JSON value without white space and without a line feed at its end; nil when
	// nothing is to be said, which is not the same as an empty value.
	Body []byte
	// Close is true when nothing that follows on the connection can be understood.
	Close bool
	// TooLarge is true when the message was refused for its size.
	TooLarge bool
}

// Handle serves one message of a caller. msg is exactly one JSON value; it may be kept
// by handlers and must not be changed afterwards. The calls end with ctx, notifications do not.
func (s *Server) Handle(ctx context.Context, caller Caller, msg []byte) Answer {
	if len(msg) > s.cfg.MaxMessage {
		return s.refuse(errMessageTooLarge)
	}
	if err := checkMessage(msg, s.cfg.MaxDepth); err != nil {
		return s.refuse(err)
	}
	t := turn{s: s, ctx: ctx, life: context.WithoutCancel(ctx), caller: caller}
	return Answer{Body: t.serve(msg)}
}

// refuse answers what is no message. Nothing of it was run.
func (s *Server) refuse(err error) Answer {
	s.stats.refused.Add(1)
	var depth *depthError
	var syntax *syntaxError
	e := &Error{Code: CodeParse, Message: "parse error", Data: []Detail{{Code: ErrataSyntax, Message: err.Error()}}}
	switch {
	case errors.Is(err, errMessageTooLarge):
		e = tooLarge(CodeTooLarge, "message too large", s.cfg.MaxMessage)
	case errors.As(err, &depth):
		e.Data[0].Code, e.Data[0].Limit = ErrataDepth, int64(depth.limit)
	case errors.As(err, &syntax) && syntax.utf8:
		e.Data[0].Code = ErrataUTF8
	}
	return Answer{Body: failure(nil, e), Close: true, TooLarge: e.Code == CodeTooLarge}
}

// turn is one message on its way to an answer.
type turn struct {
	s      *Server
	ctx    context.Context // ends when the caller goes away
	life   context.Context // ends when the server stops; for what nobody waits for
	caller Caller
}

// serve runs a message that a scanner has checked. It returns nil when there is
// nothing to say.
func (t *turn) serve(msg []byte) []byte {
	for isSpace(msg[0]) {
		msg = msg[1:]
	}
	if msg[0] != '[' {
		return t.element(trimRight(msg))
	}
	batch := elements(msg, t.s.cfg.MaxBatch)
	switch n := len(batch); {
	case n == 0:
		return failure(nil, invalidRequest(requestDetail(ErrataEmptyBatch, "")))
	case n > t.s.cfg.MaxBatch:
		return failure(nil, tooLarge(CodeBatchTooLarge, "batch has too many elements", t.s.cfg.MaxBatch))
	}
	return joinBatch(t.batch(batch))
}

// element runs one request.
func (t *turn) element(raw []byte) []byte {
	r := parseRequest(raw, t.s.cfg.StrictIDs)
	return t.fit(r.id, t.answer(&r), 0)
}

// batch runs elements in their order. Calls that allow it and stand side by side
// run at the same time.
func (t *turn) batch(raw [][]byte) [][]byte {
	requests := make([]request, len(raw))
	for i := range raw {
		requests[i] = parseRequest(raw[i], t.s.cfg.StrictIDs)
	}
	out := make([][]byte, len(raw))
	size := 0
	for i := 0; i < len(requests); {
		n := 1
		for t.parallel(&requests[i]) && i+n < len(requests) && n < t.s.cfg.MaxParallel && t.parallel(&requests[i+n]) {
			n++
		}
		t.group(requests[i:i+n], out[i:i+n])
		for ; n > 0; n-- {
			out[i] = t.fit(requests[i].id, out[i], size)
			size += len(out[i])
			i++
		}
	}
	return out
}

// parallel reports whether a request may run beside its neighbours.
func (t *turn) parallel(r *request) bool {
	if r.problems != nil || !r.hasID {
		return false
	}
	e := t.s.reg.lookup(r.method)
	return e != nil && e.Parallel && e.Kind == KindMethod
}

// group runs requests at the same time and writes the answers to out.
func (t *turn) group(requests []request, out [][]byte) {
	if len(requests) == 1 {
		out[0] = t.answer(&requests[0])
		return
	}
	var wg sync.WaitGroup
	for i := range requests {
		wg.Go(func() { out[i] = t.answer(&requests[i]) })
	}
	wg.Wait()
}

// fit replaces an answer that would exceed the limit; before is the size of those
// in front of it.
func (t *turn) fit(id json.RawMessage, answer []byte, before int) []byte {
	if before+len(answer) <= t.s.cfg.MaxAnswer {
		return answer
	}
	e := tooLarge(CodeTooLarge, "answer too large: ask for less at once", t.s.cfg.MaxAnswer)
	if bytes.HasPrefix(answer, []byte(successHead)) {
		e.Data[0].Executed = errs.ExecutedYes
	}
	return failure(id, e)
}
