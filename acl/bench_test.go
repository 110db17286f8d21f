package acl

import (
	"fmt"
	"testing"
)

// mustMany compiles n policies as teams have them: a namespace of their own, some
// paths in a shared one, one path everywhere.
func mustMany(tb testing.TB, n int) *ACL {
	tb.Helper()
	var policies []*Policy
	for i := range n {
		p, err := Parse(fmt.Sprintf(`
namespace "team-%[1]d" {
  policy = "write"
  variables {
    path "*" { capabilities = ["read", "write"] }
    path "app/config" { capabilities = ["read"] }
  }
}
namespace "shared" {
  variables {
    path "team-%[1]d/*" { capabilities = ["write"] }
    path "team-%[1]d/db" { capabilities = ["read"] }
    path "*/team-%[1]d" { capabilities = ["read"] }
  }
}
namespace "pre-%[1]d-*" {
  variables {
    path "public/*" { capabilities = ["read"] }
  }
}`, i))
		if err != nil {
			tb.Fatal(err)
		}
		policies = append(policies, p)
	}
	a, err := New(false, policies...)
	if err != nil {
		tb.Fatal(err)
	}
	return a.WithWorkload(Workload{"shared", "web", "front", "nginx"})
}

var questions = []struct {
	name, ns, path string
	c              VariableCapability
	want           bool
}{
	{"exact", "shared", "team-0/db", VariablesRead, true},
	{"glob", "shared", "team-0/queue/password", VariablesWrite, true},
	{"suffix", "shared", "x/team-0", VariablesRead, true},
	{"namespace glob", "pre-0-x", "public/a", VariablesRead, true},
	{"workload", "shared", "nomad/jobs/web/front/nginx", VariablesRead, true},
	{"denied", "elsewhere", "team-0/db", VariablesRead, false},
}

func BenchmarkAllowVariable(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		a := mustMany(b, n)
		for _, q := range questions {
			b.Run(fmt.Sprintf("policies=%d/%s", n, q.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if a.AllowVariable(q.ns, q.path, q.c) != q.want {
						b.Fatal("wrong answer")
					}
				}
			})
		}
	}
}

func BenchmarkCacheHit(b *testing.B) {
	c := NewCache()
	refs := []Ref{{"a", 7, nil}, {"b", 9, nil}, {"c", 11, nil}}
	for b.Loop() {
		if _, err := c.Get(refs, func() (*ACL, error) { return DenyAll, nil }); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	src := (&Policy{Rules: []*Rule{{Kind: KindNamespace, Name: "default", Level: "write",
		Paths: []*PathRule{{Pattern: "app/*", Capabilities: []string{"read"}}}}}}).String()
	for b.Loop() {
		if _, err := Parse(src); err != nil {
			b.Fatal(err)
		}
	}
}

func TestQuestionsDoNotAllocate(t *testing.T) {
	for _, n := range []int{1, 10, 100} {
		a := mustMany(t, n)
		for _, q := range questions {
			if got := a.AllowVariable(q.ns, q.path, q.c); got != q.want {
				t.Errorf("%d policies, %s: %v", n, q.name, got)
			}
			allocs := testing.AllocsPerRun(100, func() {
				a.AllowVariable(q.ns, q.path, q.c)
				a.AllowVariableSearch(q.ns)
				a.AllowNamespace(q.ns)
				a.AllowNsOp(q.ns, ReadJob, SubmitJob)
				a.AllowOperatorCapability(ACLTokenWrite)
				a.AllowNodePoolOperation("default", NodePoolRead)
			})
			if allocs != 0 {
				t.Errorf("%d policies, %s: %v allocations", n, q.name, allocs)
			}
		}
	}
}
