package acl

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// reference answers from the rules as they stand, slowly and with nothing prepared.
type reference struct {
	policies []*Policy
	workload *Workload
}

// rough is a rule in words: patterns of namespace and name, and all it means.
type rough struct {
	ns, name string
	words    map[string]bool
}

func wordsOf(v *vocabulary, level string, caps []string) map[string]bool {
	out := map[string]bool{}
	for _, w := range v.names(v.levels[level]) {
		out[w] = true
	}
	for _, c := range caps {
		for _, w := range v.names(v.expanded[c]) {
			out[w] = true
		}
	}
	return out
}

// rules returns the merged rules of a kind, one for each pair of patterns.
func (ref *reference) rules(k Kind) []*rough {
	var out []*rough
	add := func(ns, name string, words map[string]bool) {
		for _, r := range out {
			if r.ns == ns && r.name == name {
				for w := range words {
					r.words[w] = true
				}
				return
			}
		}
		out = append(out, &rough{ns, name, words})
	}
	for _, p := range ref.policies {
		for _, r := range p.Rules {
			if r.Kind == k {
				add("", r.Name, wordsOf(vocabularyOf(k), r.Level, r.Capabilities))
			}
			for _, path := range r.Paths {
				if k == KindVariables {
					add(r.Name, path.Pattern, wordsOf(variableWords, "", path.Capabilities))
				}
			}
		}
	}
	return out
}

func like(pattern, name string) bool {
	return regexp.MustCompile(`(?s)^` + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, `.*`) + `$`).MatchString(name)
}

func (ref *reference) allows(op Operation) bool {
	rules := ref.rules(op.Kind)
	for _, r := range rules {
		if r.ns == op.Namespace && r.name == op.Name && !strings.Contains(r.ns+r.name, "*") {
			return r.words[op.Capability] && !r.words[Deny]
		}
	}
	if w := ref.workload; w != nil && op.Kind == KindVariables && op.Namespace == w.Namespace {
		own := []string{"nomad/jobs", "nomad/jobs/" + w.JobID, "nomad/jobs/" + w.JobID + "/" + w.Group,
			"nomad/jobs/" + w.JobID + "/" + w.Group + "/" + w.Task}
		if slices.Contains(own, op.Name) {
			return op.Capability == "read" || op.Capability == "list"
		}
	}
	var fitting []*rough
	for _, r := range rules {
		if like(r.ns, op.Namespace) && like(r.name, op.Name) {
			fitting = append(fitting, r)
		}
	}
	if len(fitting) == 0 {
		return false
	}
	gap := func(s string, pattern string) int { return len(s) - len(strings.ReplaceAll(pattern, "*", "")) }
	key := func(r *rough) string {
		deny := 1
		if r.words[Deny] {
			deny = 0
		}
		return fmt.Sprintf("%04d %d %04d %s %s", gap(op.Namespace, r.ns)+gap(op.Name, r.name), deny, gap(op.Namespace, r.ns), r.ns, r.name)
	}
	slices.SortFunc(fitting, func(a, b *rough) int { return strings.Compare(key(a), key(b)) })
	return fitting[0].words[op.Capability] && !fitting[0].words[Deny]
}

var (
	namesGen    = rapid.SampledFrom([]string{"a", "b", "ab", "aa", "abc", "aab", "ba", "a-b", "c"})
	patternsGen = rapid.OneOf(namesGen, rapid.StringMatching(`[ab*]{1,4}`))
	pathNameGen = rapid.OneOf(rapid.StringMatching(`[ab]{1,3}(/[ab]{1,2}){0,2}`),
		rapid.SampledFrom([]string{"nomad/jobs", "nomad/jobs/a", "nomad/jobs/a/b", "nomad/jobs/a/b/c", "nomad/jobs/b"}))
	pathGen = rapid.OneOf(pathNameGen, rapid.StringMatching(`[ab*][ab*/]{0,5}`), rapid.Just("nomad/jobs/*"))
)

func capsGen(v *vocabulary) *rapid.Generator[[]string] {
	word := rapid.SampledFrom(v.words[1:])
	return rapid.Custom(func(t *rapid.T) []string {
		out := rapid.SliceOfNDistinct(word, 1, 3, rapid.ID[string]).Draw(t, "caps")
		if rapid.IntRange(0, 9).Draw(t, "deny") == 0 {
			out = append(out, Deny)
		}
		return out
	})
}

var ruleGen = rapid.Custom(func(t *rapid.T) *Rule {
	v := rapid.SampledFrom(vocabularies).Filter(func(v *vocabulary) bool { return v != variableWords }).Draw(t, "kind")
	r := &Rule{Kind: v.kind, Level: rapid.SampledFrom(v.order).Draw(t, "level")}
	if v.label != nil {
		r.Name = patternsGen.Draw(t, "name")
	}
	if v.listed && rapid.Bool().Draw(t, "listed") {
		r.Capabilities = capsGen(v).Draw(t, "capabilities")
		r.Level = rapid.SampledFrom([]string{"", r.Level}).Draw(t, "both")
	}
	if v == namespaceWords {
		for range rapid.IntRange(0, 3).Draw(t, "paths") {
			r.Paths = append(r.Paths, &PathRule{Pattern: pathGen.Draw(t, "path"), Capabilities: capsGen(variableWords).Draw(t, "rights")})
		}
	}
	return r
})

// policyGen has at most one rule for each kind without label, as the language wants.
var policyGen = rapid.Custom(func(t *rapid.T) *Policy {
	p := &Policy{}
	plain := map[Kind]bool{}
	for _, r := range rapid.SliceOfN(ruleGen, 1, 6).Draw(t, "rules") {
		if r.Name == "" && plain[r.Kind] {
			continue
		}
		plain[r.Kind] = true
		p.Rules = append(p.Rules, r)
	}
	return p
})

var operationGen = rapid.Custom(func(t *rapid.T) Operation {
	v := rapid.SampledFrom(vocabularies).Draw(t, "kind")
	op := Operation{Kind: v.kind, Capability: rapid.SampledFrom(v.words[1:]).Draw(t, "capability")}
	switch {
	case v == variableWords:
		op.Namespace, op.Name = namesGen.Draw(t, "namespace"), pathNameGen.Draw(t, "path")
	case v.label != nil:
		op.Name = namesGen.Draw(t, "name")
	}
	return op
})

// ask puts an operation to the method that endpoints use.
func ask(a *ACL, op Operation) bool {
	switch op.Kind {
	case KindNamespace:
		return a.AllowNamespaceOperation(op.Name, NamespaceCapability(op.Capability))
	case KindVariables:
		return a.AllowVariable(op.Namespace, op.Name, VariableCapability(op.Capability))
	case KindNodePool:
		return a.AllowNodePoolOperation(op.Name, NodePoolCapability(op.Capability))
	case KindHostVolume:
		return a.AllowHostVolumeOperation(op.Name, HostVolumeCapability(op.Capability))
	case KindOperator:
		return a.AllowOperatorCapability(OperatorCapability(op.Capability))
	case KindSentinel:
		return a.AllowSentinel(SentinelCapability(op.Capability))
	}
	return map[string]func() bool{
		"agent read": a.AllowAgentRead, "agent write": a.AllowAgentWrite,
		"node read": a.AllowNodeRead, "node write": a.AllowNodeWrite,
		"quota read": a.AllowQuotaRead, "quota write": a.AllowQuotaWrite,
		"plugin list": a.AllowPluginList, "plugin read": a.AllowPluginRead, "plugin write": a.AllowPluginWrite,
	}[string(op.Kind)+" "+op.Capability]()
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policies := rapid.SliceOfN(policyGen, 0, 5).Draw(t, "policies")
		ref := &reference{policies: policies}
		a, err := New(false, policies...)
		if err != nil {
			t.Fatal(err)
		}
		if rapid.Bool().Draw(t, "workload") {
			ref.workload = &Workload{"a", "a", "b", "c"}
			a = a.WithWorkload(*ref.workload)
		}
		for range 20 {
			op := operationGen.Draw(t, "operation")
			want := ref.allows(op)
			if got := ask(a, op); got != want {
				t.Fatalf("%+v: allowed %v, want %v", op, got, want)
			}
			e, err := a.Explain(op)
			if err != nil || e.Allowed != want {
				t.Fatalf("%+v: explained as %+v, %v, want %v", op, e, err, want)
			}
			if want && op.Kind != KindVariables && len(e.Rules) == 0 {
				t.Fatalf("%+v: allowed by no rule", op)
			}
		}
	})
}

// TestListsSeeWhatReadsSee checks the coarse questions against the fine ones.
func TestListsSeeWhatReadsSee(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policies := rapid.SliceOfN(policyGen, 0, 4).Draw(t, "policies")
		a, _ := New(false, policies...)
		for range 10 {
			ns, path := namesGen.Draw(t, "namespace"), pathNameGen.Draw(t, "path")
			if a.AllowVariable(ns, path, VariablesList) && !(a.AllowVariableSearch(ns) && a.AllowVariableSearch("*")) {
				t.Fatalf("variable %s/%s may be listed, but a list is not run", ns, path)
			}
			for _, w := range namespaceWords.words[1:] {
				c := NamespaceCapability(w)
				if a.AllowNamespaceOperation(ns, c) && !(a.AllowNamespace(ns) && a.AllowNamespace("*") && a.AllowNamespaceOperation("*", c)) {
					t.Fatalf("%s is granted in %s, but not found by the coarse question", w, ns)
				}
			}
		}
	})
}

func TestOrderOfPoliciesDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policies := rapid.SliceOfN(policyGen, 2, 5).Draw(t, "policies")
		a, _ := New(false, policies...)
		slices.Reverse(policies)
		b, _ := New(false, policies...)
		for range 10 {
			if op := operationGen.Draw(t, "operation"); ask(a, op) != ask(b, op) {
				t.Fatalf("%+v depends on the order", op)
			}
		}
	})
}

func TestGlob(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab*]{0,6}`).Draw(t, "pattern")
		name := rapid.StringMatching(`[ab]{0,8}`).Draw(t, "name")
		if got := matches(pattern, name); got != like(pattern, name) {
			t.Fatalf("%q on %q: %v", pattern, name, got)
		}
	})
}
