//go:build invariants || race

package state

import (
	"testing"

	"github.com/cairn-project/cairn/nomad/structs"
)

func TestRowChangedInPlacePanics(t *testing.T) {
	for name, read := range map[string]func(s *testStore){
		"read":  func(s *testStore) { s.Snapshot().Variable(nil, "default", "a") },
		"list":  func(s *testStore) { paths(s.Snapshot().Variables(nil, VariableQuery{Namespace: "*"})) },
		"write": func(s *testStore) { _, _ = s.ApplyVariable(9, variable(structs.VarOpSet, "default", "a", "2")) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			s.set("default", "a", "1")
			s = restored(t, s.persist())
			s.Snapshot().Variable(nil, "default", "a").Data[0] = 'X'
			defer func() {
				if recover() == nil {
					t.Error("a row was changed in place and nobody noticed")
				}
			}()
			read(s)
		})
	}
}
