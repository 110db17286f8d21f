package archtest

import (
	"go/ast"
	"go/token"
	"strings"
)

// checkDocs wants a comment on every package and on every exported name that a
// person wrote.
func checkDocs(t *tree) []problem {
	var out []problem
	for _, dir := range t.packages() {
		if !t.documented(dir) {
			out = append(out, problem{at: dir, msg: "no file has a package comment"})
		}
	}
	for _, f := range t.files {
		if f.test || ast.IsGenerated(f.ast) {
			continue
		}
		for _, d := range f.ast.Decls {
			out = append(out, t.declDocs(d)...)
		}
	}
	return out
}

// documented reports whether a package has a comment. A package of tests only
// has it in a test.
func (t *tree) documented(dir string) bool {
	for _, f := range t.files {
		if f.dir == dir && hasDoc(f.ast.Doc) {
			return true
		}
	}
	return false
}

func (t *tree) declDocs(d ast.Decl) []problem {
	var out []problem
	missing := func(n ast.Node, name string) {
		out = append(out, problem{at: t.at(n.Pos()), msg: name + " is exported and has no comment"})
	}
	switch d := d.(type) {
	case *ast.FuncDecl:
		r := receiver(d)
		if d.Name.IsExported() && (r == "" || ast.IsExported(r)) && !hasDoc(d.Doc) {
			missing(d, funcName(d))
		}
	case *ast.GenDecl:
		if d.Tok == token.IMPORT || hasDoc(d.Doc) {
			return nil
		}
		for _, s := range d.Specs {
			switch s := s.(type) {
			case *ast.TypeSpec:
				if s.Name.IsExported() && !hasDoc(s.Doc) {
					missing(s, s.Name.Name)
				}
			case *ast.ValueSpec:
				if s.Names[0].IsExported() && !hasDoc(s.Doc) && !hasDoc(s.Comment) {
					missing(s, s.Names[0].Name)
				}
			}
		}
	}
	return out
}

// hasDoc reports whether a comment says anything; directives say nothing.
func hasDoc(c *ast.CommentGroup) bool {
	return c != nil && strings.TrimSpace(c.Text()) != ""
}
