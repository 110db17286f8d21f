package agent

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// linkedNodes is a fake server with three nodes: a answers, b refuses, c has no link.
func linkedNodes(t *testing.T) (*api, *[]structs.NodeCallRequest) {
	t.Helper()
	f := newFake()
	h := testAPI(t, f)
	var mu sync.Mutex
	asked := &[]structs.NodeCallRequest{}
	on(f, "Node.List", func(a *structs.NodeListRequest, r *structs.NodeListResponse) error {
		if a.AuthToken != "secret" {
			return errs.New(errs.PermissionDenied, "Permission denied")
		}
		for _, id := range []string{"a", "b", "c"} {
			if a.Filter == "" || strings.Contains(a.Filter, id) {
				r.Nodes = append(r.Nodes, &structs.NodeListStub{ID: id, Name: "node-" + id})
			}
		}
		return nil
	})
	on(f, "NodeLink.Call", func(a *structs.NodeCallRequest, r *structs.NodeCallResponse) error {
		mu.Lock()
		*asked = append(*asked, *a)
		mu.Unlock()
		r.Server = "s1"
		switch a.NodeID {
		case "a":
			r.Result = json.RawMessage(`{"Version":"1.0"}`)
		case "b":
			r.Failure = &structs.NodeCallFailure{Outcome: "application_error", Kind: "user", Help: "Path: must be absolute", Errata: []errs.Erratum{{Field: "Path", Msg: "must be absolute"}}}
		case "c":
			r.Failure = &structs.NodeCallFailure{Outcome: "no_link", Help: "no server has a link"}
		case "lost":
			r.Failure = &structs.NodeCallFailure{Outcome: "may_have_run", Help: "the link broke"}
		}
		return nil
	})
	return h, asked
}

func TestNodesAreCalled(t *testing.T) {
	h, asked := linkedNodes(t)
	raw, rpcErr := invoke(t, h, "node_call", `{"node":"a","method":"FS.List","args":{"Path":"/"},"timeout":"5s","wait":"1s","revision":2}`, "X-Nomad-Token", "secret")
	if rpcErr != nil || string(raw) != `{"server":"s1","result":{"Version":"1.0"}}` {
		t.Errorf("%s, %v", raw, rpcErr)
	}
	want := structs.NodeCallRequest{NodeID: "a", Method: "FS.List", Body: json.RawMessage(`{"Path":"/"}`), Timeout: 5 * time.Second, Wait: time.Second, Revision: 2,
		QueryOptions: structs.QueryOptions{AuthToken: "secret"}}
	if d := cmp.Diff(want, (*asked)[0]); d != "" {
		t.Error(d)
	}
	for params, code := range map[string]errs.Code{
		`{"node":"b","method":"FS.List"}`:                  errs.Invalid,
		`{"node":"c","method":"FS.List"}`:                  errs.NoPath,
		`{"node":"lost","method":"FS.List"}`:               errs.Unavailable,
		`{"node":"a","method":"FS.List","timeout":"soon"}`: errs.Invalid,
		`{"node":"a"}`: errs.Invalid,
	} {
		_, rpcErr := invoke(t, h, "node_call", params, "X-Nomad-Token", "secret")
		if !errors.Is(rpcErr, code) {
			t.Errorf("%s: %v, want %s", params, rpcErr, code)
		}
		if code == errs.Unavailable && rpcErr.Data[0].Executed != errs.ExecutedUnknown {
			t.Errorf("%s: whether it ran is %q", params, rpcErr.Data[0].Executed)
		}
	}
}

func TestManyNodesAreCalled(t *testing.T) {
	h, _ := linkedNodes(t)
	raw, rpcErr := invoke(t, h, "node_fanout", `{"method":"FS.List"}`, "X-Nomad-Token", "secret")
	var got fanoutResult
	if err := json.Unmarshal(raw, &got); rpcErr != nil || err != nil || len(got.Nodes) != 3 || got.Failed != 2 || got.Unreachable != 1 {
		t.Fatalf("%s, %v", raw, rpcErr)
	}
	if a, b, c := got.Nodes[0], got.Nodes[1], got.Nodes[2]; string(a.Result) != `{"Version":"1.0"}` || a.Kind != "" || b.Kind != errs.Invalid || b.Message != "Path: must be absolute" || c.Kind != errs.NoPath {
		t.Errorf("%+v", got.Nodes)
	}
	raw, rpcErr = invoke(t, h, "node_fanout", `{"method":"FS.List","selector":"ID == \"a\"","background":true}`, "X-Nomad-Token", "secret")
	var ref operationRef
	if err := json.Unmarshal(raw, &ref); rpcErr != nil || err != nil || ref.Operation == "" {
		t.Fatalf("%s, %v", raw, rpcErr)
	}
	if _, rpcErr = invoke(t, h, "node_fanout", `{"method":"FS.List","background":true}`, "X-Nomad-Token", "secret"); rpcErr != nil {
		t.Fatal(rpcErr)
	}
	h.rpc.operations.wg.Wait()
	all := h.rpc.operations.find(func(*operation) bool { return true }, 0)
	if len(all) != 2 || all[1].State != structs.OperationSucceeded || all[0].State == structs.OperationSucceeded || len(all[0].Steps) != 3 {
		t.Fatalf("%+v", all)
	}
	for i, state := range []structs.OperationState{structs.OperationSucceeded, structs.OperationFailed, structs.OperationUnreachable} {
		if s := all[0].Steps[i]; s.State != state {
			t.Errorf("step %s is %s, want %s", s.Name, s.State, state)
		}
	}
	raw, rpcErr = invoke(t, h, "node_fanout", `{"method":"FS.List","selector":"zzz"}`, "X-Nomad-Token", "secret")
	if rpcErr != nil || string(raw) != `{"nodes":[],"failed":0,"unreachable":0}` {
		t.Errorf("of no nodes: %s, %v", raw, rpcErr)
	}
	if _, rpcErr = invoke(t, h, "node_fanout", `{"method":"FS.List"}`); rpcErr == nil || rpcErr.Code != jsonrpc.CodeUnauthorized {
		t.Errorf("without a token: %v", rpcErr)
	}
}

// What many nodes answer together is bounded: what is left out says that it ran.
func TestResultsOfManyNodesAreBounded(t *testing.T) {
	f := newFake()
	h := testAPI(t, f)
	on(f, "Node.List", func(_ *structs.NodeListRequest, r *structs.NodeListResponse) error {
		for _, id := range []string{"a", "b", "c"} {
			r.Nodes = append(r.Nodes, &structs.NodeListStub{ID: id, Name: id})
		}
		return nil
	})
	large := json.RawMessage(`"` + strings.Repeat("x", maxFanoutBytes/2-100) + `"`)
	on(f, "NodeLink.Call", func(_ *structs.NodeCallRequest, r *structs.NodeCallResponse) error {
		r.Result = large
		return nil
	})
	got, err := h.rpc.fanout(context.Background(), fanoutParams{nodeCallOptions: nodeCallOptions{Method: "FS.Read"}})
	if err != nil || got.Failed != 1 || got.Unreachable != 0 {
		t.Fatalf("%d failed, %v", got.Failed, err)
	}
	for _, one := range got.Nodes {
		if one.Kind != "" && (one.Kind != errs.TooLarge || one.Executed != errs.ExecutedYes || one.Result != nil) {
			t.Errorf("%s: %s %s %q", one.Node, one.Kind, one.Message, one.Executed)
		}
	}
}

func TestNodesAreNotified(t *testing.T) {
	h, asked := linkedNodes(t)
	w := call(h, "POST", "/v1/rpc", `{"jsonrpc":"2.0","method":"notify_change","params":{"node":"a","kind":"node","index":7}}`, "Content-Type", "application/json")
	if w.Code != 204 || len(*asked) != 1 || (*asked)[0].Method != "Node.NotifyChange" || string((*asked)[0].Body) != `{"Index":7,"Kind":"node"}` {
		t.Errorf("%d: %+v", w.Code, *asked)
	}
}

func TestProfileOfTheProcess(t *testing.T) {
	h := testAPI(t, newFake())
	raw, rpcErr := invoke(t, h, "admin_profile", `{"kind":"goroutine","text":true}`)
	var got profileResult
	if err := json.Unmarshal(raw, &got); rpcErr != nil || err != nil || !strings.Contains(string(got.Data), "goroutine profile") {
		t.Errorf("%.200s, %v", raw, rpcErr)
	}
	if _, rpcErr = invoke(t, h, "admin_profile", `{"kind":"nothing"}`); rpcErr == nil {
		t.Error("a profile that there is not")
	}
}

func TestProvidersAreListed(t *testing.T) {
	h := testAPI(t, newFake())
	if raw, rpcErr := invoke(t, h, "admin_plugin_get_list", `{}`); rpcErr != nil || string(raw) != `{"plugins":[]}` {
		t.Errorf("%s, %v", raw, rpcErr)
	}
	for _, name := range []string{"gpu_list", "gpu_reset"} {
		if err := h.rpc.rpc.Register(jsonrpc.Method{Name: name, Provider: "gpu", Handler: jsonrpc.Func(h.rpc.drainStatus)}); err != nil {
			t.Fatal(err)
		}
	}
	if raw, rpcErr := invoke(t, h, "admin_plugin_get_list", `{}`); rpcErr != nil || string(raw) != `{"plugins":[{"provider":"gpu","methods":["gpu_list","gpu_reset"]}]}` {
		t.Errorf("%s, %v", raw, rpcErr)
	}
}

// What the agent of a node announced is what is listed, with what this version knows of it.
func TestMethodsOfANode(t *testing.T) {
	f := newFake()
	h := testAPI(t, f)
	links := map[string]*structs.NodeLinkInfo{
		"new": {NodeID: "new", Server: "s2", Build: "1.1", Protocol: 2, Methods: map[string]int{"Node.Apply": 3, "Node.Ping": 1, "Later.Thing": 1}, Kinds: []string{"drain", "gc"}},
		"old": {NodeID: "old", Protocol: 1},
	}
	on(f, "NodeLink.List", func(a *structs.NodeLinkListRequest, r *structs.NodeLinkListResponse) error {
		if a.AuthToken != "secret" {
			return errs.New(errs.PermissionDenied, "Permission denied")
		}
		if l := links[a.NodeID]; l != nil {
			r.Links = append(r.Links, l)
		}
		if a.NodeID == "hidden" {
			r.Unreachable = []string{"s3"}
		}
		return nil
	})
	get := func(node string) (nodeMethodsResult, *jsonrpc.Error) {
		t.Helper()
		raw, rpcErr := invoke(t, h, "get_node_methods", `{"node":"`+node+`"}`, "X-Nomad-Token", "secret")
		var out nodeMethodsResult
		if rpcErr == nil {
			if err := json.Unmarshal(raw, &out); err != nil {
				t.Fatal(err)
			}
		}
		return out, rpcErr
	}
	got, rpcErr := get("new")
	if rpcErr != nil || got.Server != "s2" || got.Build != "1.1" || len(got.Methods) != 2 {
		t.Fatalf("%+v, %v", got, rpcErr)
	}
	if m := got.Methods[0]; m.Name != "Node.Apply" || m.Revision != 3 || m.Class != "write" || m.Needs != "node:write" || m.Idempotent || len(m.Kinds) != 2 || !strings.Contains(string(m.Args), `"Eligible"`) {
		t.Errorf("%+v", m)
	}
	if m := got.Methods[1]; m.Name != "Node.Ping" || !m.Idempotent || m.Kinds != nil || m.Args != nil {
		t.Errorf("%+v", m)
	}
	if got, rpcErr = get("old"); rpcErr != nil || len(got.Methods) == 0 || slices.ContainsFunc(got.Methods, func(m nodeMethod) bool { return m.Name == "Node.Apply" }) {
		t.Errorf("an agent that announces nothing: %+v, %v", got, rpcErr)
	}
	for node, code := range map[string]errs.Code{"": errs.Invalid, "none": errs.NoPath, "hidden": errs.NoPath} {
		if _, rpcErr := get(node); !errors.Is(rpcErr, code) {
			t.Errorf("%q: %v, want %s", node, rpcErr, code)
		}
	}
	if _, rpcErr := invoke(t, h, "get_node_methods", `{"node":"new"}`); !errors.Is(rpcErr, errs.PermissionDenied) {
		t.Errorf("without a token: %v", rpcErr)
	}
}

// Every method of the agents says what its argument is, and none that is not there.
func TestArgumentsOfTheAgentsAreDescribed(t *testing.T) {
	for _, m := range nodelink.Methods {
		schema, there := nodeArguments[m.Name]
		if !there {
			t.Errorf("%s has no line in nodeArguments", m.Name)
		} else if schema != nil && !json.Valid(schema()) {
			t.Errorf("%s: %s", m.Name, schema())
		}
	}
	if len(nodeArguments) != len(nodelink.Methods) {
		t.Errorf("%d arguments for %d methods", len(nodeArguments), len(nodelink.Methods))
	}
}
