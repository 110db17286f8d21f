package drpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-project/cairn/drpc"
	server "github.com/cairn-project/cairn/internal/drpc"
	_ "github.com/cairn-project/cairn/internal/testenv"
)

var background = context.Background()

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "drpc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

// serve runs a server with one module, 5, whose methods are the handlers from 1 on.
func serve(t *testing.T, change func(*server.Config), handlers ...server.Handler) (path string, stop func()) {
	t.Helper()
	m := server.Module{ID: 5, Name: "five", Allow: server.Anyone}
	for i, h := range handlers {
		m.Methods = append(m.Methods, server.Method{ID: int32(i + 1), Name: fmt.Sprint(i + 1), Handle: h})
	}
	r := server.NewRegistry()
	if err := r.Register(m); err != nil {
		t.Fatal(err)
	}
	cfg := server.DefaultConfig()
	cfg.Path, cfg.Mode, cfg.Logger = socketPath(t), 0o600, hclog.NewNullLogger()
	if change != nil {
		change(&cfg)
	}
	s, err := server.Listen(cfg, r)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(background)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(ctx); err != nil {
			t.Error(err)
		}
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return cfg.Path, stop
}

// fake answers each call with the bytes that reply makes of it.
func fake(t *testing.T, reply func(*drpc.Call) []byte) string {
	t.Helper()
	path := socketPath(t)
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			converse(server.NewLink(conn, 1<<20), reply)
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
	return path
}

func converse(link *server.Link, reply func(*drpc.Call) []byte) {
	defer link.Close()
	for {
		msg, err := link.Read()
		if err != nil {
			return
		}
		call := new(drpc.Call)
		if proto.Unmarshal(msg.Data, call) != nil || link.Write(server.Message{Data: reply(call)}, time.Minute) != nil {
			return
		}
	}
}

func connected(t *testing.T, path string, o drpc.Options) *drpc.Client {
	t.Helper()
	c := drpc.NewClient(path, o)
	if err := c.Connect(background); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func echo(_ context.Context, r *server.Request) ([]byte, error) { return r.Body, nil }

// is fails unless err is an *Error of this code that says executed.
func is(t *testing.T, err error, code drpc.Code, executed string) {
	t.Helper()
	var e *drpc.Error
	if !errors.As(err, &e) || !errors.Is(err, code) || string(e.Executed) != executed {
		t.Errorf("error %#v, want %s with executed %q", err, code, executed)
	}
}

func TestConnectAndClose(t *testing.T) {
	path, _ := serve(t, nil, echo)
	c := drpc.NewClient(path, drpc.Options{})
	if c.IsConnected() || c.Path() != path {
		t.Errorf("a new client: connected %v to %s", c.IsConnected(), c.Path())
	}
	if err := c.Close(); err != nil {
		t.Errorf("close before connect: %v", err)
	}
	_, err := c.SendMsg(background, &drpc.Call{})
	is(t, err, drpc.Unavailable, "no")
	cancelled, cancel := context.WithCancel(background)
	cancel()
	is(t, c.Connect(cancelled), drpc.Deadline, "")
	for range 2 { // the second does nothing, so the sequence goes on
		if err := c.Connect(background); err != nil || !c.IsConnected() {
			t.Fatalf("connect: %v", err)
		}
		if _, err := c.SendMsg(background, &drpc.Call{}); err != nil {
			t.Fatal(err)
		}
	}
	if resp, err := c.SendMsg(background, &drpc.Call{}); err != nil || resp.Sequence != 3 {
		t.Errorf("third call: %v, %v", resp, err)
	}
	_, err = c.SendMsg(background, nil)
	is(t, err, drpc.Invalid, "")
	for range 2 {
		if err := c.Close(); err != nil || c.IsConnected() {
			t.Errorf("close: %v", err)
		}
	}
	if err := c.Connect(background); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if resp, err := c.SendMsg(background, &drpc.Call{}); err != nil || resp.Sequence != 1 {
		t.Errorf("first call of a new connection: %v, %v", resp, err)
	}
	is(t, drpc.NewClient(path+"x", drpc.Options{}).Connect(background), drpc.Unavailable, "no")
}

func TestSocketOfAnotherUserIsRefused(t *testing.T) {
	path, _ := serve(t, nil, echo)
	me, other := os.Geteuid(), os.Geteuid()+1
	c := connected(t, path, drpc.Options{Owner: &me})
	if b, err := c.Do(background, 5, 1, []byte("x")); err != nil || string(b) != "x" {
		t.Errorf("our own: %q, %v", b, err)
	}
	is(t, drpc.NewClient(path, drpc.Options{Owner: &other}).Connect(background), drpc.Unavailable, "no")
}

func TestSequenceIsTheClients(t *testing.T) {
	seen := make(chan *drpc.Call, 3)
	c := connected(t, fake(t, func(call *drpc.Call) []byte {
		seen <- call
		b, _ := proto.Marshal(&drpc.Response{Sequence: call.Sequence})
		return b
	}), drpc.Options{})
	for want := range int64(3) {
		call := &drpc.Call{Module: 1, Method: 2, Sequence: 99, Trace: []byte("t")}
		if _, err := c.SendMsg(background, call); err != nil {
			t.Fatal(err)
		}
		if got := <-seen; got.Sequence != want+1 || got.Module != 1 || got.Method != 2 || string(got.Trace) != "t" || got.TimeoutMs != 0 {
			t.Errorf("sent %v", got)
		}
		if call.Sequence != 99 {
			t.Error("the caller's call was changed")
		}
	}
	ctx, cancel := context.WithTimeout(background, time.Hour)
	defer cancel()
	for asked, most := range map[int64]int64{0: 3600_000, 50: 50, 7200_000: 3600_000} {
		if _, err := c.SendMsg(ctx, &drpc.Call{TimeoutMs: asked}); err != nil {
			t.Fatal(err)
		}
		if got := <-seen; got.TimeoutMs < 1 || got.TimeoutMs > most {
			t.Errorf("asked for %d ms within an hour, sent %d", asked, got.TimeoutMs)
		}
	}
}

func TestAnswersOfTheWrongKindEndTheConnection(t *testing.T) {
	encode := func(r *drpc.Response) []byte { b, _ := proto.Marshal(r); return b }
	for name, c := range map[string]struct {
		reply func(*drpc.Call) []byte
		want  string
	}{
		"another sequence": {func(c *drpc.Call) []byte { return encode(&drpc.Response{Sequence: c.Sequence + 1}) }, "not in flight"},
		"no answer":        {func(*drpc.Call) []byte { return []byte("junk") }, "no answer"},
		"a broken frame":   {func(*drpc.Call) []byte { return []byte{8, 0, 0, 0, 7} }, "no answer"},
		"cannot read us":   {func(*drpc.Call) []byte { return encode(&drpc.Response{Sequence: -1, Status: 5, Text: "what?"}) }, "what?"},
	} {
		client := connected(t, fake(t, c.reply), drpc.Options{})
		if _, err := client.SendMsg(background, &drpc.Call{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if client.IsConnected() {
			t.Errorf("%s: still connected", name)
		}
		_, err := client.SendMsg(background, &drpc.Call{})
		var e *drpc.Error
		if !errors.As(err, &e) || e.Executed != "no" {
			t.Errorf("%s: the next call: %v", name, err)
		}
		if err := client.Connect(background); err != nil {
			t.Errorf("%s: connect again: %v", name, err)
		}
	}
}

func TestContextGivesUpOneCall(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{}, 2)
	path, _ := serve(t, nil, echo, func(context.Context, *server.Request) ([]byte, error) {
		entered <- struct{}{}
		<-release
		return []byte("late"), nil
	})
	c := connected(t, path, drpc.Options{MaxCalls: 2})
	ctx, cancel := context.WithCancel(background)
	go func() {
		<-entered
		cancel()
	}()
	_, err := c.Do(ctx, 5, 2, nil)
	is(t, err, drpc.Deadline, "unknown")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v is not the context's error", err)
	}
	if b, err := c.Do(background, 5, 1, []byte("x")); err != nil || string(b) != "x" {
		t.Errorf("the next call: %q, %v", b, err)
	}
	// The call that was given up keeps its place until it is answered.
	other := make(chan error, 1)
	go func() {
		_, err := c.Do(background, 5, 2, nil)
		other <- err
	}()
	<-entered
	short, stop := context.WithTimeout(background, time.Millisecond)
	defer stop()
	_, err = c.Do(short, 5, 1, nil)
	is(t, err, drpc.Deadline, "no")
	close(release)
	if err := <-other; err != nil {
		t.Error(err)
	}
	if b, err := c.Do(background, 5, 1, []byte("y")); err != nil || string(b) != "y" {
		t.Errorf("after the late answer: %q, %v", b, err)
	}
}

func TestServerThatLeaves(t *testing.T) {
	entered := make(chan struct{}, 1)
	path, stop := serve(t, func(c *server.Config) { c.Grace = 0 }, func(ctx context.Context, _ *server.Request) ([]byte, error) {
		entered <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	})
	c := connected(t, path, drpc.Options{})
	go func() {
		<-entered
		stop()
	}()
	_, err := c.Do(background, 5, 1, nil)
	if err == nil {
		t.Fatal("a call outlived its server")
	}
	for c.IsConnected() {
		time.Sleep(time.Millisecond)
	}
	_, err = c.Do(background, 5, 1, nil)
	is(t, err, drpc.Unavailable, "no")
}

func TestRefusedSession(t *testing.T) {
	path, _ := serve(t, func(c *server.Config) { c.MaxSessionsPerUID = 1 }, echo)
	first := connected(t, path, drpc.Options{})
	if _, err := first.Do(background, 5, 1, nil); err != nil {
		t.Fatal(err)
	}
	_, err := connected(t, path, drpc.Options{}).Do(background, 5, 1, nil)
	is(t, err, drpc.Busy, "no")
}

func TestLargeMessages(t *testing.T) {
	path, _ := serve(t, nil, echo)
	body := bytes.Repeat([]byte("0123456789abcdef"), 3<<16) // 3 MiB
	c := connected(t, path, drpc.Options{})
	if b, err := c.Do(background, 5, 1, body); err != nil || !bytes.Equal(b, body) {
		t.Errorf("%d bytes came back as %d, %v", len(body), len(b), err)
	}
	_, err := c.Do(background, 5, 1, make([]byte, 5<<20))
	is(t, err, drpc.TooLarge, "no")
	if b, err := c.Do(background, 5, 1, []byte("x")); err != nil || string(b) != "x" {
		t.Errorf("the next call: %q, %v", b, err)
	}
	classic := connected(t, path, drpc.Options{Classic: true})
	if b, err := classic.Do(background, 5, 1, body[:100_000]); err != nil || !bytes.Equal(b, body[:100_000]) {
		t.Errorf("plain packets: %d bytes, %v", len(b), err)
	}
	_, err = classic.Do(background, 5, 1, body)
	is(t, err, drpc.TooLarge, "no")
}

// TestServerTakesLess: a call that only the server finds too large says so.
func TestServerTakesLess(t *testing.T) {
	path, _ := serve(t, func(c *server.Config) { c.MaxMessage = 1 << 20 }, echo)
	_, err := connected(t, path, drpc.Options{}).Do(background, 5, 1, make([]byte, 2<<20))
	if !errors.Is(err, drpc.TooLarge) {
		t.Errorf("%v, want too large", err)
	}
}

func TestCallsAtTheSameTime(t *testing.T) {
	for _, stream := range []bool{false, true} {
		path, _ := serve(t, func(c *server.Config) {
			c.Stream, c.MaxMessage = stream, 16<<20 // a session holds four times that, more than all of these
		}, echo)
		c := connected(t, path, drpc.Options{})
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				body := bytes.Repeat([]byte{byte(i)}, i*4000)
				if b, err := c.Do(background, 5, 1, body); err != nil || !bytes.Equal(b, body) {
					t.Errorf("call %d: %d bytes, %v", i, len(b), err)
				}
			})
		}
		wg.Wait()
	}
}

func TestErrorsOfTheServer(t *testing.T) {
	path, _ := serve(t, nil, func(context.Context, *server.Request) ([]byte, error) {
		return nil, &drpc.Error{Code: drpc.NotFound, Msg: "no such thing"}
	}, func(context.Context, *server.Request) ([]byte, error) { return nil, server.Submitted("op-3") })
	c := connected(t, path, drpc.Options{})
	_, err := c.Do(background, 5, 1, nil)
	if !errors.Is(err, drpc.NotFound) || err.Error() != "no such thing" {
		t.Errorf("%v", err)
	}
	resp, err := c.SendMsg(background, &drpc.Call{Module: 9})
	if err != nil || resp.Status != drpc.StatusUnknownModule || !errors.Is(resp.Err(), drpc.Unsupported) {
		t.Errorf("%v, %v", resp, err)
	}
	resp, err = c.SendMsg(background, &drpc.Call{Module: 5, Method: 2})
	if err != nil || resp.Status != drpc.StatusSubmitted || resp.Operation != "op-3" {
		t.Errorf("%v, %v", resp, err)
	}
}
