package drpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
)

// module5 is a registry with one module whose methods are the handlers, from 1 on.
func module5(tb testing.TB, handlers ...Handler) *Registry {
	tb.Helper()
	m := Module{ID: 5, Name: "five", Allow: Anyone}
	for i, h := range handlers {
		m.Methods = append(m.Methods, Method{ID: int32(i + 1), Name: fmt.Sprint("method ", i+1), Handle: h})
	}
	r := NewRegistry()
	mustRegister(tb, r, m)
	return r
}

// gate is a handler that says when it was entered and waits to be let go, or
// for its context.
type gate struct{ entered, release chan struct{} }

func newGate() *gate { return &gate{make(chan struct{}, 100), make(chan struct{})} }

func (g *gate) handle(ctx context.Context, _ *Request) ([]byte, error) {
	g.entered <- struct{}{}
	select {
	case <-g.release:
		return []byte("done"), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// stubborn is gate without an ear for the context.
func (g *gate) stubborn(context.Context, *Request) ([]byte, error) {
	g.entered <- struct{}{}
	<-g.release
	return []byte("late"), nil
}

func mustSend(tb testing.TB, l *Link, c *Call) {
	tb.Helper()
	if err := l.Write(Message{Data: mustEncode(tb, c), Framed: true}, time.Minute); err != nil {
		tb.Fatal(err)
	}
}

func mustRead(tb testing.TB, l *Link) *Response {
	tb.Helper()
	resp, _, err := nextAnswer(l)
	if err != nil {
		tb.Fatal(err)
	}
	return resp
}

func TestSlowCallBlocksNobody(t *testing.T) {
	g := newGate()
	s := start(t, module5(t, g.handle, echo), nil)
	l := connect(t, s.path)
	mustSend(t, l, &Call{Module: 5, Method: 1, Sequence: 1})
	<-g.entered
	for i := range int64(50) {
		if resp := mustAsk(t, l, &Call{Module: 5, Method: 2, Sequence: 2 + i, Body: []byte("x")}, i%2 == 0); resp.Sequence != 2+i || resp.Status != 0 {
			t.Fatalf("fast call %d answered %v", 2+i, resp)
		}
	}
	close(g.release)
	if resp := mustRead(t, l); resp.Sequence != 1 || string(resp.Body) != "done" {
		t.Errorf("slow call answered %v", resp)
	}
}

func TestCallsInFlightAreBounded(t *testing.T) {
	g := newGate()
	s := start(t, module5(t, g.handle), func(c *Config) { c.MaxCalls = 2 })
	l := connect(t, s.path)
	for i := range int64(2) {
		mustSend(t, l, &Call{Module: 5, Method: 1, Sequence: i + 1})
		<-g.entered
	}
	resp := mustAsk(t, l, &Call{Module: 5, Method: 1, Sequence: 3}, true)
	if resp.Sequence != 3 || resp.Status != Status_UNAVAILABLE || !errors.Is(resp.Err(), errs.Busy) {
		t.Errorf("a call too many was answered %v", resp)
	}
	if n := s.Sessions()[0].Calls(); n != 2 {
		t.Errorf("%d calls in flight, want 2", n)
	}
	close(g.release)
	mustRead(t, l)
	mustRead(t, l)
}

// TestAnsweredCallsHaveLeft: who waits for each answer is never told to wait for others.
func TestAnsweredCallsHaveLeft(t *testing.T) {
	s := start(t, NewRegistry(), func(cfg *Config) { cfg.MaxCalls = 1 })
	l := connect(t, s.path)
	for i := range 3000 {
		if resp := mustAsk(t, l, &Call{Sequence: int64(i + 1)}, false); resp.Status != Status_SUCCESS {
			t.Fatalf("call %d: %v", i, resp)
		}
	}
}

func TestBytesInFlightAreBounded(t *testing.T) {
	g := newGate()
	s := start(t, module5(t, g.handle), func(c *Config) { c.MaxMessage = 1000 })
	l := connect(t, s.path)
	busy := 0
	for i := range int64(10) { // of 900 bytes each: 4 fit
		mustSend(t, l, &Call{Module: 5, Method: 1, Sequence: i + 1, Body: pattern(880)})
		if i < 4 {
			<-g.entered
			continue
		}
		if resp := mustRead(t, l); errors.Is(resp.Err(), errs.Busy) {
			busy++
		}
	}
	if busy != 6 {
		t.Errorf("%d calls of 10 were refused, want 6", busy)
	}
	close(g.release)
	for range 4 {
		mustRead(t, l)
	}
}

func TestSessionsPerUIDAreLimited(t *testing.T) {
	closed := make(chan *Session, 10)
	s := start(t, NewRegistry(), func(c *Config) {
		c.MaxSessionsPerUID = 2
		c.Closed = func(s *Session) { closed <- s }
	})
	one, two := connect(t, s.path), connect(t, s.path)
	mustAsk(t, one, &Call{Sequence: 1}, true)
	mustAsk(t, two, &Call{Sequence: 1}, true)
	three := connect(t, s.path)
	resp := mustRead(t, three)
	if resp.Sequence != -1 || resp.Status != Status_UNAVAILABLE || !strings.Contains(resp.Text, "2 sessions") {
		t.Errorf("a session too many was told %v", resp)
	}
	if _, err := three.Read(); !errors.Is(err, io.EOF) {
		t.Errorf("and then got %v, want the end", err)
	}
	one.Close()
	<-closed
	for { // its place is free a moment after the hook
		four := connect(t, s.path)
		if resp, _, err := ask(four, Message{Data: []byte{0x18, 1}}); err == nil && resp.Sequence == 1 {
			return
		}
	}
}

func TestSlowReaderIsCutOff(t *testing.T) {
	closed := make(chan struct{})
	r, err := conformanceRegistry()
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, r, func(c *Config) {
		c.MessageTimeout = 20 * time.Millisecond
		c.Closed = func(*Session) { close(closed) }
	})
	l := connect(t, s.path)
	mustSend(t, l, &Call{Module: 1, Method: 110, Sequence: 1, Body: []byte{0, 0x30, 0, 0}}) // 3 MiB, never read
	<-closed
	if n := len(s.Sessions()); n != 0 {
		t.Errorf("%d sessions, want none", n)
	}
}

func TestSessionHooks(t *testing.T) {
	events := make(chan string, 10)
	g := newGate()
	late := make(chan *Session, 1)
	r := module5(t, func(ctx context.Context, req *Request) ([]byte, error) {
		req.Session.OnClose(func() { events <- "lock released" })
		req.Session.OnClose(func() { panic("a hook of somebody else") })
		late <- req.Session
		return g.handle(ctx, req)
	})
	s := start(t, r, func(c *Config) {
		c.Opened = func(s *Session) { events <- fmt.Sprint("opened ", s.Peer().UID) }
		c.Closed = func(s *Session) { events <- fmt.Sprint("closed ", s.ID()) }
	})
	l := connect(t, s.path)
	mustSend(t, l, &Call{Module: 5, Method: 1, Sequence: 1})
	<-g.entered
	l.Close() // with a call in flight, whose handler only heeds its context
	want := []string{fmt.Sprint("opened ", os.Getuid()), "lock released", "closed 1"}
	var have []string
	for range want {
		have = append(have, <-events)
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Error(diff)
	}
	(<-late).OnClose(func() { events <- "at once" })
	if e := <-events; e != "at once" {
		t.Errorf("a hook on a session that is over: %s", e)
	}
}

// TestHalfClosedSessionEnds: a peer that sends no more is gone, with what it holds.
func TestHalfClosedSessionEnds(t *testing.T) {
	for _, stream := range []bool{false, true} {
		g, released := newGate(), make(chan struct{})
		s := start(t, module5(t, func(ctx context.Context, req *Request) ([]byte, error) {
			req.Session.OnClose(func() { close(released) })
			return g.handle(ctx, req)
		}), func(c *Config) { c.Stream = stream })
		l := connect(t, s.path)
		mustSend(t, l, &Call{Module: 5, Method: 1, Sequence: 1})
		<-g.entered
		if err := l.conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		<-released
		_, _, err := nextAnswer(l)
		if err == nil { // the handler was cancelled before the connection was closed
			_, _, err = nextAnswer(l)
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("stream %t: %v, want the end", stream, err)
		}
	}
}

func TestDeadline(t *testing.T) {
	g := newGate()
	s := start(t, module5(t, g.handle, g.stubborn, func(ctx context.Context, _ *Request) ([]byte, error) {
		at, ok := ctx.Deadline()
		return fmt.Append(nil, ok && time.Until(at) <= time.Hour), nil
	}), nil)
	l := connect(t, s.path)
	for method := range int32(2) { // with and without an ear for the context
		resp := mustAsk(t, l, &Call{Module: 5, Method: method + 1, Sequence: 7, TimeoutMs: 5}, true)
		if resp.Sequence != 7 || resp.Status != Status_DEADLINE_EXCEEDED || !errors.Is(resp.Err(), errs.Deadline) {
			t.Errorf("method %d answered %v after its time was up", method+1, resp)
		}
	}
	close(g.release)
	// The late end of the second handler is not a second answer.
	if resp := mustAsk(t, l, &Call{Module: 5, Method: 3, Sequence: 8, TimeoutMs: 1 << 62}, true); resp.Sequence != 8 || resp.Status != 0 {
		t.Errorf("the next call was answered %v", resp)
	}
	if resp := mustAsk(t, l, &Call{Module: 5, Method: 3, Sequence: 9, TimeoutMs: 3600_000}, true); string(resp.Body) != "true" {
		t.Errorf("handler sees deadline: %s", resp.Body)
	}
}

func TestShutdownIsGraceful(t *testing.T) {
	g := newGate()
	s := start(t, module5(t, g.handle), func(c *Config) { c.Grace = time.Minute })
	l, idle := connect(t, s.path), connect(t, s.path)
	mustAsk(t, idle, &Call{Sequence: 1}, false)
	mustSend(t, l, &Call{Module: 5, Method: 1, Sequence: 1})
	<-g.entered
	stopped := make(chan error)
	go func() { stopped <- s.stop() }()
	resp := &Response{}
	for resp = mustAsk(t, l, &Call{Sequence: 2}, true); resp.Status == Status_SUCCESS; { // until it has noticed
		resp = mustAsk(t, l, &Call{Sequence: 2}, true)
	}
	if resp.Sequence != 2 || resp.Status != Status_UNAVAILABLE || !strings.Contains(resp.Text, "shutting down") {
		t.Errorf("a call during shutdown was answered %v", resp)
	}
	close(g.release)
	if resp := mustRead(t, l); resp.Sequence != 1 || string(resp.Body) != "done" {
		t.Errorf("the call in flight was answered %v", resp)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	for _, l := range []*Link{l, idle} {
		if _, err := l.Read(); err == nil {
			t.Error("a session outlived its server")
		}
	}
	if _, err := os.Lstat(s.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}
	if again, err := startAt(s.path, NewRegistry(), nil); err != nil {
		t.Error(err)
	} else if err := again.stop(); err != nil {
		t.Error(err)
	}
}

func TestShutdownDoesNotWaitForEver(t *testing.T) {
	g := newGate()
	s := start(t, module5(t, g.handle, g.stubborn), func(c *Config) { c.Grace = time.Millisecond })
	l := connect(t, s.path)
	mustSend(t, l, &Call{Module: 5, Method: 1, Sequence: 1}) // ends with its context
	mustSend(t, l, &Call{Module: 5, Method: 2, Sequence: 2})
	<-g.entered
	<-g.entered
	if err := s.stop(); err == nil || !strings.Contains(err.Error(), "1 calls") {
		t.Errorf("stopped with %v, want an error that counts the call", err)
	}
	close(g.release)
	s.wg.Wait()
}

func TestPeerIsProven(t *testing.T) {
	seen := make(chan Peer, 1)
	r := module5(t, func(_ context.Context, req *Request) ([]byte, error) {
		seen <- req.Peer
		return nil, nil
	})
	s := start(t, r, nil)
	mustAsk(t, connect(t, s.path), &Call{Module: 5, Method: 1}, false)
	want := Peer{Known: true, UID: os.Getuid(), GID: os.Getgid(), PID: os.Getpid(), Privileged: true, Socket: s.path}
	if diff := cmp.Diff(want, <-seen); diff != "" {
		t.Error(diff)
	}
}

func TestPrivilegedMethodOfAnOpenModule(t *testing.T) {
	r := NewRegistry()
	mustRegister(t, r, Module{ID: 5, Name: "five", Allow: KnownPeers, Methods: []Method{
		{ID: 501, Name: "open", Handle: echo}, {ID: 502, Name: "shut", Privileged: true, Handle: echo}}})
	for _, privileged := range []bool{false, true} {
		s := start(t, r, func(c *Config) { c.Privileged = func(Peer) bool { return privileged } })
		l := connect(t, s.path)
		if resp := mustAsk(t, l, &Call{Module: 5, Method: 501, Sequence: 1}, false); resp.Status != 0 {
			t.Errorf("open method: %v", resp)
		}
		resp := mustAsk(t, l, &Call{Module: 5, Method: 502, Sequence: 2}, false)
		if denied := resp.Status == Status_PERMISSION_DENIED; denied == privileged {
			t.Errorf("privileged %v: answered %v", privileged, resp)
		}
	}
}

func TestErrorsArriveAsTheyWere(t *testing.T) {
	next := make(chan error, 1)
	s := start(t, module5(t, func(context.Context, *Request) ([]byte, error) { return []byte("x"), <-next }), nil)
	l := connect(t, s.path)
	for _, code := range errs.Codes() {
		sent := errs.New(code, "text with \xff in it").WithRetryAfter(1500*time.Millisecond).
			WithErrata(errs.Erratum{Field: "a.b", Msg: "wrong"}, errs.Erratum{Msg: "also wrong"})
		sent.Executed = errs.ExecutedUnknown
		next <- fmt.Errorf("wrapped: %w", sent)
		resp := mustAsk(t, l, &Call{Module: 5, Method: 1, Sequence: 1}, true)
		if want := Status(code.Surface().DRPC); resp.Status != want || len(resp.Body) != 0 {
			t.Errorf("%s: status %v with body %q, want %v with none", code, resp.Status, resp.Body, want)
		}
		want := *sent
		want.Msg = "wrapped: text with  in it"
		if diff := cmp.Diff(&want, resp.Err(), cmpopts.IgnoreUnexported(errs.Error{})); diff != "" {
			t.Errorf("%s: %s", code, diff)
		}
	}
}

func TestUncodedErrorsStayLocal(t *testing.T) {
	s := start(t, module5(t, ends(nil, errors.New("secret path")), func(context.Context, *Request) ([]byte, error) { panic("secret") }), nil)
	l := connect(t, s.path)
	for method := range int32(2) {
		resp := mustAsk(t, l, &Call{Module: 5, Method: method + 1, Sequence: 9}, true)
		if resp.Status != Status_FAILURE || strings.Contains(resp.Text, "secret") || !strings.Contains(resp.Text, "request 1/9") {
			t.Errorf("method %d answered %v", method+1, resp)
		}
	}
}

func TestSubmittedCarriesItsOperation(t *testing.T) {
	s := start(t, module5(t, ends([]byte("dropped"), Submitted("op-7"))), nil)
	resp := mustAsk(t, connect(t, s.path), &Call{Module: 5, Method: 1, Sequence: 1}, true)
	if resp.Status != Status_SUBMITTED || resp.Operation != "op-7" || len(resp.Body) != 0 || resp.Err() != nil {
		t.Errorf("answered %v", resp)
	}
}

func TestAnswersComeInKind(t *testing.T) {
	r, err := conformanceRegistry()
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, r, nil)
	l := connect(t, s.path)
	long := &Call{Module: 1, Method: 110, Sequence: 1, Body: []byte{0, 2, 0, 1}} // 131073 letters
	if resp := mustAsk(t, l, long, false); resp.Status != Status_TOO_LARGE || resp.Sequence != 1 || !strings.Contains(resp.Text, "frame") {
		t.Errorf("a plain call with a long answer: %v", resp)
	}
	if resp := mustAsk(t, l, long, true); !bytes.Equal(resp.Body, pattern(131073)) {
		t.Errorf("a framed call has %d bytes of answer", len(resp.Body))
	}
	if resp := mustAsk(t, l, &Call{Module: 1, Method: 110, Sequence: 2, Body: []byte{0, 0x40, 0, 0}}, true); resp.Status != Status_TOO_LARGE {
		t.Errorf("an answer above the limit: %v", resp.Status)
	}
	for _, framed := range []bool{false, true} {
		mustSendKind(t, l, framed)
		if got, err := l.Read(); err != nil || got.Framed != framed {
			t.Errorf("framed %v was answered framed %v, %v", framed, got.Framed, err)
		}
	}
}

func mustSendKind(tb testing.TB, l *Link, framed bool) {
	tb.Helper()
	if err := l.Write(Message{Data: []byte{0x18, 1}, Framed: framed}, time.Minute); err != nil {
		tb.Fatal(err)
	}
}

func TestPacketThatIsTooLong(t *testing.T) {
	for _, stream := range []bool{false, true} {
		s := start(t, NewRegistry(), func(c *Config) { c.Stream = stream })
		l := connect(t, s.path)
		if err := l.packets.write(append([]byte{0x22}, pattern(MaxPacket)...)); err != nil {
			t.Fatal(err)
		}
		if resp := mustRead(t, l); resp.Sequence != -1 || resp.Status != Status_TOO_LARGE {
			t.Errorf("stream %v: a plain packet too long was answered %v", stream, resp)
		}
		if resp := mustAsk(t, l, &Call{Sequence: 4}, false); resp.Sequence != 4 || resp.Status != 0 {
			t.Errorf("stream %v: and the next %v", stream, resp)
		}
		if err := l.packets.write(make([]byte, MaxPacket+1)); err != nil {
			t.Fatal(err)
		}
		if resp := mustRead(t, l); resp.Sequence != -1 || !strings.HasPrefix(resp.Text, string(ChunkTooBig)) {
			t.Errorf("stream %v: a frame too long was answered %v", stream, resp)
		}
		if _, err := l.Read(); !errors.Is(err, io.EOF) {
			t.Errorf("stream %v: and then %v, want the end", stream, err)
		}
	}
}

func TestStreamVariant(t *testing.T) {
	r, err := conformanceRegistry()
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, r, func(c *Config) { c.Stream = true })
	l := connect(t, s.path)
	for i, n := range []int{0, 1, 130_000, 1 << 20} {
		resp := mustAsk(t, l, &Call{Module: 1, Method: 101, Sequence: int64(i), Body: pattern(n)}, n > 130_000)
		if resp.Status != 0 || !bytes.Equal(resp.Body, pattern(n)) {
			t.Errorf("%d bytes came back as %d, %v", n, len(resp.Body), resp.Status)
		}
	}
	if resp, _, err := ask(l, Message{}); err != nil || string(resp.Body) != "\n\x06Hello " {
		t.Errorf("an empty packet was answered %v, %v", resp, err)
	}
	if p := s.Sessions()[0].Peer(); p.UID != os.Getuid() {
		t.Errorf("the peer is %v", p)
	}
}

func TestClassicCallBetweenFrames(t *testing.T) {
	s := start(t, module5(t, echo), nil)
	l := connect(t, s.path)
	long := mustEncode(t, &Call{Module: 5, Method: 1, Sequence: 1, Body: pattern(ChunkCapacity)})
	if err := l.packets.write(frameAt(nil, long, 0)); err != nil {
		t.Fatal(err)
	}
	if resp := mustAsk(t, l, &Call{Sequence: 2}, false); resp.Sequence != 2 || resp.Status != 0 {
		t.Errorf("between two frames: %v", resp)
	}
	if err := l.packets.write(frameAt(nil, long, 1)); err != nil {
		t.Fatal(err)
	}
	if resp := mustRead(t, l); resp.Sequence != 1 || len(resp.Body) != ChunkCapacity {
		t.Errorf("the long call: sequence %d with %d bytes", resp.Sequence, len(resp.Body))
	}
}

func TestObserve(t *testing.T) {
	stats := make(chan Stat, 3)
	s := start(t, module5(t, echo), func(c *Config) { c.Observe = func(st Stat) { stats <- st } })
	l := connect(t, s.path)
	next := func(want Stat) {
		t.Helper()
		if diff := cmp.Diff(want, <-stats, cmpopts.IgnoreFields(Stat{}, "Took", "Peer")); diff != "" {
			t.Error(diff)
		}
	}
	mustAsk(t, l, &Call{Module: 5, Method: 1, Sequence: 1}, true)
	next(Stat{Module: 5, Method: 1})
	mustAsk(t, l, &Call{Module: 5, Method: 2, Sequence: 2}, true)
	next(Stat{Module: 5, Method: 2, Status: Status_UNKNOWN_METHOD})
	if _, _, err := ask(l, Message{Data: []byte{8}}); err != nil {
		t.Fatal(err)
	}
	next(Stat{Status: Status_FAILED_UNMARSHAL_CALL})
}

func TestManySessionsAndCalls(t *testing.T) {
	s := start(t, module5(t, echo), nil)
	var wg sync.WaitGroup
	for range 8 {
		l := connect(t, s.path)
		wg.Go(func() {
			for i := range int64(40) {
				mustSend(t, l, &Call{Module: 5, Method: 1, Sequence: i, Body: pattern(int(i) * 5000)})
			}
		})
		wg.Go(func() {
			for range 40 {
				if resp, _, err := nextAnswer(l); err != nil || !bytes.Equal(resp.Body, pattern(int(resp.Sequence)*5000)) {
					t.Errorf("answer %v with %d bytes: %v", resp.GetSequence(), len(resp.GetBody()), err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestRegister(t *testing.T) {
	r := NewRegistry()
	ok := Module{ID: 5, Name: "five", Allow: Anyone, Methods: []Method{{ID: 501, Name: "m", Handle: echo}}}
	for _, id := range []int32{-1, 7, 255, 1} {
		m := ok
		m.ID = id
		mustRegister(t, r, m)
	}
	for name, c := range map[string]struct {
		change func(*Module)
		want   string
	}{
		"taken":      {func(m *Module) { m.ID = 7 }, `taken by module "five"`},
		"zero":       {func(m *Module) { m.ID = 0 }, `taken by module "test"`},
		"no policy":  {func(m *Module) { m.Allow = nil }, "which peers"},
		"no name":    {func(m *Module) { m.Name = "" }, "needs a name"},
		"no handler": {func(m *Module) { m.Methods = []Method{{ID: 1, Name: "m"}} }, "a handler"},
		"twice":      {func(m *Module) { m.Methods = append(m.Methods, m.Methods[0]) }, "another method"},
	} {
		m := ok
		c.change(&m)
		if err := r.Register(m); !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	var ids []int32
	for _, m := range r.Modules() {
		ids = append(ids, m.ID)
	}
	if diff := cmp.Diff([]int32{-1, 0, 1, 7, 255}, ids); diff != "" {
		t.Error(diff)
	}
}

// TestAcceptIsTriedAgain: a listener that fails for a while is said in the log and
// takes connections again afterwards.
func TestAcceptIsTriedAgain(t *testing.T) {
	said := make(chan string, 8)
	s := start(t, NewRegistry(), func(cfg *Config) {
		cfg.Logger = hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: writerFunc(func(line string) {
			select {
			case said <- line:
			default:
			}
		})})
	})
	if err := s.socket.listener.SetDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if line := <-said; !strings.Contains(line, "cannot accept a connection") {
		t.Errorf("said %q", line)
	}
	if err := s.socket.listener.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	mustAsk(t, connect(t, s.path), &Call{Sequence: 1}, false)
}

type writerFunc func(line string)

func (f writerFunc) Write(p []byte) (int, error) {
	f(string(p))
	return len(p), nil
}
