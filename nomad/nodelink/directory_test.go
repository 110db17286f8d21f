package nodelink_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

func up(node string, epoch uint64) structs.NodeLinkChange {
	return structs.NodeLinkChange{NodeID: node, Epoch: epoch, Up: true}
}

func TestDirectory(t *testing.T) {
	d := nodelink.NewDirectory()
	changes := 0
	d.Changed = func() { changes++ }
	say := func(u structs.NodeLinkUpdateRequest, resync bool) {
		t.Helper()
		if got := d.Apply(&u); got != resync {
			t.Errorf("%+v: resync %v", u, got)
		}
	}
	owners := func(node string, want ...string) {
		t.Helper()
		if got := d.Owners(node); !slices.Equal(got, want) {
			t.Errorf("%s is at %q, want %q", node, got, want)
		}
	}
	say(structs.NodeLinkUpdateRequest{ServerID: "a", Boot: "1", To: 1, Changes: []structs.NodeLinkChange{up("n", 1)}}, true)
	owners("n")
	say(structs.NodeLinkUpdateRequest{ServerID: "a", Boot: "1", Full: true, To: 4, Changes: []structs.NodeLinkChange{up("n", 2), up("m", 1)}}, false)
	say(structs.NodeLinkUpdateRequest{ServerID: "a", Boot: "1", Full: true, To: 3}, false)
	owners("n", "a")
	say(structs.NodeLinkUpdateRequest{ServerID: "b", Boot: "1", Full: true, To: 1, Changes: []structs.NodeLinkChange{up("n", 1)}}, false)
	owners("n", "a", "b")
	say(structs.NodeLinkUpdateRequest{ServerID: "b", Boot: "1", From: 1, To: 2, Changes: []structs.NodeLinkChange{up("n", 2)}}, false)
	owners("n", "b", "a")
	say(structs.NodeLinkUpdateRequest{ServerID: "a", Boot: "1", From: 4, To: 5, Changes: []structs.NodeLinkChange{{NodeID: "n"}}}, false)
	owners("n", "b")
	say(structs.NodeLinkUpdateRequest{ServerID: "a", Boot: "1", From: 7, To: 8}, true)
	say(structs.NodeLinkUpdateRequest{ServerID: "a", Boot: "2", From: 5, To: 6}, true)
	owners("m", "a")
	say(structs.NodeLinkUpdateRequest{ServerID: "a", Boot: "2", Full: true, To: 1}, false)
	owners("m")
	d.Forget("b", "n")
	owners("n")
	say(structs.NodeLinkUpdateRequest{ServerID: "b", Boot: "1", From: 2, To: 3, Changes: []structs.NodeLinkChange{up("n", 2)}}, false)
	d.Keep(func(id string) bool { return id != "b" })
	owners("n")
	if changes != 6 || d.Len() != 0 {
		t.Errorf("%d changes, %d links", changes, d.Len())
	}
}

// Whatever is lost, doubled or late, a directory that is told again has what the
// server has.
func TestDirectoryConverges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := nodelink.NewDirectory()
		real, seq := map[string]uint64{}, uint64(0)
		var log []structs.NodeLinkChange
		sync := func(from uint64, full bool) bool {
			u := &structs.NodeLinkUpdateRequest{ServerID: "a", Boot: "1", From: from, To: seq, Full: full}
			if full {
				for n, e := range real {
					u.Changes = append(u.Changes, up(n, e))
				}
			} else {
				u.Changes = log[from:]
			}
			return d.Apply(u)
		}
		known := uint64(0)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			switch node := fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "node")); rapid.IntRange(0, 4).Draw(t, "what") {
			case 0, 1:
				seq++
				real[node] = seq
				log = append(log, up(node, seq))
			case 2:
				seq++
				delete(real, node)
				log = append(log, structs.NodeLinkChange{NodeID: node})
			case 3:
				sync(uint64(rapid.IntRange(0, int(seq)).Draw(t, "from")), false) // a guess, or one that came twice
			case 4:
				if sync(known, false) {
					sync(0, true)
				}
				known = seq
			}
		}
		if sync(known, false) {
			sync(0, true)
		}
		for i := range 4 {
			node := fmt.Sprint(i)
			if _, want := real[node]; want != (len(d.Owners(node)) == 1) {
				t.Fatalf("node %s: linked %v, owners %q", node, want, d.Owners(node))
			}
		}
	})
}
