package state

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func TestWorkloadEventIsPublishedOnly(t *testing.T) {
	s := newStore(t)
	event := &structs.WorkloadEvent{Namespace: "default", Type: "backup.done", Key: "db", Details: []byte(`{"bytes":7}`), Time: 5}
	must(t, s.RaiseWorkloadEvent(s.NextIndex(), &structs.WorkloadEventRaiseRequest{Event: event}))
	if diff := cmp.Diff([]string{"2 WorkloadEvent backup.done default/db"}, describe(s.events)); diff != "" {
		t.Error(diff)
	}
	if s.LatestIndex() != 2 || len(WorkloadEvents.all(newTxn(s.core))) != 0 {
		t.Errorf("index %d, or a row was stored", s.LatestIndex())
	}
	for rules, want := range map[string]bool{`namespace "default" { policy = "read" }`: true, `namespace "other" { policy = "write" }`: false} {
		policy, err := acl.Parse(rules)
		if err != nil {
			t.Fatal(err)
		}
		rights, err := acl.New(false, policy)
		if err != nil || EventVisible(rights, &s.events[0]) != want {
			t.Errorf("%s: shown %v, %v", rules, !want, err)
		}
	}
	gone := &structs.WorkloadEvent{Namespace: "gone", Type: "x"}
	if err := s.RaiseWorkloadEvent(s.NextIndex(), &structs.WorkloadEventRaiseRequest{Event: gone}); !errors.Is(err, errs.NotFound) {
		t.Errorf("a namespace that there is not: %v", err)
	}
	for _, e := range []*structs.WorkloadEvent{nil, {Namespace: "*", Type: "x"}, {Namespace: "default", Type: "two words"},
		{Namespace: "default", Type: "x", Key: string(make([]byte, 257))}, {Namespace: "default", Type: "x", Details: []byte(`[1]`)},
		{Namespace: "default", Type: "x", Details: []byte(`null`)}, {Namespace: "default", Type: "x", Details: make([]byte, 1<<15)}} {
		if err := s.RaiseWorkloadEvent(s.NextIndex(), &structs.WorkloadEventRaiseRequest{Event: e}); !errors.Is(err, errs.Invalid) {
			t.Errorf("%+v: %v", e, err)
		}
	}
	if len(s.events) != 1 {
		t.Errorf("events %v", describe(s.events))
	}
}
