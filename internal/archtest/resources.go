package archtest

import (
	"go/ast"
	"go/token"
	"path"
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

// envelopes are the request types that only wrap others: they have neither a
// request struct nor an endpoint.
var envelopes = map[string]bool{"BatchRequestType": true, "TaggedRequestType": true}

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
		if want := strings.TrimSuffix(name, "Type"); !envelopes[name] && !types[want] {
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
		if !envelopes[name] && !cases[name] {
			out = append(out, problem{at: "nomad/fsm.go", msg: "no case structs." + name + ": the FSM would not know the entry"})
		}
	}
	return out
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
