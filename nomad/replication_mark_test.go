package nomad

import (
	"slices"
	"testing"

	"github.com/cairn-project/cairn/nomad/state"
)

func TestEveryTableSaysWhetherItIsGlobal(t *testing.T) {
	var left []string
	for _, table := range state.Tables() {
		name := table.Name
		global := slices.ContainsFunc(copiedTables, func(f follower) bool { return f.name() == name })
		if regional := slices.Contains(regionalTables, name); regional == global {
			t.Errorf("table %s: add it to copiedTables if one region owns it for all, else to regionalTables", name)
		}
		left = append(left, name)
	}
	for _, name := range regionalTables {
		if !slices.Contains(left, name) {
			t.Errorf("there is no table %s", name)
		}
	}
}
