package state

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func poolsOf(names ...string) *structs.NodePoolUpsertRequest {
	r := &structs.NodePoolUpsertRequest{}
	for _, n := range names {
		r.NodePools = append(r.NodePools, &structs.NodePool{Name: n})
	}
	return r
}

func withoutPools(names ...string) *structs.NodePoolDeleteRequest {
	return &structs.NodePoolDeleteRequest{Names: names}
}

func poolNames(s *Snapshot, q NodePoolQuery) []string {
	var out []string
	for p := range s.NodePools(nil, q) {
		out = append(out, p.Name)
	}
	return out
}

func TestNodePools(t *testing.T) {
	s := newStore(t)
	if got := poolNames(s.Snapshot(), NodePoolQuery{}); !cmp.Equal(got, []string{"all", "default"}) || s.LatestIndex() != 1 {
		t.Fatalf("a new store has %v at %d", got, s.LatestIndex())
	}
	must(t, s.UpsertNodePools(s.NextIndex(), poolsOf("gpu", "arm")))
	refused(t, s.UpsertNodePools(s.NextIndex(), poolsOf("new", "all")), errs.PreconditionFailed, "all")
	refused(t, s.UpsertNodePools(s.NextIndex(), poolsOf("new", "no space")), errs.Invalid, "name")
	must(t, s.UpsertNodePools(s.NextIndex(), &structs.NodePoolUpsertRequest{NodePools: []*structs.NodePool{{Name: "gpu", Description: "d"}}}))
	want := &structs.NodePool{Name: "gpu", Description: "d", NodeIdentityTTL: structs.DefaultNodeIdentityTTL, CreateIndex: 2, ModifyIndex: 5}
	if diff := cmp.Diff(want, s.Snapshot().NodePool(nil, "gpu")); diff != "" {
		t.Error(diff)
	}
	for _, tc := range []struct {
		query NodePoolQuery
		want  []string
	}{
		{NodePoolQuery{}, []string{"all", "arm", "default", "gpu"}},
		{NodePoolQuery{Prefix: "a"}, []string{"all", "arm"}},
		{NodePoolQuery{From: "arm"}, []string{"arm", "default", "gpu"}},
		{NodePoolQuery{From: "arm", Reverse: true}, []string{"arm", "all"}},
	} {
		if got := poolNames(s.Snapshot(), tc.query); !cmp.Equal(got, tc.want) {
			t.Errorf("%+v: %v", tc.query, got)
		}
	}
	refused(t, s.DeleteNodePools(s.NextIndex(), withoutPools("arm", "default")), errs.PreconditionFailed, "default")
	refused(t, s.DeleteNodePools(s.NextIndex(), withoutPools("arm", "nowhere")), errs.NotFound, "nowhere")
	must(t, s.DeleteNodePools(s.NextIndex(), withoutPools("arm")))
	wantEvents := []string{"2 NodePool NodePoolUpserted /gpu", "2 NodePool NodePoolUpserted /arm", "5 NodePool NodePoolUpserted /gpu",
		"8 NodePool NodePoolDeleted /arm"}
	if diff := cmp.Diff(wantEvents, describe(s.events)); diff != "" {
		t.Error(diff)
	}
}

// A pool keeps as long as a node is in it, also within one transaction.
func TestNodePoolInUseStays(t *testing.T) {
	s := newStore(t)
	s.Batch(func(b *StateStore) {
		must(t, b.UpsertNodePools(b.NextIndex(), poolsOf("gpu")))
		must(t, b.UpsertNode(b.NextIndex(), registering(node("1", "gpu"))))
		refused(t, b.DeleteNodePools(b.NextIndex(), withoutPools("gpu")), errs.PreconditionFailed, "1 nodes")
	})
	again := restored(t, s.persist())
	refused(t, again.DeleteNodePools(again.NextIndex(), withoutPools("gpu")), errs.PreconditionFailed, "1 nodes")
	must(t, s.UpsertNode(s.NextIndex(), registering(node("1", "default"))))
	must(t, s.DeleteNodePools(s.NextIndex(), withoutPools("gpu")))
}

// A snapshot from before there were node pools gives the built-in ones.
func TestBuiltinNodePoolsAreRestored(t *testing.T) {
	s := newStore(t)
	s.Batch(func(b *StateStore) {
		must(t, b.txn.op(b.NextIndex(), "", func(tx *Txn) error {
			NodePools.unset(tx, Key{ID: "all"})
			NodePools.unset(tx, Key{ID: "default"})
			s.namespaceIn(tx)
			return nil
		}))
	})
	var b bytes.Buffer
	must(t, s.Snapshot().Persist(&b))
	if got := poolNames(restored(t, b.Bytes()).Snapshot(), NodePoolQuery{}); !cmp.Equal(got, []string{"all", "default"}) {
		t.Errorf("restored: %v", got)
	}
}

// namespaceIn makes the transaction write something.
func (s *testStore) namespaceIn(tx *Txn) { upsertNamespace(tx, &structs.Namespace{Name: "x"}) }
