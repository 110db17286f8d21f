package nomad

import (
	"slices"
	"testing"

	"github.com/cairn-project/cairn/internal/limit"
)

func TestEveryMethodIsClassified(t *testing.T) {
	for name, m := range methods {
		if !m.class.Valid() || m.class != classOf(m) {
			t.Errorf("%s is of class %v, want %v", name, m.class, classOf(m))
		}
	}
	for _, name := range slices.Concat(urgent, growing) {
		if methods[name] == nil {
			t.Errorf("%s has a class and is no method", name)
		}
	}
	for _, name := range growing {
		if m := methods[name]; m != nil && m.kind != readKind {
			t.Errorf("%s is no read", name)
		}
	}
	for name, want := range map[string]limit.Class{
		"Variables.RenewLock": limit.Control, "Node.UpdateStatus": limit.Control, "Status.Leader": limit.Control,
		"Operator.RaftRemovePeerByID": limit.Control, "Variables.Apply": limit.Write, "ACL.Login": limit.Write,
		"Variables.Read": limit.Read, "Variables.List": limit.Bulk, "Node.GetAllocs": limit.Bulk,
	} {
		if m := methods[name]; m == nil || m.class != want {
			t.Errorf("%s is not of class %v", name, want)
		}
	}
}
