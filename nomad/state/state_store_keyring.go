package state

import (
	"iter"
	"strings"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// RootKeys is the table of wrapped root keys, by ID whatever its case. Rows keep
// the ID as it was written, since it is a part of what variables are sealed with.
var RootKeys = newTable("root_keys", structs.RootKeySnapshot,
	func(k *structs.RootKey) Key { return Key{ID: strings.ToLower(k.KeyID)} },
	func(a *acl.ACL, _ *structs.RootKey) bool { return a.IsManagement() },
	noEvents[structs.RootKey]()).notSearched()

// UpsertRootKey stores a root key. An active one makes the key that was active
// before inactive; the active key itself cannot be demoted otherwise.
func (s *StateStore) UpsertRootKey(index uint64, r *structs.WrappedRootKeysUpsertRequest) error {
	return s.write(index, "", func(tx *Txn) error { return upsertRootKey(tx, r.WrappedRootKeys) })
}

func upsertRootKey(tx *Txn, k *structs.RootKey) error {
	if k == nil || k.KeyID == "" {
		return errs.New(errs.Invalid, "a root key without an ID cannot be stored")
	}
	row := k.Copy()
	row.KeyID = strings.Clone(k.KeyID)
	row.CreateIndex, row.ModifyIndex = tx.opIndex, tx.opIndex
	before := RootKeys.read(tx, RootKeys.key(row))
	if before != nil {
		row.KeyID, row.CreateIndex, row.CreateTime = before.KeyID, before.CreateIndex, before.CreateTime
	}
	if row.State != structs.RootKeyStateActive {
		if before != nil && before.State == structs.RootKeyStateActive {
			return errs.Newf(errs.PreconditionFailed, "root key %q is active: make another key active first", row.KeyID)
		}
		RootKeys.put(tx, row)
		return nil
	}
	for _, other := range RootKeys.all(tx) {
		if other.State == structs.RootKeyStateActive && other.KeyID != row.KeyID {
			demoteRootKey(tx, other)
			break
		}
	}
	RootKeys.put(tx, row)
	return nil
}

func demoteRootKey(tx *Txn, k *structs.RootKey) {
	row := k.Copy()
	row.State = structs.RootKeyStateInactive
	row.ModifyIndex = tx.opIndex
	RootKeys.put(tx, row)
}

// DeleteRootKey deletes a root key that is neither active nor needed to read a
// variable.
func (s *StateStore) DeleteRootKey(index uint64, r *structs.WrappedRootKeysDeleteRequest) error {
	return s.write(index, "", func(tx *Txn) error {
		key := Key{ID: strings.ToLower(r.KeyID)}
		row := RootKeys.read(tx, key)
		if row == nil {
			return errs.Newf(errs.NotFound, "root key %q not found", r.KeyID)
		}
		if row.State == structs.RootKeyStateActive {
			return errs.Newf(errs.PreconditionFailed, "root key %q is active: rotate first", r.KeyID)
		}
		if n := tx.count(keyVariables, key.ID); n > 0 {
			return errs.Newf(errs.PreconditionFailed, "root key %q still encrypts %d variables: rotate with full rekeying first", r.KeyID, n)
		}
		if sealsAuthority(tx, key.ID) {
			return errs.Newf(errs.PreconditionFailed, "root key %q still seals the certificate authority: the leader seals it anew within a minute", r.KeyID)
		}
		RootKeys.drop(tx, key)
		return nil
	})
}

// RootKey returns a root key, nil if there is none of the ID.
func (sn *Snapshot) RootKey(ws memdb.WatchSet, id string) *structs.RootKey {
	return RootKeys.get(sn, ws, Key{ID: strings.ToLower(id)})
}

// RootKeys yields the root keys in order of ID.
func (sn *Snapshot) RootKeys(ws memdb.WatchSet) iter.Seq[*structs.RootKey] {
	RootKeys.watch(sn, ws, everything)
	return RootKeys.scan(sn, everything, Key{}, false)
}

// ActiveRootKey returns the key that encrypts new data, nil before the first.
func (sn *Snapshot) ActiveRootKey() *structs.RootKey {
	for k := range RootKeys.scan(sn, everything, Key{}, false) {
		if k.State == structs.RootKeyStateActive {
			return k
		}
	}
	return nil
}

// RootKeyUse returns how many variables the key encrypts.
func (sn *Snapshot) RootKeyUse(id string) int {
	return keyVariables.value(sn, strings.ToLower(id))
}
