package archtest

import (
	"strings"
	"testing"
)

// source builds a tree from files in the form of testscript: "-- path --" and
// the text below it.
func source(t *testing.T, archive string) *tree {
	t.Helper()
	out := newTree()
	for _, part := range strings.Split(archive, "\n-- ")[1:] {
		name, body, _ := strings.Cut(part, " --\n")
		if err := out.add(name, body+"\n"); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// bites fails unless the rule finds exactly one problem in the archive, with
// text in it; an empty text wants no problem at all.
func bites(t *testing.T, rule func(*tree) []problem, text, archive string) {
	t.Helper()
	found := rule(source(t, "\n"+archive))
	switch {
	case text == "" && len(found) > 0:
		t.Errorf("unexpected: %v", found)
	case text != "" && (len(found) != 1 || !strings.Contains(found[0].String(), text)):
		t.Errorf("want one problem with %q, have %v", text, found)
	}
}

const module = `"` + modulePath + `/`

func TestImportRule(t *testing.T) {
	for name, c := range map[string]struct{ file, imports, want string }{
		"down":                     {"nomad/fsm.go", module + `nomad/state"`, ""},
		"up":                       {"nomad/state/a.go", module + `nomad"`, "may only point down"},
		"row above on the floor":   {"internal/wire/a.go", module + `internal/errs"`, ""},
		"row below on the floor":   {"internal/errs/a.go", module + `internal/wire"`, "may only point down"},
		"structs and errs":         {"nomad/structs/a.go", module + `internal/errs"`, ""},
		"structs and msgp":         {"nomad/structs/a.go", module + `internal/msgp"`, ""},
		"structs and acl":          {"nomad/structs/a.go", module + `acl"`, "nothing of ours but"},
		"agent and state":          {"command/agent/a.go", module + `nomad/state"`, "never imports"},
		"command from below":       {"nomad/a.go", module + `command/agent"`, "nothing below layer 5"},
		"command from a test":      {"nomad/a_test.go", module + `command/agent"`, "nothing below layer 5"},
		"testing":                  {"nomad/a.go", `"testing"`, "only tests"},
		"testing in a test":        {"nomad/a_test.go", `"testing"`, ""},
		"testing in nomadtest":     {"nomad/nomadtest/a.go", `"testing"`, ""},
		"testing/synctest":         {"nomad/a.go", `"testing/synctest"`, "only tests"},
		"nomadtest":                {"command/agent/a.go", module + `nomad/nomadtest"`, "for tests only"},
		"nomadtest in a test":      {"command/agent/a_test.go", module + `nomad/nomadtest"`, ""},
		"net/rpc":                  {"internal/wire/a.go", `"net/rpc"`, "not a dependency"},
		"net/rpc in a test":        {"internal/wire/a_test.go", `"net/rpc"`, ""},
		"a test that looks up":     {"nomad/state/a_test.go", module + `nomad"`, "not even in a test"},
		"tool that uses a tool":    {"bench/a.go", module + `bench/load"`, ""},
		"product that uses a tool": {"nomad/a.go", module + `bench"`, "not part of the product"},
	} {
		t.Run(name, func(t *testing.T) {
			bites(t, checkImports, c.want, "-- "+c.file+" --\npackage x\nimport _ "+c.imports+"\n")
		})
	}
}

func TestPackageRule(t *testing.T) {
	bites(t, checkPackages, "", "-- nomad/a.go --\npackage nomad\n")
	bites(t, checkPackages, "layer table", "-- nomad/stuff/a.go --\npackage stuff\n")
	bites(t, checkPackages, "says nothing", "-- nomad/a.go --\npackage util\n")
}

func TestSizeRule(t *testing.T) {
	none := func(src *tree) []problem { return checkSizes(src, nil) }
	body := func(n int) string { return strings.Repeat("\tprintln()\n", n) }
	head := "-- nomad/a.go --\npackage nomad\n"

	bites(t, none, "", head+"func f() {\n"+body(68)+"}\n")
	bites(t, none, "71 lines", head+"func f() {\n"+body(69)+"}\n")
	bites(t, none, "function literal", head+"var f = func() {\n"+body(69)+"}\n")
	bites(t, none, "601 lines", head+strings.Repeat("\n", 599))
	bites(t, none, "7 parameters", head+"func f(a, b, c, d int, e, g, h string) {}\n")
	bites(t, none, "5 results", head+"func f() (a, b, c int, d, e error) { return }\n")
	bites(t, none, "6 methods", head+"type I interface { A(); B(); C(); D(); E(); F() }\n")
	bites(t, none, "", "-- nomad/a_test.go --\npackage nomad\nfunc f() {\n"+body(100)+"}\n")

	long := head + "func (s *S) f() {\n" + body(69) + "}\n"
	excused := func(src *tree) []problem {
		return checkSizes(src, map[string]string{"nomad/a.go:S.f": "one case per entry"})
	}
	bites(t, excused, "", long)
	bites(t, excused, "remove the exception", head)
	silent := func(src *tree) []problem { return checkSizes(src, map[string]string{"nomad/a.go:S.f": " "}) }
	bites(t, silent, "71 lines", long)
}

func TestDocRule(t *testing.T) {
	head := "-- nomad/a.go --\n// Package nomad is.\npackage nomad\n"
	bites(t, checkDocs, "no file has a package comment", "-- nomad/a.go --\npackage nomad\n")
	bites(t, checkDocs, "F is exported", head+"func F() {}\n")
	bites(t, checkDocs, "F is exported", head+"\n//go:noinline\nfunc F() {}\n")
	bites(t, checkDocs, "T.M is exported", head+"// T is.\ntype T struct{}\nfunc (t *T[P]) M() {}\n")
	bites(t, checkDocs, "T is exported", head+"type T struct{}\n")
	bites(t, checkDocs, "C is exported", head+"const (\n\tC = 1\n\t// D is.\n\tD = 2\n\tE = 3 // E is.\n)\n")
	bites(t, checkDocs, "", head+"// The constants.\nconst (\n\tC = 1\n\tD = 2\n)\nfunc (h hidden) M() {}\ntype hidden struct{}\n")
	bites(t, checkDocs, "", head+"-- nomad/a_test.go --\npackage nomad\nfunc TestX() {}\n")
}

func TestWordRule(t *testing.T) {
	for _, bad := range []string{
		"// TO" + "DO: later", "// FIX" + "ME", "errors.New(\"not imple" + "mented\")",
		"see /wo" + "rk/shared/x.md", "cd /tm" + "p/wt/base", "in the sand" + "box",
		"GOPROXY=https://proxy.gol" + "ang.org", "open /ho" + "me/ann/x", "pip install from pyp" + "i.org",
	} {
		bites(t, checkWords, ":1", "-- docs/a.md --\n"+bad+"\n")
	}
	bites(t, checkWords, "", "-- docs/a.md --\nvar put team/work/db password=x; todo lists are fine\n")
}

func TestSkipRule(t *testing.T) {
	skip := "func TestX(t *testing.T) { t.Sk" + "ip(\"slow\") }\n"
	short := "func TestX(t *testing.T) { if testing.Short() { t.Sk" + "ip(\"slow\") } }\n"
	bites(t, checkSkips, "skips itself", "-- nomad/a_test.go --\npackage nomad\n"+skip)
	bites(t, checkSkips, "skips itself", "-- nomad/a_test.go --\npackage nomad\n"+short)
	bites(t, checkSkips, "skips itself", "-- e2e/a_test.go --\npackage e2e\n"+skip)
	bites(t, checkSkips, "", "-- e2e/a_test.go --\npackage e2e\n"+short)
	bites(t, checkSkips, "", "-- nomad/a.go --\npackage nomad\nfunc f(r reader) { r.Sk"+"ip(1) }\n")
	bites(t, checkSkips, "", "-- nomad/a_test.go --\npackage nomad\nfunc f(r reader) { r.Sk"+"ip(1) }\n")
}

func TestDeadCodeRule(t *testing.T) {
	head := "-- nomad/a.go --\npackage nomad\n"
	bites(t, checkDeadCode, "x := 1", head+"// x := 1\n")
	bites(t, checkDeadCode, "if x {", head+"// if x {\n")
	bites(t, checkDeadCode, "s.close()", head+"// s.close()\n")
	bites(t, checkDeadCode, "", head+"// F returns x (see y), if that is what you want.\n//\n//\tx := f()\n//\n//go:noinline\nfunc F() {}\n")
}

func TestLinkRule(t *testing.T) {
	bites(t, checkLinks, "", "-- README.md --\nsee [a](docs/a.md#the-way-of-a-write), [w](https://example.org/x) and [b](#here)\n\n# Here\n-- docs/a.md --\n## The way of a write\n[up](../README.md)\n")
	bites(t, checkLinks, "broken link: docs/b.md", "-- README.md --\n[b](docs/b.md)\n")
	const metrics = "-- nomad/a.go --\npackage nomad\n\nconst a = \"cairn_a_total\"\n"
	bites(t, checkMetrics, "", metrics+"-- docs/a.md --\n`cairn_a_total`, `cairn_a_`\n")
	bites(t, checkMetrics, "cairn_a: there is no such metric", metrics+"-- docs/a.md --\ncairn_a\n")
	bites(t, checkMetrics, "cairn_b_total: there is no such metric", metrics+"-- deploy/prometheus/a.yml --\nexpr: sum(cairn_b_total) > 1\n")
	bites(t, checkLinks, "no such heading", "-- README.md --\n[b](#there)\n\n# Here\n")
}

func TestCommandRule(t *testing.T) {
	targets := "-- Makefile --\ntest: ## run\nbench-peers: build ## both\n"
	bites(t, checkCommands, "", targets+"-- README.md --\nRun `make test`, or\n\n    make bench-peers\n\nand make sure.\n")
	bites(t, checkCommands, "make tset", targets+"-- README.md --\n    make tset\n")
}

func TestChecklistRule(t *testing.T) {
	have := "-- nomad/a_test.go --\npackage nomad\nfunc TestReal(t *testing.T) {}\n"
	bites(t, checkChecklist, "", have+"-- CHECKLIST.md --\n| step | `TestReal` |\n")
	bites(t, checkChecklist, "TestGone", have+"-- CHECKLIST.md --\n| step | `TestGone` |\n")
}

func TestConfigDocRule(t *testing.T) {
	config := "-- command/agent/config.go --\npackage agent\ntype C struct { A int `hcl:\"data_dir\"` }\n"
	bites(t, checkConfigDocs, "", config+"-- docs/configuration.md --\n| `data_dir` |\n")
	bites(t, checkConfigDocs, "the key data_dir", config+"-- docs/configuration.md --\n| `data_dirs` |\n")
}

func TestManagementRule(t *testing.T) {
	rule := func(reasons map[string]string) func(*tree) []problem {
		return func(src *tree) []problem { return checkManagement(src, reasons) }
	}
	method := "-- nomad/a.go --\npackage nomad\nfunc (s *S) f() bool { return s.acl.IsManagement() }\n"
	bites(t, rule(nil), "asks for a management token", method)
	bites(t, rule(map[string]string{"nomad/a.go:S.f": " "}), "asks for a management token", method)
	bites(t, rule(map[string]string{"nomad/a.go:S.f": "why"}), "", method)
	bites(t, rule(map[string]string{"nomad/a.go:S.f": "why"}), "remove its reason", "-- nomad/a.go --\npackage nomad\n")
	bites(t, rule(nil), "asks for a management token", "-- nomad/a.go --\npackage nomad\nvar v = newRead(func(a *acl.ACL) bool { return a.IsManagement() })\n")
	bites(t, rule(nil), "", "-- nomad/a_test.go --\npackage nomad\nvar v = a.IsManagement()\n")
}

func TestCapabilityRule(t *testing.T) {
	rule := func(reasons map[string]string) func(*tree) []problem {
		return func(src *tree) []problem { return checkCapabilities(src, reasons) }
	}
	made := "-- acl/a.go --\npackage acl\nconst RaftRead OperatorCapability = \"raft-read\"\n"
	asks := "-- nomad/a.go --\npackage nomad\nvar v = delegated(acl.RaftRead)\n"
	bites(t, rule(nil), "nothing asks for acl.RaftRead", made)
	bites(t, rule(nil), "nothing asks for acl.RaftRead", made+"-- nomad/a_test.go --\npackage nomad\nvar v = acl.RaftRead\n")
	bites(t, rule(nil), "", made+asks)
	bites(t, rule(map[string]string{"RaftRead": "why"}), "", made)
	bites(t, rule(map[string]string{"RaftRead": "why"}), "remove its reason", made+asks)
}
