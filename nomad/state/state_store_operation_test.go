package state

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func (s *testStore) operation(id string, state structs.OperationState, change ...func(*structs.Operation)) error {
	o := &structs.Operation{ID: id, Kind: "k", Name: "n", Agent: "a", State: state, Created: at(1)}
	if state.Done() {
		o.Finished = at(2)
	}
	for _, c := range change {
		c(o)
	}
	return s.UpsertOperation(s.NextIndex(), &structs.OperationUpsertRequest{Operation: o})
}

func operationIDs(s *testStore) (ids []string) {
	for _, o := range s.Snapshot().Operations(nil, func(*structs.Operation) bool { return true }) {
		ids = append(ids, o.ID)
	}
	return ids
}

func TestOperationThatEndedStaysAsItIs(t *testing.T) {
	s := newStore(t)
	must(t, s.operation("a", structs.OperationRunning))
	first := s.Snapshot().Operation(nil, "a").CreateIndex
	must(t, s.operation("a", structs.OperationSucceeded, func(o *structs.Operation) {
		o.Steps = []*structs.OperationStep{{Name: "x", State: structs.OperationSucceeded, Parts: []*structs.OperationPart{{Name: "y", State: structs.OperationFailed}}}}
	}))
	refused(t, s.operation("a", structs.OperationFailed), errs.Conflict, "has ended")
	must(t, s.operation("b", structs.OperationRunning))
	refused(t, s.operation("b", structs.OperationRunning, func(o *structs.Operation) { o.Agent = "" }), errs.Conflict, "another ID")
	s = restored(t, s.persist())
	got := s.Snapshot().Operation(nil, "a")
	if got.State != structs.OperationSucceeded || got.CreateIndex != first || got.ModifyIndex <= first || got.Steps[0].Parts[0].Name != "y" {
		t.Errorf("stored is %+v", got)
	}
	if d := cmp.Diff([]string{"b", "a"}, operationIDs(s)); d != "" {
		t.Error(d)
	}
}

func TestOperationsShowInEvents(t *testing.T) {
	s := newStore(t)
	must(t, s.operation("a", structs.OperationRunning))
	must(t, s.operation("a", structs.OperationFailed))
	if d := cmp.Diff([]string{"2 Operation Operation /a", "3 Operation Operation /a"}, describe(s.events)); d != "" {
		t.Error(d)
	}
}

func TestOldOperationsMakeRoom(t *testing.T) {
	s := newStore(t)
	must(t, s.operation("running", structs.OperationRunning))
	for n := range structs.MaxOperations + 1 {
		must(t, s.operation(fmt.Sprint("done-", n), structs.OperationSucceeded))
	}
	ids := operationIDs(s)
	if len(ids) != structs.MaxOperations || ids[0] != "done-100" || ids[98] != "done-2" || ids[99] != "running" {
		t.Errorf("%d are kept, from %s to %s", len(ids), ids[0], ids[len(ids)-1])
	}
	for n := range structs.MaxOperations {
		must(t, s.operation(fmt.Sprint("more-", n), structs.OperationRunning))
	}
	if ids = operationIDs(s); len(ids) != structs.MaxOperations || ids[99] != "more-0" {
		t.Errorf("%d are kept, the oldest is %s", len(ids), ids[len(ids)-1])
	}
}

func TestBadOperationsAreRefused(t *testing.T) {
	s := newStore(t)
	long := string(make([]byte, structs.MaxOperationText+1))
	for name, spoil := range map[string]func(*structs.Operation){
		"no ID":           func(o *structs.Operation) { o.ID = "" },
		"a long ID":       func(o *structs.Operation) { o.ID = long },
		"a long token":    func(o *structs.Operation) { o.Token = long },
		"no kind":         func(o *structs.Operation) { o.Kind = "" },
		"a long text":     func(o *structs.Operation) { o.Message = long },
		"an odd state":    func(o *structs.Operation) { o.State = "odd" },
		"no end":          func(o *structs.Operation) { o.State = structs.OperationFailed },
		"an end too soon": func(o *structs.Operation) { o.Finished = at(3) },
		"a missing step":  func(o *structs.Operation) { o.Steps = []*structs.OperationStep{nil} },
		"an odd step":     func(o *structs.Operation) { o.Steps = []*structs.OperationStep{{State: "odd"}} },
		"a missing part": func(o *structs.Operation) {
			o.Steps = []*structs.OperationStep{{State: structs.OperationQueued, Parts: []*structs.OperationPart{nil}}}
		},
		"many steps": func(o *structs.Operation) {
			for range structs.MaxOperationSteps + 1 {
				o.Steps = append(o.Steps, &structs.OperationStep{State: structs.OperationQueued})
			}
		},
	} {
		if err := s.operation("x", structs.OperationRunning, spoil); errs.CodeOf(err) != errs.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	refused(t, s.UpsertOperation(s.NextIndex(), &structs.OperationUpsertRequest{}), errs.Invalid, "missing")
}
