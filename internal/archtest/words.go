package archtest

import (
	"fmt"
	"go/ast"
	"regexp"
	"slices"
	"strings"
)

// banned is a text that must not appear in any file of the module.
type banned struct {
	pattern *regexp.Regexp
	why     string
}

// word builds a pattern from pieces, so that this file does not match itself.
func word(pieces ...string) *regexp.Regexp { return regexp.MustCompile(strings.Join(pieces, "")) }

var bannedWords = []banned{
	{word(`\bTO`, `DO\b`), "unfinished work: finish it or write an issue"},
	{word(`\bFIX`, `ME\b`), "unfinished work: finish it or write an issue"},
	{word(`\bXX`, `X\b`), "unfinished work: finish it or write an issue"},
	{word(`(?i)\bnot (yet )?imple`, `mented\b`), "a stub: build it or leave it out"},
	{word(`(^|[\s"'=(\x60])/wo`, `rk/`), "a path of a build machine"},
	{word(`/tm`, `p/wt\b`), "a path of a build machine"},
	{word(`(^|[\s"'=(\x60])/ro`, `ot/`), "a path of a build machine"},
	{word(`(^|[\s"'=(\x60])/ho`, `me/[a-z]`), "a path of a build machine"},
	{word(`(?i)\bsand`, `box`), "about how this was built, not about what it is"},
	{word(`proxy\.gol`, `ang\.org`), "a package registry: the go command knows its own"},
	{word(`sum\.gol`, `ang\.org`), "a package registry: the go command knows its own"},
	{word(`(registry\.npm`, `js|py`, `pi)\.org`), "a package registry"},
	{word(`deb\.deb`, `ian\.org`), "a package registry"},
}

// notOurs are files whose words come from elsewhere: the licence, and the
// document that is generated from the routes and holds HTTP's reason phrases.
var notOurs = map[string]bool{"LICENSE": true, "docs/openapi.json": true}

// checkWords looks for banned text in every file that a person writes.
func checkWords(t *tree) []problem {
	var out []problem
	for _, f := range t.texts {
		if notOurs[f.path] {
			continue
		}
		for i, line := range strings.Split(f.src, "\n") {
			for _, b := range bannedWords {
				if hit := b.pattern.FindString(line); hit != "" {
					out = append(out, problem{at: fmt.Sprintf("%s:%d", f.path, i+1), msg: fmt.Sprintf("%q: %s", strings.TrimSpace(hit), b.why)})
				}
			}
		}
	}
	return out
}

// checkSkips finds tests that skip themselves. Only the process tests may, and
// only when the short tests were asked for.
func checkSkips(t *tree) []problem {
	var out []problem
	for _, f := range t.files {
		var short []ast.Node
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if i, ok := n.(*ast.IfStmt); ok && f.dir == "e2e" && isCall(i.Cond, "testing", "Short") {
				short = append(short, i)
			}
			call, ok := n.(*ast.CallExpr)
			if !ok || !f.test || within(call, short) {
				return true
			}
			if isSkip(call) {
				out = append(out, problem{at: t.at(call.Pos()), msg: "a test that skips itself: make it pass or remove it"})
			}
			return true
		})
	}
	return out
}

// isSkip reports whether a call ends a test as skipped, going by the names that
// tests give to what they are passed.
func isSkip(call *ast.CallExpr) bool {
	s, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || (s.Sel.Name != "Skip" && s.Sel.Name != "Skipf" && s.Sel.Name != "SkipNow") {
		return false
	}
	id, ok := s.X.(*ast.Ident)
	return ok && slices.Contains([]string{"t", "b", "f", "tb"}, id.Name)
}

func within(n ast.Node, outer []ast.Node) bool {
	for _, o := range outer {
		if o.Pos() <= n.Pos() && n.End() <= o.End() {
			return true
		}
	}
	return false
}

// isCall reports whether e is a call of pkg.name.
func isCall(e ast.Expr, pkg, name string) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	s, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != name {
		return false
	}
	id, ok := s.X.(*ast.Ident)
	return ok && id.Name == pkg
}

// codeLine matches comment lines that are Go and hardly ever prose: a short
// assignment, a block's begin or end, a call that stands alone.
var codeLine = regexp.MustCompile(`^(\w[\w.,\s\[\]]* := .+|(if|for|switch|func|select) .*\{|\}( else \{)?|\w+(\.\w+)+\(.*\)|(var|const) \w+ = .+|return [\w.]+\(.*\))$`)

// checkDeadCode finds code that was commented out. Indented comment text is an
// example and stays.
func checkDeadCode(t *tree) []problem {
	var out []problem
	for _, f := range t.files {
		for _, group := range f.ast.Comments {
			for _, c := range group.List {
				text, ok := strings.CutPrefix(c.Text, "//")
				if !ok || strings.HasPrefix(text, "\t") || strings.HasPrefix(text, "  ") {
					continue
				}
				if line := strings.TrimSpace(text); codeLine.MatchString(line) {
					out = append(out, problem{at: t.at(c.Pos()), msg: "commented-out code: " + line})
				}
			}
		}
	}
	return out
}
