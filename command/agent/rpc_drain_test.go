package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/nomad/structs"
)

func TestDrainOfANode(t *testing.T) {
	f := newFake()
	h := testAPI(t, f)
	node := &structs.Node{ID: "n", Name: "one", Status: "ready", SchedulingEligibility: structs.NodeSchedulingEligible}
	on(f, "Node.GetNode", func(a *structs.NodeSpecificRequest, r *structs.SingleNodeResponse) error {
		if a.AuthToken != "secret" {
			return errs.New(errs.PermissionDenied, "Permission denied")
		}
		if a.NodeID == node.ID {
			r.Node, r.Index = node, 7
		}
		return nil
	})
	node.Ineligibility = &structs.NodeIneligibility{Reason: "new disk", Until: time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC)}
	if got, err := invoke(t, h, "get_drain_status", `{"node":"n"}`, "X-Nomad-Token", "secret"); err != nil || !strings.Contains(string(got), `"reason":"new disk","until":"2040-01-02T03:04:05Z"`) {
		t.Errorf("%s, %v", got, err)
	}
	var asked structs.NodeUpdateDrainRequest
	on(f, "Node.UpdateDrain", func(a *structs.NodeUpdateDrainRequest, r *structs.NodeDrainUpdateResponse) error {
		asked, r.Index, r.OperationID = *a, 8, "op-1"
		node.DrainStrategy = a.DrainStrategy
		return nil
	})
	code := func(method, params string) int {
		t.Helper()
		_, err := invoke(t, h, method, params, "X-Nomad-Token", "secret")
		switch {
		case err == nil:
			return 0
		case err.Code == jsonrpc.CodeExecution:
			return err.Data[0].Code
		}
		return err.Code
	}
	for _, tc := range []struct {
		method, params string
		want           int
		drain          bool
	}{
		{"admin_node_stop_drain", `{"node":"n","eligible":true}`, errataNotDraining, false},
		{"admin_node_start_drain", `{"node":"n","deadline":"soon"}`, jsonrpc.CodeInvalidParams, false},
		{"admin_node_start_drain", `{"node":"nope"}`, errs.NotFound.Surface().Detail, false},
		{"admin_node_start_drain", `{"node":"n","deadline":"10m","reason":"disk"}`, 0, true},
		{"admin_node_start_drain", `{"node":"n"}`, errataDraining, true},
		{"get_drain_status", `{"node":"n"}`, 0, true},
		{"admin_node_stop_drain", `{"node":"n","eligible":true}`, 0, false},
	} {
		if got := code(tc.method, tc.params); got != tc.want || node.Draining() != tc.drain {
			t.Errorf("%s %s: %d, draining %t; want %d, %t", tc.method, tc.params, got, node.Draining(), tc.want, tc.drain)
		}
		if tc.drain && asked.DrainStrategy.Deadline != 10*time.Minute {
			t.Errorf("asked for %+v", asked)
		}
	}
	if d := cmp.Diff(structs.NodeUpdateDrainRequest{NodeID: "n", MarkEligible: true, Caller: "n1 http 192.0.2.1:1234",
		WriteRequest: structs.WriteRequest{AuthToken: "secret"}}, asked); d != "" {
		t.Error(d)
	}
	for deadline, want := range map[string]time.Duration{"0s": -1, "": 0} {
		node.DrainStrategy = nil
		if got := code("admin_node_start_drain", fmt.Sprintf(`{"node":"n","deadline":%q}`, deadline)); got != 0 || asked.DrainStrategy.Deadline != want {
			t.Errorf("deadline %q: %d, %+v", deadline, got, asked.DrainStrategy)
		}
	}
	node.DrainStrategy = nil
	if result, err := invoke(t, h, "admin_node_start_drain", `{"node":"n"}`, "X-Nomad-Token", "secret"); err != nil || string(result) != `{"index":8,"operation":"op-1","token":"op-1"}` {
		t.Errorf("%s, %v", result, err)
	}
	if _, err := invoke(t, h, "get_drain_status", `{"node":"n"}`); err == nil || err.Code != jsonrpc.CodeUnauthorized {
		t.Errorf("without a token: %v", err)
	}
}

func TestEligibilityOfANode(t *testing.T) {
	f := newFake()
	h := testAPI(t, f)
	var asked structs.NodeUpdateEligibilityRequest
	on(f, "Node.UpdateEligibility", func(a *structs.NodeUpdateEligibilityRequest, r *structs.NodeEligibilityUpdateResponse) error {
		asked = *a
		return nil
	})
	for eligible, want := range map[string]string{"true": structs.NodeSchedulingEligible, "false": structs.NodeSchedulingIneligible} {
		if _, err := invoke(t, h, "admin_node_set_status", `{"node":"n","eligible":`+eligible+`}`); err != nil || asked.NodeID != "n" || asked.Eligibility != want {
			t.Errorf("%s: %+v %v", eligible, asked, err)
		}
	}
	for until, want := range map[string]time.Time{"2h": time.Now().Add(2 * time.Hour), "2040-01-02T03:04:05Z": time.Date(2040, 1, 2, 3, 4, 5, 0, time.UTC)} {
		_, err := invoke(t, h, "admin_node_set_status", `{"node":"n","eligible":false,"reason":"new disk","until":"`+until+`"}`)
		if err != nil || asked.Reason != "new disk" || asked.Until.Before(want) || asked.Until.Sub(want) > time.Hour {
			t.Errorf("%s: %+v %v", until, asked, err)
		}
	}
	for _, params := range []string{`{"node":"n"}`, `{"node":"n","eligible":false,"until":"soon"}`, `{"node":"n","eligible":false,"until":"-2h"}`,
		`{"node":"n","eligible":true,"until":"2h"}`} {
		if _, err := invoke(t, h, "admin_node_set_status", params); err == nil || err.Code != jsonrpc.CodeInvalidParams {
			t.Errorf("%s: %v", params, err)
		}
	}
}
