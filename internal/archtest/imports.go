package archtest

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// checkImports holds the directions of the layer table and the rules beside it.
func checkImports(t *tree) []problem {
	var out []problem
	for _, f := range t.files {
		for _, spec := range f.ast.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				continue
			}
			if msg := importProblem(f, imported); msg != "" {
				out = append(out, problem{at: t.at(spec.Pos()), msg: msg})
			}
		}
	}
	return out
}

func importProblem(f *goFile, imported string) string {
	target, ours := strings.CutPrefix(imported, modulePath+"/")
	switch {
	case ours:
		return ourImportProblem(f, target)
	case f.test:
		return ""
	case imported == "testing" || strings.HasPrefix(imported, "testing/"):
		if !testPackages[f.dir] {
			return "only tests and nomad/nomadtest import " + imported
		}
	case imported == "net/rpc" || strings.HasPrefix(imported, "net/rpc/"):
		return imported + " is a wire format here, not a dependency: use internal/wire"
	}
	return ""
}

func ourImportProblem(f *goFile, target string) string {
	if testPackages[target] {
		if f.test || testPackages[f.dir] {
			return ""
		}
		return target + " is for tests only"
	}
	from, to := rank(f.dir), rank(target)
	if from < 0 || to < 0 || f.dir == target {
		return "" // an unknown package is a problem of its own
	}
	if target == "command" || strings.HasPrefix(target, "command/") {
		if layers[from].layer < 5 {
			return "nothing below layer 5 imports " + target
		}
	}
	if f.test {
		if layers[to].layer > layers[from].layer {
			return fmt.Sprintf("%s (layer %d) must not import %s (layer %d), not even in a test",
				f.dir, layers[from].layer, target, layers[to].layer)
		}
		return ""
	}
	if allowed, ok := only[f.dir]; ok && !slices.Contains(allowed, target) {
		return f.dir + " imports nothing of ours but " + strings.Join(allowed, " and ")
	}
	if slices.Contains(never[f.dir], target) {
		return f.dir + " never imports " + target
	}
	if layers[to].layer == top {
		if layers[from].layer == top {
			return ""
		}
		return target + " is not part of the product: nothing imports it"
	}
	if to > from {
		return fmt.Sprintf("an import may only point down: %s (layer %d) must not import %s (layer %d)",
			f.dir, layers[from].layer, target, layers[to].layer)
	}
	return ""
}

// rank returns the row of dir in the layer table, -1 for a package that is not there.
func rank(dir string) int {
	return slices.IndexFunc(layers, func(r row) bool { return r.dir == dir })
}

// checkPackages fails packages that nobody placed and names that say nothing.
func checkPackages(t *tree) []problem {
	var out []problem
	for _, dir := range t.packages() {
		if rank(dir) < 0 {
			out = append(out, problem{at: dir, msg: "package is not in the layer table of internal/archtest/layers.go: add it where it belongs"})
		}
		if forbiddenNames[path.Base(dir)] {
			out = append(out, problem{at: dir, msg: "the name says nothing: name the package for what it holds"})
		}
	}
	for _, f := range t.files {
		if name := strings.TrimSuffix(f.ast.Name.Name, "_test"); forbiddenNames[name] {
			out = append(out, problem{at: f.path, msg: "package " + name + ": the name says nothing"})
		}
	}
	return out
}
