package command

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/posener/complete"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/cairn-project/cairn/drpc/agentpb"
	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/internal/errs"
)

// fakeSocket serves a small agent: it describes itself, lists a session, sets log
// levels, and fails in the ways that have exit codes.
func fakeSocket(t *testing.T) string {
	t.Helper()
	describe := func(context.Context, *drpc.Request) ([]byte, error) {
		schema, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{
			protodesc.ToFileDescriptorProto(agentpb.File_drpc_agentpb_agent_proto)}})
		if err != nil {
			return nil, err
		}
		method := func(id int32, name, request, reply string) *agentpb.MethodInfo {
			return &agentpb.MethodInfo{Id: id, Name: name, Summary: "Does it.", Request: "cairn.agent." + request, Reply: "cairn.agent." + reply, Allowed: true}
		}
		return proto.Marshal(&agentpb.Description{Schema: schema, Modules: []*agentpb.ModuleInfo{{Id: 2, Name: "agent", Peers: "anyone", Methods: []*agentpb.MethodInfo{
			method(201, "ping", "PingRequest", "PingReply"), method(205, "set log level", "LogLevelRequest", "LogLevelReply"),
			method(208, "drain", "PingRequest", "PingReply"), method(299, "gone", "PingRequest", "PingReply"),
		}}}})
	}
	answer := func(m proto.Message, err error) drpc.Handler {
		return func(context.Context, *drpc.Request) ([]byte, error) {
			if err != nil {
				return nil, err
			}
			return proto.Marshal(m)
		}
	}
	setLevel := func(_ context.Context, req *drpc.Request) ([]byte, error) {
		var in agentpb.LogLevelRequest
		if err := proto.Unmarshal(req.Body, &in); err != nil {
			return nil, err
		}
		if in.Level == "" {
			return nil, errs.New(errs.Invalid, "which level?")
		}
		return proto.Marshal(&agentpb.LogLevelReply{Before: "not " + in.Level})
	}
	registry := drpc.NewRegistry()
	err := registry.Register(drpc.Module{ID: 2, Name: "agent", Allow: drpc.Anyone, Methods: []drpc.Method{
		{ID: 201, Name: "ping", Handle: answer(nil, errs.New(errs.Busy, "not now"))}, {ID: 205, Name: "set log level", Handle: setLevel},
		{ID: 206, Name: "describe", Handle: describe}, {ID: 208, Name: "drain", Handle: answer(nil, drpc.Submitted("op-7"))},
		{ID: 207, Name: "list sessions", Handle: answer(&agentpb.Sessions{Sessions: []*agentpb.SessionInfo{{Socket: "/s", Id: 3, Uid: 4294967294, Pid: 77, AgeMs: 61000, Name: "web"}}}, nil)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := drpc.DefaultConfig()
	cfg.Path, cfg.Mode, cfg.Logger = filepath.Join(t.TempDir(), "a.sock"), 0o600, hclog.NewNullLogger()
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
	return cfg.Path
}

func TestAgentSocket(t *testing.T) {
	path := fakeSocket(t)
	f := newFakeAgent(t, map[string]reply{"GET /v1/agent/self": {body: map[string]any{"config": map[string]any{
		"RPC": map[string]any{"Agent": map[string]any{"Path": "", "AdminPath": path}}}}}})
	for _, tc := range []struct {
		args string
		code int
		want string
	}{
		{"list", 0, "/s      3        4294967294  0    77   1m1s  0      web   0"},
		{"list -json", 0, `"uid": 4294967294`},
		{"list -t {{range.sessions}}{{.uid}},{{.pid}},{{if.calls}}busy{{end}}{{end}}", 0, "4294967294,77,\n"},
		{"describe", 0, "2 agent  205     set-log-level  anyone  yes      Does it."},
		{"describe 2", 0, "set-log-level"},
		{"describe agent set-log-level", 0, "level: string"},
		{"describe -t {{.method}} agent 205", 0, "205"},
		{"describe 9", 3, "no such module"},
		{`call 2 205 -d {"level":"info"}`, 0, `"before": "not info"`},
		{`call agent set-log-level -t {{.before}} -d {"level":"info"}`, 0, "not info"},
		{"call agent drain", 0, "operation op-7 goes on"},
		{"call agent drain -json", 0, `"operation": "op-7"`},
		{"call 2 205", 2, "which level?"},
		{"call 2 201", 75, "not now"},
		{"call 2 299", 3, "no method 299"},
		{"call 2 nothing", 3, "no such method"},
		{`call 2 205 -d {"lvl":"info"}`, 1, "agent socket describe 2 205"},
		{"call 2 205 -d {", 1, "-d"},
		{"call 2", 1, "too few arguments"},
		{"call -socket /no/such.sock 2 205", 1, "-socket"},
	} {
		r := f.run(strings.Fields("agent socket " + tc.args)...)
		if r.code != tc.code || !strings.Contains(r.stdout+r.stderr, tc.want) {
			t.Errorf("%s: exit %d, want %d with %q:\n%s%s", tc.args, r.code, tc.code, tc.want, r.stdout, r.stderr)
		}
	}
	s := newSession(&Options{Getenv: func(name string) string { return map[string]string{"CAIRN_AGENT_SOCKET": path}[name] }})
	s.conn.fill(s.opts.Getenv)
	if got := socketWords(s, complete.Args{}); !slices.Equal(got, []string{"agent"}) {
		t.Errorf("completes modules with %v", got)
	}
	if got := socketWords(s, complete.Args{LastCompleted: "agent"}); !slices.Contains(got, "set-log-level") {
		t.Errorf("completes methods with %v", got)
	}
}

func TestAgentWithoutSocket(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{"GET /v1/agent/self": {body: map[string]any{"config": map[string]any{}}}})
	f.run("agent", "socket", "list").expect(t, exitFailed, nil, []string{"no socket", "rpc.agent"})
}
