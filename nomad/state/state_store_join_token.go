package state

import (
	"iter"
	"time"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// JoinTokens is the table of the tokens that let agents join, by ID.
var JoinTokens = newTable("join_tokens", structs.JoinTokenSnapshot,
	func(t *structs.JoinToken) Key { return Key{ID: t.ID} },
	func(a *acl.ACL, _ *structs.JoinToken) bool { return a.AllowOperatorCapability(acl.JoinTokenRead) },
	noEvents[structs.JoinToken]()).notSearched()

// expiredJoinTokenKept is how long after its end a join token is kept, so that
// whoever comes too late hears why, and operators see who joined.
const expiredJoinTokenKept = 7 * 24 * time.Hour

// UpsertJoinToken stores a new join token and forgets those that expired long
// before it was made.
func (s *StateStore) UpsertJoinToken(index uint64, r *structs.JoinTokenUpsertRequest) error {
	return s.write(index, "", func(tx *Txn) error {
		row := r.JoinToken.Copy()
		if row == nil || row.ID == "" || len(row.SecretHash) == 0 || row.MaxUses < 1 {
			return errs.New(errs.Invalid, "a join token needs an ID, a secret and a number of uses")
		}
		if JoinTokens.read(tx, Key{ID: row.ID}) != nil {
			return errs.Newf(errs.Conflict, "join token %q exists: make another one", row.ID)
		}
		kept := 0
		for _, t := range JoinTokens.all(tx) {
			if t.ExpirationTime.Add(expiredJoinTokenKept).Before(row.CreateTime) {
				JoinTokens.drop(tx, JoinTokens.key(t))
				continue
			}
			kept++
		}
		if kept >= structs.MaxJoinTokens {
			return errs.Newf(errs.PreconditionFailed, "there are %d join tokens already: revoke some, or let one serve several agents", kept)
		}
		row.CreateIndex, row.ModifyIndex = tx.opIndex, tx.opIndex
		JoinTokens.put(tx, row)
		return nil
	})
}

// DeleteJoinTokens revokes join tokens, all or none.
func (s *StateStore) DeleteJoinTokens(index uint64, r *structs.JoinTokenDeleteRequest) error {
	return s.write(index, "", func(tx *Txn) error {
		for _, id := range r.IDs {
			if JoinTokens.read(tx, Key{ID: id}) == nil {
				return errs.Newf(errs.NotFound, "join token %q not found", id)
			}
			JoinTokens.drop(tx, Key{ID: id})
		}
		return nil
	})
}

// UseJoinToken counts one agent. One that has joined already, by its key, counts
// once.
func (s *StateStore) UseJoinToken(index uint64, r *structs.JoinTokenUseRequest) error {
	return s.write(index, "", func(tx *Txn) error {
		if r.Use == nil || len(r.Use.KeyHash) == 0 {
			return errs.New(errs.Invalid, "the use of a join token needs a key")
		}
		before := JoinTokens.read(tx, Key{ID: r.ID})
		if before == nil {
			return errs.New(errs.PermissionDenied, "the join token is unknown or was revoked: ask for a new one")
		}
		if err := CheckJoinToken(before, r.Use.KeyHash, r.Use.Time); err != nil || before.Known(r.Use.KeyHash) {
			return err
		}
		row := before.Copy()
		use := *r.Use
		row.Joined = append(row.Joined, &use)
		row.ModifyIndex = tx.opIndex
		JoinTokens.put(tx, row)
		return nil
	})
}

// CheckJoinToken returns why the holder of a key may not join with the token now.
func CheckJoinToken(t *structs.JoinToken, keyHash []byte, now time.Time) error {
	switch {
	case !now.Before(t.ExpirationTime):
		return errs.Newf(errs.PreconditionFailed, "the join token expired at %s: ask for a new one", t.ExpirationTime.Format(time.RFC3339))
	case len(t.Joined) >= t.MaxUses && !t.Known(keyHash):
		return errs.Newf(errs.PreconditionFailed, "the join token is used up, %d of %d agents have joined with it: ask for a new one", len(t.Joined), t.MaxUses)
	}
	return nil
}

// JoinToken returns a join token, nil if there is none of the ID.
func (sn *Snapshot) JoinToken(ws memdb.WatchSet, id string) *structs.JoinToken {
	return JoinTokens.get(sn, ws, Key{ID: id})
}

// JoinTokens yields the join tokens in order of ID.
func (sn *Snapshot) JoinTokens(ws memdb.WatchSet) iter.Seq[*structs.JoinToken] {
	JoinTokens.watch(sn, ws, everything)
	return JoinTokens.scan(sn, everything, Key{}, false)
}
