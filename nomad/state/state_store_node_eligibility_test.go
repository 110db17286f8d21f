package state

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// ineligible makes a node so from second 100 on, until a second, 0 for not by itself.
func ineligible(id string, until int64) *structs.NodeUpdateEligibilityRequest {
	r := &structs.NodeUpdateEligibilityRequest{NodeID: id, Eligibility: structs.NodeSchedulingIneligible, Reason: "disk", AccessorID: "who", UpdatedAt: 100}
	if until != 0 {
		r.Until = time.Unix(until, 0)
	}
	return r
}

func due(id string, at int64) *structs.NodeUpdateEligibilityRequest {
	return &structs.NodeUpdateEligibilityRequest{NodeID: id, Eligibility: structs.NodeSchedulingEligible, Due: at, UpdatedAt: at,
		NodeEvent: &structs.NodeEvent{Message: "back"}}
}

// toReturn returns the nodes that come back by themselves, in order.
func toReturn(sn *Snapshot) string {
	var ids []string
	sn.NodesToReturn(func(n *structs.Node) bool {
		ids = append(ids, n.ID)
		return true
	})
	return strings.Join(ids, " ")
}

func TestIneligibleUntil(t *testing.T) {
	s := newStore(t)
	for _, id := range []string{"a", "b", "c", "d"} {
		must(t, s.UpsertNode(s.NextIndex(), registering(node(id, "default"))))
	}
	for id, until := range map[string]int64{"a": 5000, "b": 300, "c": 0, "d": 20000} {
		must(t, s.UpdateNodeEligibility(s.NextIndex(), ineligible(id, until)))
	}
	want := &structs.NodeIneligibility{Reason: "disk", Until: time.Unix(5000, 0).UTC(), Since: time.Unix(100, 0).UTC(), AccessorID: "who"}
	if d := cmp.Diff(want, s.Snapshot().Node(nil, "a").Ineligibility); d != "" {
		t.Error(d)
	}
	must(t, s.UpsertNode(s.NextIndex(), registering(node("a", "default")))) // its agent knows nothing of that
	if d := cmp.Diff(want, s.Snapshot().Node(nil, "a").Ineligibility); d != "" {
		t.Error(d)
	}
	if got := toReturn(s.Snapshot()); got != "b a d" {
		t.Errorf("in order of time: %s", got)
	}

	index := s.Snapshot().TableIndex("nodes")
	for _, r := range []*structs.NodeUpdateEligibilityRequest{due("b", 299), due("c", 1<<40), due("gone", 300)} {
		must(t, s.UpdateNodeEligibility(s.NextIndex(), r))
	}
	if got := s.Snapshot().TableIndex("nodes"); got != index {
		t.Errorf("something was written before its time, at %d after %d", got, index)
	}
	must(t, s.UpdateNodeEligibility(s.NextIndex(), due("b", 300)))
	if n := s.Snapshot().Node(nil, "b"); n.SchedulingEligibility != structs.NodeSchedulingEligible || n.Ineligibility != nil || n.Events[len(n.Events)-1].Message != "back" {
		t.Errorf("after its time: %+v", n)
	}
	must(t, s.UpdateNodeEligibility(s.NextIndex(), ineligible("d", 0))) // for longer
	if got := toReturn(s.Snapshot()); got != "a" {
		t.Errorf("left: %s", got)
	}
}

// A drain is the later word; what is said while a node drains counts when it is over.
func TestIneligibleAndDraining(t *testing.T) {
	s := newStore(t)
	must(t, s.UpsertNode(s.NextIndex(), registering(node("a", "default"))))
	must(t, s.UpdateNodeEligibility(s.NextIndex(), ineligible("a", 300)))
	must(t, s.UpdateNodeDrain(s.NextIndex(), draining("a", time.Hour, 200)))
	if n := s.Snapshot().Node(nil, "a"); n.Ineligibility != nil || toReturn(s.Snapshot()) != "" {
		t.Errorf("a drain began: %+v", n.Ineligibility)
	}
	must(t, s.UpdateNodeEligibility(s.NextIndex(), ineligible("a", 300)))
	must(t, s.UpdateNodeDrain(s.NextIndex(), draining("a", 2*time.Hour, 210))) // changed, not begun
	must(t, s.UpdateNodeEligibility(s.NextIndex(), due("a", 400)))
	if n := s.Snapshot().Node(nil, "a"); !n.Ineligibility.Ends() || toReturn(s.Snapshot()) != "" || n.SchedulingEligibility != structs.NodeSchedulingIneligible {
		t.Errorf("it drains still: %+v", n)
	}
	must(t, s.UpdateNodeDrains(s.NextIndex(), &structs.BatchNodeUpdateDrainRequest{UpdatedAt: 500, Updates: map[string]*structs.DrainUpdate{"a": {}}}))
	if got := toReturn(s.Snapshot()); got != "a" {
		t.Errorf("to return after the drain: %q", got)
	}
	must(t, s.UpdateNodeDrain(s.NextIndex(), &structs.NodeUpdateDrainRequest{NodeID: "a", MarkEligible: true, UpdatedAt: 600}))
	if n := s.Snapshot().Node(nil, "a"); n.Ineligibility != nil || n.SchedulingEligibility != structs.NodeSchedulingEligible || toReturn(s.Snapshot()) != "" {
		t.Errorf("made eligible: %+v", n)
	}
	refused(t, s.UpdateNodeEligibility(s.NextIndex(), ineligible("gone", 300)), errs.NotFound, "not found")
}
