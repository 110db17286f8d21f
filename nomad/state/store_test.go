package state

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// testStore is a store with the events it published.
type testStore struct {
	*StateStore
	t       testing.TB
	events  []structs.Event
	batches int
}

func newStore(t testing.TB) *testStore {
	s := &testStore{t: t}
	s.StateStore = New(nil, func(events []structs.Event) {
		s.events = append(s.events, events...)
		s.batches++
	})
	return s
}

// must fails the test if err is set.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused checks that err has the code and names what it is about.
func refused(t testing.TB, err error, code errs.Code, about string) {
	t.Helper()
	if errs.CodeOf(err) != code || !bytes.Contains([]byte(err.Error()), []byte(about)) {
		t.Errorf("error is %q (%s), want %s about %q", err, errs.CodeOf(err), code, about)
	}
}

func upsert(names ...string) *structs.NamespaceUpsertRequest {
	r := &structs.NamespaceUpsertRequest{}
	for _, n := range names {
		r.Namespaces = append(r.Namespaces, &structs.Namespace{Name: n})
	}
	return r
}

func remove(names ...string) *structs.NamespaceDeleteRequest {
	return &structs.NamespaceDeleteRequest{Namespaces: names}
}

func (s *testStore) namespaces(names ...string) {
	s.t.Helper()
	must(s.t, s.UpsertNamespaces(s.NextIndex(), upsert(names...)))
}

// variable builds a request; data "" has no data.
func variable(op structs.VarOp, ns, path, data string) *structs.VarApplyStateRequest {
	v := &structs.VariableEncrypted{VariableMetadata: structs.VariableMetadata{Namespace: ns, Path: path, ModifyTime: 1000}}
	if data != "" {
		v.VariableData = structs.VariableData{Data: []byte(data), KeyID: "key-1"}
	}
	return &structs.VarApplyStateRequest{Op: op, Var: v}
}

func cas(r *structs.VarApplyStateRequest, index uint64) *structs.VarApplyStateRequest {
	r.Var.ModifyIndex = index
	return r
}

func locked(r *structs.VarApplyStateRequest, id string) *structs.VarApplyStateRequest {
	r.Var.Lock = &structs.VariableLock{ID: id, TTL: 1, LockDelay: 2}
	return r
}

// apply runs an operation that must be possible.
func (s *testStore) apply(r *structs.VarApplyStateRequest) *structs.VarApplyStateResponse {
	s.t.Helper()
	resp, err := s.ApplyVariable(s.NextIndex(), r)
	must(s.t, err)
	return resp
}

func (s *testStore) set(ns, path, data string) *structs.VariableMetadata {
	s.t.Helper()
	resp := s.apply(variable(structs.VarOpSet, ns, path, data))
	if resp.Result != structs.VarOpResultOk {
		s.t.Fatalf("set %s/%s: %s", ns, path, resp.Result)
	}
	return resp.Written
}

func (s *testStore) persist() []byte {
	s.t.Helper()
	return persist(s.t, s.StateStore)
}

func persist(t testing.TB, s *StateStore) []byte {
	t.Helper()
	var b bytes.Buffer
	must(t, s.Snapshot().Persist(&b))
	return b.Bytes()
}

func restored(t testing.TB, b []byte) *testStore {
	t.Helper()
	s := newStore(t)
	must(t, s.Restore(bytes.NewReader(b)))
	return s
}

// fired reports whether the watch set has a closed channel.
func fired(ws memdb.WatchSet) bool {
	for ch := range ws {
		select {
		case <-ch:
			return true
		default:
		}
	}
	return false
}

func describe(events []structs.Event) []string {
	var out []string
	for _, e := range events {
		out = append(out, fmt.Sprintf("%d %s %s %s/%s", e.Index, e.Topic, e.Type, e.Namespace, e.Key))
	}
	return out
}

func paths(seq func(func(*structs.VariableEncrypted) bool)) []string {
	out := []string{}
	for v := range seq {
		out = append(out, v.Namespace+"."+v.Path)
	}
	return out
}

func names(seq func(func(*structs.Namespace) bool)) []string {
	out := []string{}
	for n := range seq {
		out = append(out, n.Name)
	}
	return out
}

func reversed(in []string) []string {
	out := slices.Clone(in)
	slices.Reverse(out)
	return out
}
