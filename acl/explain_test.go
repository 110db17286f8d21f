package acl

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
)

func mustPolicy(t *testing.T, name, src string) *Policy {
	t.Helper()
	p, err := Parse(src)
	if err != nil {
		t.Fatal(err)
	}
	p.Name = name
	return p
}

func mustACL(t *testing.T, policies ...*Policy) *ACL {
	t.Helper()
	a, err := New(false, policies...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestExplain(t *testing.T) {
	a := mustACL(t,
		mustPolicy(t, "dev", "namespace \"*\" {\n  policy = \"write\"\n}\nnamespace \"prod-*\" { policy = \"read\" }\n"),
		mustPolicy(t, "lock", "\nnamespace \"prod-db\" { policy = \"deny\" }"),
		mustPolicy(t, "vars", "namespace \"web\" {\n variables {\n  path \"app/*\" { capabilities = [\"read\"] }\n }\n}"),
	).WithWorkload(Workload{Namespace: "web", JobID: "front"})
	for _, c := range []struct {
		op   Operation
		want Explanation
	}{
		{Operation{KindNamespace, "", "web", "submit-job"}, Explanation{
			Reason: `denied: policy "vars", line 1 (namespace "web") matches namespace "web" best and does not grant submit-job`,
			Rules:  []RuleRef{{"vars", 1, 11, `namespace "web"`, "none"}}, Overruled: []RuleRef{{"dev", 1, 11, `namespace "*"`, "allow"}}}},
		{Operation{KindNamespace, "", "x", "submit-job"}, Explanation{Allowed: true,
			Reason: `allowed: policy "dev", line 1 (namespace "*") grants submit-job on namespace "x"`,
			Rules:  []RuleRef{{"dev", 1, 11, `namespace "*"`, "allow"}}}},
		{Operation{KindNamespace, "", "prod-db", "read-job"}, Explanation{
			Reason: `denied: policy "lock", line 2 (namespace "prod-db") denies everything on namespace "prod-db"`,
			Rules:  []RuleRef{{"lock", 2, 11, `namespace "prod-db"`, "deny"}},
			Overruled: []RuleRef{{"dev", 1, 11, `namespace "*"`, "allow"},
				{"dev", 4, 11, `namespace "prod-*"`, "allow"}}}},
		{Operation{KindVariables, "web", "app/db", "list"}, Explanation{Allowed: true,
			Reason: `allowed: policy "vars", line 3 (namespace "web" variables path "app/*") grants list on variables "app/db"`,
			Rules:  []RuleRef{{"vars", 3, 8, `namespace "web" variables path "app/*"`, "allow"}}}},
		{Operation{KindVariables, "web", "nomad/jobs/front", "write"}, Explanation{
			Reason: `every workload may list and read the variable "nomad/jobs/front" of its namespace, and no more`}},
		{Operation{KindVariables, "other", "app/db", "list"}, Explanation{Reason: `denied: no rule matches variables "app/db"`}},
		{Operation{KindAgent, "", "", "read"}, Explanation{Reason: `denied: no rule matches agent`}},
	} {
		got, err := a.Explain(c.op)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&c.want, got); diff != "" {
			t.Errorf("%+v:\n%s", c.op, diff)
		}
	}
}

func TestExplainIdentities(t *testing.T) {
	for _, c := range []struct {
		name string
		a    *ACL
		op   Operation
		want bool
	}{
		{"management", Management, Operation{Kind: KindOperator, Capability: "acl-token-write"}, true},
		{"off", Disabled, Operation{Kind: KindOperator, Capability: "write"}, true},
		{"off, sentinel", Disabled, Operation{Kind: KindSentinel, Capability: "read"}, false},
		{"nil", nil, Operation{Kind: KindAgent, Capability: "read"}, false},
		{"client", Client("gpu"), Operation{Kind: KindNodePool, Name: "gpu", Capability: "read"}, true},
		{"client, other pool", Client("gpu"), Operation{Kind: KindNodePool, Name: "cpu", Capability: "read"}, false},
		{"client, agent", Client("gpu"), Operation{Kind: KindAgent, Capability: "read"}, true},
		{"client, agent write", Client("gpu"), Operation{Kind: KindAgent, Capability: "write"}, false},
	} {
		e, err := c.a.Explain(c.op)
		if err != nil || e.Allowed != c.want || e.Reason == "" {
			t.Errorf("%s: %+v, %v", c.name, e, err)
		}
		if got := ask(c.a, c.op); got != c.want {
			t.Errorf("%s: the method says %v", c.name, got)
		}
	}
}

func TestExplainRefuses(t *testing.T) {
	for _, op := range []Operation{
		{}, {Kind: "x", Capability: "read"}, {Kind: KindAgent, Capability: "x"}, {Kind: KindAgent, Capability: "deny"},
		{Kind: KindAgent, Name: "x", Capability: "read"}, {Kind: KindNamespace, Capability: "read-job"},
		{Kind: KindVariables, Name: "x", Capability: "read"}, {Kind: KindNamespace, Namespace: "x", Name: "x", Capability: "read-job"},
		{Kind: KindNamespace, Name: "*", Capability: "read-job"}, {Kind: KindVariables, Namespace: "a*", Name: "x", Capability: "read"},
	} {
		if e, err := DenyAll.Explain(op); !errors.Is(err, errs.Invalid) {
			t.Errorf("%+v: %+v, %v", op, e, err)
		}
	}
}

func TestLint(t *testing.T) {
	p := mustPolicy(t, "", `namespace "a" { policy = "read" }
namespace "a" { policy = "write" }
namespace "b" { }
namespace "c" {
  policy = "deny"
  capabilities = ["read-job"]
  variables {
    path "x" { capabilities = ["read", "deny"] }
    path "x" { capabilities = ["write"] }
  }
}
agent { policy = "deny" }
namespace "d" { capabilities = ["deny"] }
`)
	want := []Warning{
		{2, 11, `namespace "a" is there since line 1: the rules are added up`},
		{3, 11, `namespace "b" grants nothing, and hides less close rules`},
		{4, 11, `namespace "c" denies everything: what else it grants has no effect`},
		{4, 11, `namespace "c" denies everything except its variables, which have rules of their own`},
		{8, 10, `path "x" of namespace "c" denies everything: what else it grants has no effect`},
		{9, 10, `path "x" of namespace "c" is there since line 8: the rules are added up`},
	}
	if diff := cmp.Diff(want, p.Lint()); diff != "" {
		t.Error(diff)
	}
	if w := mustPolicy(t, "", full).Lint(); len(w) != 0 {
		t.Errorf("warnings for a sound policy: %v", w)
	}
}

func TestCache(t *testing.T) {
	c := NewCache()
	compiled := 0
	get := func(refs ...Ref) *ACL {
		a, err := c.Get(refs, func() (*ACL, error) { compiled++; return &ACL{}, nil })
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	one := get(Ref{"a", 1, nil}, Ref{"b", 2, nil})
	if get(Ref{"b", 2, nil}, Ref{"a", 1, nil}) != one || compiled != 1 {
		t.Error("the order of policies matters")
	}
	for _, other := range [][]Ref{{{"a", 2, nil}, {"b", 2, nil}}, {{"a", 1, nil}}, {{"a", 1, []byte("x")}, {"b", 2, nil}}, nil} {
		if get(other...) == one {
			t.Errorf("%v is taken for another", other)
		}
	}
	if _, err := c.Get([]Ref{{"bad", 1, nil}}, func() (*ACL, error) { return nil, errors.New("x") }); err == nil {
		t.Error("an error was lost")
	}
	for i := range uint64(3 * cacheSize) {
		get(Ref{strings.Repeat("x", int(i%7)), i, nil})
	}
	if n := c.Len(); n > cacheSize {
		t.Errorf("%d entries", n)
	}
	if c.Purge(); c.Len() != 0 {
		t.Error("not purged")
	}
}
