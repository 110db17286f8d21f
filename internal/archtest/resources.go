package archtest

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

// The files and constructors that a resource is made of.
const (
	structsDir  = "nomad/structs"
	structsFile = "nomad/structs/structs.go"
	serverFile  = "nomad/server.go"
	serverDir   = "nomad"
	stateDir    = "nomad/state"
	agentDir    = "command/agent"
)

// constructors declare a method of an endpoint; their first argument is the
// name of the RPC.
var constructors = []string{"newRead", "newWrite", "newLocal"}

// envelope is the request type that only wraps others: it has neither a
// request struct nor an endpoint.
const envelope = "BatchRequestType"

// requestTypes returns the constants that name a kind of Raft entry.
func requestTypes(t *tree) []string {
	f := t.file(structsFile)
	if f == nil {
		return nil
	}
	var out []string
	for _, d := range f.ast.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			for _, n := range s.(*ast.ValueSpec).Names {
				if strings.HasSuffix(n.Name, "RequestType") {
					out = append(out, n.Name)
				}
			}
		}
	}
	return out
}

// checkRequestStructs wants FooRequest in nomad/structs beside every FooRequestType.
func checkRequestStructs(t *tree) []problem {
	types := map[string]bool{}
	for _, f := range t.in(structsDir) {
		eachType(f, func(s *ast.TypeSpec) { types[s.Name.Name] = true })
	}
	var out []problem
	for _, name := range requestTypes(t) {
		if want := strings.TrimSuffix(name, "Type"); name != envelope && !types[want] {
			out = append(out, problem{at: structsFile, msg: name + " has no request struct " + want + " in " + structsDir})
		}
	}
	return out
}

// checkFSMCases wants every request type in a case clause of the FSM, which is
// in the files of package nomad that begin with fsm.
func checkFSMCases(t *tree) []problem {
	cases := map[string]bool{}
	found := false
	for _, f := range t.in(serverDir) {
		if !strings.HasPrefix(path.Base(f.path), "fsm") {
			continue
		}
		found = true
		ast.Inspect(f.ast, func(n ast.Node) bool {
			if c, ok := n.(*ast.CaseClause); ok {
				for _, e := range c.List {
					if s, ok := e.(*ast.SelectorExpr); ok {
						cases[s.Sel.Name] = true
					}
				}
			}
			return true
		})
	}
	if !found {
		return nil
	}
	var out []problem
	for _, name := range requestTypes(t) {
		if name != envelope && !cases[name] {
			out = append(out, problem{at: "nomad/fsm.go", msg: "no case structs." + name + ": the FSM would not know the entry"})
		}
	}
	return out
}

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
					if call, ok := value.(*ast.CallExpr); ok && slices.Contains(constructors, typeName(call.Fun)) {
						out[v.Names[i].Name] = call
					}
				}
			}
		}
	}
	return out
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
	for _, v := range sortedKeys(vars) {
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

// checkRoutes wants every RPC to be named in a route of the agent, or to be
// declared internalOnly("reason"), in its declaration or beside its name.
func checkRoutes(t *tree) []problem {
	if len(t.in(agentDir)) == 0 {
		return nil
	}
	routed := map[string]bool{}
	var out []problem
	for _, dir := range []string{serverDir, agentDir} {
		for _, f := range t.in(dir) {
			ast.Inspect(f.ast, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BasicLit:
					if dir == agentDir {
						routed[text(n)] = true
					}
				case *ast.CallExpr:
					out = append(out, t.internalRPC(n, routed)...)
				}
				return true
			})
		}
	}
	vars := declared(t)
	for _, v := range sortedKeys(vars) {
		if name := rpcName(vars[v]); !routed[name] {
			out = append(out, problem{at: t.at(vars[v].Pos()), msg: fmt.Sprintf("%q has no route in %s and is not internalOnly(reason)", name, agentDir)})
		}
	}
	return out
}

// internalRPC takes note of an RPC that is declared internal: a constructor
// with internalOnly among its arguments, or internalOnly itself with the name.
func (t *tree) internalRPC(call *ast.CallExpr, routed map[string]bool) []problem {
	for _, a := range call.Args {
		if inner, ok := a.(*ast.CallExpr); ok && typeName(inner.Fun) == "internalOnly" {
			routed[rpcName(call)] = true
		}
	}
	if typeName(call.Fun) != "internalOnly" {
		return nil
	}
	if n := len(call.Args); n == 0 || strings.TrimSpace(text(call.Args[n-1])) == "" {
		return []problem{{at: t.at(call.Pos()), msg: "internalOnly wants a reason"}}
	}
	if len(call.Args) > 1 {
		routed[text(call.Args[0])] = true
	}
	return nil
}

// checkStateFiles wants a test and the structs beside every file of the store
// that is named for a resource.
func checkStateFiles(t *tree) []problem {
	var out []problem
	for _, f := range t.in(stateDir) {
		stem, ok := strings.CutPrefix(path.Base(f.path), "state_store_")
		if !ok {
			continue
		}
		stem = strings.TrimSuffix(stem, ".go")
		for _, want := range []string{
			path.Join(stateDir, "state_store_"+stem+"_test.go"),
			path.Join(structsDir, stem+".go"),
		} {
			if !t.paths[want] {
				out = append(out, problem{at: f.path, msg: "its companion is missing: " + want})
			}
		}
	}
	return out
}

// eachType calls do for every type declared at the top of f.
func eachType(f *goFile, do func(*ast.TypeSpec)) {
	for _, d := range f.ast.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range g.Specs {
			if ts, ok := s.(*ast.TypeSpec); ok {
				do(ts)
			}
		}
	}
}

// sortedKeys returns the keys of m in order.
func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
