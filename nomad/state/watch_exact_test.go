package state

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/nomad/structs"
)

func (s *testStore) rangeWatch(q VariableQuery) memdb.WatchSet {
	ws := memdb.NewWatchSet()
	for range s.Snapshot().Variables(ws, q) {
	}
	return ws
}

func noWatchLeft(t *testing.T, s *testStore) {
	t.Helper()
	w := s.core.watchers
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := w.waiting.Load(); n != 0 || len(w.byCh) != 0 {
		t.Errorf("%d watches and %d channels are left", n, len(w.byCh))
	}
	for i, x := range w.tables {
		if len(x.rows)+len(x.values)+len(x.ranges)+len(x.lengths) != 0 {
			t.Errorf("table %s: %d rows, %d values, %d ranges of %d lengths are left",
				registry[i].describe().Name, len(x.rows), len(x.values), len(x.ranges), len(x.lengths))
		}
	}
}

// TestWatchesWakeForNothingElse checks that a change wakes those who watch it and
// nobody beside it, absent or not, and that nothing of a watch is left behind.
func TestWatchesWakeForNothingElse(t *testing.T) {
	s := newStore(t)
	s.namespaces("other")
	s.set("default", "a", "1")
	s.set("default", "a/b/c", "1")
	type watch struct {
		name  string
		ws    memdb.WatchSet
		wakes bool
	}
	list := func(ns, prefix string) memdb.WatchSet {
		return s.rangeWatch(VariableQuery{Namespace: ns, Prefix: prefix})
	}
	for _, write := range []func(){
		func() { s.set("default", "a/b/new", "2") },
		func() { s.set("default", "a/b/new", "3") },
		func() { s.apply(variable(structs.VarOpDelete, "default", "a/b/new", "")) },
	} {
		all := []watch{
			{"the row", s.rowWatch("a/b/new"), true},
			{"a longer path", s.rowWatch("a/b/new/er"), false},
			{"a shorter path", s.rowWatch("a/b"), false},
			{"a row beside it", s.rowWatch("a/b/c"), false},
			{"an absent row beside it", s.rowWatch("a/b/neu"), false},
			{"its directory", list("default", "a/b/"), true},
			{"its path as a prefix", list("default", "a/b/new"), true},
			{"its namespace", list("default", ""), true},
			{"everything", list(structs.AllNamespacesSentinel, ""), true},
			{"another directory", list("default", "a/c/"), false},
			{"a longer prefix", list("default", "a/b/new/"), false},
			{"another namespace", list("other", ""), false},
			{"the same path elsewhere", list("other", "a/b/new"), false},
		}
		write()
		for _, w := range all {
			if fired(w.ws) != w.wakes {
				t.Errorf("the watch of %s: woke %v, want %v", w.name, !w.wakes, w.wakes)
			}
			s.Unwatch(w.ws)
		}
	}
	noWatchLeft(t, s)
}

// TestWatchOfAnOldViewWakesAtOnce checks a watch that comes after the change.
func TestWatchOfAnOldViewWakesAtOnce(t *testing.T) {
	s := newStore(t)
	s.set("default", "a", "1")
	s.set("default", "b", "1")
	old := s.Snapshot()
	s.set("default", "a", "2")
	for name, want := range map[string]bool{"a": true, "b": false} {
		ws := memdb.NewWatchSet()
		old.Variable(ws, "default", name)
		if fired(ws) != want {
			t.Errorf("%s: woke %v, want %v", name, !want, want)
		}
		s.Unwatch(ws)
	}
	ws := memdb.NewWatchSet()
	old.Variables(ws, VariableQuery{Namespace: "default"})
	if !fired(ws) {
		t.Error("the list did not wake")
	}
	s.Unwatch(ws)
	noWatchLeft(t, s)
}

// TestSharedWatches checks that who leaves takes nothing from who stays.
func TestSharedWatches(t *testing.T) {
	s := newStore(t)
	first, second := s.rowWatch("a"), s.rowWatch("a")
	twice := s.rowWatch("a")
	s.Snapshot().Variable(twice, "default", "a")
	s.Unwatch(first)
	s.Unwatch(twice)
	s.set("default", "a", "1")
	if !fired(second) {
		t.Error("the one that stayed did not wake")
	}
	s.Unwatch(second)
	noWatchLeft(t, s)
}

// TestNoWakeUpIsLost has readers wait for each value of their own rows while
// others write all of them. A lost wake-up would make it hang.
func TestNoWakeUpIsLost(t *testing.T) {
	const rows, last = 8, 200
	s := newStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for i := range 2 * rows {
		wg.Go(func() {
			path := fmt.Sprintf("p/%d", i%rows)
			for seen := ""; seen != fmt.Sprint(last) && ctx.Err() == nil; {
				ws := memdb.NewWatchSet()
				sn := s.Snapshot()
				var row *structs.VariableEncrypted
				if i < rows {
					row = sn.Variable(ws, "default", path)
				} else {
					for v := range sn.Variables(ws, VariableQuery{Namespace: "default", Prefix: path}) {
						row = v
					}
				}
				if row != nil {
					seen = string(row.Data)
				}
				if seen != fmt.Sprint(last) {
					_ = ws.WatchCtx(ctx)
				}
				s.Unwatch(ws)
			}
		})
	}
	for n := range last + 1 {
		for i := range rows {
			s.set("default", fmt.Sprintf("p/%d", i), fmt.Sprint(n))
		}
	}
	wg.Wait()
	noWatchLeft(t, s)
}
