package agent

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/structs"
)

func TestNamesOfGeneratedMethods(t *testing.T) {
	for rpc, want := range map[string]string{
		"Namespace.ListNamespaces": "namespace_list", "Namespace.GetNamespace": "namespace_get",
		"Namespace.UpsertNamespaces": "namespace_upsert", "Namespace.DeleteNamespaces": "namespace_delete",
		"Variables.List": "variable_list", "Variables.Read": "variable_get", "Variables.Apply": "variable_apply",
		"Variables.RenewLock": "variable_renew_lock",
		"ACL.UpsertPolicies":  "acl_policy_upsert", "ACL.ListAuthMethods": "acl_auth_method_list",
		"ACL.GetRoleByID": "acl_role_get", "ACL.GetRoleByName": "acl_role_by_name_get", "ACL.WhoAmI": "acl_whoami",
		"ACL.OIDCAuthURL": "acl_oidc_auth_url", "ACL.ExchangeOneTimeToken": "acl_one_time_token_exchange",
		"Keyring.ListPublic": "keyring_public_list", "Operator.RaftGetConfiguration": "operator_raft_get_configuration",
		"Node.GetNode": "node_get", "Node.UpdateEligibility": "node_update_eligibility", "Node.UpdateDrain": "node_update_drain",
		"NodePool.UpsertNodePools": "node_pool_upsert", "NodePool.ListNodes": "node_pool_node_list", "Status.Leader": "status_leader",
	} {
		if got := rpcName(rpc); got != want {
			t.Errorf("%s is %s, want %s", rpc, got, want)
		}
	}
}

func TestEveryPublicRPCHasAMethod(t *testing.T) {
	h := testAPI(t, newFake())
	have := map[string]bool{}
	for _, m := range h.rpc.rpc.Methods() {
		have[m.Name] = true
	}
	public := RoutedRPCs()
	for _, m := range nomad.Methods() {
		if !slices.Contains(public, m.Name) {
			continue
		}
		if reason := notGenerated[m.Name]; have[rpcName(m.Name)] != (reason == "") {
			t.Errorf("%s has a route; method %s: %t, reason for none: %q", m.Name, rpcName(m.Name), have[rpcName(m.Name)], reason)
		}
	}
	for rpc := range notGenerated {
		if !slices.Contains(public, rpc) {
			t.Errorf("%s has no route: remove it from notGenerated", rpc)
		}
	}
}

// invoke calls a method over HTTP.
func invoke(t *testing.T, h *api, method, params string, header ...string) (json.RawMessage, *jsonrpc.Error) {
	t.Helper()
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":%s}`, method, params)
	w := call(h, "POST", "/v1/rpc", body, append(header, "Content-Type", "application/json")...)
	if w.Code != 200 {
		t.Fatalf("%s: status %d: %s", method, w.Code, w.Body)
	}
	out := decode[struct {
		Result json.RawMessage
		Error  *jsonrpc.Error
	}](t, w)
	if out.Error == nil {
		fitsSchema(t, h, method, out.Result)
	}
	return out.Result, out.Error
}

func TestGeneratedReadPassesOptionsAndToken(t *testing.T) {
	f := newFake().fill()
	h := testAPI(t, f)
	result, err := invoke(t, h, "variable_list",
		`{"namespace":"*","prefix":"app/","index":41,"wait":"20m","per_page":2,"next_token":"a","filter":"x","reverse":true,"stale":true,"region":"r"}`,
		"X-Nomad-Token", "secret")
	if err != nil {
		t.Fatal(err)
	}
	want := &structs.VariablesListRequest{QueryOptions: structs.QueryOptions{
		Namespace: "*", Prefix: "app/", MinQueryIndex: 41, MaxQueryTime: 300 * time.Second, PerPage: 2, NextToken: "a",
		Filter: "x", Reverse: true, AllowStale: true, Region: "r", AuthToken: "secret",
	}}
	if d := cmp.Diff(want, f.last); d != "" {
		t.Error(d)
	}
	var reply struct {
		Data      []struct{ Path string }
		Index     uint64
		NextToken string
	}
	if err := json.Unmarshal(result, &reply); err != nil || len(reply.Data) != 1 || reply.Data[0].Path != "app/db" || reply.Index != 42 || reply.NextToken == "" {
		t.Errorf("%s %v", result, err)
	}
}

func TestGeneratedWriteTakesTheRequestAndNothingInternal(t *testing.T) {
	f := newFake().fill()
	h := testAPI(t, f)
	if _, err := invoke(t, h, "namespace_upsert", `{"Namespaces":[{"Name":"team","Meta":{"a":"b"}}],"region":"r"}`, "X-Nomad-Token", "secret"); err != nil {
		t.Fatal(err)
	}
	want := &structs.NamespaceUpsertRequest{Namespaces: []*structs.Namespace{{Name: "team", Meta: map[string]string{"a": "b"}}},
		WriteRequest: structs.WriteRequest{Region: "r", AuthToken: "secret"}}
	if d := cmp.Diff(want, f.last); d != "" {
		t.Error(d)
	}
	for _, params := range []string{
		`{"AuthToken":"x"}`, `{"Forwarded":true}`, `{"WriteRequest":{}}`, `{"namespaces":[]}`, `{"Namespaces":"x"}`, `{"stale":true}`, `[1]`,
	} {
		if _, err := invoke(t, h, "namespace_upsert", params); err == nil || err.Code != jsonrpc.CodeInvalidParams {
			t.Errorf("%s: %v", params, err)
		}
	}
	for method, field := range map[string]string{"acl_bootstrap": "ResetIndex", "acl_role_upsert": "AllowMissingPolicies"} {
		if _, err := invoke(t, h, method, fmt.Sprintf(`{%q:1}`, field)); err == nil || err.Code != jsonrpc.CodeInvalidParams {
			t.Errorf("%s takes %s: %v", method, field, err)
		}
	}
}

func TestGeneratedMethodsShowErrorsByTheirCode(t *testing.T) {
	f := newFake().fill()
	h := testAPI(t, f)
	if _, err := invoke(t, h, "namespace_get", `{"Name":"nope"}`); !errors.Is(err, errs.NotFound) {
		t.Errorf("absent: %v", err)
	}
	on(f, "Namespace.GetNamespace", func(*structs.NamespaceSpecificRequest, *structs.SingleNamespaceResponse) error {
		return errs.New(errs.PermissionDenied, "Permission denied")
	})
	_, err := invoke(t, h, "namespace_get", `{"Name":"x"}`)
	if err == nil || err.Code != jsonrpc.CodeUnauthorized || !errors.Is(err, errs.PermissionDenied) || !strings.Contains(err.Error(), "Permission denied") {
		t.Errorf("denied: %v", err)
	}
	if _, err := invoke(t, h, "variable_list", `{"wait":"soon"}`); err == nil || err.Code != jsonrpc.CodeInvalidParams || err.Data[0].Field != "/wait" {
		t.Errorf("bad wait: %v", err)
	}
}

func TestLoginsTakeNoToken(t *testing.T) {
	f := newFake().fill()
	h := testAPI(t, f)
	if _, err := invoke(t, h, "acl_login", `{"AuthMethodName":"m","LoginToken":"j"}`, "X-Nomad-Token", "expired"); err != nil {
		t.Fatal(err)
	}
	if got := f.last.(*structs.ACLLoginRequest); got.AuthToken != "" || got.LoginToken != "j" {
		t.Errorf("%+v", got)
	}
}

func FuzzParametersOfGeneratedMethods(f *testing.F) {
	for _, s := range []string{``, `{}`, `{"Op":"set","Var":{"Path":"a","Items":{"k":"v"},"Lock":{"TTL":"15s"}},"region":"r"}`, `{"index":1,"wait":"5s","per_page":-1}`, `{"AuthToken":"x"}`, `[]`, `null`, `{"Policies":[null]}`} {
		f.Add(s)
	}
	node := &rpcNode{}
	methods := nomad.Methods()
	f.Fuzz(func(t *testing.T, params string) {
		for _, m := range methods {
			args, _, err := resourceCall{node: node, method: m}.request(t.Context(), json.RawMessage(params))
			if err != nil {
				continue
			}
			switch a := args.(type) {
			case structs.Query:
				if q := a.QueryOpts(); q.AuthToken != "" || q.Forwarded || q.PerPage < 0 {
					t.Fatalf("%s takes %q: %+v", m.Name, params, q)
				}
			case structs.Write:
				if w := a.WriteOpts(); w.AuthToken != "" || w.Forwarded {
					t.Fatalf("%s takes %q: %+v", m.Name, params, w)
				}
			}
		}
	})
}
