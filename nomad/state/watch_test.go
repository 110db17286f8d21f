package state

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/nomad/structs"
)

// TestNoWakeIsLost runs blocking readers beside the writer: each must get to the
// last value, although none polls.
func TestNoWakeIsLost(t *testing.T) {
	const writes, keys = 2000, 4
	s := newStore(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	reads := map[string]func(sn *Snapshot, ws memdb.WatchSet, i int) uint64{
		"row": func(sn *Snapshot, ws memdb.WatchSet, i int) uint64 {
			if v := sn.Variable(ws, "default", fmt.Sprintf("app/%d", i)); v != nil {
				return v.ModifyIndex
			}
			return 0
		},
		"list": func(sn *Snapshot, ws memdb.WatchSet, i int) uint64 {
			last := uint64(0)
			for v := range sn.Variables(ws, VariableQuery{Namespace: "default", Prefix: "app/"}) {
				if v.Path == fmt.Sprintf("app/%d", i) {
					last = v.ModifyIndex
				}
			}
			return last
		},
	}
	var wg sync.WaitGroup
	for name, read := range reads {
		for i := range keys {
			want := uint64(writes - keys + 2 + i)
			wg.Go(func() {
				for {
					ws := memdb.NewWatchSet()
					if got := read(s.Snapshot(), ws, i); got == want {
						return
					}
					if ws.WatchCtx(ctx) != nil {
						t.Errorf("the reader of %s %d was never woken", name, i)
						return
					}
				}
			})
		}
	}
	for i := range writes {
		v := variable(structs.VarOpSet, "default", fmt.Sprintf("app/%d", i%keys), fmt.Sprint(i))
		if m := s.apply(v).Written; m.ModifyIndex != uint64(i+2) {
			t.Fatalf("write %d has index %d", i, m.ModifyIndex)
		}
	}
	wg.Wait()
}

// TestWatchersShareChannels checks that watching costs no memory per watcher and
// that wakes need none to be removed.
func TestWatchersShareChannels(t *testing.T) {
	s := newStore(t)
	s.set("default", "a", "1")
	a, b := memdb.NewWatchSet(), memdb.NewWatchSet()
	s.Snapshot().Variable(a, "default", "a")
	s.Snapshot().Variable(b, "default", "a")
	for ch := range a {
		if _, ok := b[ch]; !ok {
			t.Error("two watchers of one row have two channels")
		}
	}
	s.set("default", "a", "2")
	c := memdb.NewWatchSet()
	s.Snapshot().Variable(c, "default", "a")
	if !fired(a) || !fired(b) || fired(c) {
		t.Errorf("after a change: %v, %v; afterwards: %v", fired(a), fired(b), fired(c))
	}
}

func BenchmarkWatchedWrite(b *testing.B) {
	for _, watchers := range []int{0, 10_000} {
		b.Run(fmt.Sprintf("%d idle watchers", watchers), func(b *testing.B) {
			s := filledWith(b, 20_000)
			for i := range watchers {
				s.Snapshot().Variable(memdb.NewWatchSet(), "default", fmt.Sprintf("idle/%d", i))
			}
			b.ResetTimer()
			for i := 0; b.Loop(); i++ {
				if _, err := s.ApplyVariable(s.NextIndex(), benchVariable(i%20_000)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
