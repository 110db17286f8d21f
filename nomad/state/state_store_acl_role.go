package state

import (
	"bytes"
	"iter"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// ACLRoles is the table of roles, by ID, and by name as values.
var ACLRoles = newTable("acl_roles", structs.ACLRoleSnapshot,
	func(r *structs.ACLRole) Key { return Key{ID: r.ID} },
	func(a *acl.ACL, _ *structs.ACLRole) bool { return readsRoles(a) },
	events[structs.ACLRole]{
		topic:   structs.TopicACLRole,
		payload: func(r *structs.ACLRole) structs.EventPayload { return r },
		row:     sameRow[structs.ACLRole],
		follows: follower(readsRoles),
		keys:    func(r *structs.ACLRole) []string { return []string{r.Name} },
	}).withValue(func(r *structs.ACLRole) string { return r.Name }).notSearched()

func readsRoles(a *acl.ACL) bool { return holdsOne(a, acl.ACLRoleRead, acl.ACLRoleWrite) }

// UpsertACLRoles creates or updates roles, all or none. Names are unique, and
// policies must exist unless the request says otherwise. A role whose Hash is that
// of the stored one changes nothing; a missing Hash is computed.
func (s *StateStore) UpsertACLRoles(index uint64, r *structs.ACLRolesUpsertRequest) error {
	return s.write(index, "ACLRoleUpserted", func(tx *Txn) error {
		for _, role := range r.ACLRoles {
			if role == nil || role.ID == "" || role.Name == "" {
				return errs.New(errs.Invalid, "a role without an ID or a name cannot be stored")
			}
			if err := checkRolePolicies(tx, role, r.AllowMissingPolicies); err != nil {
				return err
			}
			if err := upsertACLRole(tx, role.Copy()); err != nil {
				return err
			}
		}
		return nil
	})
}

func checkRolePolicies(tx *Txn, role *structs.ACLRole, allowMissing bool) error {
	for _, p := range role.Policies {
		if p == nil {
			return errs.Newf(errs.Invalid, "a policy of the role %q is null", role.Name)
		}
		if !allowMissing && ACLPolicies.read(tx, Key{ID: p.Name}) == nil {
			return errs.Newf(errs.Invalid, "the role %q needs the policy %q, which does not exist: create it first", role.Name, p.Name)
		}
	}
	return nil
}

func upsertACLRole(tx *Txn, row *structs.ACLRole) error {
	if other := ACLRoles.readBy(tx, row.Name); other != nil && other.ID != row.ID {
		return errs.Newf(errs.Conflict, "a role of the name %q exists already, with the ID %q", row.Name, other.ID)
	}
	if len(row.Hash) == 0 {
		row.SetHash()
	}
	row.CreateIndex, row.ModifyIndex = tx.opIndex, tx.opIndex
	if before := ACLRoles.read(tx, ACLRoles.key(row)); before != nil {
		if bytes.Equal(before.Hash, row.Hash) {
			return nil
		}
		row.CreateIndex = before.CreateIndex
	}
	ACLRoles.put(tx, row)
	return nil
}

// DeleteACLRolesByID deletes roles, all or none. Tokens keep their links to them,
// which then grant nothing.
func (s *StateStore) DeleteACLRolesByID(index uint64, r *structs.ACLRolesDeleteByIDRequest) error {
	return s.write(index, "ACLRoleDeleted", func(tx *Txn) error {
		for _, id := range r.ACLRoleIDs {
			if ACLRoles.read(tx, Key{ID: id}) == nil {
				return errs.Newf(errs.NotFound, "role %q not found", id)
			}
			ACLRoles.drop(tx, Key{ID: id})
		}
		return nil
	})
}

// ACLRole returns a role, nil if there is none of the ID.
func (sn *Snapshot) ACLRole(ws memdb.WatchSet, id string) *structs.ACLRole {
	return ACLRoles.get(sn, ws, Key{ID: id})
}

// ACLRoleByName returns a role, nil if there is none of the name.
func (sn *Snapshot) ACLRoleByName(ws memdb.WatchSet, name string) *structs.ACLRole {
	return ACLRoles.getBy(sn, ws, name)
}

// ACLRoles yields the roles whose ID has the prefix, in order of ID.
func (sn *Snapshot) ACLRoles(ws memdb.WatchSet, prefix string) iter.Seq[*structs.ACLRole] {
	in := within("", prefix)
	ACLRoles.watch(sn, ws, in)
	return ACLRoles.scan(sn, in, Key{}, false)
}
