package archtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// problem is one breach of a rule.
type problem struct {
	// at is the file, with the line where there is one.
	at string
	// key names the thing for exceptions.go, "" where no exception is possible.
	key string
	msg string
}

// String returns the breach as one line.
func (p problem) String() string { return p.at + ": " + p.msg }

// goFile is one parsed file of the module.
type goFile struct {
	// path is relative to the module, with slashes.
	path string
	// dir is the directory of path, "." for the module's own.
	dir  string
	test bool
	src  string
	ast  *ast.File
}

// textFile is any file a person reads or writes.
type textFile struct {
	path string
	src  string
}

// tree is the source of the module.
type tree struct {
	fset  *token.FileSet
	files []*goFile
	// texts holds every text file, Go files among them.
	texts []textFile
	// paths holds every file and directory, for links.
	paths map[string]bool
}

// skipDirs are directories that hold no source.
var skipDirs = map[string]bool{".git": true, ".cluster": true, "bin": true, "dist": true, "bench/out": true}

// load reads the module at root.
func load(root string) (*tree, error) {
	t := newTree()
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if d.IsDir() && skipDirs[rel] {
			return filepath.SkipDir
		}
		t.paths[rel] = true
		if d.IsDir() || !d.Type().IsRegular() || !isText(rel) {
			return nil
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return t.add(rel, string(src))
	})
	return t, err
}

func newTree() *tree {
	return &tree{fset: token.NewFileSet(), paths: map[string]bool{}}
}

// add takes one file into the tree, parsed if it is Go.
func (t *tree) add(rel, src string) error {
	t.paths[rel] = true
	t.texts = append(t.texts, textFile{rel, src})
	if path.Ext(rel) != ".go" || strings.Contains("/"+rel, "/testdata/") {
		return nil
	}
	parsed, err := parser.ParseFile(t.fset, rel, src, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return fmt.Errorf("parse: %w", err)
	}
	t.files = append(t.files, &goFile{
		path: rel, dir: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"), src: src, ast: parsed,
	})
	return nil
}

var textNames = []string{"Makefile", "LICENSE", ".gitignore"}

var textExts = []string{".go", ".md", ".hcl", ".json", ".sh", ".txt", ".txtar", ".golden", ".tsv", ".yml", ".yaml", ".html"}

// isText tells the files that the text rules read. Scripts have no extension
// and live in two directories.
func isText(rel string) bool {
	dir := path.Dir(rel)
	return slices.Contains(textExts, path.Ext(rel)) || slices.Contains(textNames, path.Base(rel)) ||
		dir == "scripts" || dir == ".ci"
}

// packages returns the directories that hold Go files, sorted.
func (t *tree) packages() []string {
	var out []string
	for _, f := range t.files {
		if !slices.Contains(out, f.dir) {
			out = append(out, f.dir)
		}
	}
	slices.Sort(out)
	return out
}

// in returns the files of one directory without tests.
func (t *tree) in(dir string) []*goFile {
	var out []*goFile
	for _, f := range t.files {
		if f.dir == dir && !f.test {
			out = append(out, f)
		}
	}
	return out
}

// file returns the file at path, nil if there is none.
func (t *tree) file(path string) *goFile {
	for _, f := range t.files {
		if f.path == path {
			return f
		}
	}
	return nil
}

// at returns file and line of a position.
func (t *tree) at(pos token.Pos) string {
	p := t.fset.Position(pos)
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// lines returns how many lines a node spans.
func (t *tree) lines(n ast.Node) int {
	return t.fset.Position(n.End()).Line - t.fset.Position(n.Pos()).Line + 1
}
