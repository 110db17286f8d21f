package state

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func rootKey(id string, state structs.RootKeyState) *structs.WrappedRootKeysUpsertRequest {
	return &structs.WrappedRootKeysUpsertRequest{WrappedRootKeys: &structs.RootKey{
		RootKeyMeta: structs.RootKeyMeta{KeyID: id, State: state, CreateTime: 7},
		WrappedKeys: []*structs.WrappedKey{{Provider: "aead", DataEncryptionKey: []byte(id)}},
	}}
}

func (s *testStore) rootKey(id string, state structs.RootKeyState) {
	s.t.Helper()
	must(s.t, s.UpsertRootKey(s.NextIndex(), rootKey(id, state)))
}

func states(s *testStore) map[string]structs.RootKeyState {
	out := map[string]structs.RootKeyState{}
	for k := range s.Snapshot().RootKeys(nil) {
		out[k.KeyID] = k.State
	}
	return out
}

func TestOneActiveRootKey(t *testing.T) {
	s := newStore(t)
	if s.Snapshot().ActiveRootKey() != nil {
		t.Fatal("a new store has a root key")
	}
	ws := memdb.NewWatchSet()
	s.Snapshot().RootKeys(ws)
	s.rootKey("aaaa", structs.RootKeyStateActive)
	if !fired(ws) {
		t.Error("the list of keys was not woken")
	}
	s.rootKey("CCCC", structs.RootKeyStatePrepublished)
	s.rootKey("bbbb", structs.RootKeyStateActive)
	want := map[string]structs.RootKeyState{"aaaa": structs.RootKeyStateInactive, "bbbb": structs.RootKeyStateActive,
		"CCCC": structs.RootKeyStatePrepublished}
	if diff := cmp.Diff(want, states(s)); diff != "" {
		t.Error(diff)
	}
	sn := s.Snapshot()
	if sn.ActiveRootKey().KeyID != "bbbb" || sn.RootKey(nil, "cccc") == nil || sn.RootKey(nil, "CCCC") == nil {
		t.Error("keys are not found by ID in either case")
	}
	if k := sn.RootKey(nil, "aaaa"); k.CreateIndex != 2 || k.ModifyIndex != 4 || k.CreateTime != 7 {
		t.Errorf("the demoted key is %+v", k.RootKeyMeta)
	}
	refused(t, s.UpsertRootKey(s.NextIndex(), rootKey("bbbb", structs.RootKeyStateInactive)), errs.PreconditionFailed, "bbbb")
	refused(t, s.UpsertRootKey(s.NextIndex(), &structs.WrappedRootKeysUpsertRequest{}), errs.Invalid, "ID")
	s.rootKey("bbbb", structs.RootKeyStateActive)
	s.rootKey("cccc", structs.RootKeyStateActive)
	active := slices.Collect(s.Snapshot().RootKeys(nil))
	active = slices.DeleteFunc(active, func(k *structs.RootKey) bool { return k.State != structs.RootKeyStateActive })
	if len(active) != 1 || active[0].KeyID != "CCCC" {
		t.Errorf("active keys: %v", active)
	}
	if len(s.events) != 0 {
		t.Errorf("root keys gave events: %v", describe(s.events))
	}
}

func TestDeleteRootKey(t *testing.T) {
	s := newStore(t)
	s.rootKey("key-1", structs.RootKeyStateActive)
	s.set("default", "a", "x")
	s.set("default", "b", "x")
	del := func(id string) error {
		return s.DeleteRootKey(s.NextIndex(), &structs.WrappedRootKeysDeleteRequest{KeyID: id})
	}
	refused(t, del("key-1"), errs.PreconditionFailed, "active")
	refused(t, del("key-9"), errs.NotFound, "key-9")
	s.rootKey("key-2", structs.RootKeyStateActive)
	refused(t, del("key-1"), errs.PreconditionFailed, "2 variables")
	if n := s.Snapshot().RootKeyUse("KEY-1"); n != 2 {
		t.Errorf("key-1 is used %d times", n)
	}
	s = restored(t, s.persist())
	refused(t, del("key-1"), errs.PreconditionFailed, "2 variables")
	rekeyed := variable(structs.VarOpSet, "default", "a", "y")
	rekeyed.Var.KeyID = "key-2"
	s.apply(rekeyed)
	s.apply(variable(structs.VarOpDelete, "default", "b", ""))
	must(t, del("key-1"))
	if diff := cmp.Diff(map[string]structs.RootKeyState{"key-2": structs.RootKeyStateActive}, states(s)); diff != "" {
		t.Error(diff)
	}
}
