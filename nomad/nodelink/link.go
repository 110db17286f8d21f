package nodelink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/cairn-project/cairn/internal/mux"
)

// Request is a call to an agent.
type Request struct {
	// Method is "Service.Method", Body its argument, JSON, empty for none.
	Method string
	Body   json.RawMessage
	// Revision is the lowest revision of the method that will do, 0 for any.
	Revision int
	// Trace names the call in the logs of every hop, Caller is the accessor ID of
	// the token it was made with, Hops are the servers that passed it on.
	Trace  string
	Caller string
	Hops   []string
}

// Link is the server's end of a link. Its methods are safe for concurrent use.
type Link struct {
	hello   Hello
	welcome Welcome
	from    From
	since   time.Time
	session mux.Session
	control net.Conn
	adapter adapter

	mu      sync.Mutex
	active  int   // calls that run; guarded by mu
	closing bool  // no new calls; guarded by mu
	garbage int   // undecodable replies in a row; guarded by mu
	reason  error // why the link ended; guarded by mu
}

// From says over what an agent dialled.
type From struct {
	// Remote is the address of the agent, Transport what it dialled over.
	Remote    string
	Transport string
}

// Info describes a link for people.
type Info struct {
	NodeID    string
	Epoch     uint64
	Instance  string
	SessionID string
	// Server is the name of the server that has the link.
	Server    string
	Protocol  int
	Build     string
	Remote    string
	Transport string
	Since     time.Time
	// Running is how many calls run over it.
	Running int
	Methods map[string]int
	Kinds   []string
}

// Info describes the link.
func (l *Link) Info() Info {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Info{NodeID: l.hello.NodeID, Epoch: l.hello.Epoch, Instance: l.hello.Instance, SessionID: l.welcome.SessionID, Server: l.welcome.ServerName,
		Protocol: l.welcome.Protocol, Build: l.hello.Build, Remote: l.from.Remote, Transport: l.from.Transport, Since: l.since,
		Running: l.active, Methods: l.hello.Methods, Kinds: l.hello.Kinds}
}

// NodeID is the node at the other end.
func (l *Link) NodeID() string { return l.hello.NodeID }

// Epoch is the fencing epoch that the agent said.
func (l *Link) Epoch() uint64 { return l.hello.Epoch }

// Call calls the agent. The error is a *Failure.
func (l *Link) Call(ctx context.Context, r *Request) (json.RawMessage, error) {
	return l.do(ctx, r, nil)
}

// Stream calls a method that sends data, and writes that to w as it comes. An
// error of w ends the call. The reply is what comes after the data.
func (l *Link) Stream(ctx context.Context, r *Request, w io.Writer) (json.RawMessage, error) {
	return l.do(ctx, r, w)
}

func (l *Link) do(ctx context.Context, r *Request, w io.Writer) (json.RawMessage, error) {
	m := Lookup(r.Method)
	if m == nil {
		return nil, &Failure{Outcome: Unsupported, Help: fmt.Sprintf("no method %s is known: see the list of methods", r.Method)}
	}
	if (m.Class == Stream) != (w != nil) {
		return nil, &Failure{Outcome: Unsupported, Help: fmt.Sprintf("%s is of the class %s: call it as such", m.Name, m.Class)}
	}
	if f := l.fits(m, r); f != nil {
		return nil, f
	}
	if len(r.Body) == 0 && r.Body != nil {
		r = &Request{r.Method, nil, r.Revision, r.Trace, r.Caller, r.Hops}
	}
	if !l.begin() {
		return nil, notSent(nil)
	}
	defer l.end()
	reply, f := l.exchange(ctx, m, r, w)
	if f != nil {
		return nil, f
	}
	return reply, nil
}

// fits checks before sending what the agent said of itself.
func (l *Link) fits(m *Method, r *Request) *Failure {
	limit := l.hello.MaxMessage
	if limit <= 0 {
		limit = DefaultMaxMessage
	}
	if len(r.Body) > limit {
		return &Failure{Outcome: Refused, Kind: User, Help: fmt.Sprintf("the argument has %d bytes, the node takes at most %d", len(r.Body), limit)}
	}
	if len(r.Body) > 0 && !json.Valid(r.Body) {
		return &Failure{Outcome: Refused, Kind: User, Help: "the argument is not JSON"}
	}
	return l.adapter.check(&l.hello, m, r)
}

// begin counts a call that runs, unless the link takes no more.
func (l *Link) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return false
	}
	l.active++
	return true
}

func (l *Link) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active--
}

func notSent(cause error) *Failure {
	f := &Failure{Outcome: NotSent, Help: "the link to the node broke before the call was sent: try again"}
	if cause != nil {
		f.Text = cause.Error()
	}
	return f
}

// exchange makes a call on a stream of its own.
func (l *Link) exchange(ctx context.Context, m *Method, r *Request, w io.Writer) (json.RawMessage, *Failure) {
	var left time.Duration
	if deadline, ok := ctx.Deadline(); ok {
		left = max(time.Millisecond, time.Until(deadline))
	}
	payload, err := l.adapter.encode(m, r, left)
	if err != nil {
		return nil, &Failure{Outcome: Refused, Kind: User, Help: "the argument cannot be encoded", Text: err.Error()}
	}
	conn, err := l.session.Open(ctx)
	switch {
	case ctx.Err() != nil:
		if err == nil {
			_ = conn.Close()
		}
		return nil, late(ctx)
	case err != nil:
		return nil, notSent(err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := writeFrame(conn, frameCall, payload); err != nil {
		return nil, l.broken(ctx, err)
	}
	return l.await(ctx, conn, w)
}

// await reads what the agent sends until the end of the call.
func (l *Link) await(ctx context.Context, conn net.Conn, w io.Writer) (json.RawMessage, *Failure) {
	for {
		t, b, err := readFrame(conn, l.welcome.MaxMessage+maxControl)
		if err == nil && t == frameData && w != nil {
			if _, err := w.Write(b); err != nil {
				return nil, callerGone(err)
			}
			continue
		}
		var reply json.RawMessage
		var f *Failure
		if err == nil {
			reply, f, err = l.adapter.decode(t, b)
		}
		if err != nil {
			return nil, l.broken(ctx, err)
		}
		l.understood()
		return reply, f
	}
}

// maxGarbage undecodable replies in a row end a link.
const maxGarbage = 3

func (l *Link) understood() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.garbage = 0
}

// broken returns the failure of a call that was sent and has no proper end.
func (l *Link) broken(ctx context.Context, err error) *Failure {
	if ctx.Err() != nil {
		return late(ctx)
	}
	if errors.As(err, new(garbage)) {
		l.mu.Lock()
		l.garbage++
		drop := l.garbage >= maxGarbage
		l.mu.Unlock()
		if drop {
			l.Close(&Refusal{Reason: Malformed, Help: "three replies in a row could not be understood"})
		}
		return &Failure{Outcome: Undecodable, Help: "the node answered what this server does not understand: compare the versions of both", Text: err.Error()}
	}
	what := "the call broke off"
	select {
	case <-l.session.Done():
		what = "the link to the node broke"
	default:
	}
	return &Failure{Outcome: MayHaveRun, Help: what + " before the answer came: the call may have run", Text: err.Error()}
}

// Close lets the agent go with a reason, and ends the calls that run.
func (l *Link) Close(why *Refusal) {
	l.mu.Lock()
	first := l.stopLocked(why)
	l.mu.Unlock()
	l.goodbye(why, first)
}

// stopLocked takes no more calls and reports whether that is new; the caller
// holds mu.
func (l *Link) stopLocked(why error) bool {
	if l.closing {
		return false
	}
	l.closing, l.reason = true, why
	return true
}

func (l *Link) goodbye(why *Refusal, say bool) {
	if say {
		_ = writeJSON(l.control, frameRefusal, why, leaveTimeout)
	}
	_ = l.session.Close()
}

// closeIdle closes the link if no call runs over it, and reports whether it did.
func (l *Link) closeIdle(why *Refusal) bool {
	l.mu.Lock()
	idle := l.active == 0 && l.stopLocked(why)
	l.mu.Unlock()
	if idle {
		l.goodbye(why, true)
	}
	return idle
}

// Done is closed when the link has ended.
func (l *Link) Done() <-chan struct{} { return l.session.Done() }
