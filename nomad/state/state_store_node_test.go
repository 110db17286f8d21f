package state

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func node(id, pool string) *structs.Node {
	return &structs.Node{ID: id, SecretID: "secret-" + id, Name: "n" + id, Datacenter: "dc1", NodePool: pool, Status: structs.NodeStatusInit}
}

func registering(n *structs.Node) *structs.NodeRegisterRequest {
	return &structs.NodeRegisterRequest{Node: n, CreateNodePool: true,
		NodeEvent: structs.NewNodeEvent(structs.NodeEventSubsystemCluster, "registered", time.Unix(1, 0))}
}

func becoming(id, status string) *structs.NodeUpdateStatusRequest {
	return &structs.NodeUpdateStatusRequest{NodeID: id, Status: status, UpdatedAt: 7,
		NodeEvent: structs.NewNodeEvent(structs.NodeEventSubsystemCluster, status, time.Unix(7, 0))}
}

func nodeIDs(s *Snapshot, q NodeQuery) []string {
	var out []string
	for n := range s.Nodes(nil, q) {
		out = append(out, n.ID)
	}
	return out
}

func messages(n *structs.Node) []string {
	var out []string
	for _, e := range n.Events {
		out = append(out, fmt.Sprint(e.Message, e.CreateIndex))
	}
	return out
}

func TestRegisterNode(t *testing.T) {
	s := newStore(t)
	must(t, s.UpsertNode(s.NextIndex(), registering(node("a", "gpu"))))
	if p := s.Snapshot().NodePool(nil, "gpu"); p == nil || p.CreateIndex != 2 {
		t.Errorf("the pool of the node is %+v", p)
	}
	must(t, s.UpdateNodeStatus(s.NextIndex(), becoming("a", structs.NodeStatusReady)))
	must(t, s.UpdateNodeEligibility(s.NextIndex(), &structs.NodeUpdateEligibilityRequest{NodeID: "a", Eligibility: structs.NodeSchedulingIneligible}))

	told := node("a", "gpu") // what an agent says of what is the servers' does not count
	told.Status, told.SchedulingEligibility, told.Attributes = structs.NodeStatusDown, structs.NodeSchedulingEligible, map[string]string{"x": "y"}
	told.Events = []*structs.NodeEvent{{Message: "made up"}}
	must(t, s.UpsertNode(s.NextIndex(), registering(told)))
	got := s.Snapshot().Node(nil, "a")
	if got.Status != structs.NodeStatusReady || got.SchedulingEligibility != structs.NodeSchedulingIneligible || got.Attributes["x"] != "y" ||
		got.CreateIndex != 2 || got.ModifyIndex != 5 {
		t.Errorf("registered again: %+v", got)
	}
	if diff := cmp.Diff([]string{"registered2", "ready3"}, messages(got)); diff != "" {
		t.Error(diff)
	}
	if s.Snapshot().NodeBySecret(nil, "secret-a") != got || s.Snapshot().NodeBySecret(nil, "") != nil {
		t.Error("the secret leads elsewhere")
	}
	for _, e := range s.events {
		if n, ok := e.Payload.(*structs.Node); ok && n.SecretID != "" {
			t.Errorf("event %s tells the secret", e.Type)
		}
	}
}

func TestRegisterIsRefused(t *testing.T) {
	s := newStore(t)
	must(t, s.UpsertNode(s.NextIndex(), registering(node("a", "default"))))
	thief := node("a", "default")
	thief.SecretID = "other"
	refused(t, s.UpsertNode(s.NextIndex(), registering(thief)), errs.PermissionDenied, "secret ID does not match")
	twin := node("b", "default")
	twin.SecretID = "secret-a"
	refused(t, s.UpsertNode(s.NextIndex(), registering(twin)), errs.Conflict, "same secret")
	refused(t, s.UpsertNode(s.NextIndex(), registering(node("c", "no pool"))), errs.Invalid, "pool")
	refused(t, s.UpsertNode(s.NextIndex(), &structs.NodeRegisterRequest{}), errs.Invalid, "ID")
	refused(t, s.UpdateNodeStatus(s.NextIndex(), becoming("b", structs.NodeStatusReady)), errs.NotFound, "node not found")
	if got := nodeIDs(s.Snapshot(), NodeQuery{}); !cmp.Equal(got, []string{"a"}) {
		t.Errorf("stored: %v", got)
	}
}

func TestNodeGoesDownAndComesBack(t *testing.T) {
	s := newStore(t)
	must(t, s.UpsertNode(s.NextIndex(), registering(node("a", "default"))))
	ws := memdb.NewWatchSet()
	s.Snapshot().Node(ws, "a")
	must(t, s.UpdateNodeStatus(s.NextIndex(), becoming("a", structs.NodeStatusDown)))
	if n := s.Snapshot().Node(nil, "a"); n.Status != structs.NodeStatusDown || n.LastMissedHeartbeatIndex != 3 || n.StatusUpdatedAt != 7 || !fired(ws) {
		t.Errorf("down: %+v", n)
	}
	must(t, s.UpsertNode(s.NextIndex(), registering(node("a", "default"))))
	must(t, s.UpdateNodeStatus(s.NextIndex(), becoming("a", structs.NodeStatusReady)))
	n := s.Snapshot().Node(nil, "a")
	if n.LastMissedHeartbeatIndex != 0 {
		t.Errorf("back: %+v", n)
	}
	if diff := cmp.Diff([]string{"registered2", "down3", "registered4", "ready5"}, messages(n)); diff != "" {
		t.Error(diff)
	}
	want := []string{"2 Node NodeRegistration /a", "3 Node NodeStreamEvent /a", "4 Node NodeRegistration /a", "5 Node NodeStreamEvent /a"}
	if diff := cmp.Diff(want, describe(s.events)); diff != "" {
		t.Error(diff)
	}
}

func TestNodeKeepsTheLastEvents(t *testing.T) {
	s := newStore(t)
	must(t, s.UpsertNode(s.NextIndex(), registering(node("a", "default"))))
	for i := range 12 {
		r := &structs.EmitNodeEventsRequest{NodeEvents: map[string][]*structs.NodeEvent{"a": {{Message: fmt.Sprint("e", i, "-")}}}}
		must(t, s.UpsertNodeEvents(s.NextIndex(), r))
	}
	got := messages(s.Snapshot().Node(nil, "a"))
	if len(got) != structs.MaxNodeEvents || got[0] != "e2-5" || got[9] != "e11-14" {
		t.Errorf("kept: %v", got)
	}
	r := &structs.EmitNodeEventsRequest{NodeEvents: map[string][]*structs.NodeEvent{"a": {{Message: "x"}}, "b": {{Message: "x"}}}}
	refused(t, s.UpsertNodeEvents(s.NextIndex(), r), errs.NotFound, "node not found")
	if diff := cmp.Diff(got, messages(s.Snapshot().Node(nil, "a"))); diff != "" {
		t.Error("a refused request changed a node:", diff)
	}
}

func TestNodeQueries(t *testing.T) {
	s := newStore(t)
	for _, n := range []*structs.Node{node("a1", "x"), node("a2", "y"), node("b1", "x")} {
		n.IdentitySigningKeyID = "k-" + n.NodePool
		must(t, s.UpsertNode(s.NextIndex(), registering(n)))
	}
	sn := s.Snapshot()
	for _, tc := range []struct {
		query NodeQuery
		want  []string
	}{
		{NodeQuery{}, []string{"a1", "a2", "b1"}},
		{NodeQuery{Pool: "all", Prefix: "a"}, []string{"a1", "a2"}},
		{NodeQuery{Pool: "x"}, []string{"a1", "b1"}},
		{NodeQuery{Pool: "x", Prefix: "b"}, []string{"b1"}},
		{NodeQuery{Pool: "x", From: "a2"}, []string{"b1"}},
		{NodeQuery{Pool: "x", From: "a2", Reverse: true}, []string{"a1"}},
		{NodeQuery{Pool: "z"}, nil},
		{NodeQuery{From: "a2", Reverse: true}, []string{"a2", "a1"}},
	} {
		if got := nodeIDs(sn, tc.query); !cmp.Equal(got, tc.want) {
			t.Errorf("%+v: %v", tc.query, got)
		}
	}
	if n := len(slices.Collect(sn.NodesSignedBy("k-x"))); n != 2 || sn.NodeCount() != 3 {
		t.Errorf("%d nodes signed by k-x, %d in all", n, sn.NodeCount())
	}
	refused(t, s.DeleteNodes(s.NextIndex(), &structs.NodeBatchDeregisterRequest{NodeIDs: []string{"a1", "z"}}), errs.NotFound, "node not found")
	must(t, s.DeleteNodes(s.NextIndex(), &structs.NodeBatchDeregisterRequest{NodeIDs: []string{"a1", "b1"}}))
	must(t, s.DeleteNode(s.NextIndex(), &structs.NodeDeregisterRequest{NodeID: "a2"}))
	if s.Snapshot().NodeCount() != 0 || s.Snapshot().NodeBySecret(nil, "secret-a1") != nil {
		t.Error("a deleted node is still known")
	}
}
