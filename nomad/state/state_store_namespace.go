package state

import (
	"iter"
	"strings"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Namespaces is the table of namespaces, by name.
var Namespaces = newTable("namespaces", structs.NamespaceSnapshot,
	func(n *structs.Namespace) Key { return Key{ID: n.Name} },
	func(a *acl.ACL, n *structs.Namespace) bool { return a.AllowNamespaceRead(n.Name) },
	events[structs.Namespace]{
		topic:   structs.TopicNamespace,
		payload: func(n *structs.Namespace) structs.EventPayload { return n },
		row:     sameRow[structs.Namespace],
		follows: follower(func(a *acl.ACL) bool { return a.AllowNamespaceRead(structs.AllNamespacesSentinel) }),
	}).searchedBy(search[structs.Namespace]{
	context: structs.SearchNamespaces,
	name:    func(n *structs.Namespace) string { return n.Name },
})

// UpsertNamespaces creates or updates namespaces, all or none.
func (s *StateStore) UpsertNamespaces(index uint64, r *structs.NamespaceUpsertRequest) error {
	return s.write(index, "NamespaceUpserted", func(tx *Txn) error {
		for _, n := range r.Namespaces {
			if n == nil || n.Name == "" {
				return errs.New(errs.Invalid, "a namespace without a name cannot be stored")
			}
			if strings.Contains(n.Name, "\x00") {
				return errs.Newf(errs.Invalid, "the namespace %q cannot be stored: its name has a zero byte", n.Name)
			}
			upsertNamespace(tx, n)
		}
		return nil
	})
}

func upsertNamespace(tx *Txn, n *structs.Namespace) {
	row := n.Copy()
	row.CreateIndex, row.ModifyIndex = tx.opIndex, tx.opIndex
	if before := Namespaces.read(tx, Key{ID: n.Name}); before != nil {
		row.CreateIndex = before.CreateIndex
		row.Name = before.Name
	}
	Namespaces.put(tx, row)
}

func putDefaultNamespace(tx *Txn) error {
	upsertNamespace(tx, &structs.Namespace{Name: structs.DefaultNamespace, Description: "Default shared namespace"})
	return nil
}

// DeleteNamespaces deletes namespaces, all or none. The default namespace, absent
// ones and those that still hold variables are refused.
func (s *StateStore) DeleteNamespaces(index uint64, r *structs.NamespaceDeleteRequest) error {
	return s.write(index, "NamespaceDeleted", func(tx *Txn) error {
		for _, name := range r.Namespaces {
			if err := deleteNamespace(tx, name); err != nil {
				return err
			}
		}
		return nil
	})
}

func deleteNamespace(tx *Txn, name string) error {
	if name == structs.DefaultNamespace {
		return errs.Newf(errs.PreconditionFailed, "cannot delete the namespace %q: it always exists", name)
	}
	if Namespaces.read(tx, Key{ID: name}) == nil {
		return errs.Newf(errs.NotFound, "namespace %q not found", name)
	}
	if n := tx.count(namespaceVariables, name); n > 0 {
		return errs.Newf(errs.PreconditionFailed, "namespace %q has %d variables: delete them first", name, n)
	}
	Namespaces.drop(tx, Key{ID: name})
	return nil
}

// Namespace returns a namespace, nil if there is none of the name.
func (sn *Snapshot) Namespace(ws memdb.WatchSet, name string) *structs.Namespace {
	return Namespaces.get(sn, ws, Key{ID: name})
}

// Namespaces yields the namespaces whose name has the prefix, in order of name.
func (sn *Snapshot) Namespaces(ws memdb.WatchSet, prefix string) iter.Seq[*structs.Namespace] {
	in := within("", prefix)
	Namespaces.watch(sn, ws, in)
	return Namespaces.scan(sn, in, Key{}, false)
}
