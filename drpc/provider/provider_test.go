package provider

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairn-project/cairn/drpc"
	"github.com/cairn-project/cairn/drpc/agentpb"
	_ "github.com/cairn-project/cairn/internal/testenv"
)

// fakeAgent is the agent's half of the module.
type fakeAgent struct {
	t          *testing.T
	path       string
	registered chan *agentpb.ProviderRequest
	// refuse is what registering is answered with, nil to take it.
	refuse  chan error
	results chan string
	stop    func()
}

func (f *fakeAgent) start() {
	f.t.Helper()
	server, err := drpc.Listen(f.path, drpc.ServerOptions{}, drpc.Module{ID: moduleProvider, Name: "provider", Allow: drpc.PrivilegedPeers, Methods: []drpc.Method{
		{ID: methodRegister, Name: "register", Handle: func(_ context.Context, req *drpc.Request) ([]byte, error) {
			in := &agentpb.ProviderRequest{}
			if err := proto.Unmarshal(req.Body, in); err != nil {
				return nil, err
			}
			select {
			case err := <-f.refuse:
				return nil, err
			default:
			}
			f.registered <- in
			return nil, nil
		}},
		{ID: methodDone, Name: "done", Handle: func(_ context.Context, req *drpc.Request) ([]byte, error) {
			in := &agentpb.DoneRequest{}
			err := proto.Unmarshal(req.Body, in)
			f.results <- in.Operation + " done " + in.ResultJson
			return nil, err
		}},
		{ID: methodFailed, Name: "failed", Handle: func(_ context.Context, req *drpc.Request) ([]byte, error) {
			in := &agentpb.FailedRequest{}
			if err := proto.Unmarshal(req.Body, in); err != nil {
				return nil, err
			}
			if in.Code == string(drpc.Internal) {
				return nil, &drpc.Error{Code: drpc.Invalid, Msg: "no code of a provider"}
			}
			f.results <- in.Operation + " failed " + in.Code + " " + in.Text
			return nil, nil
		}},
	}})
	if err != nil {
		f.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	f.stop = func() {
		cancel()
		if err := <-served; err != nil {
			f.t.Error(err)
		}
	}
}

func newFakeAgent(t *testing.T) *fakeAgent {
	t.Helper()
	f := &fakeAgent{t: t, path: filepath.Join(t.TempDir(), "admin.sock"), registered: make(chan *agentpb.ProviderRequest, 4),
		refuse: make(chan error, 4), results: make(chan string, 4)}
	f.start()
	return f
}

// call passes a call on to the provider, as the agent does.
func call(t *testing.T, socket string, in *agentpb.InvokeRequest) error {
	t.Helper()
	c := drpc.NewClient(socket, drpc.Options{})
	if err := c.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	body, err := proto.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Do(t.Context(), moduleProvider, methodInvoke, body)
	return err
}

func methodsOfTest() []Method {
	return []Method{
		{Name: "gpu_list", Open: true, Timeout: time.Minute, Params: json.RawMessage(`{"type":"object"}`),
			Handle: func(_ context.Context, params json.RawMessage) (any, error) {
				return map[string]any{"asked": params}, nil
			}},
		{Name: "gpu_nothing", Handle: func(context.Context, json.RawMessage) (any, error) { return nil, nil }},
		{Name: "gpu_absent", Handle: func(context.Context, json.RawMessage) (any, error) {
			return nil, &drpc.Error{Code: drpc.NotFound, Msg: "no such card"}
		}},
		{Name: "gpu_odd", Handle: func(context.Context, json.RawMessage) (any, error) {
			return nil, &drpc.Error{Code: drpc.Internal, Msg: "odd"}
		}},
		{Name: "gpu_panics", Handle: func(context.Context, json.RawMessage) (any, error) { panic("oh") }},
		{Name: "gpu_slow", Handle: func(ctx context.Context, _ json.RawMessage) (any, error) { <-ctx.Done(); return nil, ctx.Err() }},
		{Name: "gpu_unfit", Handle: func(context.Context, json.RawMessage) (any, error) { return make(chan int), nil }},
	}
}

func TestProviderAnswersAndComesBack(t *testing.T) {
	f := newFakeAgent(t)
	f.refuse <- &drpc.Error{Code: drpc.Unavailable, Msg: "not ready yet"}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, Config{Name: "gpu", Admin: f.path, Methods: methodsOfTest()}) }()
	got := <-f.registered
	if got.Provider != "gpu" || len(got.Methods) != 7 || !got.Methods[0].Open || got.Methods[0].TimeoutMs != 60000 || got.Methods[0].ParamsSchemaJson != `{"type":"object"}` {
		t.Errorf("registered %v", got)
	}
	for _, tc := range []struct{ method, params, want string }{
		{"gpu_list", `{"a":1.50}`, `op done {"asked":{"a":1.50}}`},
		{"gpu_list", ``, `op done {"asked":null}`},
		{"gpu_nothing", ``, `op done `},
		{"gpu_absent", ``, `op failed not_found no such card`},
		{"gpu_odd", ``, `op failed  odd`},
		{"gpu_panics", ``, `op failed  the handler of gpu_panics panicked: oh`},
		{"gpu_slow", ``, `op failed  context deadline exceeded`},
		{"gpu_unfit", ``, `op failed  json: unsupported type: chan int`},
	} {
		if err := call(t, got.Socket, &agentpb.InvokeRequest{Operation: "op", Method: tc.method, ParamsJson: tc.params, LeftMs: 20}); err != nil {
			t.Errorf("%s: %v", tc.method, err)
			continue
		}
		if result := <-f.results; result != tc.want {
			t.Errorf("%s: %q, want %q", tc.method, result, tc.want)
		}
	}
	if err := call(t, got.Socket, &agentpb.InvokeRequest{Method: "gpu_of_tomorrow"}); !errors.Is(err, drpc.Unsupported) {
		t.Errorf("a method that is not there: %v", err)
	}
	f.stop()
	f.start()
	if again := <-f.registered; again.Socket != got.Socket {
		t.Errorf("after a restart of the agent: %v", again)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	f.stop()
}

func TestProviderThatIsRefused(t *testing.T) {
	f := newFakeAgent(t)
	defer f.stop()
	f.refuse <- &drpc.Error{Code: drpc.Invalid, Msg: "bad schema"}
	err := Run(t.Context(), Config{Name: "gpu", Admin: f.path, Methods: methodsOfTest()})
	if !errors.Is(err, drpc.Invalid) || err.Error() != "bad schema" {
		t.Errorf("refused: %v", err)
	}
	for name, c := range map[string]Config{
		"no name":    {Admin: f.path, Methods: methodsOfTest()},
		"no methods": {Name: "gpu", Admin: f.path},
		"no handler": {Name: "gpu", Admin: f.path, Methods: []Method{{Name: "x"}}},
	} {
		if err := Run(t.Context(), c); !errors.Is(err, drpc.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Run(t.Context(), Config{Name: "gpu", Admin: f.path, Socket: filepath.Join(t.TempDir(), "none", "p.sock"), Methods: methodsOfTest()}); err == nil {
		t.Error("a socket in a directory that is not there was opened")
	}
}
