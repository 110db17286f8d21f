package state

import (
	"fmt"
	"testing"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// rowWatch returns a watch of one variable.
func (s *testStore) rowWatch(path string) memdb.WatchSet {
	ws := memdb.NewWatchSet()
	s.Snapshot().Variable(ws, "default", path)
	return ws
}

// TestWatchOfWhatIsAbsent checks that what is not there yet wakes its watchers
// when it comes, wherever the rows around it stand.
func TestWatchOfWhatIsAbsent(t *testing.T) {
	for _, present := range [][]string{{}, {"a"}, {"a/b"}, {"a/b/c/d"}, {"a/b/x", "a/b/y"}, {"a", "a/b/x", "z"}} {
		s := newStore(t)
		for _, p := range present {
			s.set("default", p, "x")
		}
		watches := map[string]memdb.WatchSet{"row": s.rowWatch("a/b/c")}
		for _, prefix := range []string{"", "a", "a/b/", "a/b/c", "a/b/c/"} {
			ws := memdb.NewWatchSet()
			s.Snapshot().Variables(ws, VariableQuery{Namespace: "default", Prefix: prefix})
			watches["prefix "+prefix] = ws
		}
		s.set("default", "a/b/c", "x")
		s.set("default", "a/b/c/e", "x")
		for name, ws := range watches {
			if !fired(ws) {
				t.Errorf("beside %v, the watch of the %s did not wake", present, name)
			}
			if len(ws) > 2 {
				t.Errorf("the watch of the %s has %d channels", name, len(ws))
			}
		}
	}
}

// TestFailedOperationWakesNobody checks that a batch in which an operation fails
// half way through wakes only those who watch what the others changed.
func TestFailedOperationWakesNobody(t *testing.T) {
	s := newStore(t)
	s.namespaces("a", "b")
	s.set("default", "x", "1")
	watch := func(name string) memdb.WatchSet {
		ws := memdb.NewWatchSet()
		s.Snapshot().Namespace(ws, name)
		return ws
	}
	a, b, x := watch("a"), watch("b"), s.rowWatch("x")
	s.Batch(func(batch *StateStore) {
		refused(t, batch.UpsertNamespaces(batch.NextIndex(), upsert("a", "")), errs.Invalid, "without a name")
		refused(t, batch.DeleteNamespaces(batch.NextIndex(), remove("b", "c")), errs.NotFound, "c")
		_, err := batch.ApplyVariable(batch.NextIndex(), variable(structs.VarOpSet, "default", "x", "2"))
		must(t, err)
	})
	if fired(a) || fired(b) || !fired(x) {
		t.Errorf("a %v, b %v, the variable %v", fired(a), fired(b), fired(x))
	}
}

// TestWatchesOfAHugeBatch checks a batch of more rows than the tree notes one by
// one to be woken.
func TestWatchesOfAHugeBatch(t *testing.T) {
	const n = 9000
	s := newStore(t)
	s.set("default", "other", "x")
	write := func(data string) {
		s.Batch(func(b *StateStore) {
			for i := range n {
				_, err := b.ApplyVariable(b.NextIndex(), variable(structs.VarOpSet, "default", fmt.Sprintf("p/%05d", i), data))
				must(t, err)
			}
		})
	}
	write("1")
	first, last, other := s.rowWatch("p/00000"), s.rowWatch(fmt.Sprintf("p/%05d", n-1)), s.rowWatch("other")
	write("2")
	if !fired(first) || !fired(last) || fired(other) {
		t.Errorf("first %v, last %v, other %v", fired(first), fired(last), fired(other))
	}
}

// TestWokenReaderSeesTheChange checks that nobody wakes before the view is
// there. Closing the channels of so many rows takes long enough to notice.
func TestWokenReaderSeesTheChange(t *testing.T) {
	s := newStore(t)
	write := func(data string) {
		s.Batch(func(b *StateStore) {
			for i := range 2000 {
				_, err := b.ApplyVariable(b.NextIndex(), variable(structs.VarOpSet, "default", fmt.Sprintf("p/%04d", i), data))
				must(t, err)
			}
		})
	}
	write("first")
	for round := range 20 {
		before, seen := s.LatestIndex(), make(chan uint64, 8)
		for i := range cap(seen) {
			ws := s.rowWatch(fmt.Sprintf("p/%04d", i*200))
			go func() {
				_ = ws.WatchCtx(t.Context())
				seen <- s.Snapshot().Index()
			}()
		}
		write(fmt.Sprint(round))
		for range cap(seen) {
			if got := <-seen; got <= before {
				t.Fatalf("woken at index %d, read index %d", before, got)
			}
		}
	}
}

// TestZeroBytesReachNoOtherNamespace checks keys that would be those of another
// namespace's rows if the parts were glued together.
func TestZeroBytesReachNoOtherNamespace(t *testing.T) {
	s := newStore(t)
	s.set("default", "a\x00b", "x")
	refused(t, s.UpsertNamespaces(s.NextIndex(), upsert("default\x00a")), errs.Invalid, "zero byte")
	if v := s.Snapshot().Variable(nil, "default\x00a", "b"); v != nil {
		t.Errorf("read %+v", v)
	}
	if got := paths(s.Snapshot().Variables(nil, VariableQuery{Namespace: "default\x00a"})); len(got) != 0 {
		t.Errorf("listed %v", got)
	}
	s.apply(variable(structs.VarOpDelete, "default\x00a", "b", ""))
	if s.Snapshot().Variable(nil, "default", "a\x00b") == nil {
		t.Error("deleted the row of another namespace")
	}
}
