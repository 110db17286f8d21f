// Package provider is for programs that add methods to the operator node of the
// agent on their machine. Run registers them and answers calls until it is told to
// stop; whenever the agent was restarted it registers them again.
//
//	err := provider.Run(ctx, provider.Config{
//		Name:  "gpu",
//		Admin: "/var/lib/cairn/admin.sock",
//		Methods: []provider.Method{{
//			Name: "gpu_list", Summary: "the cards of this machine", Open: true,
//			Handle: func(ctx context.Context, params json.RawMessage) (any, error) { return cards(), nil },
//		}},
//	})
//
// Operators call them as any other: cairn rpc invoke gpu_list.
package provider

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-project/cairn/drpc"
	"github.com/cairn-project/cairn/drpc/agentpb"
)

// The module and its methods, in both directions.
const (
	moduleProvider = 5
	methodRegister = 501
	methodDone     = 502
	methodFailed   = 503
	methodInvoke   = 511
	methodMessage  = 512
)

const (
	// answerTimeout bounds telling the agent a result, registerTimeout registering.
	answerTimeout   = 30 * time.Second
	registerTimeout = 10 * time.Second
	// minPause and maxPause bound the pause after a registration that failed.
	minPause = 100 * time.Millisecond
	maxPause = 5 * time.Second
)

// Method is one method that a program adds.
type Method struct {
	// Name is what operators call: lower case words joined by underscores.
	Name    string
	Summary string
	// Open lets everybody call it; otherwise those who have all rights.
	Open bool
	// Params and Result are JSON schemas, nil for anything. The agent checks Params.
	Params, Result json.RawMessage
	// Timeout is how long a call may take, 0 for the agent's own limit, at most ten minutes.
	Timeout time.Duration
	// Handle runs a call; params are nil for none. It runs beside others, with the
	// deadline of the call. An error of type *drpc.Error keeps its code.
	Handle func(ctx context.Context, params json.RawMessage) (any, error)
}

// Config is one provider.
type Config struct {
	// Name is lower case letters, digits, - and _; operators see it beside the methods.
	Name string
	// Admin is the path of the agent's admin socket.
	Admin string
	// Socket is where the program answers, "" for a directory that is made for it.
	Socket  string
	Methods []Method
	// Message takes what an operator tells the program with admin_component_send_msg:
	// a tag and JSON, nil for none. It must return soon, and may run several times at
	// once. With nil the program takes no messages.
	Message func(ctx context.Context, tag string, data json.RawMessage) error
	// Logger may be nil.
	Logger hclog.Logger
}

func (c *Config) validate() error {
	if c.Name == "" || c.Admin == "" || len(c.Methods) == 0 {
		return &drpc.Error{Code: drpc.Invalid, Msg: "a provider needs a name, the path of the admin socket, and methods"}
	}
	for _, m := range c.Methods {
		if m.Name == "" || m.Handle == nil {
			return &drpc.Error{Code: drpc.Invalid, Msg: fmt.Sprintf("method %q: needs a name and a handler", m.Name)}
		}
	}
	return nil
}

// runner is one Run.
type runner struct {
	Config
	// life ends with Run.
	life    context.Context
	client  *drpc.Client
	methods map[string]*Method
	working sync.WaitGroup
}

// Run offers the methods until ctx ends, which is no error. An error says what the
// agent will never take, or that the socket cannot be had.
func Run(ctx context.Context, c Config) error {
	if err := c.validate(); err != nil {
		return err
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	if c.Socket == "" {
		dir, err := os.MkdirTemp("", "provider-")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		c.Socket = filepath.Join(dir, "p.sock")
	}
	life, end := context.WithCancel(ctx)
	defer end()
	r := &runner{Config: c, life: life, methods: map[string]*Method{}, client: drpc.NewClient(c.Admin, drpc.Options{})}
	defer func() { _ = r.client.Close() }()
	for i := range c.Methods {
		r.methods[c.Methods[i].Name] = &c.Methods[i]
	}
	server, err := drpc.Listen(c.Socket, drpc.ServerOptions{Logger: c.Logger}, drpc.Module{ID: moduleProvider, Name: "provider",
		Allow: drpc.PrivilegedPeers, Methods: r.answers()})
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(life) }()
	err = r.keepRegistered()
	end()
	err = errors.Join(err, <-served)
	r.working.Wait() // nothing more comes in
	return err
}

// answers returns the methods of the program's own socket.
func (r *runner) answers() []drpc.Method {
	out := []drpc.Method{{ID: methodInvoke, Name: "invoke", Handle: r.invoke}}
	if r.Message != nil {
		out = append(out, drpc.Method{ID: methodMessage, Name: "message", Handle: r.message})
	}
	return out
}

// message takes a message of an operator.
func (r *runner) message(ctx context.Context, req *drpc.Request) ([]byte, error) {
	in := &agentpb.MessageRequest{}
	if err := proto.Unmarshal(req.Body, in); err != nil {
		return nil, &drpc.Error{Code: drpc.Invalid, Msg: "the payload is no message"}
	}
	var data json.RawMessage
	if in.DataJson != "" {
		data = json.RawMessage(in.DataJson)
	}
	err := r.Message(ctx, in.Tag, data)
	if e := new(drpc.Error); err != nil && !errors.As(err, &e) {
		err = &drpc.Error{Code: drpc.PreconditionFailed, Msg: err.Error()}
	}
	return nil, err
}

// keepRegistered registers the methods, and again whenever the connection ended.
func (r *runner) keepRegistered() error {
	pause := minPause
	for r.life.Err() == nil {
		err := r.register()
		switch {
		case err == nil:
			r.Logger.Info("methods registered at the agent", "provider", r.Name, "methods", len(r.Methods))
			pause = minPause
			select {
			case <-r.client.Ended():
				continue
			case <-r.life.Done():
				return nil
			}
		case final(err):
			return err
		}
		r.Logger.Debug("cannot register at the agent, will try again", "provider", r.Name, "error", err)
		select {
		case <-r.life.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
	return nil
}

// final reports whether trying again would not help. Methods may still be those of
// an earlier session of this very program, which the agent has not seen end yet.
func final(err error) bool {
	return errors.Is(err, drpc.Invalid) || errors.Is(err, drpc.PermissionDenied) || errors.Is(err, drpc.Unsupported)
}

func (r *runner) register() error {
	ctx, cancel := context.WithTimeout(r.life, registerTimeout)
	defer cancel()
	if err := r.client.Connect(ctx); err != nil {
		return err
	}
	in := &agentpb.ProviderRequest{Provider: r.Name, Socket: r.Socket}
	for _, m := range r.Methods {
		in.Methods = append(in.Methods, &agentpb.ProvidedMethod{Name: m.Name, Summary: m.Summary, Open: m.Open,
			ParamsSchemaJson: string(m.Params), ResultSchemaJson: string(m.Result), TimeoutMs: int32(m.Timeout.Milliseconds())})
	}
	return r.tell(ctx, methodRegister, in)
}

func (r *runner) tell(ctx context.Context, method int32, in proto.Message) error {
	body, err := proto.Marshal(in)
	if err != nil {
		return &drpc.Error{Code: drpc.Invalid, Msg: "the text is not UTF-8"}
	}
	_, err = r.client.Do(ctx, moduleProvider, method, body)
	return err
}

// invoke takes a call of the agent and answers at once; the result follows.
func (r *runner) invoke(_ context.Context, req *drpc.Request) ([]byte, error) {
	in := &agentpb.InvokeRequest{}
	if err := proto.Unmarshal(req.Body, in); err != nil {
		return nil, &drpc.Error{Code: drpc.Invalid, Msg: "the payload is no call of a method"}
	}
	m := r.methods[in.Method]
	if m == nil {
		return nil, &drpc.Error{Code: drpc.Unsupported, Msg: "this provider has no method " + in.Method}
	}
	r.working.Go(func() { r.work(m, in) })
	return nil, nil
}

// work runs a call and tells the agent how it ended.
func (r *runner) work(m *Method, in *agentpb.InvokeRequest) {
	ctx := r.life
	if in.LeftMs > 0 {
		limited, cancel := context.WithTimeout(r.life, time.Duration(in.LeftMs)*time.Millisecond)
		defer cancel()
		ctx = limited
	}
	result, err := run(ctx, m, in.ParamsJson)
	tell, done := context.WithTimeout(r.life, answerTimeout)
	defer done()
	if err == nil {
		err = r.tell(tell, methodDone, &agentpb.DoneRequest{Operation: in.Operation, ResultJson: string(result)})
	} else {
		err = r.fail(tell, in.Operation, err)
	}
	if err != nil {
		r.Logger.Warn("the agent did not take the result of a call", "method", m.Name, "operation", in.Operation, "error", err)
	}
}

// run calls the handler; one that panics has failed, and the program goes on.
func run(ctx context.Context, m *Method, params string) (out json.RawMessage, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the handler of %s panicked: %v", m.Name, p)
		}
	}()
	var raw json.RawMessage
	if params != "" {
		raw = json.RawMessage(params)
	}
	result, err := m.Handle(ctx, raw)
	if err != nil || result == nil {
		return nil, err
	}
	return json.Marshal(result)
}

// fail tells the agent why a call failed. A code that the agent takes from no provider
// is left out.
func (r *runner) fail(ctx context.Context, operation string, cause error) error {
	out := &agentpb.FailedRequest{Operation: operation, Text: cmp.Or(strings.ToValidUTF8(cause.Error(), "?"), "failed")}
	if e := new(drpc.Error); errors.As(cause, &e) {
		out.Code = string(e.Code)
	}
	err := r.tell(ctx, methodFailed, out)
	if errors.Is(err, drpc.Invalid) && out.Code != "" {
		out.Code = ""
		err = r.tell(ctx, methodFailed, out)
	}
	return err
}
