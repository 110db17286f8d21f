package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// constructors declare a method of an endpoint; their first argument is the
// name of the RPC.
var constructors = []string{"newRead", "newWrite", "newLeader", "newLocal"}

// method is one exported method of an endpoint struct.
type method struct {
	endpoint, name, at string
	// handler is the variable whose serve it calls, "" when it has another shape.
	handler string
}

// endpointMethods returns the exported methods in nomad/*_endpoint.go.
func endpointMethods(t *tree) []method {
	var out []method
	for _, f := range t.in(serverDir) {
		if !strings.HasSuffix(f.path, "_endpoint.go") {
			continue
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || !fn.Name.IsExported() || !ast.IsExported(receiver(fn)) {
				continue
			}
			out = append(out, method{receiver(fn), fn.Name.Name, t.at(fn.Pos()), served(fn)})
		}
	}
	return out
}

// served returns x for a body that is nothing but "return x.serve(…)".
func served(fn *ast.FuncDecl) string {
	if fn.Body == nil || len(fn.Body.List) != 1 {
		return ""
	}
	ret, ok := fn.Body.List[0].(*ast.ReturnStmt)
	if !ok || len(ret.Results) != 1 {
		return ""
	}
	call, ok := ret.Results[0].(*ast.CallExpr)
	if !ok {
		return ""
	}
	s, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || s.Sel.Name != "serve" {
		return ""
	}
	id, ok := s.X.(*ast.Ident)
	if !ok {
		return ""
	}
	return id.Name
}

// declared maps the variables of package nomad that a constructor made to the
// call of the constructor.
func declared(t *tree) map[string]*ast.CallExpr {
	out := map[string]*ast.CallExpr{}
	for _, f := range t.in(serverDir) {
		for _, d := range f.ast.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, s := range g.Specs {
				v := s.(*ast.ValueSpec)
				for i, value := range v.Values {
					if call := made(value); call != nil && slices.Contains(constructors, typeName(call.Fun)) {
						out[v.Names[i].Name] = call
					}
				}
			}
		}
	}
	return out
}

// made returns the call that made a value, in newX(…).with(…) that of newX; nil for
// a value that no call made.
func made(value ast.Expr) *ast.CallExpr {
	call, ok := value.(*ast.CallExpr)
	if !ok {
		return nil
	}
	if with, ok := call.Fun.(*ast.SelectorExpr); ok {
		if first := made(with.X); first != nil {
			return first
		}
	}
	return call
}

// rpcName returns the first argument of a constructor's call, "" if it is not a
// text in place.
func rpcName(call *ast.CallExpr) string {
	if len(call.Args) == 0 {
		return ""
	}
	return text(call.Args[0])
}

// text returns the value of a string literal, "" for anything else.
func text(e ast.Expr) string {
	lit, ok := e.(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		return ""
	}
	return s
}

// checkEndpointMethods wants every exported endpoint method to be one line that
// serves a variable made by a constructor, under its own name.
func checkEndpointMethods(t *tree) []problem {
	var out []problem
	vars := declared(t)
	used := map[string]bool{}
	names := map[string]string{}
	for _, m := range endpointMethods(t) {
		label := m.endpoint + "." + m.name
		call := vars[m.handler]
		if call == nil {
			out = append(out, problem{at: m.at, msg: label + " must be one line, return x.serve(…), where x is made by " + strings.Join(constructors, ", ")})
			continue
		}
		used[m.handler] = true
		name := rpcName(call)
		if _, verb, _ := strings.Cut(name, "."); verb != m.name {
			out = append(out, problem{at: m.at, msg: fmt.Sprintf("%s serves %s, which is declared as %q: the names must agree", label, m.handler, name)})
		}
		if other, twice := names[name]; twice {
			out = append(out, problem{at: m.at, msg: fmt.Sprintf("%s and %s both serve %q", label, other, name)})
		}
		names[name] = label
	}
	if len(out) > 0 {
		return out // what is not served is a consequence
	}
	for _, v := range slices.Sorted(maps.Keys(vars)) {
		if !used[v] {
			out = append(out, problem{at: t.at(vars[v].Pos()), msg: v + " is declared and no endpoint method serves it"})
		}
	}
	return out
}

// checkRegistered wants every endpoint struct to be named in endpoints() of the server.
func checkRegistered(t *tree) []problem {
	named := map[string]bool{}
	found := false
	for _, f := range t.in(serverDir) {
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Name.Name != "endpoints" {
				continue
			}
			found = true
			ast.Inspect(fn, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok {
					named[id.Name] = true
				}
				return true
			})
		}
	}
	var out []problem
	missing := map[string]bool{}
	for _, m := range endpointMethods(t) {
		if found && !named[m.endpoint] && !missing[m.endpoint] {
			missing[m.endpoint] = true
			out = append(out, problem{at: serverFile, msg: m.endpoint + " is not registered in endpoints()"})
		}
	}
	return out
}

// checkRoutes wants every RPC to be named in a route of the agent, or in
// internal with the reason why it has none. An entry of internal that is not
// needed is a problem too.
func checkRoutes(t *tree, internal map[string]string) []problem {
	if len(t.in(agentDir)) == 0 {
		return nil
	}
	routed := map[string]bool{}
	for _, f := range t.in(agentDir) {
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok {
				for _, name := range strings.Fields(text(lit)) {
					routed[name] = true
				}
			}
			return true
		})
	}
	var out []problem
	vars := declared(t)
	known := map[string]bool{}
	for _, v := range slices.Sorted(maps.Keys(vars)) {
		name := rpcName(vars[v])
		known[name] = true
		if !routed[name] && strings.TrimSpace(internal[name]) == "" {
			out = append(out, problem{at: t.at(vars[v].Pos()), msg: fmt.Sprintf("%q has no route in %s and no reason in internalOnly", name, agentDir)})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(internal)) {
		if len(known) > 0 && (routed[name] || !known[name]) {
			out = append(out, problem{at: "internal/archtest/exceptions.go", msg: fmt.Sprintf("%q is routed or gone: remove it from internalOnly", name)})
		}
	}
	return out
}
