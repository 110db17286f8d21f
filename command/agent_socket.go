package command

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/posener/complete"
	"google.golang.org/protobuf/proto"

	"github.com/cairn-project/cairn/drpc"
	"github.com/cairn-project/cairn/drpc/agentpb"
)

// The methods that the commands use themselves.
const (
	agentModule    = 2
	methodDescribe = 206
	methodSessions = 207
)

// socketOptions says which socket to call.
type socketOptions struct {
	path    string
	timeout time.Duration
}

func (o *socketOptions) declare(f *flags) {
	o.timeout = 10 * time.Second
	f.text(&o.path, "socket", "path", "Socket of the agent. Environment: CAIRN_AGENT_SOCKET, NOMAD_AGENT_SOCKET. Default: the one that the agent at -address names.", anyFile)
	f.duration(&o.timeout, "timeout", "How long to wait for an answer. Default: 10s.")
}

var socketExits = []exit{
	{exitRPCError, "the agent answered with a failure"},
	{exitUnimplemented, "this agent has no such module or method"},
	{exitTryAgain, "the agent cannot answer now, or did not in time: try again later"},
}

// agentSocket is a connection to the agent's socket.
type agentSocket struct {
	*drpc.Client
	ctx    context.Context
	cancel context.CancelFunc
}

// open connects to the socket.
func (o *socketOptions) open(s *session) (*agentSocket, error) {
	path := o.path
	if path == "" {
		path = setting(s.opts.Getenv, "AGENT_SOCKET")
	}
	if path == "" {
		var err error
		if path, err = askForSocket(s); err != nil {
			return nil, err
		}
	}
	a := &agentSocket{Client: drpc.NewClient(path, drpc.Options{})}
	a.ctx, a.cancel = context.WithTimeout(s.ctx, o.timeout)
	if err := a.Connect(a.ctx); err != nil {
		a.cancel()
		return nil, hinted(err, "give the path with -socket or CAIRN_AGENT_SOCKET")
	}
	return a, nil
}

// askForSocket returns the socket that the agent's HTTP API names.
func askForSocket(s *session) (string, error) {
	client, err := s.client()
	if err != nil {
		return "", err
	}
	var self struct {
		Config struct {
			RPC struct {
				Agent struct{ Path, AdminPath string }
			}
		} `json:"config"`
	}
	if _, err := client.Raw().Query("/v1/agent/self", &self, s.query()); err != nil {
		return "", hinted(failed("asking the agent for its socket", err), "give the path with -socket or CAIRN_AGENT_SOCKET")
	}
	for _, path := range []string{self.Config.RPC.Agent.Path, self.Config.RPC.Agent.AdminPath} {
		if path != "" {
			return path, nil
		}
	}
	return "", hinted(errors.New("the agent has no socket"), "set path in the block rpc.agent of its configuration")
}

func (a *agentSocket) close() {
	_ = a.Close()
	a.cancel()
}

// do makes a call and decodes its answer. The response is returned for its operation.
func (a *agentSocket) do(module, method int32, in, out proto.Message) (*drpc.Response, error) {
	body, err := proto.Marshal(in)
	if err != nil {
		return nil, failed("encoding the call", err)
	}
	resp, err := a.SendMsg(a.ctx, &drpc.Call{Module: module, Method: method, Body: body})
	if err == nil {
		err = resp.Err()
	}
	if err != nil {
		return nil, socketFailure(err, resp)
	}
	if err := proto.Unmarshal(resp.Body, out); err != nil {
		return nil, failed("decoding the answer", err)
	}
	return resp, nil
}

// socketFailure gives an error its exit code.
func socketFailure(err error, resp *drpc.Response) error {
	f := &failure{code: exitRPCError, err: err}
	switch {
	case resp != nil && (resp.Status == drpc.StatusUnknownModule || resp.Status == drpc.StatusUnknownMethod):
		f.code, f.hint = exitUnimplemented, "see `"+program+" agent socket describe` for what there is"
	case errors.Is(err, drpc.Unavailable), errors.Is(err, drpc.Busy), errors.Is(err, drpc.RateLimited), errors.Is(err, drpc.NoLeader),
		errors.Is(err, drpc.NoPath), errors.Is(err, drpc.Deadline):
		f.code = exitTryAgain
	}
	return f
}

// describe asks what the socket offers.
func (a *agentSocket) describe() (*agentpb.Description, error) {
	out := &agentpb.Description{}
	_, err := a.do(agentModule, methodDescribe, &agentpb.DescribeRequest{}, out)
	return out, err
}

// word is a name as it is typed: "who am I" becomes who-am-i.
func word(name string) string { return strings.ReplaceAll(strings.ToLower(name), " ", "-") }

// socketWords completes a module, and a method of the module before it.
func socketWords(s *session, args complete.Args) []string {
	o := socketOptions{timeout: predictTimeout}
	a, err := o.open(s)
	if err != nil {
		return nil
	}
	defer a.close()
	d, err := a.describe()
	if err != nil {
		return nil
	}
	var out []string
	for _, m := range d.Modules {
		if args.LastCompleted != word(m.Name) {
			out = append(out, word(m.Name))
			continue
		}
		out = nil
		for _, method := range m.Methods {
			out = append(out, word(method.Name))
		}
		return out
	}
	return out
}
