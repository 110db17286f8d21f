package nomad

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/keyring"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

func testFSM(stopped <-chan struct{}) *nomadFSM {
	return newFSM(hclog.NewNullLogger(), state.New(hclog.NewNullLogger(), nil), keyring.New(nil), stopped)
}

func entry(t testing.TB, mt structs.MessageType, msg any) []byte {
	t.Helper()
	b, err := structs.Encode(mt, msg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func upsertNamespace(t testing.TB, name string) []byte {
	return entry(t, structs.NamespaceUpsertRequestType, &structs.NamespaceUpsertRequest{Namespaces: []*structs.Namespace{{Name: name}}})
}

func setVariable(t testing.TB, path, data string) []byte {
	return entry(t, structs.VarApplyStateRequestType, &structs.VarApplyStateRequest{Op: structs.VarOpSet, Var: &structs.VariableEncrypted{
		VariableMetadata: structs.VariableMetadata{Namespace: "default", Path: path, ModifyTime: 42},
		VariableData:     structs.VariableData{Data: []byte(data), KeyID: "k"},
	}})
}

func command(index uint64, data []byte) *raft.Log {
	return &raft.Log{Index: index, Type: raft.LogCommand, Data: data}
}

func TestEveryRequestTypeIsApplied(t *testing.T) {
	n := testFSM(nil)
	for _, mt := range []structs.MessageType{
		structs.ClusterMetadataRequestType, structs.VarApplyStateRequestType, structs.WrappedRootKeysDeleteRequestType,
		structs.WrappedRootKeysUpsertRequestType, structs.NamespaceUpsertRequestType, structs.NamespaceDeleteRequestType,
		structs.ACLPolicyUpsertRequestType, structs.ACLPolicyDeleteRequestType, structs.ACLTokenUpsertRequestType,
		structs.ACLTokenDeleteRequestType, structs.ACLTokenBootstrapRequestType, structs.OneTimeTokenUpsertRequestType,
		structs.OneTimeTokenDeleteRequestType, structs.OneTimeTokenExpireRequestType, structs.ACLRolesUpsertRequestType,
		structs.ACLRolesDeleteByIDRequestType, structs.ACLAuthMethodsUpsertRequestType, structs.ACLAuthMethodsDeleteRequestType,
		structs.ACLBindingRulesUpsertRequestType, structs.ACLBindingRulesDeleteRequestType, structs.AutopilotRequestType,
	} {
		if _, known := n.decodeOp(mt, nil); !known {
			t.Errorf("request type %d has no case", mt)
		}
	}
}

func TestBatchGivesEachWriteItsOwnResult(t *testing.T) {
	n := testFSM(nil)
	group := structs.AppendBatch(nil, [][]byte{
		upsertNamespace(t, "one"),
		entry(t, structs.NamespaceDeleteRequestType, &structs.NamespaceDeleteRequest{Namespaces: []string{"absent"}}),
		upsertNamespace(t, "two"),
	})
	out := n.ApplyBatch([]*raft.Log{
		command(7, group),
		{Index: 8, Type: raft.LogConfiguration},
		command(9, upsertNamespace(t, "three")),
	})
	first := out[0].([]opResult)
	if first[0].err != nil || first[2].err != nil || !errors.Is(first[1].err, errs.NotFound) {
		t.Fatalf("results %+v", first)
	}
	if first[1].index != first[0].index+1 || first[2].index != first[0].index+2 {
		t.Fatalf("the writes of a group must have rising indexes: %+v", first)
	}
	if third := out[2].([]opResult); third[0].err != nil || third[0].index != first[2].index+1 {
		t.Fatalf("the entry after the group: %+v", third)
	}
	if n.seen.Load() != 9 || n.reached(9) != nil || n.reached(10) == nil {
		t.Fatalf("seen %d", n.seen.Load())
	}
	for _, name := range []string{"one", "two", "three"} {
		if n.state.Snapshot().Namespace(nil, name) == nil {
			t.Errorf("namespace %q is missing", name)
		}
	}
}

func TestUnknownTypeStopsBeforeAnythingIsApplied(t *testing.T) {
	stopped := make(chan struct{})
	n := testFSM(stopped)
	done := make(chan []any)
	go func() {
		done <- n.ApplyBatch([]*raft.Log{command(5, upsertNamespace(t, "early")), command(6, []byte{95, 0x80})})
	}()
	<-n.halted
	if !errors.Is(n.haltErr, errs.Unsupported) {
		t.Fatalf("halted with %v", n.haltErr)
	}
	if n.state.Snapshot().Namespace(nil, "early") != nil || n.seen.Load() != 0 {
		t.Fatal("part of the batch was applied")
	}
	if _, err := n.Snapshot(); err == nil {
		t.Fatal("a snapshot was taken although a write is missing")
	}
	close(stopped)
	<-done
	n.Apply(command(7, upsertNamespace(t, "late")))
	if n.state.Snapshot().Namespace(nil, "late") != nil {
		t.Fatal("a later write was applied over the gap")
	}
}

func TestDamagedEntryStopsTheServer(t *testing.T) {
	stopped := make(chan struct{})
	close(stopped)
	n := testFSM(stopped)
	n.ApplyBatch([]*raft.Log{command(5, upsertNamespace(t, "early")), command(6, []byte{byte(structs.NamespaceUpsertRequestType), 0xc1})})
	if !errors.Is(n.haltErr, errs.Internal) || n.state.Snapshot().Namespace(nil, "early") != nil {
		t.Fatalf("halted with %v", n.haltErr)
	}
}

func TestUnknownTypeWithTheIgnoreBitIsSkipped(t *testing.T) {
	n := testFSM(nil)
	out := n.ApplyBatch([]*raft.Log{
		command(5, []byte{95 | byte(structs.IgnoreUnknownTypeFlag), 0x80}),
		command(6, upsertNamespace(t, "later")),
	})
	skipped, next := out[0].([]opResult)[0], out[1].([]opResult)[0]
	if skipped.err != nil || next.index != skipped.index+1 {
		t.Fatalf("a skipped write answers %+v and the next one %+v: servers that know the type would count differently", skipped, next)
	}
	if n.state.Snapshot().Namespace(nil, "later") == nil {
		t.Fatal("the write after a skipped one is missing")
	}
}

// sink collects a snapshot in memory.
type sink struct{ bytes.Buffer }

func (*sink) ID() string    { return "test" }
func (*sink) Cancel() error { return nil }
func (*sink) Close() error  { return nil }

func snapshotOf(t *testing.T, n *nomadFSM) []byte {
	t.Helper()
	snap, err := n.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Release()
	var s sink
	if err := snap.Persist(&s); err != nil {
		t.Fatal(err)
	}
	return s.Bytes()
}

func TestSameLogGivesSameSnapshot(t *testing.T) {
	var logs []*raft.Log
	for i := range 40 {
		group := structs.AppendBatch(nil, [][]byte{setVariable(t, "a/b", string(rune('a'+i%7))), upsertNamespace(t, "ns"), setVariable(t, "c", "x")})
		logs = append(logs, command(uint64(i+1), group))
	}
	whole, pieces := testFSM(nil), testFSM(nil)
	whole.ApplyBatch(logs)
	for _, l := range logs {
		pieces.Apply(l)
	}
	a, b := snapshotOf(t, whole), snapshotOf(t, pieces)
	if !bytes.Equal(a, b) {
		t.Fatal("the same log applied in other batches gives another snapshot")
	}
	restored := testFSM(nil)
	if err := restored.Restore(io.NopCloser(bytes.NewReader(a))); err != nil {
		t.Fatal(err)
	}
	if restored.seen.Load() != 40 || !bytes.Equal(snapshotOf(t, restored), a) {
		t.Fatal("a restored store gives another snapshot")
	}
}

func TestDamagedSnapshotIsRefused(t *testing.T) {
	n := testFSM(nil)
	n.Apply(command(1, upsertNamespace(t, "kept")))
	good := snapshotOf(t, n)
	for name, b := range map[string][]byte{
		"empty": nil, "cut in the head": good[:10], "cut in half": good[:len(good)/2], "one byte short": good[:len(good)-1],
		"something else": append([]byte("PK\x03\x04"), good[4:]...),
	} {
		if err := n.Restore(io.NopCloser(bytes.NewReader(b))); err == nil {
			t.Errorf("%s: restored", name)
		}
		if n.state.Snapshot().Namespace(nil, "kept") == nil {
			t.Fatalf("%s: the store was lost", name)
		}
	}
}

func TestReachedWakesInOrder(t *testing.T) {
	n := testFSM(nil)
	one, two := n.reached(1), n.reached(2)
	n.Apply(command(1, upsertNamespace(t, "x")))
	select {
	case <-one:
	case <-time.After(10 * time.Second):
		t.Fatal("not woken")
	}
	select {
	case <-two:
		t.Fatal("woken too early")
	default:
	}
	n.advance(2)
	<-two
}

func FuzzApplyEntry(f *testing.F) {
	f.Add(upsertNamespace(f, "a"))
	f.Add(setVariable(f, "a/b", "data"))
	f.Add(structs.AppendBatch(nil, [][]byte{upsertNamespace(f, "a"), {95}}))
	f.Add([]byte{96, 1, 0})
	f.Add(structs.AppendBatch(nil, aclEntries(f)))
	f.Add(entry(f, structs.ACLCheckedRequestType, &structs.ACLCheckedRequest{Checked: 1, Entry: aclEntries(f)[0]}))
	f.Add(structs.AppendBatch(nil, append(aclEntries(f), aclRemovals(f)...)))
	f.Fuzz(func(t *testing.T, b []byte) {
		stopped := make(chan struct{})
		close(stopped)
		n := testFSM(stopped)
		n.ApplyBatch([]*raft.Log{command(1, b)})
	})
}

func tagged(id byte, base uint64, inner []byte) []byte {
	return append(structs.AppendTag(nil, &structs.RequestTag{ID: structs.RequestID{id}, Time: 1000, Base: base}), inner...)
}

func TestTaggedEntryIsAppliedOnce(t *testing.T) {
	n := testFSM(nil)
	group := structs.AppendBatch(nil, [][]byte{
		tagged(1, 1, setVariable(t, "app/db", "one")),
		tagged(2, 1, upsertNamespace(t, "one")),
		tagged(1, 1, setVariable(t, "app/db", "two")),
	})
	out := n.ApplyBatch([]*raft.Log{command(7, group), command(8, tagged(1, 1, setVariable(t, "app/db", "three"))),
		command(9, tagged(2, 1, upsertNamespace(t, "two")))})
	results := slices.Concat(out[0].([]opResult), out[1].([]opResult), out[2].([]opResult))
	for i, first := range []int{0, 1, 0, 0, 1} {
		if results[i].err != nil || results[i].index != results[first].index {
			t.Errorf("try %d gave %+v, not %+v", i, results[i], results[first])
		}
	}
	for i := range 4 {
		if w, ok := results[i].value.(*structs.VarApplyStateResponse); i != 1 && (!ok || w.Written == nil || w.Written.ModifyIndex != results[0].index) {
			t.Errorf("try %d answered %+v", i, results[i].value)
		}
	}
	row := n.state.Snapshot().Variable(nil, "default", "app/db")
	if string(row.Data) != "one" || row.ModifyIndex != results[0].index {
		t.Errorf("the store has %q of index %d", row.Data, row.ModifyIndex)
	}
	if n.state.Snapshot().Namespace(nil, "two") != nil {
		t.Error("the second try of a request wrote")
	}
	if err := func() (err error) { _, err = n.plan(tagged(1, 1, nil)); return }(); err == nil {
		t.Error("a tag without an entry was taken")
	}
}

// BenchmarkApplyGroup measures what it costs to apply a write once.
func BenchmarkApplyGroup(b *testing.B) {
	for _, once := range []bool{false, true} {
		b.Run(fmt.Sprint("once=", once), func(b *testing.B) {
			n := testFSM(nil)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				entries := make([][]byte, 64)
				for j := range entries {
					entries[j] = setVariable(b, fmt.Sprint("app/", i%100, "/", j), "data")
					if once {
						tag := structs.RequestTag{ID: structs.RequestID{byte(j), byte(i), byte(i >> 8), byte(i >> 16), 15: 1}, Time: 1000, Base: n.state.LatestIndex()}
						entries[j] = append(structs.AppendTag(make([]byte, 0, 256), &tag), entries[j]...)
					}
				}
				n.ApplyBatch([]*raft.Log{command(uint64(i+1), structs.AppendBatch(nil, entries))})
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/write")
		})
	}
}
