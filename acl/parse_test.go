package acl

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/cairn-project/cairn/internal/errs"
)

const full = `# who may do what
namespace "default" {
  policy       = "read"
  capabilities = ["submit-job", "alloc-exec",]
  variables {
    path "app/*" { capabilities = ["read", "write"] }
    path "app/secret" {
      capabilities = ["deny"] // nobody
    }
  }
}
namespace "team-*" { capabilities = ["list-jobs"] }
node_pool "gpu" { policy = "write" }
host_volume "prod-*" { capabilities = ["mount-readonly"] }
agent { policy = "read" } /* one
line */ node { policy = "write" }
quota { policy = "deny" }
operator { policy = "read", capabilities = ["snapshot-save", "acl-token-write"] }
plugin { policy = "list" }
sentinel { capabilities = ["read"] }
`

const fullJSON = `{
  "namespace": {
    "default": {"policy": "read", "capabilities": ["submit-job", "alloc-exec"],
      "variables": {"path": {"app/*": {"capabilities": ["read", "write"]}, "app/secret": {"capabilities": ["deny"]}}}},
    "team-*": {"capabilities": ["list-jobs"]}
  },
  "node_pool": [{"gpu": {"policy": "write"}}],
  "host_volume": {"prod-*": [{"capabilities": ["mount-readonly"]}]},
  "agent": {"policy": "read"}, "node": [{"policy": "write"}], "quota": {"policy": "deny"},
  "operator": {"policy": "read", "capabilities": ["snapshot-save", "acl-token-write"]},
  "plugin": {"policy": "list"}, "sentinel": {"capabilities": ["read"]}
}`

var noPositions = cmp.Options{cmpopts.IgnoreTypes(Position{}), cmpopts.EquateEmpty()}

func TestParse(t *testing.T) {
	p, err := Parse(full)
	if err != nil {
		t.Fatal(err)
	}
	want := &Policy{Rules: []*Rule{
		{Kind: KindNamespace, Name: "default", Level: "read", Capabilities: []string{"submit-job", "alloc-exec"}, Pos: Position{2, 11},
			Paths: []*PathRule{
				{"app/*", []string{"read", "write"}, Position{6, 10}},
				{"app/secret", []string{"deny"}, Position{7, 10}}}},
		{Kind: KindNamespace, Name: "team-*", Capabilities: []string{"list-jobs"}, Pos: Position{12, 11}},
		{Kind: KindNodePool, Name: "gpu", Level: "write", Pos: Position{13, 11}},
		{Kind: KindHostVolume, Name: "prod-*", Capabilities: []string{"mount-readonly"}, Pos: Position{14, 13}},
		{Kind: KindAgent, Level: "read", Pos: Position{15, 1}},
		{Kind: KindNode, Level: "write", Pos: Position{16, 9}},
		{Kind: KindQuota, Level: "deny", Pos: Position{17, 1}},
		{Kind: KindOperator, Level: "read", Capabilities: []string{"snapshot-save", "acl-token-write"}, Pos: Position{18, 1}},
		{Kind: KindPlugin, Level: "list", Pos: Position{19, 1}},
		{Kind: KindSentinel, Capabilities: []string{"read"}, Pos: Position{20, 1}},
	}}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Error(diff)
	}
	j, err := Parse(fullJSON)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, j, noPositions); diff != "" {
		t.Errorf("JSON differs:\n%s", diff)
	}
	if got := j.Rules[1].Pos; got != (Position{5, 5}) {
		t.Errorf("JSON position %v", got)
	}
}

func TestParseTellsWhere(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{`namespace "a" { polcy = "read" }`, `line 1, column 17: unknown key "polcy" in the block "namespace"`},
		{"agent {\n  policy = \"reed\"\n}", `line 2, column 12: unknown policy "reed" in the block "agent": must be one of deny, read, write`},
		{`namespace "a" { policy = "list" }`, `column 26: unknown policy "list"`},
		{`namespace "a" { policy = "read"` + "\n" + `policy = "write" }`, `line 2, column 1: "policy" is repeated`},
		{`namespace "a" { capabilities = ["read-jb"] }`, `column 33: unknown capability "read-jb"`},
		{`namespace "a" { capabilities = [] }`, `must not be empty`},
		{`namespace "a" { capabilities = "read-job" }`, `must be a list of text, not text`},
		{`namespace "a" { capabilities = [7] }`, `a capability must be text`},
		{`namespace "a" { policy = ["read"] }`, `policy must be text, not a list`},
		{`namespace "a b" { policy = "read" }`, `column 11: invalid name "a b"`},
		{`namespace "a_b" { policy = "read" }`, `invalid name "a_b"`},
		{`namespace "" { policy = "read" }`, `invalid name ""`},
		{`namespace "` + strings.Repeat("x", 129) + `" { policy = "read" }`, `invalid name`},
		{`namespace "` + strings.Repeat("*a", 17) + `" { policy = "read" }`, `more than 16 stars`},
		{`namespace { policy = "read" }`, `"namespace" needs a name`},
		{`namespace {}`, `"namespace" needs a name`},
		{`namespace "a" "b" { policy = "read" }`, `unknown key "b"`},
		{`agent "a" { policy = "read" }`, `unknown key "a" in the block "agent"`},
		{`agent {}`, `the block "agent" needs a policy`},
		{`agent = "read"`, `"agent" must be a block, not text`},
		{"agent { policy = \"read\" }\nagent { policy = \"write\" }", `line 2, column 1: the block "agent" is repeated`},
		{`agent { capabilities = ["read"] }`, `unknown key "capabilities"`},
		{`variables { path "a" { capabilities = ["read"] } }`, `unknown block "variables"`},
		{`namespce "a" { policy = "read" }`, `unknown block "namespce": must be one of namespace, node_pool`},
		{`namespace "a" { variables { path "/x" { capabilities = ["read"] } } }`, `write "x"`},
		{`namespace "a" { variables { path "x y" { capabilities = ["read"] } } }`, `invalid name "x y"`},
		{`namespace "a" { variables { path "x" { } } }`, `path "x" needs capabilities`},
		{`namespace "a" { variables { path "x" { policy = "read" } } }`, `unknown key "policy" in the block "path"`},
		{`namespace "a" { variables { paths "x" { } } }`, `unknown key "paths" in the block "variables"`},
		{`namespace "a" { variables { path { capabilities = ["read"] } } }`, `"capabilities" must be a block`},
		{`namespace "a" { variables { } }`, `"variables" is empty`},
		{``, `the policy has no rules`},
		{`# nothing`, `the policy has no rules`},
		{`{}`, `the policy has no rules`},
		{`namespace "a" { policy = read }`, `text must be quoted: write "read"`},
		{`namespace "a" { policy = "read`, `a string without closing quote`},
		{`namespace "a" { policy = "read" `, `not closed with }`},
		{`namespace "a" policy = "read" }`, `expected { after the label`},
		{`namespace "a" { policy = "re\qad" }`, `bad escape`},
		{`namespace "a" { capabilities = ["read-job" "list-jobs"] }`, `expected , or ] in a list`},
		{`namespace "a" { policy = <<EOT`, `expected a value, found the character "<"`},
		{"äöü \x01", `line 1, column 1: expected a key, found the character "ä"`},
		{`{"namespace": {"a": {"policy": "read", "policy": "read"}}}`, `column 40: "policy" is repeated`},
		{`{"namespace": {"a": {}, "a": {}}}`, `namespace "a" is repeated`},
		{`{"agent": {"policy": "read"},}`, `expected a quoted key`},
		{`{"agent": {"policy": "read"}} x`, `expected the end of the policy`},
		{`{"agent": {"policy": read}}`, `expected a value, found "read"`},
		{`{"agent": # x`, `expected a value`},
		{`{"namespace": {"a": {"capabilities": ["read-job",]}}}`, `expected a value`},
		{strings.Repeat("a {", 100), `nest deeper than 16`},
		{strings.Repeat(`{"a":`, 100), `nest deeper than 16`},
		{`namespace "a" { capabilities = ` + strings.Repeat("[", 100), `nest deeper than 16`},
		{strings.Repeat("agent {}\n", 20000), `more than 4096 rules`},
		{`namespace "a" { capabilities = [` + strings.Repeat(`"read-job",`, 40000) + `] }`, `more than 32768 blocks and values`},
		{strings.Repeat("?\n", 5000), `too many problems`},
		{"agent \xff", `not valid UTF-8`},
		{strings.Repeat(" ", 10<<20), `more than 1048576: split it`},
	} {
		_, err := Parse(c.src)
		if !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%.60q: %.300v, want %s", c.src, err, c.want)
		}
	}
}

func TestParseTellsEverything(t *testing.T) {
	_, err := Parse(`namespace "a b" { policy = "reed" }
agent { policy = read }
nonsense { }
namespace "ok" {
  capabilities = ["x", "y"]
  variables { path "/p" { capabilities = ["z"] } }
}`)
	var e *errs.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	var lines []string
	for _, x := range e.Errata {
		var line, col int
		if _, err := fmt.Sscanf(x.Msg, "line %d, column %d:", &line, &col); err != nil {
			t.Errorf("%q has no position", x.Msg)
		}
		lines = append(lines, fmt.Sprint(line, ":", col))
	}
	want := []string{"2:18", "1:11", "1:28", "3:1", "5:19", "5:24", "6:20", "6:43"}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
}

func TestStoredPoliciesStayInForce(t *testing.T) {
	p, err := ParseStored(`
namespace "a" { policy = "read" capabilities = ["from-the-future", "submit-job"] colour = "red" }
future "x" { policy = "read" }
agent { policy = "own" }
node { policy = "read" }
node { policy = "write" }`)
	if err == nil {
		t.Fatalf("two keys on a line were read: %v", p)
	}
	p, err = ParseStored(`
namespace "a" {
  policy = "read"
  capabilities = ["from-the-future", "submit-job"]
  colour = "red"
}
future "x" { policy = "read" }
agent { policy = "own" }
node { policy = "read" }`)
	if err != nil {
		t.Fatal(err)
	}
	a, err := New(false, p)
	if err != nil {
		t.Fatal(err)
	}
	if !a.AllowNamespaceOperation("a", SubmitJob) || !a.AllowNodeRead() || a.AllowNodeWrite() || a.AllowAgentRead() || a.AllowNamespaceOperation("b", ReadJob) {
		t.Errorf("wrong rights from %v", p)
	}
	if _, err := ParseStored(strings.Repeat("node { policy = \"read\" }\n", MaxRules+1)); err == nil {
		t.Error("the number of rules is not bounded")
	}
	if p, err := ParseStored(""); err != nil || len(p.Rules) != 0 {
		t.Errorf("an empty policy: %v, %v", p, err)
	}
}

func TestCanonicalForm(t *testing.T) {
	p, err := Parse(fullJSON)
	if err != nil {
		t.Fatal(err)
	}
	want := `namespace "default" {
  policy = "read"
  capabilities = ["alloc-exec", "submit-job"]
  variables {
    path "app/*" {
      capabilities = ["read", "write"]
    }
    path "app/secret" {
      capabilities = ["deny"]
    }
  }
}

namespace "team-*" {
`
	if got := p.String(); !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s", got)
	}
	rapid.Check(t, func(t *rapid.T) {
		p := policyGen.Draw(t, "policy")
		if len(p.Rules) == 0 {
			return
		}
		text := p.String()
		q, err := Parse(text)
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if again := q.String(); again != text {
			t.Fatalf("not a fixed point:\n%s\n%s", text, again)
		}
		a, _ := New(false, p)
		b, _ := New(false, q)
		for range 10 {
			if op := operationGen.Draw(t, "operation"); ask(a, op) != ask(b, op) {
				t.Fatalf("%+v differs after\n%s", op, text)
			}
		}
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{full, fullJSON, "", "{", "}", "[", `a "b" {`, `"`, "/*", "//", "#", "{\"a\":[1,{}]}", "a = [\n\"x\"\n,]", "namespace \"*\" { policy = \"\\u0072ead\" }",
		"agent = { policy = \"read\" }", "namespace = [{ a = { policy = \"read\" } }]", "a { } }", "\x00", "a.b-c+1 = -2", "operator { policy = \"write\" ", "{} {}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, src string) {
		stored, lenient := ParseStored(src)
		p, err := Parse(src)
		if err != nil {
			if !errors.Is(err, errs.Invalid) {
				t.Fatalf("not invalid: %v", err)
			}
			if lenient == nil {
				if _, err := New(false, stored); err != nil {
					t.Fatal(err)
				}
				_ = stored.String()
			}
			return
		}
		if diff := cmp.Diff(p, stored); lenient != nil || diff != "" {
			t.Fatalf("strict and lenient differ: %v\n%s", lenient, diff)
		}
		q, err := Parse(p.String())
		if err != nil || q.String() != p.String() {
			t.Fatalf("canonical form is not one: %v\n%s", err, p)
		}
		if _, err := New(false, p); err != nil {
			t.Fatal(err)
		}
		p.Lint()
	})
}
