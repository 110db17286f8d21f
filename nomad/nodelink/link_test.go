package nodelink_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/nomadtest"
)

// outcome calls a method and returns how that ended.
func outcome(ctx context.Context, l *nodelink.Link, method string) (nodelink.Outcome, *nodelink.Failure) {
	_, err := l.Call(ctx, &nodelink.Request{Method: method})
	if err == nil {
		return "", nil
	}
	f := new(nodelink.Failure)
	if !errors.As(err, &f) {
		return nodelink.Outcome(err.Error()), nil
	}
	return f.Outcome, f
}

// piped serves handlers over a session in memory, in a bubble.
func piped(t *testing.T, h nodelink.Handlers, change func(*nodelink.HostConfig)) (l *nodelink.Link, far mux.Session, links *nodelink.Links, ended <-chan error) {
	t.Helper()
	host, links := newHost(t, change)
	far, near := nomadtest.Sessions()
	hosted := make(chan struct{})
	go func() { defer close(hosted); host.Serve(context.Background(), near, nodelink.From{Remote: "pipe"}) }()
	done := make(chan error, 1)
	go func() { done <- newAgent(t, h).Serve(context.Background(), far, nil) }()
	synctest.Wait()
	t.Cleanup(func() { far.Close(); <-hosted })
	if l = links.Get("n"); l == nil {
		t.Fatal("no link")
	}
	return l, far, links, done
}

// A slow call delays no other.
func TestSecondCallAnswersFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		l, _, _, _ := piped(t, nodelink.Handlers{
			"Node.Export": func(context.Context, *nodelink.Call) (any, error) { <-release; return "slow", nil },
			"Node.Ping":   func(context.Context, *nodelink.Call) (any, error) { return "fast", nil },
		}, nil)
		slow := make(chan nodelink.Outcome, 1)
		go func() { o, _ := outcome(t.Context(), l, "Node.Export"); slow <- o }()
		synctest.Wait()
		if o, f := outcome(t.Context(), l, "Node.Ping"); o != "" {
			t.Error(f)
		}
		if n := l.Info().Running; n != 1 {
			t.Errorf("%d calls run, want 1", n)
		}
		close(release)
		if o := <-slow; o != "" {
			t.Error(o)
		}
	})
}

// The handler's context ends with the deadline of the call and when the caller
// goes away, and the link stays.
func TestHandlersStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopped := make(chan error, 1)
		l, _, links, _ := piped(t, nodelink.Handlers{
			"Node.Ping": func(ctx context.Context, _ *nodelink.Call) (any, error) {
				<-ctx.Done()
				stopped <- context.Cause(ctx)
				return nil, ctx.Err()
			},
		}, nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if o, _ := outcome(ctx, l, "Node.Ping"); o != nodelink.Late {
			t.Errorf("past the deadline: %q", o)
		}
		cancel()
		<-stopped
		ctx, cancel = context.WithCancel(t.Context())
		go func() { time.Sleep(time.Second); cancel() }()
		if o, _ := outcome(ctx, l, "Node.Ping"); o != nodelink.Late {
			t.Errorf("cancelled: %q", o)
		}
		if why := <-stopped; !strings.Contains(why.Error(), "went away") {
			t.Errorf("the handler stopped because %v", why)
		}
		synctest.Wait()
		if links.Get("n") != l || l.Info().Running != 0 {
			t.Error("the link did not stay, or a call still counts")
		}
	})
}

// When the link breaks, a call that was sent may have run, and one that was not has not.
func TestBrokenLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		runs, told := make(chan struct{}, 10), make(chan struct{})
		l, far, links, ended := piped(t, nodelink.Handlers{
			"Node.Identity": func(ctx context.Context, _ *nodelink.Call) (any, error) {
				runs <- struct{}{}
				<-ctx.Done()
				<-told // an answer that is made meanwhile could still get through
				return nil, ctx.Err()
			},
		}, nil)
		result := make(chan *nodelink.Failure)
		go func() { _, f := outcome(t.Context(), l, "Node.Identity"); result <- f }()
		<-runs
		far.Close()
		f := <-result
		close(told)
		if f == nil || f.Outcome != nodelink.MayHaveRun || f.Again(false) || !f.Again(true) {
			t.Errorf("in flight: %+v", f)
		}
		if <-ended == nil {
			t.Error("the agent served on")
		}
		synctest.Wait()
		if links.Get("n") != nil {
			t.Error("the link is still known")
		}
		if o, f := outcome(t.Context(), l, "Node.Identity"); o != nodelink.NotSent || !f.Again(false) {
			t.Errorf("after the end: %+v", f)
		}
		if len(runs) != 0 {
			t.Error("a call that was not sent ran")
		}
	})
}

// A broken stream is the end of its call only.
func TestBrokenStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := oldAgent(t, func(string) (byte, []byte) { return 0, nil })
		if o, f := outcome(t.Context(), l, "Node.Ping"); o != nodelink.MayHaveRun || !strings.HasPrefix(f.Help, "the call broke off") {
			t.Errorf("%q, %v", o, f)
		}
		select {
		case <-l.Done():
			t.Error("the link ended with the stream")
		default:
		}
	})
}

// A reply that nobody understands is the end of its call, three in a row of the link.
func TestUndecodableReplies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		good := false
		l := oldAgent(t, func(string) (byte, []byte) {
			if good {
				return 7, []byte(`{"Result":null}`)
			}
			return 7, []byte("}{")
		})
		for i := range 5 {
			good = i == 2
			want := nodelink.Undecodable
			if good {
				want = ""
			}
			if o, _ := outcome(t.Context(), l, "Node.Ping"); o != want {
				t.Errorf("call %d: %q, want %q", i, o, want)
			}
		}
		select {
		case <-l.Done():
			t.Fatal("the link ended too early")
		default:
		}
		if o, _ := outcome(t.Context(), l, "Node.Ping"); o != nodelink.Undecodable {
			t.Error(o)
		}
		select {
		case <-l.Done():
		default:
			t.Error("the link outlived three bad replies in a row")
		}
	})
}

// oldAgent serves an agent of version 1 that answers with whatever frame.
func oldAgent(t *testing.T, answer func(method string) (byte, []byte)) *nodelink.Link {
	t.Helper()
	host, links := newHost(t, nil)
	far, near := nomadtest.Sessions()
	hosted := make(chan struct{})
	go func() { defer close(hosted); host.Serve(context.Background(), near, nodelink.From{}) }()
	control, err := far.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, _ := json.Marshal(nomadtest.OldHello(hello()))
	if err := nomadtest.WriteLinkFrame(control, 1, b); err != nil {
		t.Fatal(err)
	}
	if frame, _, err := nomadtest.ReadLinkFrame(control); err != nil || frame != 2 {
		t.Fatal(frame, err)
	}
	go func() {
		for {
			if _, _, err := nomadtest.ReadLinkFrame(control); err != nil {
				return
			}
		}
	}()
	go func() {
		for {
			conn, err := far.Accept()
			if err != nil {
				return
			}
			_, payload, _ := nomadtest.ReadLinkFrame(conn)
			var call struct{ Method string }
			_ = json.Unmarshal(payload, &call)
			if frame, reply := answer(call.Method); frame != 0 {
				_ = nomadtest.WriteLinkFrame(conn, frame, reply)
			}
			conn.Close()
		}
	}()
	t.Cleanup(func() { far.Close(); <-hosted })
	synctest.Wait()
	return links.Get("n")
}

// Above its limits an agent says that it is busy instead of piling calls up.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var runs atomic.Int32
		l, _, _, _ := piped(t, nodelink.Handlers{
			"Node.Identity": func(context.Context, *nodelink.Call) (any, error) { runs.Add(1); <-release; return nil, nil },
			"Node.Ping":     func(context.Context, *nodelink.Call) (any, error) { return nil, nil },
		}, nil)
		limit := nodelink.DefaultLimits().Write
		all := limit.Running + limit.Waiting
		ends := make(chan nodelink.Outcome, all)
		for range all {
			go func() { o, _ := outcome(t.Context(), l, "Node.Identity"); ends <- o }()
		}
		synctest.Wait()
		if _, f := outcome(t.Context(), l, "Node.Identity"); f == nil || f.Kind != nodelink.Busy || f.RetryAfter == 0 || !f.Again(false) {
			t.Errorf("one too many: %+v", f)
		}
		if o, _ := outcome(t.Context(), l, "Node.Ping"); o != "" {
			t.Errorf("writes crowd reads out: %q", o)
		}
		if n := int(runs.Load()); n != limit.Running {
			t.Errorf("%d calls run at once, want %d", n, limit.Running)
		}
		close(release)
		for range all {
			if o := <-ends; o != "" {
				t.Error(o)
			}
		}
	})
}

// What an agent did not announce is refused before anything is sent.
func TestNothingIsSentThatCannotBeServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, _, _ := piped(t, nodelink.Handlers{
			"Node.Apply": func(context.Context, *nodelink.Call) (any, error) { t.Error("it was sent"); return nil, nil },
		}, nil)
		for name, c := range map[string]struct {
			r    nodelink.Request
			want string
		}{
			"method":   {nodelink.Request{Method: "Node.Ping"}, "does not have Node.Ping: upgrade it"},
			"no such":  {nodelink.Request{Method: "Node.Nothing"}, "no method Node.Nothing"},
			"stream":   {nodelink.Request{Method: "Agent.Monitor"}, "class stream"},
			"kind":     {nodelink.Request{Method: "Node.Apply", Body: json.RawMessage(`{"Kind":"fly"}`)}, `does not know the kind "fly"`},
			"revision": {nodelink.Request{Method: "Node.Apply", Body: json.RawMessage(`{"Kind":"drain"}`), Revision: 2}, "has revision 1 of Node.Apply, the call needs 2"},
		} {
			_, err := l.Call(t.Context(), &c.r)
			f := new(nodelink.Failure)
			if !errors.As(err, &f) || f.Outcome != nodelink.Unsupported || !strings.Contains(f.Help, c.want) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, err := l.Call(t.Context(), &nodelink.Request{Method: "Node.Apply", Body: json.RawMessage(`{`)}); err == nil || !strings.Contains(err.Error(), "not JSON") {
			t.Error(err)
		}
	})
}

// A handler that panics fails alone.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _, _, _ := piped(t, nodelink.Handlers{
			"Node.Ping": func(context.Context, *nodelink.Call) (any, error) { panic("ouch") },
		}, nil)
		for range 2 {
			if o, f := outcome(t.Context(), l, "Node.Ping"); o != nodelink.Refused || f.Kind != nodelink.Fault {
				t.Errorf("%+v", f)
			}
		}
	})
}
