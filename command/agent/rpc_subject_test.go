package agent

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/nomad"
)

// A read of one object, or a call about one, names it, or the answer would be that nothing
// was found.
func TestGeneratedMethodsNameTheirSubject(t *testing.T) {
	f := newFake().fill()
	h := testAPI(t, f)
	known := map[string]nomad.MethodDescription{}
	for _, m := range nomad.Methods() {
		known[m.Name] = m
	}
	for rpc, fields := range neededFields {
		m, ok := known[rpc]
		if !ok {
			t.Errorf("there is no RPC %s: remove it", rpc)
			continue
		}
		var schema struct {
			Required   []string
			Properties map[string]json.RawMessage
		}
		raw := requestSchema(rpc, reflect.TypeOf(m.NewArgs()).Elem(), m.Writes)
		if err := json.Unmarshal(raw, &schema); err != nil || !slices.Equal(schema.Required, fields) {
			t.Errorf("%s: %v %s", rpc, err, raw)
		}
		args := ownFields(reflect.TypeOf(m.NewArgs()).Elem())
		for _, name := range fields {
			if !slices.ContainsFunc(args, func(f reflect.StructField) bool { return fieldName(f) == name && f.Type.Kind() == reflect.String }) {
				t.Errorf("%s has no text %s", rpc, name)
			}
			for _, params := range []string{"{}", fmt.Sprintf(`{%q:""}`, name), fmt.Sprintf(`{%q:null}`, name)} {
				f.last = nil
				if _, err := invoke(t, h, rpcName(rpc), params); err == nil || err.Code != jsonrpc.CodeInvalidParams || f.last != nil {
					t.Errorf("%s %s: %v, asked %v", rpcName(rpc), params, err, f.last)
				}
			}
		}
	}
	for _, m := range known {
		public := slices.Contains(RoutedRPCs(), m.Name) && notGenerated[m.Name] == ""
		if public && !m.Writes && neededFields[m.Name] == nil && isAbsent(m.NewReply()) && len(ownFields(reflect.TypeOf(m.NewArgs()).Elem())) > 0 {
			t.Errorf("%s reads one object: say in neededFields which parameter names it", m.Name)
		}
	}
}

// What does something is not run beside its neighbours in a batch, though it may be no
// write into the state: the routes know, since it cannot be asked for by GET.
func TestActingMethodsKeepTheirPlace(t *testing.T) {
	h := testAPI(t, newFake())
	got := map[string]bool{}
	for _, r := range routes() {
		for _, rpc := range strings.Fields(r.rpc) {
			got[rpc] = got[rpc] || slices.Contains(strings.Fields(r.methods), "GET")
		}
	}
	for _, m := range nomad.Methods() {
		byGet, routed := got[m.Name]
		question := strings.HasPrefix(m.Name, "Search.") || m.Name == "ACL.Explain" // too long for an address
		acts := routed && !byGet && !m.Writes && !question
		if acts && !acting[m.Name] {
			t.Errorf("%s does something: say so in acting", m.Name)
		}
	}
	for _, m := range h.rpc.rpc.Methods() {
		if rpc := h.rpc.rpcs[m.Name]; rpc != "" && acting[rpc] && m.Parallel {
			t.Errorf("%s runs beside others", m.Name)
		}
	}
	for rpc := range maps.Keys(acting) {
		if _, routed := got[rpc]; !routed {
			t.Errorf("%s has no route: remove it from acting", rpc)
		}
	}
}

// A generated method that does what a privileged one does is privileged too, and audited.
func TestAuditCannotBeGotRound(t *testing.T) {
	h := testAPI(t, newFake())
	privileged := map[string]bool{}
	for _, m := range h.rpc.rpc.Methods() {
		privileged[m.Name] = m.Privileged
	}
	for own, generated := range map[string]string{
		"node_call": "node_link_call", "admin_node_start_drain": "node_update_drain", "admin_node_stop_drain": "node_update_drain",
		"admin_node_set_status": "node_update_eligibility", "admin_profile": "agent_profile", "admin_gc": "system_garbage_collect",
		"admin_raft_transfer_leader": "operator_transfer_leadership_to_peer", "admin_raft_remove_peer": "operator_raft_remove_peer",
		"admin_autopilot_set": "operator_autopilot_set_configuration",
	} {
		if !privileged[own] || !privileged[generated] {
			t.Errorf("%s %t, %s %t: want both privileged", own, privileged[own], generated, privileged[generated])
		}
	}
}

// A call that failed at an agent is an error by either name.
func TestFailuresOfAgentsAreErrors(t *testing.T) {
	h, _ := linkedNodes(t)
	for node, want := range map[string]errs.Code{"b": errs.Invalid, "c": errs.NoPath, "lost": errs.Unavailable} {
		_, own := invoke(t, h, "node_call", fmt.Sprintf(`{"node":%q,"method":"FS.List"}`, node))
		_, generated := invoke(t, h, "node_link_call", fmt.Sprintf(`{"NodeID":%q,"Method":"FS.List"}`, node))
		if errs.CodeOf(own) != want || !reflect.DeepEqual(own, generated) {
			t.Errorf("%s: %v, and %v", node, own, generated)
		}
	}
	raw, err := invoke(t, h, "node_link_call", `{"NodeID":"a","Method":"Node.Version"}`)
	if err != nil || !strings.Contains(string(raw), `"Version":"1.0"`) {
		t.Errorf("%s %v", raw, err)
	}
	for _, internal := range []string{"Caller", "Passed", "ServerID", "Trace"} {
		if _, err := invoke(t, h, "node_link_call", fmt.Sprintf(`{"NodeID":"a","Method":"Node.Ping",%q:"x"}`, internal)); err == nil || err.Code != jsonrpc.CodeInvalidParams {
			t.Errorf("%s: %v", internal, err)
		}
	}
}

// Numbers that fit their schema and no type are refused with their place.
func TestNumbersOutOfRangeAreNamed(t *testing.T) {
	h := testAPI(t, newFake().fill())
	for method, params := range map[string]string{
		"namespace_list": `{"index":1e300}`, "get_operations": `{"count":9223372036854775808}`, "acl_token_usage": `{"AfterMinute":3.0}`,
		"node_call": `{"node":"a","method":"Node.Ping","revision":1.0}`, "get_reload_config_status": `{"count":-1}`,
	} {
		_, err := invoke(t, h, method, params)
		if err == nil || err.Code != jsonrpc.CodeInvalidParams || len(err.Data) != 1 || !strings.Contains(params, `"`+strings.TrimPrefix(err.Data[0].Field, "/")+`"`) || strings.Contains(err.Data[0].Message, "Go ") {
			t.Errorf("%s %s: %+v", method, params, err)
		}
	}
	if _, err := invoke(t, h, "get_operations", `{"count":-1}`); err == nil || err.Data[0].Field != "/count" {
		t.Errorf("%v", err)
	}
}
