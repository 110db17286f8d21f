package archtest

import (
	"fmt"
	"go/ast"
	"maps"
	"slices"
	"strings"
)

// checkSizes measures everything that is not a test and that people write, and takes out what
// allowed excuses. An entry of allowed that excuses nothing is a problem too.
func checkSizes(t *tree, allowed map[string]string) []problem {
	var found []problem
	for _, f := range t.files {
		if !f.test && !ast.IsGenerated(f.ast) {
			found = append(found, t.fileSizes(f)...)
		}
	}
	var out []problem
	used := map[string]bool{}
	for _, p := range found {
		if strings.TrimSpace(allowed[p.key]) == "" {
			out = append(out, p)
		}
		used[p.key] = true
	}
	for _, key := range slices.Sorted(maps.Keys(allowed)) {
		if !used[key] {
			out = append(out, problem{at: "internal/archtest/exceptions.go", msg: fmt.Sprintf("%q is within bounds: remove the exception", key)})
		}
	}
	return out
}

func (t *tree) fileSizes(f *goFile) []problem {
	var out []problem
	over := func(n ast.Node, name, what string, have, limit int) {
		if have > limit {
			key := f.path + ":" + name
			out = append(out, problem{at: t.at(n.Pos()), key: key,
				msg: fmt.Sprintf("%s has %d %s, more than %d (exceptions.go key %q)", name, have, what, limit, key)})
		}
	}
	if n := strings.Count(f.src, "\n"); n > maxFileLines {
		out = append(out, problem{at: f.path, key: f.path, msg: fmt.Sprintf("%d lines, more than %d", n, maxFileLines)})
	}
	name := "file"
	ast.Inspect(f.ast, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.FuncDecl:
			name = funcName(n)
			over(n, name, "lines", t.lines(n), maxFuncLines)
			over(n, name, "parameters", fields(n.Type.Params), maxParams)
			over(n, name, "results", fields(n.Type.Results), maxResults)
		case *ast.FuncLit:
			over(n, name, "lines in a function literal", t.lines(n), maxFuncLines)
			over(n, name, "parameters in a function literal", fields(n.Type.Params), maxParams)
			over(n, name, "results in a function literal", fields(n.Type.Results), maxResults)
		case *ast.ValueSpec:
			name = n.Names[0].Name
		case *ast.TypeSpec:
			name = n.Name.Name
		case *ast.InterfaceType:
			over(n, name, "methods", fields(n.Methods), maxInterfaceMethods)
		}
		return true
	})
	return out
}

// fields counts parameters, results or methods; an unnamed one counts as one.
func fields(list *ast.FieldList) int {
	if list == nil {
		return 0
	}
	return list.NumFields()
}

// funcName returns "Name" or "Receiver.Name".
func funcName(f *ast.FuncDecl) string {
	if r := receiver(f); r != "" {
		return r + "." + f.Name.Name
	}
	return f.Name.Name
}

// receiver returns the name of the receiver's type, "" for a plain function.
func receiver(f *ast.FuncDecl) string {
	if f.Recv == nil || len(f.Recv.List) == 0 {
		return ""
	}
	return typeName(f.Recv.List[0].Type)
}

// typeName returns the name in a type expression such as *T or T[P], "" for others.
func typeName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.StarExpr:
		return typeName(e.X)
	case *ast.IndexExpr:
		return typeName(e.X)
	case *ast.IndexListExpr:
		return typeName(e.X)
	case *ast.ParenExpr:
		return typeName(e.X)
	}
	return ""
}
