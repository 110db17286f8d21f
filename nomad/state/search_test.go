package state

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/nomad/structs"
)

func TestEveryTableSaysHowItIsSearched(t *testing.T) {
	seen := map[structs.SearchContext]string{}
	for _, table := range registry {
		info := table.describe()
		switch {
		case !info.searchSaid:
			t.Errorf("table %s: nothing says how it is searched: add searchedBy or notSearched to its newTable", info.Name)
		case info.context == "":
			continue
		case info.follows == nil:
			t.Errorf("table %s is searched and its events do not say who could see any row", info.Name)
		case seen[info.context] != "":
			t.Errorf("tables %s and %s are both searched as %s", info.Name, seen[info.context], info.context)
		}
		seen[info.context] = info.Name
	}
	if got := SearchContexts(); len(got) != len(seen) || !slices.IsSorted(got) || len(SearchedTables()) != len(seen) {
		t.Errorf("contexts %v, tables %v", got, SearchedTables())
	}
}

func rights(t *testing.T, rules string) *acl.ACL {
	t.Helper()
	p, err := acl.Parse(rules)
	must(t, err)
	a, err := acl.New(false, p)
	must(t, err)
	return a
}

// foundIDs returns what a search finds, with the scope of each.
func foundIDs(s *testStore, q SearchQuery) []string {
	out := []string{}
	for f := range s.Snapshot().Search(&q) {
		out = append(out, fmt.Sprint(f.ID, " ", f.Name, " ", f.Scope))
	}
	return out
}

func TestSearch(t *testing.T) {
	s := newStore(t)
	s.namespaces("ab", "abc", "other")
	for _, at := range [][2]string{{"default", "app/a"}, {"default", "b"}, {"ab", "app/b"}, {"abc", "app/c"}, {"abc", "app"}} {
		s.set(at[0], at[1], "x")
	}
	const one, two = "0aaaaaaa-0000-0000-0000-000000000001", "0aaaabbb-0000-0000-0000-000000000002"
	for i, id := range []string{one, two} {
		n := node(id, "gpu")
		n.Name = fmt.Sprint("worker-", i)
		must(t, s.UpsertNode(uint64(100+i), &structs.NodeRegisterRequest{Node: n, CreateNodePool: true}))
	}
	management, err := acl.New(true)
	must(t, err)
	some := rights(t, `namespace "ab*" { variables { path "app/*" { capabilities = ["list"] } } }`)
	for name, c := range map[string]struct {
		q    SearchQuery
		want []string
	}{
		"variables of a namespace": {SearchQuery{ACL: management, Context: "vars", Namespace: "abc", Prefix: "ap"}, []string{"app app [abc app]", "app/c app/c [abc app/c]"}},
		"variables of all": {SearchQuery{ACL: management, Context: "vars", Namespace: "*", Prefix: "app/"},
			[]string{"app/b app/b [ab app/b]", "app/c app/c [abc app/c]", "app/a app/a [default app/a]"}},
		"variables that are visible":   {SearchQuery{ACL: some, Context: "vars", Namespace: "*"}, []string{"app/b app/b [ab app/b]", "app/c app/c [abc app/c]"}},
		"variables of no namespace":    {SearchQuery{ACL: management, Context: "vars", Namespace: "absent"}, []string{}},
		"a namespace with a zero byte": {SearchQuery{ACL: management, Context: "vars", Namespace: "ab\x00app"}, []string{}},
		"namespaces":                   {SearchQuery{ACL: management, Context: "namespaces", Namespace: "default", Prefix: "ab"}, []string{"ab ab []", "abc abc []"}},
		"namespaces that are visible":  {SearchQuery{ACL: some, Context: "namespaces"}, []string{"ab ab []", "abc abc []"}},
		"node pools":                   {SearchQuery{ACL: management, Context: "node_pools", Prefix: "g"}, []string{"gpu gpu []"}},
		"node pools without the right": {SearchQuery{ACL: some, Context: "node_pools", Prefix: "g"}, []string{}},
		"nodes":                        {SearchQuery{ACL: management, Context: "nodes", Prefix: "0AAAA"}, []string{one + " worker-0 [" + one + "]", two + " worker-1 [" + two + "]"}},
		"a node by an odd number of digits": {SearchQuery{ACL: management, Context: "nodes", Prefix: "0aaaab"},
			[]string{two + " worker-1 [" + two + "]"}},
		"a node by the beginning of a group": {SearchQuery{ACL: management, Context: "nodes", Prefix: one[:9]}, []string{one + " worker-0 [" + one + "]"}},
		"nothing of the kind":                {SearchQuery{ACL: management, Context: "jobs"}, []string{}},
		"nothing of no kind":                 {SearchQuery{ACL: management}, []string{}},
	} {
		if diff := cmp.Diff(c.want, foundIDs(s, c.q)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestMaySearch(t *testing.T) {
	a := rights(t, `namespace "shop" { variables { path "app/*" { capabilities = ["list"] } } }`)
	for _, c := range []struct {
		a          *acl.ACL
		context    structs.SearchContext
		namespace  string
		may, known bool
	}{
		{a, "vars", "shop", true, true}, {a, "vars", "*", true, true}, {a, "vars", "default", false, true}, {a, "namespaces", "default", true, true},
		{a, "nodes", "*", false, true}, {a, "node_pools", "*", false, true}, {a, "jobs", "shop", false, false}, {a, "", "shop", false, false},
		{rights(t, `operator { capabilities = ["namespace-write"] }`), "namespaces", "default", true, true},
	} {
		if may, known := MaySearch(c.a, c.context, c.namespace); may != c.may || known != c.known {
			t.Errorf("%q in %s: may %v, known %v", c.context, c.namespace, may, known)
		}
	}
}

// TestSearchSeeks counts the rows that a search of a prefix judges: those of the prefix
// that are taken, however many the table has.
func TestSearchSeeks(t *testing.T) {
	s := newStore(t)
	for i := range 500 {
		s.set("default", fmt.Sprintf("a/%04d", i), "x")
	}
	judged := 0
	rule := Variables.visible
	Variables.visible = func(a *acl.ACL, v *structs.VariableEncrypted) bool { judged++; return rule(a, v) }
	defer func() { Variables.visible = rule }()
	management, err := acl.New(true)
	must(t, err)
	n := 0
	for range s.Snapshot().Search(&SearchQuery{ACL: management, Context: "vars", Namespace: "default", Prefix: "a/03"}) {
		if n++; n == 5 {
			break
		}
	}
	if n != 5 || judged != 5 {
		t.Errorf("%d rows were judged to find %d", judged, n)
	}
}
