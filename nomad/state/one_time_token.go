package state

import (
	"iter"
	"time"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// OneTimeTokens is the table of one-time tokens, one for each accessor, and by
// secret as values.
var OneTimeTokens = newTable("one_time_token", structs.OneTimeTokenSnapshot,
	func(o *structs.OneTimeToken) Key { return Key{ID: o.AccessorID} },
	func(a *acl.ACL, _ *structs.OneTimeToken) bool { return a.IsManagement() },
	noEvents[structs.OneTimeToken]()).
	withValue(func(o *structs.OneTimeToken) string { return o.OneTimeSecretID }).notSearched()

// UpsertOneTimeToken stores a one-time token in the place of the one that its
// accessor had. The accessor must be that of a token.
func (s *StateStore) UpsertOneTimeToken(index uint64, r *structs.OneTimeTokenUpsertRequest) error {
	return s.write(index, "", func(tx *Txn) error {
		row := r.OneTimeToken.Copy()
		if row == nil || row.OneTimeSecretID == "" || row.AccessorID == "" {
			return errs.New(errs.Invalid, "a one-time token needs a secret and an accessor")
		}
		if ACLTokens.read(tx, Key{ID: row.AccessorID}) == nil {
			return errs.Newf(errs.NotFound, "token %q not found", row.AccessorID)
		}
		if other := OneTimeTokens.readBy(tx, row.OneTimeSecretID); other != nil && other.AccessorID != row.AccessorID {
			return errs.New(errs.Conflict, "the secret is that of another one-time token: ask again")
		}
		row.CreateIndex, row.ModifyIndex = tx.opIndex, tx.opIndex
		OneTimeTokens.put(tx, row)
		return nil
	})
}

// DeleteOneTimeTokens deletes one-time tokens, all or none. An absent one is an
// error: of two that exchange it, the second has to know.
func (s *StateStore) DeleteOneTimeTokens(index uint64, r *structs.OneTimeTokenDeleteRequest) error {
	return s.write(index, "", func(tx *Txn) error {
		for i, id := range r.AccessorIDs {
			row := OneTimeTokens.read(tx, Key{ID: id})
			if row == nil || i < len(r.Seen) && row.ModifyIndex != r.Seen[i] {
				return errs.Newf(errs.NotFound, "one-time token of %q not found", id)
			}
			OneTimeTokens.drop(tx, Key{ID: id})
		}
		return nil
	})
}

// ExpireOneTimeTokens deletes the one-time tokens that the timestamp is not before.
func (s *StateStore) ExpireOneTimeTokens(index uint64, r *structs.OneTimeTokenExpireRequest) error {
	return s.write(index, "", func(tx *Txn) error {
		for _, o := range OneTimeTokens.all(tx) {
			if !r.Timestamp.Before(o.ExpiresAt) {
				OneTimeTokens.drop(tx, OneTimeTokens.key(o))
			}
		}
		return nil
	})
}

// OneTimeToken returns a one-time token, expired or not; nil if there is none of
// the secret.
func (sn *Snapshot) OneTimeToken(ws memdb.WatchSet, secretID string) *structs.OneTimeToken {
	return OneTimeTokens.getBy(sn, ws, secretID)
}

// OneTimeTokenOf returns the one-time token of an accessor, expired or not; nil if
// there is none.
func (sn *Snapshot) OneTimeTokenOf(accessor string) *structs.OneTimeToken {
	return OneTimeTokens.get(sn, nil, Key{ID: accessor})
}

// ExpiredOneTimeTokens yields the one-time tokens that now is not before, in order
// of accessor.
func (sn *Snapshot) ExpiredOneTimeTokens(now time.Time) iter.Seq[*structs.OneTimeToken] {
	return func(yield func(*structs.OneTimeToken) bool) {
		for o := range OneTimeTokens.scan(sn, everything, Key{}, false) {
			if !now.Before(o.ExpiresAt) && !yield(o) {
				return
			}
		}
	}
}
