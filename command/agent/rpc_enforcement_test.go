package agent

import (
	"cmp"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/internal/jsonrpc"
)

// openRPC are the methods that do not look at tokens.
var openRPC = map[string]bool{
	jsonrpc.MethodHandlers: true, jsonrpc.MethodDescriptor: true, jsonrpc.MethodSchema: true, jsonrpc.MethodPing: true,
}

// neededParams are those without which a server is not asked.
var neededParams = map[string]string{
	"admin_node_set_status": `{"node":"` + nobodysID + `","eligible":true}`, "admin_node_start_drain": `{"node":"` + nobodysID + `"}`,
	"admin_node_stop_drain": `{"node":"` + nobodysID + `","eligible":true}`, "get_drain_status": `{"node":"` + nobodysID + `"}`,
	"node_call": `{"node":"` + nobodysID + `","method":"Node.Ping"}`, "node_fanout": `{"method":"Node.Ping"}`, "admin_profile": `{"kind":"cmdline"}`,
	"get_node_methods": `{"node":"` + nobodysID + `"}`, "admin_snapshot_restore": `{"name":"nothing.snap"}`,
}

// subjects are parameters that name what a generated method is about.
func subjects(rpc string) string {
	params := map[string]string{}
	for _, name := range neededFields[rpc] {
		params[name] = nobodysID
	}
	raw, _ := json.Marshal(params) // text encodes
	return string(raw)
}

// Whoever is not known may call nothing of a cluster that enforces access
// control, and a token without the right nothing that needs one.
func TestEveryMethodIsEnforced(t *testing.T) {
	a, client := aclAgent(t, `acl { enabled = true }`)
	g := &guarded{t: t, client: client, url: "http://" + a.HTTPAddr(), secrets: map[string]string{}}
	root := g.bootstrap()
	for rpc := range tokenless {
		openRPC[rpcName(rpc)] = rpc != "ACL.ExchangeOneTimeToken" // which refuses a bad proof
	}
	call := func(method, secret string) (code int) {
		t.Helper()
		params := cmp.Or(neededParams[method], subjects(a.rpc.rpcs[method]))
		status, body := g.request("POST", "/v1/rpc", fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":%q,"params":%s}`, method, params), secret)
		var out struct{ Error *jsonrpc.Error }
		if err := json.Unmarshal([]byte(body), &out); status != 200 || err != nil {
			t.Fatalf("%s: %d %s", method, status, body)
		}
		if out.Error != nil {
			return out.Error.Code
		}
		return 0
	}
	weak, reads := g.token(unrelated), g.token(agentRead)
	for _, m := range a.rpc.rpc.Methods() {
		if m.Kind == jsonrpc.KindNotification {
			continue // nothing is said about those
		}
		refused := call(m.Name, uuid.NewString()) == jsonrpc.CodeUnauthorized
		if refused == openRPC[m.Name] {
			t.Errorf("%s by an unknown token: refused %t", m.Name, refused)
		}
		need := a.rpc.rights[m.Name]
		if need == nil && m.Privileged {
			t.Errorf("%s: no right delegates it, so that it takes a management token", m.Name)
		}
		if need == nil || m.Name == "get_metrics" {
			continue // the server decides by the request; metrics are open unless they are protected
		}
		if code := call(m.Name, weak); code != jsonrpc.CodeUnauthorized {
			t.Errorf("%s by a token without the right: %d", m.Name, code)
		}
		if m.Privileged {
			if code := call(m.Name, reads); code != jsonrpc.CodeUnauthorized {
				t.Errorf("%s by a token that may read: %d", m.Name, code)
			}
		}
		if m.Name != "admin_raft_transfer_leader" && m.Name != "operator_transfer_leadership_to_peer" {
			if code := call(m.Name, root.SecretID); code == jsonrpc.CodeUnauthorized {
				t.Errorf("%s by a management token is refused", m.Name)
			}
		}
	}
}
