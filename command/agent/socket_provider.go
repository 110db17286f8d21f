package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-project/cairn/drpc/agentpb"
	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
)

const (
	// maxProvided bounds the methods of a provider, maxProviderCalls its calls in flight.
	maxProvided      = 256
	maxProviderCalls = 64
	// maxProviderTimeout bounds the time that a method may ask for.
	maxProviderTimeout = 10 * time.Minute

	methodProviderInvoke  = 511
	methodProviderMessage = 512
)

var providerName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,63}$`)

// providerErrors are the classes of errors that a provider may give.
var providerErrors = []errs.Code{errs.Invalid, errs.NotFound, errs.Conflict, errs.PermissionDenied, errs.PreconditionFailed,
	errs.TooLarge, errs.RateLimited, errs.Busy, errs.Unavailable, errs.Unsupported}

// providerModule is module 5.
func (s *agentSockets) providerModule() socketModule {
	return socketModule{id: 5, name: "provider", peers: privilegedPeer, methods: []socketMethod{
		socketCall(501, "register", "Adds methods to the operator node, for as long as the session lasts.", s.providers.register),
		socketCall(502, "done", "Answers a call with its result.", s.providers.done),
		socketCall(503, "failed", "Answers a call with an error.", s.providers.failed),
		socketCall(504, "unregister", "Takes the provider's methods away.", s.providers.unregister),
	}}
}

// provider is a program that offers methods of the operator node.
type provider struct {
	name, socket string
	peer         drpc.Peer
	session      *drpc.Session
	gone         chan struct{} // closed when it is unregistered
	calls        int           // in flight; guarded by the mu of the providers
}

// providerCall is one call that a provider has not answered.
type providerCall struct {
	provider *provider
	answer   chan providerAnswer // of capacity 1
}

type providerAnswer struct {
	result json.RawMessage
	err    error
}

// providers are the programs that offer methods, and their calls.
type providers struct {
	// node is the operator node, nil until the agent has one.
	node atomic.Pointer[jsonrpc.Server]
	// changing is held while methods come or go, so that a session that ends meanwhile
	// leaves none behind.
	changing sync.Mutex

	mu      sync.Mutex
	byName  map[string]*provider     // guarded by mu
	calls   map[string]*providerCall // by operation; guarded by mu
	watched map[*drpc.Session]bool   // those whose end is looked out for; guarded by mu
}

func newProviders() *providers {
	return &providers{byName: map[string]*provider{}, calls: map[string]*providerCall{}, watched: map[*drpc.Session]bool{}}
}

// register answers 501.
func (p *providers) register(_ context.Context, req *drpc.Request, in *agentpb.ProviderRequest) (*agentpb.ProviderReply, error) {
	node := p.node.Load()
	if node == nil {
		return nil, errs.New(errs.Unavailable, "the operator node is not ready yet: register again in a moment").WithRetryAfter(time.Second)
	}
	if err := checkProvider(in, req.Peer); err != nil {
		return nil, err
	}
	one := &provider{name: in.Provider, socket: in.Socket, peer: req.Peer, session: req.Session, gone: make(chan struct{})}
	first, err := p.add(node, one, in.Methods)
	if first { // also where a method is refused: the next try may come over the same session
		req.Session.OnClose(func() { p.leave(req.Session) })
	}
	return &agentpb.ProviderReply{}, err
}

// add registers the methods of a provider, all or none. first is true where the end of
// its session is not looked out for yet.
func (p *providers) add(node *jsonrpc.Server, one *provider, methods []*agentpb.ProvidedMethod) (first bool, err error) {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.mu.Lock()
	if p.byName[one.name] != nil {
		p.mu.Unlock()
		return false, errs.Newf(errs.Conflict, "provider %q is registered already: unregister it first", one.name)
	}
	p.byName[one.name] = one
	first = !p.watched[one.session]
	p.watched[one.session] = true
	p.mu.Unlock()
	for _, m := range methods {
		if err := node.Register(p.method(one, m)); err != nil {
			p.remove(one)
			return first, err
		}
	}
	return first, nil
}

func checkProvider(in *agentpb.ProviderRequest, peer drpc.Peer) error {
	timeouts := func(m *agentpb.ProvidedMethod) bool {
		return m.TimeoutMs < 0 || int64(m.TimeoutMs) > maxProviderTimeout.Milliseconds()
	}
	switch {
	case !providerName.MatchString(in.Provider) || in.Provider == jsonrpc.DefaultConfig().Provider:
		return errs.Newf(errs.Invalid, "provider %q: must be 1 to 64 lower case letters, digits, - and _, and not %q", in.Provider, jsonrpc.DefaultConfig().Provider)
	case len(in.Methods) == 0 || len(in.Methods) > maxProvided:
		return errs.Newf(errs.Invalid, "methods: there are %d, 1 to %d are taken", len(in.Methods), maxProvided)
	case in.Socket == "":
		return errs.New(errs.Invalid, "socket: give the path of the socket on which the provider answers")
	case slices.ContainsFunc(in.Methods, timeouts):
		return errs.Newf(errs.Invalid, "timeout_ms: must be from 0 to %d", maxProviderTimeout.Milliseconds())
	}
	return checkWorkloadSocket(in.Socket, peer)
}

// method returns what the operator node registers.
func (p *providers) method(one *provider, m *agentpb.ProvidedMethod) jsonrpc.Method {
	schema := func(text string) json.RawMessage {
		if text == "" {
			return nil
		}
		return json.RawMessage(text)
	}
	return jsonrpc.Method{
		Name: m.Name, Provider: one.name, Summary: m.Summary, Privileged: !m.Open, Timeout: time.Duration(m.TimeoutMs) * time.Millisecond,
		Params: schema(m.ParamsSchemaJson), Result: schema(m.ResultSchemaJson),
		Handler: func(ctx context.Context, params json.RawMessage) (any, error) {
			return p.invoke(ctx, one, m.Name, params)
		},
	}
}

// invoke passes a call on and waits for its answer.
func (p *providers) invoke(ctx context.Context, one *provider, method string, params json.RawMessage) (any, error) {
	id, call := uuid.NewString(), &providerCall{provider: one, answer: make(chan providerAnswer, 1)}
	p.mu.Lock()
	if one.calls >= maxProviderCalls {
		p.mu.Unlock()
		return nil, errs.Newf(errs.Busy, "provider %q has %d calls in flight, its limit: try again", one.name, maxProviderCalls).WithRetryAfter(time.Second)
	}
	one.calls++
	p.calls[id] = call
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		one.calls--
		delete(p.calls, id)
	}()
	if err := tellProvider(ctx, one, id, method, params); err != nil {
		return nil, err
	}
	select {
	case a := <-call.answer:
		if a.err != nil || a.result == nil {
			return nil, a.err
		}
		return a.result, nil
	case <-one.gone:
		return nil, errs.Lost(errs.ExecutedUnknown, "provider "+one.name+" went away before it answered", nil)
	case <-ctx.Done():
		return nil, errs.Wrap(errs.Deadline, "provider "+one.name+" did not answer in time", ctx.Err())
	}
}

// tellProvider hands a call to the provider's own socket.
func tellProvider(ctx context.Context, one *provider, id, method string, params json.RawMessage) error {
	in := &agentpb.InvokeRequest{Operation: id, Method: method, ParamsJson: string(params)}
	if at, ok := ctx.Deadline(); ok {
		in.LeftMs = max(1, time.Until(at).Milliseconds())
	}
	return one.tell(ctx, methodProviderInvoke, in)
}

// tell calls a method of the provider's own socket.
func (one *provider) tell(ctx context.Context, method int32, in proto.Message) error {
	socket := localSocket{path: one.socket, peer: one.peer}
	_, err := socket.call(ctx, method, in)
	return err
}

// done answers 502.
func (p *providers) done(_ context.Context, req *drpc.Request, in *agentpb.DoneRequest) (*agentpb.DoneReply, error) {
	a := providerAnswer{}
	if in.ResultJson != "" {
		if a.result = json.RawMessage(in.ResultJson); !json.Valid(a.result) {
			return nil, errs.New(errs.Invalid, "result_json: is no JSON")
		}
	}
	return &agentpb.DoneReply{}, p.settle(req.Session, in.Operation, a)
}

// failed answers 503.
func (p *providers) failed(_ context.Context, req *drpc.Request, in *agentpb.FailedRequest) (*agentpb.FailedReply, error) {
	code := cmp.Or(errs.Code(in.Code), errs.PreconditionFailed)
	if !slices.Contains(providerErrors, code) {
		return nil, errs.Newf(errs.Invalid, "code %q: must be one of %v", in.Code, providerErrors)
	}
	if in.Text == "" {
		return nil, errs.New(errs.Invalid, "text: say what went wrong")
	}
	return &agentpb.FailedReply{}, p.settle(req.Session, in.Operation, providerAnswer{err: errs.New(code, in.Text)})
}

// settle hands an answer to whoever waits for it.
func (p *providers) settle(session *drpc.Session, operation string, a providerAnswer) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	call := p.calls[operation]
	if call == nil || call.provider.session != session {
		return errs.Newf(errs.NotFound, "operation %q waits for no answer of this session: its time may be up", operation)
	}
	delete(p.calls, operation)
	call.answer <- a // the first answer, and there is room for one
	return nil
}

// unregister answers 504.
func (p *providers) unregister(_ context.Context, req *drpc.Request, in *agentpb.UnregisterRequest) (*agentpb.UnregisterReply, error) {
	p.changing.Lock()
	defer p.changing.Unlock()
	p.mu.Lock()
	one := p.byName[in.Provider]
	p.mu.Unlock()
	if one == nil || one.session != req.Session {
		return nil, errs.Newf(errs.NotFound, "this session has no provider %q registered", in.Provider)
	}
	return &agentpb.UnregisterReply{Removed: int32(p.remove(one))}, nil
}

// remove takes a provider's methods away and ends its calls; p.changing is held.
func (p *providers) remove(one *provider) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byName[one.name] != one {
		return 0
	}
	delete(p.byName, one.name)
	close(one.gone)
	return p.node.Load().UnregisterProvider(one.name)
}

// leave removes the providers of a session that ended.
func (p *providers) leave(session *drpc.Session) {
	p.changing.Lock()
	defer p.changing.Unlock()
	var mine []*provider
	p.mu.Lock()
	delete(p.watched, session)
	for _, one := range p.byName {
		if one.session == session {
			mine = append(mine, one)
		}
	}
	p.mu.Unlock()
	for _, one := range mine {
		p.remove(one)
	}
}
