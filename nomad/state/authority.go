package state

import (
	"iter"
	"strings"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Authorities is the table of the region's certificate authorities.
var Authorities = newTable("tls_authorities", structs.AuthoritySnapshot,
	func(a *structs.Authority) Key { return Key{ID: a.ID} },
	func(a *acl.ACL, _ *structs.Authority) bool { return a.IsManagement() },
	noEvents[structs.Authority]()).notSearched()

// UpsertAuthority stores an authority. An active one takes the place of the one
// that was active before. The root key that seals it must be there.
func (s *StateStore) UpsertAuthority(index uint64, r *structs.AuthorityUpsertRequest) error {
	return s.write(index, "", func(tx *Txn) error {
		row := r.Authority.Copy()
		if row == nil || row.ID == "" || len(row.Certificate) == 0 || len(row.SealedKey) == 0 {
			return errs.New(errs.Invalid, "an authority needs an ID, a certificate and a sealed key")
		}
		if RootKeys.read(tx, Key{ID: strings.ToLower(row.KeyID)}) == nil {
			return errs.Newf(errs.NotFound, "root key %q not found", row.KeyID)
		}
		row.CreateIndex, row.ModifyIndex = tx.opIndex, tx.opIndex
		if before := Authorities.read(tx, Key{ID: row.ID}); before != nil {
			row.CreateIndex = before.CreateIndex
		}
		for _, other := range Authorities.all(tx) {
			if row.Active && other.Active && other.ID != row.ID {
				demoted := other.Copy()
				demoted.Active, demoted.ModifyIndex = false, tx.opIndex
				Authorities.put(tx, demoted)
			}
		}
		Authorities.put(tx, row)
		return nil
	})
}

// DeleteAuthority drops an authority, if it is there; the one that signs stays.
func (s *StateStore) DeleteAuthority(index uint64, r *structs.AuthorityDeleteRequest) error {
	return s.write(index, "", func(tx *Txn) error {
		if row := Authorities.read(tx, Key{ID: r.ID}); row != nil && row.Active {
			return errs.New(errs.PreconditionFailed, "the authority signs certificates: another one has to sign before it can go")
		}
		Authorities.drop(tx, Key{ID: r.ID})
		return nil
	})
}

// sealsAuthority reports whether an authority's key is sealed by a root key.
func sealsAuthority(tx *Txn, keyID string) bool {
	for _, a := range Authorities.all(tx) {
		if strings.EqualFold(a.KeyID, keyID) {
			return true
		}
	}
	return false
}

// Authorities yields the authorities in order of ID.
func (sn *Snapshot) Authorities(ws memdb.WatchSet) iter.Seq[*structs.Authority] {
	Authorities.watch(sn, ws, everything)
	return Authorities.scan(sn, everything, Key{}, false)
}

// ActiveAuthority returns the authority that signs, nil before the first.
func (sn *Snapshot) ActiveAuthority() *structs.Authority {
	for a := range Authorities.scan(sn, everything, Key{}, false) {
		if a.Active {
			return a
		}
	}
	return nil
}
