package acl

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// opsGen lists many operations, so that few properties hold by chance.
var opsGen = rapid.SliceOfN(operationGen, 40, 40)

// TestLacksFindsWhateverIsMore holds that policies without a shortfall allow nothing that
// the caller may not do: alone, and together with others of which the same is true.
func TestLacksFindsWhateverIsMore(t *testing.T) {
	untilSaid(t, func(t *rapid.T) (covered int) {
		own := rapid.SliceOfN(policyGen, 1, 3).Draw(t, "own")
		a, _ := New(false, own...)
		var given []*Policy
		for range 2 {
			var set []*Policy
			for _, p := range own {
				if rapid.Bool().Draw(t, "shared") {
					set = append(set, p)
				}
			}
			if rapid.Bool().Draw(t, "more") {
				set = append(set, policyGen.Draw(t, "given"))
			}
			if a.Lacks(set...) == nil {
				given = append(given, set...)
			}
		}
		b, _ := New(false, given...)
		for _, op := range opsGen.Draw(t, "operations") {
			if !ask(b, op) {
				continue
			}
			if covered++; !ask(a, op) {
				t.Fatalf("%+v is allowed by what should be covered", op)
			}
		}
		return covered
	})
}

// untilSaid checks a property on random policies until some of them gave it
// something to say, which few of them do.
func untilSaid(t *testing.T, property func(*rapid.T) (said int)) {
	t.Helper()
	said := 0
	for range 50 {
		rapid.Check(t, func(t *rapid.T) { said += property(t) })
		if said > 0 || t.Failed() {
			return
		}
	}
	t.Error("no example gave the property anything to say")
}

// TestReleasedNamesWhateverIsUncovered holds that changing policies gives a holder nothing
// beyond what it had, the new policies and what Released returns.
func TestReleasedNamesWhateverIsUncovered(t *testing.T) {
	untilSaid(t, func(t *rapid.T) (gained int) {
		old := rapid.SliceOfN(policyGen, 0, 2).Draw(t, "old")
		fresh := rapid.SliceOfN(policyGen, 0, 2).Draw(t, "new")
		others := rapid.SliceOfN(policyGen, 1, 3).Draw(t, "others")
		writer := rapid.SliceOfN(policyGen, 1, 2).Draw(t, "writer")
		a, _ := New(false, append(writer, &Policy{Rules: []*Rule{
			{Kind: KindNamespace, Name: "*", Capabilities: namespaceWords.words[1:], Paths: []*PathRule{{Pattern: "*", Capabilities: variableWords.words[1:]}}},
		}})...)
		if a.Lacks(fresh...) != nil {
			return 0
		}
		if r := Released(old, fresh, others); r != nil && a.Lacks(r) != nil {
			return 0
		}
		before, _ := New(false, slices.Concat(old, others)...)
		after, _ := New(false, slices.Concat(fresh, others)...)
		for _, op := range opsGen.Draw(t, "operations") {
			if ask(before, op) || !ask(after, op) {
				continue
			}
			if gained++; !ask(a, op) {
				t.Fatalf("%+v is gained by a change of somebody who may not do it", op)
			}
		}
		return gained
	})
}

func TestLacksByExample(t *testing.T) {
	const all = `namespace "*" { policy = "write" }`
	const noProd = `namespace "prod" { policy = "deny" }`
	for name, c := range map[string]struct {
		own     []string
		given   []string
		missing string // "" if it is covered
	}{
		"the same":                    {[]string{all}, []string{all}, ""},
		"less":                        {[]string{all}, []string{`namespace "team-*" { policy = "read" }`}, ""},
		"another name":                {[]string{`namespace "a" { policy = "write" }`}, []string{`namespace "b" { policy = "read" }`}, `namespace "b": list-jobs`},
		"a wider pattern":             {[]string{`namespace "a*" { policy = "write" }`}, []string{`namespace "*" { policy = "read" }`}, `namespace "*": list-jobs`},
		"a deny is left out":          {[]string{all, noProd}, []string{all}, `namespace "*": list-jobs`},
		"a deny is kept":              {[]string{all, noProd}, []string{all, noProd}, ""},
		"a deny elsewhere":            {[]string{all, noProd}, []string{`namespace "team-*" { policy = "write" }`}, ""},
		"a deny under the pattern":    {[]string{all, noProd}, []string{`namespace "p*" { policy = "read" }`}, `namespace "p*": list-jobs`},
		"only a deny":                 {[]string{noProd}, []string{`namespace "*" { policy = "deny" } agent { policy = "deny" }`}, ""},
		"explicit only":               {[]string{all}, []string{`namespace "a" { capabilities = ["alloc-node-exec"] }`}, `namespace "a": alloc-node-exec`},
		"variables are apart":         {[]string{all}, []string{`namespace "a" { variables { path "*" { capabilities = ["list"] } } }`}, `namespace "a" variables path "*": list`},
		"operator":                    {[]string{`operator { capabilities = ["raft-write"] }`}, []string{`operator { capabilities = ["raft-read"] }`}, ""},
		"operator word":               {[]string{`operator { capabilities = ["raft-write"] }`}, []string{`operator { policy = "read" }`}, `operator: read`},
		"node":                        {[]string{`node { policy = "read" }`}, []string{`node { policy = "write" }`}, `node: write`},
		"namespaces by the operator":  {[]string{`operator { capabilities = ["namespace-write"] }`}, []string{`namespace "a" { capabilities = ["manage-namespace"] }`}, ""},
		"node pools":                  {[]string{`node_pool "a-*" { policy = "write" }`}, []string{`node_pool "a-b" { policy = "read" }`}, ""},
		"host volumes":                {[]string{`host_volume "a" { policy = "read" }`}, []string{`host_volume "a" { policy = "write" }`}, `host_volume "a": mount-readwrite`},
		"a rule that grants nothing":  {[]string{all + ` namespace "b" {}`}, []string{`namespace "b" { policy = "read" }`}, `namespace "b": list-jobs`},
		"closest glob of the granter": {[]string{`namespace "a-*" { policy = "read" } ` + all}, []string{`namespace "a-b*" { policy = "write" }`}, `namespace "a-b*": scale-job`},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := New(false, mustParseAll(t, c.own)...)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if s := a.Lacks(mustParseAll(t, c.given)...); s != nil {
				got = s.Rule + ": " + s.Missing[0]
			}
			if got != c.missing {
				t.Errorf("got %q, want %q", got, c.missing)
			}
			if Management.Lacks(mustParseAll(t, c.given)...) != nil || (strings.Contains(c.missing, ":") && DenyAll.Lacks(mustParseAll(t, c.given)...) == nil) {
				t.Error("management lacks something, or nobody lacks nothing")
			}
		})
	}
}

func TestReleasedByExample(t *testing.T) {
	all := mustParseAll(t, []string{`namespace "*" { policy = "read" }`})
	for src, want := range map[string]string{
		`namespace "prod" { policy = "deny" }`:      "list-jobs",
		`namespace "prod" { policy = "write" }`:     "",
		`namespace "prod" {}`:                       "list-jobs",
		`node { policy = "deny" }`:                  "",
		`namespace "*" { capabilities = ["deny"] }`: "list-jobs",
	} {
		got := ""
		if p := Released(mustParseAll(t, []string{src}), nil, all); p != nil {
			got = p.Rules[0].Capabilities[0]
		}
		if got != want {
			t.Errorf("%s: uncovers %q, want %q", src, got, want)
		}
	}
}

func mustParseAll(t *testing.T, sources []string) []*Policy {
	t.Helper()
	var out []*Policy
	for _, src := range sources {
		p, err := Parse(src)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}
