package state

import (
	"iter"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Variables is the table of encrypted variables, by namespace and path. Its
// partial index holds those that are locked.
var Variables = newTable("variables", structs.VariablesSnapshot,
	func(v *structs.VariableEncrypted) Key { return Key{v.Namespace, v.Path} },
	func(a *acl.ACL, v *structs.VariableEncrypted) bool {
		return a.AllowVariable(v.Namespace, v.Path, acl.VariablesList)
	},
	events[structs.VariableEncrypted]{
		topic:   structs.TopicVariable,
		payload: variablePayload,
		row: func(p any) *structs.VariableEncrypted {
			m, ok := p.(*structs.VariableMetadata)
			if !ok {
				return nil
			}
			return &structs.VariableEncrypted{VariableMetadata: *m}
		},
		follows: (*acl.ACL).AllowVariableSearch,
	}).withPartial(func(v *structs.VariableEncrypted) bool { return v.Lock != nil }).
	searchedBy(search[structs.VariableEncrypted]{
		context:    structs.SearchVariables,
		name:       func(v *structs.VariableEncrypted) string { return v.Path },
		scope:      func(v *structs.VariableEncrypted) []string { return []string{v.Namespace, v.Path} },
		namespaced: true,
	})

// variablePayload shows the meta data alone, without the lock, whose details are
// for its holder.
func variablePayload(v *structs.VariableEncrypted) structs.EventPayload {
	m := v.VariableMetadata
	m.Lock = nil
	return &m
}

// VariableQuery selects variables in order of namespace and path.
type VariableQuery struct {
	// Namespace is structs.AllNamespacesSentinel for all of them.
	Namespace string
	// Prefix is what the path begins with, "" for anything.
	Prefix string
	// From is where to begin, itself included; zero for the beginning (with
	// Reverse, the end) of the selection. ID is the path.
	From Key
	// Reverse selects in descending order.
	Reverse bool
}

// Variable returns a variable, nil if there is none at the path.
func (sn *Snapshot) Variable(ws memdb.WatchSet, namespace, path string) *structs.VariableEncrypted {
	return Variables.get(sn, ws, Key{namespace, path})
}

// Variables yields the variables that q selects. It seeks to the start, so a page
// costs what it holds.
func (sn *Snapshot) Variables(ws memdb.WatchSet, q VariableQuery) iter.Seq[*structs.VariableEncrypted] {
	if q.Namespace != structs.AllNamespacesSentinel {
		in := within(q.Namespace, q.Prefix)
		Variables.watch(sn, ws, in)
		return Variables.scan(sn, in, q.From, q.Reverse)
	}
	Variables.watch(sn, ws, everything)
	if q.Prefix == "" {
		return Variables.scan(sn, everything, q.From, q.Reverse)
	}
	return sn.variablesEverywhere(q)
}

// variablesEverywhere yields the variables with a prefix namespace by namespace.
func (sn *Snapshot) variablesEverywhere(q VariableQuery) iter.Seq[*structs.VariableEncrypted] {
	return func(yield func(*structs.VariableEncrypted) bool) {
		for n := range Namespaces.scan(sn, everything, Key{ID: q.From.Namespace}, q.Reverse) {
			for v := range Variables.scan(sn, within(n.Name, q.Prefix), q.From, q.Reverse) {
				if !yield(v) {
					return
				}
			}
		}
	}
}

// LockedVariables yields the variables that somebody holds a lock on, in order of
// namespace and path.
func (sn *Snapshot) LockedVariables() iter.Seq[*structs.VariableEncrypted] {
	return Variables.scanBy(sn, Variables.orders[0], everything, Key{}, false)
}

// ApplyVariable runs one operation on one variable. That somebody else's state
// stands in the way is a result, not an error; an error means that the operation
// is impossible. Rows in the response are shared: callers must not change them.
func (s *StateStore) ApplyVariable(index uint64, r *structs.VarApplyStateRequest) (*structs.VarApplyStateResponse, error) {
	if r.Var == nil || r.Var.Path == "" {
		return nil, errs.New(errs.Invalid, "variable requires a path")
	}
	var resp *structs.VarApplyStateResponse
	err := s.write(index, "VariableUpdated", func(tx *Txn) error {
		op := varOp{tx: tx, req: r, old: Variables.read(tx, Key{r.Var.Namespace, r.Var.Path})}
		var err error
		resp, err = op.run()
		return err
	})
	return resp, err
}
