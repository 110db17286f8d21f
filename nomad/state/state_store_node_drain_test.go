package state

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func draining(id string, deadline time.Duration, at int64) *structs.NodeUpdateDrainRequest {
	spec := structs.DrainSpec{Deadline: deadline}
	return &structs.NodeUpdateDrainRequest{NodeID: id, DrainStrategy: spec.Begin(time.Unix(at, 0)), UpdatedAt: at,
		AccessorID: "who", Meta: map[string]string{"why": "disk"}}
}

func TestDrain(t *testing.T) {
	s := newStore(t)
	must(t, s.UpsertNode(s.NextIndex(), registering(node("a", "default"))))
	must(t, s.UpdateNodeDrain(s.NextIndex(), draining("a", time.Hour, 100)))
	n := s.Snapshot().Node(nil, "a")
	if !n.Draining() || n.SchedulingEligibility != structs.NodeSchedulingIneligible || !n.DrainStrategy.ForceDeadline.Equal(time.Unix(3700, 0)) {
		t.Errorf("draining: %+v", n)
	}
	refused(t, s.UpdateNodeEligibility(s.NextIndex(), &structs.NodeUpdateEligibilityRequest{NodeID: "a", Eligibility: structs.NodeSchedulingEligible}),
		errs.PreconditionFailed, "draining")
	must(t, s.UpdateNodeDrain(s.NextIndex(), draining("a", 2*time.Hour, 200)))
	n = s.Snapshot().Node(nil, "a")
	want := &structs.DrainMetadata{StartedAt: time.Unix(100, 0).UTC(), UpdatedAt: time.Unix(200, 0).UTC(), Status: structs.DrainStatusDraining,
		AccessorID: "who", Meta: map[string]string{"why": "disk"}}
	if diff := cmp.Diff(want, n.LastDrain); diff != "" || !n.DrainStrategy.StartedAt.Equal(time.Unix(100, 0)) {
		t.Errorf("changed: %+v %s", n.DrainStrategy, diff)
	}
	done := &structs.BatchNodeUpdateDrainRequest{UpdatedAt: 300, Updates: map[string]*structs.DrainUpdate{"a": {}, "gone": {}},
		NodeEvents: map[string]*structs.NodeEvent{"a": {Message: "complete"}}}
	must(t, s.UpdateNodeDrains(s.NextIndex(), done))
	n = s.Snapshot().Node(nil, "a")
	want.Status, want.UpdatedAt = structs.DrainStatusComplete, time.Unix(300, 0).UTC()
	if diff := cmp.Diff(want, n.LastDrain); diff != "" || n.Draining() || n.SchedulingEligibility != structs.NodeSchedulingIneligible {
		t.Errorf("complete: %+v %s", n, diff)
	}
	index := s.Snapshot().TableIndex("nodes")
	must(t, s.UpdateNodeDrains(s.NextIndex(), done)) // nothing is left to be done
	if got := s.Snapshot().TableIndex("nodes"); got != index {
		t.Errorf("ended twice at %d and %d", index, got)
	}
}

func TestCanceledDrain(t *testing.T) {
	s := newStore(t)
	must(t, s.UpsertNode(s.NextIndex(), registering(node("a", "default"))))
	must(t, s.UpdateNodeDrain(s.NextIndex(), draining("a", 0, 100)))
	before := s.Snapshot().Node(nil, "a")
	must(t, s.UpdateNodeDrain(s.NextIndex(), &structs.NodeUpdateDrainRequest{NodeID: "a", MarkEligible: true, AccessorID: "else", UpdatedAt: 200}))
	n := s.Snapshot().Node(nil, "a")
	if n.Draining() || n.SchedulingEligibility != structs.NodeSchedulingEligible || n.LastDrain.Status != structs.DrainStatusCanceled ||
		n.LastDrain.AccessorID != "else" || n.LastDrain.Meta["why"] != "disk" {
		t.Errorf("canceled: %+v", n.LastDrain)
	}
	if before.LastDrain.Status != structs.DrainStatusDraining {
		t.Error("an old view changed")
	}
	refused(t, s.UpdateNodeDrain(s.NextIndex(), draining("z", 0, 1)), errs.NotFound, "node not found")
}
