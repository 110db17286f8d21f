package structs

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "append new lines to testdata/wire.golden")

const goldenFile = "testdata/wire.golden"

// wireSource is what the source of this package says about the wire.
type wireSource struct {
	structs  map[string]*ast.StructType
	order    []string // names of structs, as declared
	copiers  []string // types with a Copy method
	consts   []string // golden lines
	problems []string
}

func mustParse(t *testing.T) *wireSource {
	t.Helper()
	names, err := filepath.Glob("*.go") // sorted
	if err != nil {
		t.Fatal(err)
	}
	src := &wireSource{structs: map[string]*ast.StructType{}}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			src.take(decl)
		}
	}
	return src
}

func (src *wireSource) take(decl ast.Decl) {
	switch d := decl.(type) {
	case *ast.FuncDecl:
		if d.Name.Name == "Copy" && d.Recv != nil {
			src.copiers = append(src.copiers, strings.TrimPrefix(types.ExprString(d.Recv.List[0].Type), "*"))
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch s := spec.(type) {
			case *ast.TypeSpec:
				if st, ok := s.Type.(*ast.StructType); ok {
					src.structs[s.Name.Name] = st
					src.order = append(src.order, s.Name.Name)
				}
			case *ast.ValueSpec:
				if d.Tok == token.CONST {
					src.takeConst(s)
				}
			}
		}
	}
}

// takeConst pins constants of our own types, and text without a type.
func (src *wireSource) takeConst(s *ast.ValueSpec) {
	typ := "string"
	if id, ok := s.Type.(*ast.Ident); ok {
		typ = id.Name
	}
	for i, name := range s.Names {
		if !name.IsExported() {
			continue
		}
		var lit *ast.BasicLit
		if i < len(s.Values) {
			lit, _ = s.Values[i].(*ast.BasicLit)
		}
		switch {
		case lit != nil && (s.Type != nil || lit.Kind == token.STRING):
			src.consts = append(src.consts, fmt.Sprintf("const %s %s = %s", name.Name, typ, lit.Value))
		case s.Type != nil || len(s.Values) == 0:
			src.problems = append(src.problems, name.Name+": write the value of a wire constant as a literal of its own")
		}
	}
}

// fields returns the msgpack fields of a struct as golden lines, those of
// embedded structs in the place of the embedding.
func (src *wireSource) fields(owner, name string) []string {
	var out []string
	for _, f := range src.structs[name].Fields.List {
		typ := types.ExprString(f.Type)
		tag := ""
		if f.Tag != nil {
			tag = f.Tag.Value
		}
		if strings.Contains(tag, `codec:"-"`) {
			continue
		}
		if len(f.Names) == 0 {
			if src.structs[typ] != nil {
				out = append(out, src.fields(owner, typ)...)
				continue
			}
			out = append(out, fmt.Sprintf("field %s embeds %s", owner, typ))
		}
		for _, n := range f.Names {
			if n.IsExported() {
				out = append(out, strings.TrimSpace(fmt.Sprintf("field %s.%s %s %s", owner, n.Name, typ, tag)))
			}
		}
	}
	return out
}

func (src *wireSource) lines() []string {
	out := slices.Clone(src.consts)
	for _, name := range src.order {
		if ast.IsExported(name) {
			out = append(out, src.fields(name, name)...)
		}
	}
	return out
}

// TestWireIsAppendOnly fails when something that once was on the wire changed
// or vanished. New lines are appended with: go test ./nomad/structs -run Wire -update
func TestWireIsAppendOnly(t *testing.T) {
	src := mustParse(t)
	for _, p := range src.problems {
		t.Error(p)
	}
	now := src.lines()
	raw, err := os.ReadFile(goldenFile)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	golden := strings.Split(strings.TrimSpace(string(raw)), "\n")
	for _, line := range golden {
		if line != "" && !slices.Contains(now, line) {
			t.Errorf("changed or vanished: %s", line)
		}
	}
	var fresh []string
	for _, line := range now {
		if !slices.Contains(golden, line) {
			fresh = append(fresh, line)
		}
	}
	if len(fresh) == 0 {
		return
	}
	if !*update {
		t.Fatalf("not in %s yet, append with -update:\n%s", goldenFile, strings.Join(fresh, "\n"))
	}
	out := append(raw, strings.Join(fresh, "\n")+"\n"...)
	if err := os.WriteFile(goldenFile, out, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestWireNumbersAreUnique(t *testing.T) {
	seen := map[string]string{}
	for _, line := range mustParse(t).consts {
		name, rest, _ := strings.Cut(strings.TrimPrefix(line, "const "), " ")
		typ, _, _ := strings.Cut(rest, " ")
		if typ == "string" {
			continue
		}
		if other := seen[rest]; other != "" {
			t.Errorf("%s and %s are both %s", other, name, rest)
		}
		seen[rest] = name
	}
	if len(seen) < 20 {
		t.Errorf("only %d wire constants found", len(seen))
	}
}
