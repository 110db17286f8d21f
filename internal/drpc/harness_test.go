package drpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	_ "github.com/cairn-project/cairn/internal/testenv"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// socketDir makes a directory with a short path.
func socketDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "drpc")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func testConfig(path string) Config {
	cfg := DefaultConfig()
	cfg.Path, cfg.Mode, cfg.Logger = path, 0o600, hclog.NewNullLogger()
	return cfg
}

// running is a server in its goroutine.
type running struct {
	*Server
	path string
	stop func() error // ends it and returns what Serve returned
}

// start runs a server on a fresh socket; change may be nil.
func start(tb testing.TB, r *Registry, change func(*Config)) *running {
	tb.Helper()
	path := filepath.Join(socketDir(tb), "s")
	out, err := startAt(path, r, change)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = out.stop() })
	return out
}

func startAt(path string, r *Registry, change func(*Config)) (*running, error) {
	cfg := testConfig(path)
	if change != nil {
		change(&cfg)
	}
	s, err := Listen(cfg, r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var served error
	go func() {
		defer close(done)
		served = s.Serve(ctx)
	}()
	return &running{Server: s, path: path, stop: func() error {
		cancel()
		<-done
		return served
	}}, nil
}

// connect opens a link to a server.
func connect(tb testing.TB, path string) *Link {
	tb.Helper()
	l, err := Dial(context.Background(), path, DefaultMaxMessage)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = l.Close() })
	return l
}

// ask sends a message and returns the next answer.
func ask(l *Link, msg Message) (*Response, []byte, error) {
	if _, err := l.WriteContext(context.Background(), msg); err != nil {
		return nil, nil, err
	}
	return nextAnswer(l)
}

func nextAnswer(l *Link) (*Response, []byte, error) {
	got, err := l.Read()
	if err != nil {
		return nil, nil, err
	}
	resp := new(Response)
	return resp, got.Data, proto.Unmarshal(got.Data, resp)
}

func mustAsk(tb testing.TB, l *Link, c *Call, framed bool) *Response {
	tb.Helper()
	resp, _, err := ask(l, Message{Data: mustEncode(tb, c), Framed: framed})
	if err != nil {
		tb.Fatalf("call %d/%d: %v", c.Module, c.Method, err)
	}
	return resp
}

func mustEncode(tb testing.TB, m proto.Message) []byte {
	tb.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func mustRegister(tb testing.TB, r *Registry, m Module) {
	tb.Helper()
	if err := r.Register(m); err != nil {
		tb.Fatal(err)
	}
}

// pattern returns n letters, a to z and again.
func pattern(n int) []byte {
	return bytes.Repeat([]byte("abcdefghijklmnopqrstuvwxyz"), n/26+1)[:n]
}

func echo(_ context.Context, r *Request) ([]byte, error) { return r.Body, nil }

func ends(body []byte, err error) Handler {
	return func(context.Context, *Request) ([]byte, error) { return body, err }
}

// conformanceRegistry holds the modules that the cases of the data files call.
func conformanceRegistry() (*Registry, error) {
	r := NewRegistry()
	one := Module{ID: 1, Name: "cases", Allow: Anyone, Methods: []Method{
		{ID: 101, Name: "echo", Handle: echo},
		{ID: 102, Name: "nothing", Handle: ends(nil, nil)},
		{ID: 103, Name: "plain error", Handle: ends(nil, errors.New("the disk is on fire"))},
		{ID: 104, Name: "failure", Handle: ends(nil, Fail(Status_FAILURE, "the pump is stuck"))},
		{ID: 105, Name: "bad payload", Handle: ends(nil, Fail(Status_FAILED_UNMARSHAL_PAYLOAD, ""))},
		{ID: 106, Name: "bad answer", Handle: ends(nil, Fail(Status_FAILED_MARSHAL, ""))},
		{ID: 107, Name: "panic", Handle: func(context.Context, *Request) ([]byte, error) { panic("on purpose") }},
		{ID: 108, Name: "submitted", Handle: ends(nil, Submitted("op-1"))},
		{ID: 109, Name: "body and error", Handle: ends([]byte("body"), errors.New("and error"))},
		{ID: 110, Name: "letters", Handle: letters},
	}}
	minus := Module{ID: -1, Name: "minus one", Allow: Anyone, Methods: []Method{{ID: 1, Name: "echo", Handle: echo}}}
	seven := Module{ID: 7, Name: "seven", Allow: PrivilegedPeers, Methods: []Method{{ID: 1, Name: "echo", Handle: echo}}}
	return r, errors.Join(r.Register(one), r.Register(minus), r.Register(seven))
}

func letters(_ context.Context, r *Request) ([]byte, error) {
	if len(r.Body) != 4 {
		return nil, Fail(Status_FAILED_UNMARSHAL_PAYLOAD, fmt.Sprintf("want four bytes, have %d", len(r.Body)))
	}
	n := binary.BigEndian.Uint32(r.Body)
	if n > 64<<20 {
		return nil, Fail(Status_TOO_LARGE, "more letters than anyone reads")
	}
	return pattern(int(n)), nil
}
