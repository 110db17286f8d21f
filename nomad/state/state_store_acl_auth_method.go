package state

import (
	"iter"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// ACLAuthMethods is the table of auth methods, by name. Events leave the secrets
// out. Its rule is for the whole method: everybody may see the stubs.
var ACLAuthMethods = newTable("acl_auth_methods", structs.ACLAuthMethodSnapshot,
	func(m *structs.ACLAuthMethod) Key { return Key{ID: m.Name} },
	func(a *acl.ACL, _ *structs.ACLAuthMethod) bool { return readsAuthMethods(a) },
	events[structs.ACLAuthMethod]{
		topic:   structs.TopicACLAuthMethod,
		payload: func(m *structs.ACLAuthMethod) structs.EventPayload { return m.Redacted() },
		row:     sameRow[structs.ACLAuthMethod],
		follows: follower(readsAuthMethods),
	}).notSearched()

func readsAuthMethods(a *acl.ACL) bool {
	return holdsOne(a, acl.ACLAuthMethodRead, acl.ACLAuthMethodWrite)
}

// UpsertACLAuthMethods creates or updates auth methods, all or none. A missing Hash
// is computed. One method of each type may be the default.
func (s *StateStore) UpsertACLAuthMethods(index uint64, r *structs.ACLAuthMethodUpsertRequest) error {
	return s.write(index, "ACLAuthMethodUpserted", func(tx *Txn) error {
		for _, m := range r.AuthMethods {
			if m == nil || m.Name == "" {
				return errs.New(errs.Invalid, "an auth method without a name cannot be stored")
			}
			if r.Create && ACLAuthMethods.read(tx, ACLAuthMethods.key(m)) != nil {
				return AuthMethodExists(m.Name)
			}
			upsertACLAuthMethod(tx, m.Copy())
		}
		return checkDefaultAuthMethods(tx)
	})
}

// AuthMethodExists refuses to create an auth method again.
func AuthMethodExists(name string) error {
	return errs.Newf(errs.Invalid, "an auth method with the name %s already exists: update it, or choose another name", name)
}

func upsertACLAuthMethod(tx *Txn, row *structs.ACLAuthMethod) {
	if len(row.Hash) == 0 {
		row.SetHash()
	}
	row.CreateIndex, row.ModifyIndex = tx.opIndex, tx.opIndex
	if before := ACLAuthMethods.read(tx, ACLAuthMethods.key(row)); before != nil {
		row.CreateIndex, row.CreateTime = before.CreateIndex, before.CreateTime
	}
	ACLAuthMethods.put(tx, row)
}

func checkDefaultAuthMethods(tx *Txn) error {
	defaults := make(map[string]string)
	for _, m := range ACLAuthMethods.all(tx) {
		if !m.Default {
			continue
		}
		if other, ok := defaults[m.Type]; ok {
			return errs.Newf(errs.Conflict, "the auth methods %q and %q cannot both be the default of type %s", other, m.Name, m.Type)
		}
		defaults[m.Type] = m.Name
	}
	return nil
}

// DeleteACLAuthMethods deletes auth methods with their binding rules, all or none: a
// method made later under the same name must not inherit what the rules give. Tokens
// of logins stay until they expire.
func (s *StateStore) DeleteACLAuthMethods(index uint64, r *structs.ACLAuthMethodDeleteRequest) error {
	return s.write(index, "ACLAuthMethodDeleted", func(tx *Txn) error {
		for _, name := range r.Names {
			if ACLAuthMethods.read(tx, Key{ID: name}) == nil {
				return errs.Newf(errs.NotFound, "auth method %q not found", name)
			}
			ACLAuthMethods.drop(tx, Key{ID: name})
			for _, rule := range ACLBindingRules.all(tx) {
				if rule.AuthMethod == name {
					ACLBindingRules.drop(tx, ACLBindingRules.key(rule))
				}
			}
		}
		return nil
	})
}

// ACLAuthMethod returns an auth method with its secrets, nil if there is none of
// the name.
func (sn *Snapshot) ACLAuthMethod(ws memdb.WatchSet, name string) *structs.ACLAuthMethod {
	return ACLAuthMethods.get(sn, ws, Key{ID: name})
}

// ACLAuthMethods yields the auth methods in order of name.
func (sn *Snapshot) ACLAuthMethods(ws memdb.WatchSet) iter.Seq[*structs.ACLAuthMethod] {
	ACLAuthMethods.watch(sn, ws, everything)
	return ACLAuthMethods.scan(sn, everything, Key{}, false)
}

// DefaultACLAuthMethod returns the default method of a type, nil if there is none.
func (sn *Snapshot) DefaultACLAuthMethod(methodType string) *structs.ACLAuthMethod {
	for m := range ACLAuthMethods.scan(sn, everything, Key{}, false) {
		if m.Default && m.Type == methodType {
			return m
		}
	}
	return nil
}
