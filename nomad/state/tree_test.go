package state

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

type item struct{ id, value string }

func newTree() tree[item] { return tree[item]{key: func(i *item) Key { return Key{ID: i.id} }} }

func ids(seq func(func(*item) bool)) []string {
	out := []string{}
	for i := range seq {
		out = append(out, i.id)
	}
	return out
}

// TestTreeAgreesWithMap edits a tree and a map at random, takes copies of both
// and checks that every copy stays what it was.
func TestTreeAgreesWithMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type version struct {
			tree tree[item]
			keys []string
		}
		live, model := newTree(), map[string]bool{}
		var old []version
		owner := uint64(1)
		sorted := func() []string {
			keys := []string{}
			for k := range model {
				keys = append(keys, k)
			}
			slices.Sort(keys)
			return keys
		}
		id := func() string { return fmt.Sprintf("%03d", rapid.IntRange(0, 400).Draw(t, "id")) }
		t.Repeat(map[string]func(*rapid.T){
			"put": func(t *rapid.T) {
				from := rapid.IntRange(0, 400).Draw(t, "from")
				for i := from; i < from+rapid.IntRange(1, 60).Draw(t, "n"); i++ {
					k := fmt.Sprintf("%03d", i)
					if before := live.put(owner, &item{id: k}); (before != nil) != model[k] {
						t.Fatalf("put %s returned %v", k, before)
					}
					model[k] = true
				}
			},
			"remove": func(t *rapid.T) {
				keys := sorted()
				for range rapid.IntRange(1, 60).Draw(t, "n") {
					k := id()
					if len(keys) > 0 && rapid.Bool().Draw(t, "known") {
						k = rapid.SampledFrom(keys).Draw(t, "key")
					}
					if before := live.remove(owner, Key{ID: k}); (before != nil) != model[k] {
						t.Fatalf("remove %s returned %v", k, before)
					}
					delete(model, k)
				}
			},
			"copy": func(t *rapid.T) {
				old = append(old, version{live, sorted()})
				owner++
			},
			"seek": func(t *rapid.T) {
				k, keys := id(), sorted()
				i, found := slices.BinarySearch(keys, k)
				if diff := cmp.Diff(keys[i:], ids(live.ascend(Key{ID: k}))); diff != "" {
					t.Fatal(diff)
				}
				if found {
					i++
				}
				down := slices.Clone(keys[:i])
				slices.Reverse(down)
				if diff := cmp.Diff(down, ids(live.descend(Key{ID: k}))); diff != "" {
					t.Fatal(diff)
				}
				if got := live.get(Key{ID: k}) != nil; got != found {
					t.Fatalf("get %s: %v", k, got)
				}
			},
			"": func(t *rapid.T) {
				if live.size != len(model) {
					t.Fatalf("size is %d of %d", live.size, len(model))
				}
				for _, v := range append(old, version{live, sorted()}) {
					if diff := cmp.Diff(v.keys, ids(v.tree.ascend(Key{}))); diff != "" {
						t.Fatal(diff)
					}
				}
			},
		})
	})
}

func TestTreeLoad(t *testing.T) {
	for _, n := range []int{0, 1, 31, 32, 33, 1024, 1025, 40000} {
		var rows []*item
		for i := range n {
			rows = append(rows, &item{id: fmt.Sprintf("%06d", i)})
		}
		tr := newTree()
		tr.load(slices.Clone(rows))
		if got := len(ids(tr.ascend(Key{}))); got != n || tr.size != n {
			t.Errorf("a tree of %d rows yields %d, size %d", n, got, tr.size)
		}
		kept := tr
		rand.Shuffle(n, func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
		for _, r := range rows {
			if tr.get(Key{ID: r.id}) != r {
				t.Fatalf("row %s is lost", r.id)
			}
			tr.remove(1, Key{ID: r.id})
		}
		if tr.root != nil || tr.size != 0 {
			t.Errorf("%d rows removed leave %d", n, tr.size)
		}
		if got := len(ids(kept.ascend(Key{}))); got != n {
			t.Errorf("the copy kept %d rows of %d", got, n)
		}
	}
}
