package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/proto"

	client "github.com/cairn-project/cairn/drpc"
	"github.com/cairn-project/cairn/drpc/agentpb"
	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
)

// providerSocket serves 511: each call is handed to the channel.
func providerSocket(t *testing.T) (string, chan *agentpb.InvokeRequest) {
	t.Helper()
	calls := make(chan *agentpb.InvokeRequest, 8)
	registry := drpc.NewRegistry()
	err := registry.Register(drpc.Module{ID: 5, Name: "provider", Allow: drpc.PrivilegedPeers, Methods: []drpc.Method{
		{ID: 511, Name: "invoke", Handle: func(_ context.Context, req *drpc.Request) ([]byte, error) {
			in := &agentpb.InvokeRequest{}
			if err := proto.Unmarshal(req.Body, in); err != nil {
				return nil, err
			}
			calls <- in
			return nil, nil
		}}}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := drpc.DefaultConfig()
	cfg.Path, cfg.Mode, cfg.Logger, cfg.Grace = t.TempDir()+"/p.sock", 0o600, hclog.NewNullLogger(), 0
	server, err := drpc.Listen(cfg, registry)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return cfg.Path, calls
}

// provided is an agent with an operator node and a provider of two methods.
type provided struct {
	node    *jsonrpc.Server
	agent   *Agent
	session *client.Client
	calls   chan *agentpb.InvokeRequest
	socket  string
}

func newProvided(t *testing.T) *provided {
	t.Helper()
	node, err := jsonrpc.New(jsonrpc.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	p := &provided{node: node, agent: agentWithSockets(t, newFake())}
	p.session = openSockets(t, p.agent)
	p.socket, p.calls = providerSocket(t)
	request := &agentpb.ProviderRequest{Provider: "gpu", Socket: p.socket, Methods: []*agentpb.ProvidedMethod{
		{Name: "gpu_list", Summary: "Lists.", Open: true, ParamsSchemaJson: `{"type":"object"}`, TimeoutMs: 60_000},
		{Name: "admin_gpu_reset", TimeoutMs: 1},
	}}
	if _, err := ask[agentpb.ProviderReply](t, p.session, 501, request); !errors.Is(err, errs.Unavailable) {
		t.Errorf("before there is a node: %v", err)
	}
	p.agent.sockets.providers.node.Store(node)
	mustAsk[agentpb.ProviderReply](t, p.session, 501, request)
	return p
}

// call calls a method of the node and returns its answer, later.
func (p *provided) call(line string) chan string {
	out := make(chan string, 1)
	go func() {
		out <- string(p.node.Handle(context.Background(), jsonrpc.Caller{}, []byte(line)).Body)
	}()
	return out
}

func (p *provided) names() string {
	var out []string
	for _, m := range p.node.Methods() {
		if m.Provider == "gpu" {
			out = append(out, m.Name)
		}
	}
	return strings.Join(out, " ")
}

func TestProvidersAnswerCalls(t *testing.T) {
	p := newProvided(t)
	if got := p.names(); got != "admin_gpu_reset gpu_list" {
		t.Errorf("registered %q", got)
	}
	const line = `{"jsonrpc":"2.0","id":1,"method":"gpu_list","params":{"n":1}}`
	answer := p.call(line)
	in := <-p.calls
	if in.Method != "gpu_list" || in.ParamsJson != `{"n":1}` || in.LeftMs <= 0 || in.LeftMs > 60_000 {
		t.Errorf("%v", in)
	}
	stranger := connect(t, p.agent.sockets.admin)
	if _, err := ask[agentpb.DoneReply](t, stranger, 502, &agentpb.DoneRequest{Operation: in.Operation}); !errors.Is(err, errs.NotFound) {
		t.Errorf("an answer of somebody else: %v", err)
	}
	if _, err := ask[agentpb.DoneReply](t, p.session, 502, &agentpb.DoneRequest{Operation: in.Operation, ResultJson: "{"}); !errors.Is(err, errs.Invalid) {
		t.Errorf("no JSON: %v", err)
	}
	mustAsk[agentpb.DoneReply](t, p.session, 502, &agentpb.DoneRequest{Operation: in.Operation, ResultJson: `["a"]`})
	if got := <-answer; !strings.Contains(got, `"result":["a"]`) {
		t.Errorf("answer %s", got)
	}
	if _, err := ask[agentpb.DoneReply](t, p.session, 502, &agentpb.DoneRequest{Operation: in.Operation}); !errors.Is(err, errs.NotFound) {
		t.Errorf("a second answer: %v", err)
	}
	answer = p.call(line)
	in = <-p.calls
	if _, err := ask[agentpb.FailedReply](t, p.session, 503, &agentpb.FailedRequest{Operation: in.Operation, Text: "x", Code: "odd"}); !errors.Is(err, errs.Invalid) {
		t.Errorf("a class that there is not: %v", err)
	}
	mustAsk[agentpb.FailedReply](t, p.session, 503, &agentpb.FailedRequest{Operation: in.Operation, Text: "no such card", Code: "not_found"})
	var got struct{ Error *jsonrpc.Error }
	if err := json.Unmarshal([]byte(<-answer), &got); err != nil || got.Error == nil || !errors.Is(got.Error, errs.NotFound) {
		t.Errorf("%+v %v", got, err)
	}
}

// TestProvidersComeAndGo: what a provider registered ends with it, and so do its calls.
func TestProvidersComeAndGo(t *testing.T) {
	p := newProvided(t)
	for name, in := range map[string]*agentpb.ProviderRequest{
		"registered already": {Provider: "gpu", Socket: p.socket, Methods: []*agentpb.ProvidedMethod{{Name: "x"}}},
		"a method of others": {Provider: "two", Socket: p.socket, Methods: []*agentpb.ProvidedMethod{{Name: "y"}, {Name: "gpu_list"}}},
		"the agent's name":   {Provider: "cairn", Socket: p.socket, Methods: []*agentpb.ProvidedMethod{{Name: "x"}}},
		"no methods":         {Provider: "two", Socket: p.socket},
		"no socket":          {Provider: "two", Methods: []*agentpb.ProvidedMethod{{Name: "x"}}},
		"a schema that none": {Provider: "two", Socket: p.socket, Methods: []*agentpb.ProvidedMethod{{Name: "x", ParamsSchemaJson: "{"}}},
		"too much time":      {Provider: "two", Socket: p.socket, Methods: []*agentpb.ProvidedMethod{{Name: "x", TimeoutMs: 1 << 30}}},
	} {
		if _, err := ask[agentpb.ProviderReply](t, p.session, 501, in); err == nil {
			t.Errorf("%s: registered", name)
		}
	}
	if got := p.names(); got != "admin_gpu_reset gpu_list" || len(p.node.Methods()) == 0 {
		t.Errorf("after refusals: %q", got)
	}
	if n := mustAsk[agentpb.UnregisterReply](t, p.session, 504, &agentpb.UnregisterRequest{Provider: "gpu"}).Removed; n != 2 || p.names() != "" {
		t.Errorf("removed %d, left %q", n, p.names())
	}
	mustAsk[agentpb.ProviderReply](t, p.session, 501, &agentpb.ProviderRequest{Provider: "gpu", Socket: p.socket,
		Methods: []*agentpb.ProvidedMethod{{Name: "gpu_list", Open: true, TimeoutMs: 60_000}}})
	answer := p.call(`{"jsonrpc":"2.0","id":1,"method":"gpu_list"}`)
	<-p.calls
	if err := p.session.Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-answer; !strings.Contains(got, "went away") {
		t.Errorf("a call whose provider left: %s", got)
	}
	eventually(t, "unregistered", func() bool { return p.names() == "" })
}

// TestProviderThatWasRefusedFirst: what its session registers at the next try ends with
// the session all the same.
func TestProviderThatWasRefusedFirst(t *testing.T) {
	p := newProvided(t)
	second := connect(t, p.agent.sockets.admin)
	refused := &agentpb.ProviderRequest{Provider: "two", Socket: p.socket, Methods: []*agentpb.ProvidedMethod{{Name: "two_list"}, {Name: "gpu_list"}}}
	if _, err := ask[agentpb.ProviderReply](t, second, 501, refused); err == nil {
		t.Fatal("a method of others was registered")
	}
	again := &agentpb.ProviderRequest{Provider: "two", Socket: p.socket, Methods: []*agentpb.ProvidedMethod{{Name: "two_list"}}}
	mustAsk[agentpb.ProviderReply](t, second, 501, again)
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	third := connect(t, p.agent.sockets.admin)
	eventually(t, "the name is free", func() bool {
		_, err := ask[agentpb.ProviderReply](t, third, 501, again)
		return err == nil
	})
}

// TestProvidersThatEndWhileTheyRegister leave nothing behind.
func TestProvidersThatEndWhileTheyRegister(t *testing.T) {
	p := newProvided(t)
	if err := p.session.Close(); err != nil {
		t.Fatal(err)
	}
	schema := `{"type":"object","properties":{"x":{"enum":["` + strings.Repeat(`x","`, 500) + `y"]}}}` // takes its time
	many := &agentpb.ProviderRequest{Provider: "two", Socket: p.socket}
	for i := range maxProvided {
		many.Methods = append(many.Methods, &agentpb.ProvidedMethod{Name: fmt.Sprintf("two_%d", i), ParamsSchemaJson: schema})
	}
	offers := func(name string) bool {
		return slices.ContainsFunc(p.node.Methods(), func(m jsonrpc.Method) bool { return m.Name == name })
	}
	c := connect(t, p.agent.sockets.admin)
	mustAsk[agentpb.ProviderReply](t, c, 501, &agentpb.ProviderRequest{Provider: "one", Socket: p.socket, Methods: []*agentpb.ProvidedMethod{{Name: "one_list"}}})
	var asking sync.WaitGroup
	asking.Go(func() { _, _ = ask[agentpb.ProviderReply](t, c, 501, many) })
	eventually(t, "the first is registered", func() bool { return offers("two_0") })
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	asking.Wait()
	p.agent.sockets.stop() // waits for the handlers
	if offers("one_list") || offers("two_0") || offers(fmt.Sprintf("two_%d", maxProvided-1)) {
		t.Error("methods stay behind")
	}
}
