package state

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func TestNewStoreHasDefaultNamespace(t *testing.T) {
	s := newStore(t)
	n := s.Snapshot().Namespace(nil, structs.DefaultNamespace)
	if n == nil || n.CreateIndex != 1 || n.ModifyIndex != 1 {
		t.Fatalf("default namespace is %+v", n)
	}
	if s.LatestIndex() != 1 || s.Snapshot().TableIndex("namespaces") != 1 || len(s.events) != 0 {
		t.Errorf("index %d, table index %d, events %v", s.LatestIndex(), s.Snapshot().TableIndex("namespaces"), s.events)
	}
}

func TestUpsertNamespaces(t *testing.T) {
	s := newStore(t)
	req := upsert("prod", "dev")
	req.Namespaces[0].Meta = map[string]string{"a": "b"}
	must(t, s.UpsertNamespaces(s.NextIndex(), req))
	req.Namespaces[0].Meta["a"] = "changed by the caller"
	must(t, s.UpsertNamespaces(s.NextIndex(), &structs.NamespaceUpsertRequest{Namespaces: []*structs.Namespace{
		{Name: "dev", Description: "second"}}}))

	sn := s.Snapshot()
	want := &structs.Namespace{Name: "prod", Meta: map[string]string{"a": "b"}, CreateIndex: 2, ModifyIndex: 2}
	if diff := cmp.Diff(want, sn.Namespace(nil, "prod")); diff != "" {
		t.Error(diff)
	}
	want = &structs.Namespace{Name: "dev", Description: "second", CreateIndex: 2, ModifyIndex: 3}
	if diff := cmp.Diff(want, sn.Namespace(nil, "dev")); diff != "" {
		t.Error(diff)
	}
	if got := []string{"default", "dev", "prod"}; !cmp.Equal(names(sn.Namespaces(nil, "")), got) {
		t.Errorf("all: %v", names(sn.Namespaces(nil, "")))
	}
	if got := names(sn.Namespaces(nil, "de")); !cmp.Equal(got, []string{"default", "dev"}) {
		t.Errorf("prefix de: %v", got)
	}
	wantEvents := []string{"2 Namespace NamespaceUpserted /prod", "2 Namespace NamespaceUpserted /dev", "3 Namespace NamespaceUpserted /dev"}
	if diff := cmp.Diff(wantEvents, describe(s.events)); diff != "" {
		t.Error(diff)
	}
	if sn.TableIndex("namespaces", "variables") != 3 || sn.TableIndex("variables") != 0 {
		t.Error("table indexes are wrong")
	}
}

func TestDeleteNamespaces(t *testing.T) {
	s := newStore(t)
	s.namespaces("empty", "used", "emptied")
	s.set("used", "a", "x")
	s.set("emptied", "a", "x")
	s.apply(variable(structs.VarOpDelete, "emptied", "a", ""))

	refused(t, s.DeleteNamespaces(s.NextIndex(), remove("default")), errs.PreconditionFailed, "default")
	refused(t, s.DeleteNamespaces(s.NextIndex(), remove("empty", "nowhere")), errs.NotFound, "nowhere")
	refused(t, s.DeleteNamespaces(s.NextIndex(), remove("empty", "used")), errs.PreconditionFailed, "1 variables")
	if s.Snapshot().Namespace(nil, "empty") == nil {
		t.Fatal("a refused request deleted a namespace")
	}
	must(t, s.DeleteNamespaces(s.NextIndex(), remove("empty", "emptied")))
	if got := names(s.Snapshot().Namespaces(nil, "")); !cmp.Equal(got, []string{"default", "used"}) {
		t.Errorf("left: %v", got)
	}
	if s.Snapshot().VariablesQuota("emptied") != nil {
		t.Error("the quota of a deleted namespace stays")
	}
	last := s.events[len(s.events)-1]
	if n, ok := last.Payload.(*structs.Namespace); last.Type != "NamespaceDeleted" || !ok || n.Name != "emptied" {
		t.Errorf("last event is %+v", last)
	}
}

// TestDeleteNamespaceSeesItsBatch checks the guard against variables that came
// or went in the same transaction.
func TestDeleteNamespaceSeesItsBatch(t *testing.T) {
	s := newStore(t)
	s.namespaces("a", "b")
	s.set("b", "x", "x")
	s.Batch(func(b *StateStore) {
		if _, err := b.ApplyVariable(b.NextIndex(), variable(structs.VarOpSet, "a", "x", "x")); err != nil {
			t.Error(err)
		}
		refused(t, b.DeleteNamespaces(b.NextIndex(), remove("a")), errs.PreconditionFailed, "1 variables")
		if _, err := b.ApplyVariable(b.NextIndex(), variable(structs.VarOpDelete, "b", "x", "")); err != nil {
			t.Error(err)
		}
		must(t, b.DeleteNamespaces(b.NextIndex(), remove("b")))
	})
	if got := names(s.Snapshot().Namespaces(nil, "")); !cmp.Equal(got, []string{"a", "default"}) {
		t.Errorf("left: %v", got)
	}
}

func TestNamespaceWatches(t *testing.T) {
	s := newStore(t)
	s.namespaces("a", "b")
	one, absent, list := memdb.NewWatchSet(), memdb.NewWatchSet(), memdb.NewWatchSet()
	sn := s.Snapshot()
	sn.Namespace(one, "a")
	sn.Namespace(absent, "c")
	sn.Namespaces(list, "")
	s.namespaces("b")
	if fired(one) || !fired(list) { // an absent row may wake with its neighbours
		t.Errorf("after b changed: a %v, list %v", fired(one), fired(list))
	}
	s.namespaces("a", "c")
	if !fired(one) || !fired(absent) {
		t.Errorf("after a and c changed: a %v, c %v", fired(one), fired(absent))
	}
}
