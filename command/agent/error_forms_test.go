package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	client "github.com/cairn-project/cairn/drpc"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// carrier returns an error as it arrives at a caller when a handler returns it.
type carrier struct {
	name  string
	carry func(error) error
}

// carriers are the three protocols that bring errors from handlers to callers inside
// of the product; HTTP is where they end.
func carriers(t *testing.T) []carrier {
	t.Helper()
	var made atomic.Pointer[error] // what the handlers return; what a socket orders, the race detector does not see
	handle := func(_ context.Context, _ json.RawMessage) (any, error) { return nil, *made.Load() }
	over := func(call func() error) func(error) error {
		return func(err error) error {
			made.Store(&err)
			return call()
		}
	}

	operator, err := jsonrpc.New(jsonrpc.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	if err := operator.Register(jsonrpc.Method{Name: "fail", Handler: handle}); err != nil {
		t.Fatal(err)
	}
	conf := jsonrpc.DefaultSocketConfig()
	conf.Path = filepath.Join(t.TempDir(), "rpc.sock")
	socket, err := operator.Listen(conf)
	if err != nil {
		t.Fatal(err)
	}
	caller := &jsonrpc.Client{Path: conf.Path}

	path := filepath.Join(t.TempDir(), "d.sock")
	local, err := client.Listen(path, client.ServerOptions{}, client.Module{ID: 9, Name: "fail", Allow: client.AnyPeer, Methods: []client.Method{
		{ID: 901, Name: "fail", Handle: func(context.Context, *client.Request) ([]byte, error) { return nil, *made.Load() }}}})
	if err != nil {
		t.Fatal(err)
	}
	program := client.NewClient(path, client.Options{})

	links := nodelink.NewLinks()
	host := nodelink.NewHost(nodelink.HostConfig{ServerID: "s", ServerName: "s", Region: "global", Links: links,
		Admit: func(context.Context, *nodelink.Hello) *nodelink.Refusal { return nil }})
	node, err := nodelink.NewAgent(nodelink.AgentConfig{Hello: func() nodelink.Hello {
		return nodelink.Hello{Region: "global", NodeID: nobodysID, Secret: nobodysID, Epoch: 1, Instance: "i", Build: "1"}
	},
		Handlers: nodelink.Handlers{"Node.Ping": func(context.Context, *nodelink.Call) (any, error) { return nil, *made.Load() }}})
	if err != nil {
		t.Fatal(err)
	}
	far, near := nomadtest.Sessions()

	ctx, cancel := context.WithCancel(context.Background())
	up, served := make(chan struct{}), make(chan error, 4)
	go func() { served <- socket.Serve(ctx) }()
	go func() { served <- local.Serve(ctx) }()
	go func() { host.Serve(ctx, near, nodelink.From{}); served <- nil }()
	go func() {
		why := node.Serve(ctx, far, func(nodelink.Welcome) { close(up) })
		select {
		case <-up:
			served <- nil
		default: // never welcomed
			served <- why
			close(up)
		}
	}()
	t.Cleanup(func() {
		cancel()
		caller.Close()
		_ = program.Close()
		_, _ = near.Close(), far.Close()
		for range cap(served) {
			if err := <-served; err != nil {
				t.Error(err)
			}
		}
	})
	<-up
	eventually(t, "the link is held", func() bool { return links.Get(nobodysID) != nil })
	if err := program.Connect(ctx); err != nil {
		t.Fatal(err)
	}
	return []carrier{
		{"JSON-RPC", over(func() error { return caller.Call(ctx, "fail", nil, nil) })},
		{"dRPC", over(func() error {
			_, err := program.Do(ctx, 9, 901, nil)
			return err
		})},
		{"node link", over(func() error {
			call, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			_, err := links.Get(nobodysID).Call(call, &nodelink.Request{Method: "Node.Ping"})
			return err
		})},
	}
}

// arrives returns the code and the parts of an error that have to arrive.
func arrives(err error) (errs.Code, string) {
	e := new(errs.Error)
	if !errors.As(err, &e) {
		return errs.CodeOf(err), "no error of ours: " + err.Error()
	}
	return errs.CodeOf(err), fmt.Sprint(e.Error(), " ", e.Errata, " ", e.RetryAfter, " ", e.Executed)
}

// overHTTP returns an error as the HTTP API shows it, which has one line for people and
// no place for the details.
func overHTTP(w *httptest.ResponseRecorder) *errs.Error {
	seconds, _ := strconv.Atoi(w.Header().Get("Retry-After"))
	return &errs.Error{Code: errs.Code(w.Header().Get("X-Cairn-Error")), Msg: w.Body.String(), RetryAfter: time.Duration(seconds) * time.Second,
		Executed: errs.Executed(w.Header().Get("X-Cairn-Executed"))}
}

// One error has the same class, text and details whichever protocols bring it, and
// each protocol shows it by the number that the one table has for it.
func TestOneErrorHasFourForms(t *testing.T) {
	all := carriers(t)
	f := newFake()
	h := testAPI(t, f)
	for i, code := range errs.Codes() {
		made := errs.New(code, "the disk is full").WithErrata(errs.Erratum{Field: "path", Msg: "too long"}).WithRetryAfter(3 * time.Second)
		made.Executed = []errs.Executed{errs.ExecutedNo, errs.ExecutedYes, errs.ExecutedUnknown, ""}[i%4]
		_, said := arrives(made)
		for _, first := range all {
			once := first.carry(made)
			forms(t, first.name, code, once)
			for _, second := range all {
				twice := second.carry(once)
				if got, text := arrives(twice); got != code || text != said {
					t.Errorf("%s by %s and %s is %s and says %q, want %q", code, first.name, second.name, got, text, said)
				}
				surfaces(t, h, f, code, made, twice)
			}
		}
		surfaces(t, h, f, code, made, made)
	}
}

// surfaces checks how the surfaces show an error that a server returns.
func surfaces(t *testing.T, h *api, f *fakeServer, code errs.Code, made *errs.Error, err error) {
	t.Helper()
	on(f, "Namespace.GetNamespace", func(*structs.NamespaceSpecificRequest, *structs.SingleNamespaceResponse) error { return err })
	w := call(h, "GET", "/v1/namespace/x", "")
	if w.Code != code.Surface().HTTP {
		t.Errorf("%s has status %d, want %d", code, w.Code, code.Surface().HTTP)
	}
	_, want := arrives(&errs.Error{Code: code, Msg: made.Msg, RetryAfter: made.RetryAfter, Executed: made.Executed})
	if got, text := arrives(overHTTP(w)); got != code || text != want {
		t.Errorf("%s is %s over HTTP and says %q, want %q", code, got, text, want)
	}
	_, e := invoke(t, h, "namespace_get", `{"Name":"x"}`)
	if e == nil || e.Code != code.Surface().JSONRPC {
		t.Fatalf("%s is %v in JSON-RPC, want %d", code, e, code.Surface().JSONRPC)
	}
	_, want = arrives(made)
	if got, text := arrives(e); got != code || text != want {
		t.Errorf("%s is %s in JSON-RPC and says %q, want %q", code, got, text, want)
	}
}

// forms checks the number that a protocol shows.
func forms(t *testing.T, protocol string, code errs.Code, err error) {
	t.Helper()
	if e := new(jsonrpc.Error); errors.As(err, &e) && e.Code != code.Surface().JSONRPC {
		t.Errorf("%s is %d in JSON-RPC, want %d", code, e.Code, code.Surface().JSONRPC)
	}
	outcome := nodelink.Refused
	switch code {
	case errs.Deadline:
		outcome = nodelink.Late
	case errs.Unsupported:
		outcome = nodelink.Unsupported
	}
	if e := new(nodelink.Failure); protocol == "node link" && (!errors.As(err, &e) || e.Outcome != outcome) {
		t.Errorf("%s is %+v on a node link, want %s", code, e, outcome)
	}
}

// The statuses of dRPC and the numbers of JSON-RPC of the classes that have one of
// their own, written down once more so that the table cannot change unnoticed.
func TestErrorFormsAreFrozen(t *testing.T) {
	want := map[errs.Code]errs.Transport{
		errs.Invalid: {HTTP: 400, JSONRPC: -32602, DRPC: 6}, errs.NotFound: {HTTP: 404, JSONRPC: 9, Detail: -32010, DRPC: 2},
		errs.Conflict: {HTTP: 409, JSONRPC: 9, Detail: -32011, DRPC: 2}, errs.PreconditionFailed: {HTTP: 400, JSONRPC: 9, Detail: -32014, DRPC: 2},
		errs.PermissionDenied: {HTTP: 403, JSONRPC: 10, Detail: 2, DRPC: 8}, errs.Unauthenticated: {HTTP: 403, JSONRPC: 10, Detail: 1, DRPC: 8},
		errs.TooLarge: {HTTP: 413, JSONRPC: -32001, DRPC: 11}, errs.Busy: {HTTP: 503, JSONRPC: -32000, DRPC: 10}, errs.NoLeader: {HTTP: 500, JSONRPC: -32004, DRPC: 10},
		errs.Unsupported: {HTTP: 501, JSONRPC: -32601, DRPC: 4}, errs.Deadline: {HTTP: 504, JSONRPC: -32003, DRPC: 9},
	}
	for code, form := range want {
		if d := cmp.Diff(form, code.Surface()); d != "" {
			t.Errorf("%s: %s", code, d)
		}
	}
}
