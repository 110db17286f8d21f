package agent

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/structs"
)

// socketAgent starts an agent over a fake server and returns a client of its socket.
func socketAgent(t *testing.T, change ...func(*Config)) (*Agent, *jsonrpc.Client) {
	t.Helper()
	return socketAgentOver(t, newFake().fill(), change...)
}

func socketAgentOver(t *testing.T, f *fakeServer, change ...func(*Config)) (*Agent, *jsonrpc.Client) {
	t.Helper()
	c := DefaultDevConfig()
	c.NodeName, c.Ports = "n1", PortsConfig{}
	for _, ch := range change {
		ch(c)
	}
	logger := hclog.New(&hclog.LoggerOptions{Output: io.Discard, Level: hclog.Error})
	a, err := start(c, logger, func(*nomad.Config) (server, error) { return f, nil })
	if err != nil {
		t.Fatal(err)
	}
	client := &jsonrpc.Client{Path: a.rpc.socketPath()}
	t.Cleanup(client.Close)
	return a, client
}

func TestSocketOfTheOperatorNode(t *testing.T) {
	a, client := socketAgent(t)
	ctx := context.Background()
	var status serverStatus
	if err := client.Call(ctx, "get_server_status", nil, &status); err != nil || status.Node != "n1" || !status.Ready {
		t.Errorf("%+v %v", status, err)
	}
	var level levelResult
	if err := client.Call(ctx, "admin_set_log_level", levelParams{"debug"}, &level); err != nil || level.Level != "debug" || level.Previous != "error" {
		t.Errorf("%+v %v", level, err)
	}
	if err := client.Call(ctx, "admin_set_log_level", levelParams{"loud"}, nil); !errors.Is(err, errs.Invalid) {
		t.Errorf("bad level: %v", err)
	}
	f, ok := a.server.(*fakeServer)
	if !ok {
		t.Fatalf("the server is %T", a.server)
	}
	f.mu.Lock()
	f.answers["NodeLink.List"] = nil
	f.mu.Unlock()
	var tracker trackerInfo
	if err := client.Call(ctx, "get_connection_tracker_info", nil, &tracker); err != nil || tracker.SocketConnections != 1 {
		t.Errorf("%+v %v", tracker, err)
	}
	if have, ok := tracker.AgentSessions[a.sockets.path]; !ok || have != 0 || len(tracker.AgentSessions) != 2 || tracker.Incomplete == "" {
		t.Errorf("without a session, and by a server that does not tell of links: %+v", tracker)
	}
	peers := []trackedPeer{{Remote: "10.0.0.7:4647", Direction: "out", Server: true, Connections: 3},
		{Remote: "10.0.0.8:1", Direction: "in", Server: true, Connections: 2, Calls: 1}}
	users := []trackedUser{{Socket: client.Path, UID: os.Getuid(), Connections: 1}}
	if !slices.Equal(tracker.Peers, peers) || !slices.Equal(tracker.LocalPeers, users) {
		t.Errorf("%+v, want %+v and %+v", tracker, peers, users)
	}
	f.mu.Lock()
	on(f, "NodeLink.List", func(q *structs.NodeLinkListRequest, r *structs.NodeLinkListResponse) error {
		if !q.Local || !q.AllowStale {
			t.Errorf("asked for %+v", q)
		}
		r.Links = []*structs.NodeLinkInfo{{NodeID: "n", Remote: "10.0.0.9:1", Transport: "port"}}
		return nil
	})
	f.mu.Unlock()
	connect(t, a.sockets.path)
	tracker = trackerInfo{}
	err := client.Call(ctx, "get_connection_tracker_info", nil, &tracker)
	if err != nil || len(tracker.NodeLinks) != 1 || tracker.NodeLinks[0].Remote != "10.0.0.9:1" || tracker.Incomplete != "" {
		t.Errorf("%+v %v", tracker, err)
	}
	eventually(t, "the session is counted", func() bool {
		tracker = trackerInfo{}
		err := client.Call(ctx, "get_connection_tracker_info", nil, &tracker)
		return err == nil && tracker.AgentSessions[a.sockets.path] == 1 &&
			slices.Contains(tracker.LocalPeers, trackedUser{Socket: a.sockets.path, UID: os.Getuid(), Connections: 1})
	})
	info, err := os.Stat(a.rpc.socketPath())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	if err := a.Stop(false); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(client.Path)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the temporary directory is still there: %v", err)
	}
}

func TestSocketIsWhereTheConfigurationSays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	a, client := socketAgent(t, func(c *Config) { c.RPC.Socket.Path, c.RPC.Socket.Restricted = path, false })
	if err := client.Call(context.Background(), "ping", nil, nil); err != nil || client.Path != path {
		t.Errorf("%s: %v", client.Path, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o666 {
		t.Errorf("%v %v", info, err)
	}
	if err := a.Stop(false); err != nil {
		t.Error(err)
	}
	off, _ := socketAgent(t, func(c *Config) { c.RPC.Socket.Enabled = false })
	if got := off.rpc.socketPath(); got != "" {
		t.Errorf("a socket that is switched off is at %s", got)
	}
	if err := off.Stop(false); err != nil {
		t.Error(err)
	}
}

// A file that is not ours is kept, and an agent that was asked for this path does not start.
func TestSocketPathThatIsTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	c := DefaultDevConfig()
	c.NodeName, c.Ports, c.RPC.Socket.Path = "n1", PortsConfig{}, path
	f := newFake()
	_, err := start(c, hclog.NewNullLogger(), func(*nomad.Config) (server, error) { return f, nil })
	if err == nil || f.stopped != 1 {
		t.Errorf("started: %v, server stopped %d times", err, f.stopped)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "mine" {
		t.Errorf("%q %v", b, err)
	}
}

// The agent compiles schemas when they are needed first: here all of them are.
func TestEverySchemaCompiles(t *testing.T) {
	h := testAPI(t, newFake())
	strict, err := jsonrpc.New(jsonrpc.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, m := range h.rpc.rpc.Methods() {
		if !m.Lazy {
			continue
		}
		m.Lazy = false
		n++
		if err := strict.Register(m); err != nil {
			t.Error(err)
		}
	}
	if n < 40 {
		t.Errorf("%d methods, too few to be all", n)
	}
}

func TestMetricsAreChosenByName(t *testing.T) {
	h := testAPI(t, newFake().fill())
	names := func(params string) (out []string) {
		t.Helper()
		raw, rpcErr := invoke(t, h, "get_metrics", params)
		if rpcErr != nil {
			t.Fatal(rpcErr)
		}
		var got metricsSummary
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatal(err)
		}
		for _, g := range got.Gauges {
			out = append(out, g.Name)
		}
		return out
	}
	for _, name := range []string{"disk_free", "disk_used", "load"} {
		if err := h.rpc.telemetry.add(prometheus.NewGauge(prometheus.GaugeOpts{Name: name})); err != nil {
			t.Fatal(err)
		}
	}
	for params, want := range map[string]string{`{"regex":"^disk_"}`: "disk_free disk_used", `{"regex":"^load$"}`: "load", `{"regex":"^lo$"}`: ""} {
		if got := strings.Join(names(params), " "); got != want {
			t.Errorf("%s: got %q, want %q", params, got, want)
		}
	}
	if all := names(`{}`); len(all) < 3 {
		t.Errorf("all of them are %v", all)
	}
	if _, rpcErr := invoke(t, h, "get_metrics", `{"regex":"("}`); rpcErr == nil || rpcErr.Code != jsonrpc.CodeInvalidParams {
		t.Errorf("a broken expression: %v", rpcErr)
	}
}

// What the methods answer fits what they promise.
func TestResultsFitTheirSchemas(t *testing.T) {
	h := testAPI(t, newFake().fill(), func(c *Config) { c.DataDir = t.TempDir() })
	for method, params := range map[string]string{
		"get_snapshots": `{}`, "admin_snapshot_save": `{}`,
		"get_server_status": `{}`, "get_raft_stats": `{}`, "get_connection_tracker_info": `{}`, "get_storage_status": `{}`,
		"get_metrics": `{"regex":"^x"}`, "get_operations": `{}`, "admin_set_log_level": `{"level":"info"}`,
		"admin_lookup_records": `{"records":[{"regex":"."}]}`, "admin_config_set_records": `{"records":[]}`,
		"namespace_list": `{}`, "namespace_get": `{"Name":"default"}`, "variable_get": `{"Path":"app/db"}`, "variable_list": `{}`,
		"status_leader": `{}`, "status_peers": `{}`, "get_raft_configuration": `{}`, "acl_policy_list": `{}`, "acl_token_list": `{}`,
		"keyring_list": `{}`, "status_members": `{}`,
		"get_autopilot_health": `{}`, "get_autopilot_configuration": `{}`,
		"admin_autopilot_set": `{"Config":{"CleanupDeadServers":true,"LastContactThreshold":"200ms","MaxTrailingLogs":250,"MinQuorum":3},"CAS":false}`,
	} {
		if _, rpcErr := invoke(t, h, method, params); rpcErr != nil {
			t.Errorf("%s: %v", method, rpcErr)
		}
	}
	h.rpc.operations.wg.Wait() // one writes into the directory
}

// fitsSchema reports a result that its method does not promise. The schema of the result
// becomes that of the parameters of a probe.
func fitsSchema(t *testing.T, h *api, method string, result json.RawMessage) {
	t.Helper()
	schema := resultSchema(t, h, method)
	if schema == nil {
		return
	}
	probe, err := jsonrpc.New(jsonrpc.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	m := jsonrpc.Method{Name: "probe", Params: schema, Handler: func(context.Context, json.RawMessage) (any, error) { return nil, nil }}
	if err := probe.Register(m); err != nil {
		t.Fatal(err)
	}
	msg := append([]byte(`{"jsonrpc":"2.0","id":1,"method":"probe","params":[`), append(result, "]}"...)...)
	answer := probe.Handle(context.Background(), jsonrpc.Caller{}, msg)
	var out struct{ Error *jsonrpc.Error }
	if err := json.Unmarshal(answer.Body, &out); err != nil || out.Error != nil {
		t.Errorf("%s: %s does not fit: %v %v", method, result, out.Error, err)
	}
}

// resultSchema returns the schema of an array whose one element is a result of method,
// nil for a method that promises nothing.
func resultSchema(t *testing.T, h *api, method string) json.RawMessage {
	t.Helper()
	for _, m := range h.rpc.rpc.Methods() {
		if m.Name == method {
			if m.Result == nil {
				return nil
			}
			var schema map[string]json.RawMessage
			if err := json.Unmarshal(m.Result, &schema); err != nil {
				t.Fatal(err)
			}
			defs := schema["$defs"]
			delete(schema, "$defs")
			item, err := json.Marshal(schema)
			if err != nil {
				t.Fatal(err)
			}
			out := map[string]json.RawMessage{"type": json.RawMessage(`"array"`), "items": item}
			if defs != nil {
				out["$defs"] = defs
			}
			raw, err := json.Marshal(out)
			if err != nil {
				t.Fatal(err)
			}
			return raw
		}
	}
	t.Fatalf("%s is not registered", method)
	return nil
}

func TestLongWorkIsAnOperation(t *testing.T) {
	f := newFake().fill()
	h := testAPI(t, f)
	for _, tc := range []struct {
		params string
		err    error
		want   structs.OperationState
	}{
		{`{"ID":"a","background":true}`, nil, structs.OperationSucceeded},
		{`{"ID":"b","background":true}`, errs.New(errs.NoLeader, "No cluster leader"), structs.OperationUnreachable},
		{`{"ID":"c","background":true}`, errs.New(errs.NotFound, "no such peer"), structs.OperationFailed},
	} {
		var asked structs.RaftPeerByIDRequest
		on(f, "Operator.RaftRemovePeerByID", func(a *structs.RaftPeerByIDRequest, _ *structs.GenericResponse) error {
			asked = *a
			return tc.err
		})
		raw, rpcErr := invoke(t, h, "admin_raft_remove_peer", tc.params, "X-Nomad-Token", "secret")
		if rpcErr != nil {
			t.Fatal(rpcErr)
		}
		h.rpc.operations.wg.Wait()
		var ref operationRef
		if err := json.Unmarshal(raw, &ref); err != nil {
			t.Fatal(err)
		}
		got := h.rpc.operations.find(func(o *operation) bool { return o.ID == ref.Operation }, 0)
		if len(got) != 1 || got[0].State != tc.want || got[0].Steps[0].State != tc.want || asked.AuthToken != "secret" || asked.ID == "" {
			t.Errorf("%s: %+v, asked %+v", tc.params, got, asked)
		}
	}
	if raw, rpcErr := invoke(t, h, "admin_raft_remove_peer", `{"ID":"a"}`); rpcErr == nil || rpcErr.Code != errs.NotFound.Surface().JSONRPC {
		t.Errorf("in the foreground: %s %v", raw, rpcErr)
	}
	if _, rpcErr := invoke(t, h, "operator_raft_remove_peer", `{"ID":"a","background":true}`); !errors.Is(rpcErr, errs.Invalid) {
		t.Errorf("background for a plain method: %v", rpcErr)
	}
}
