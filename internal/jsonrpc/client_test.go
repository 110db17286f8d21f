package jsonrpc

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/cairn-project/cairn/internal/errs"
)

func mustClient(t *testing.T, s *Server) *Client {
	t.Helper()
	c := &Client{Path: startSocket(t, s, DefaultSocketConfig())}
	t.Cleanup(c.Close)
	return c
}

func TestClientCalls(t *testing.T) {
	ctx := context.Background()
	c := mustClient(t, testServer(t))
	var n int
	if err := c.Call(ctx, "subtract", map[string]int{"minuend": 42, "subtrahend": 23}, &n); err != nil || n != 19 {
		t.Errorf("%d %v", n, err)
	}
	if err := c.Notify(ctx, "update", nil); err != nil {
		t.Error(err)
	}
	if err := c.Call(ctx, "count_notes", nil, &n); err != nil || n != 1 {
		t.Errorf("%d %v", n, err)
	}
	var e *Error
	if err := c.Call(ctx, "subtract", []int{1}, &n); !errors.As(err, &e) || e.Code != CodeInvalidParams || !errors.Is(err, errs.Invalid) {
		t.Error(err)
	}
	if err := c.Call(ctx, "grand", nil, &n); !errors.Is(err, errs.Internal) || !strings.Contains(err.Error(), "result of grand") {
		t.Error(err)
	}
	if err := c.Call(ctx, "echo", func() {}, nil); !errors.Is(err, errs.Invalid) {
		t.Error(err)
	}
	if err := c.Call(ctx, "echo", 5, nil); !errors.Is(err, errs.Invalid) {
		t.Error(err)
	}
}

func TestClientBatch(t *testing.T) {
	ctx := context.Background()
	c := mustClient(t, testServer(t))
	var first, notes int
	calls := []*BatchCall{
		{Method: "sum", Params: []int{1, 2}, Result: &first},
		{Method: "nope"},
		{Method: "update", Notify: true},
		{Method: "count_notes", Result: &notes},
	}
	if err := c.Batch(ctx, calls...); err != nil {
		t.Fatal(err)
	}
	if first != 3 || notes != 1 || calls[0].Err != nil || calls[2].Err != nil || !errors.Is(calls[1].Err, errs.Unsupported) {
		t.Errorf("%d %d %v", first, notes, calls[1].Err)
	}
	if err := c.Batch(ctx, &BatchCall{Method: "update", Notify: true}); err != nil {
		t.Error(err)
	}
	if err := c.Batch(ctx); err != nil {
		t.Error(err)
	}
	many := make([]*BatchCall, 1001)
	for i := range many {
		many[i] = &BatchCall{Method: "noop"}
	}
	if err := c.Batch(ctx, many...); !errors.Is(err, errs.TooLarge) {
		t.Error(err)
	}
}

func TestClientRaw(t *testing.T) {
	ctx := context.Background()
	c := mustClient(t, testServer(t))
	for msg, want := range map[string]string{
		ping7: pong7 + "\n", ping7 + ping7: pong7 + "\n" + pong7 + "\n", `{"jsonrpc":"2.0","method":"update"}`: "",
	} {
		if got, err := c.Raw(ctx, []byte(msg)); err != nil || string(got) != want {
			t.Errorf("%s: %q %v", msg, got, err)
		}
	}
	many := strings.Repeat(`{"jsonrpc":"2.0","method":"echo","params":["`+strings.Repeat("x", 10_000)+`"],"id":1}`, 500)
	if got, err := c.Raw(ctx, []byte(many)); err != nil || strings.Count(string(got), "\n") != 500 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	big := `{"a":"` + strings.Repeat("x", 8<<20)
	if got, err := c.Raw(ctx, []byte(big)); err != nil || !strings.Contains(string(got), "-32001") {
		t.Errorf("%q %v", got, err)
	}
}

func TestClientSendsItsToken(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Authorizer = tokens("right")
	s := mustServer(t, cfg)
	mustRegister(t, s, Method{Name: "restricted", Privileged: true, Handler: always("granted", nil)})
	c := mustClient(t, s)
	c.Token = "right"
	if err := c.Call(context.Background(), "restricted", nil, nil); err != nil {
		t.Error(err)
	}
}

func TestClientThatStopsWaitingEndsTheCall(t *testing.T) {
	s := testServer(t)
	began, ended, _ := blocking(t, s)
	c := mustClient(t, s)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-began
		cancel()
	}()
	var e *errs.Error
	if err := c.Call(ctx, "block", nil, nil); !errors.As(err, &e) || e.Code != errs.Deadline || e.Executed != errs.ExecutedUnknown || !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := c.Call(context.Background(), "noop", nil, nil); err != nil {
		t.Errorf("the next call: %v", err)
	}
}

func TestClientFromManyGoroutines(t *testing.T) {
	c := mustClient(t, testServer(t))
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			var got []int
			if err := c.Call(context.Background(), "echo", []int{i}, &got); err != nil || got[0] != i {
				t.Errorf("%d: %v %v", i, got, err)
			}
		})
	}
	wg.Wait()
}

func TestClientFindsARestartedServer(t *testing.T) {
	s := testServer(t)
	_, path, stop, done := mustServe(t, s, 0)
	c := &Client{Path: path}
	defer c.Close()
	if err := c.Call(context.Background(), "noop", nil, nil); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	var e *errs.Error
	if err := c.Call(context.Background(), "noop", nil, nil); !errs.NotSent(err) || !errors.As(err, &e) || !strings.Contains(e.Msg, "no agent listens") {
		t.Errorf("while it is down: %v", err)
	}
	cfg := DefaultSocketConfig()
	cfg.Path = path
	sock, err := s.Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stopAgain := context.WithCancel(context.Background())
	again := make(chan error, 1)
	go func() { again <- sock.Serve(ctx) }()
	if err := c.Call(context.Background(), "noop", nil, nil); err != nil {
		t.Errorf("after the restart: %v", err)
	}
	c.Close()
	if err := c.Call(context.Background(), "noop", nil, nil); !errs.NotSent(err) {
		t.Errorf("closed: %v", err)
	}
	stopAgain()
	<-again
}

// TestClientOfAServerThatMisbehaves answers with fixed bytes and closes.
func TestClientOfAServerThatMisbehaves(t *testing.T) {
	for say, want := range map[string]errs.Code{
		"":                                      errs.Unavailable,
		"{":                                     errs.Unavailable,
		"[1]":                                   errs.Unavailable,
		"5 ":                                    errs.Unavailable,
		`{"jsonrpc":"2.0","result":1,"id":999}`: errs.Unavailable,
		`{"jsonrpc":"2.0","error":{"code":5,"message":"x","data":"free form"},"id":1}`:  errs.Internal,
		`{"jsonrpc":"2.0","result":"` + strings.Repeat("x", 2000) + `","id":1}`:         errs.TooLarge,
		`{"jsonrpc":"2.0","error":{"code":-32000,"message":"too many"},"id":null}`:      errs.Busy,
		`{"jsonrpc":"2.0","error":{"code":-32700,"message":"x","data":[{}]},"id":null}`: errs.Invalid,
	} {
		path := filepath.Join(mustShortDir(t), "s")
		l, err := net.Listen("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 4096)
			_, _ = conn.Read(buf)
			_, _ = conn.Write([]byte(say))
			_ = conn.Close()
		}()
		c := &Client{Path: path, MaxAnswer: 1000}
		if err := c.Call(context.Background(), "x", nil, nil); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %s", say, err, want)
		}
		c.Close()
		_ = l.Close()
	}
	if err := (&Client{Path: filepath.Join(os.TempDir(), "no-such-socket")}).Call(context.Background(), "x", nil, nil); !errs.NotSent(err) {
		t.Error(err)
	}
}
