package state

import (
	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// aclBootstrap is the one row of its table: that somebody made the first
// management token.
type aclBootstrap struct {
	// ResetIndex is the logical index of the last bootstrap.
	ResetIndex uint64
}

var aclBootstraps = newTable("acl_bootstrap", structs.ACLBootstrapSnapshot,
	func(*aclBootstrap) Key { return Key{ID: "bootstrap"} },
	func(a *acl.ACL, _ *aclBootstrap) bool { return a.IsManagement() },
	noEvents[aclBootstrap]()).notSearched()

// BootstrapACLTokens stores the first management token. Another is stored only for
// a request with the ResetIndex of the last, which the error tells.
func (s *StateStore) BootstrapACLTokens(index uint64, r *structs.ACLTokenBootstrapRequest) error {
	return s.write(index, "ACLTokenUpserted", func(tx *Txn) error {
		if last := aclBootstraps.read(tx, Key{ID: "bootstrap"}); last != nil && r.ResetIndex != last.ResetIndex {
			return errs.Newf(errs.Invalid, "ACL bootstrap already done (reset index: %d)", last.ResetIndex)
		}
		if r.Token == nil || !r.Token.IsManagement() {
			return errs.New(errs.Invalid, "a bootstrap needs a management token")
		}
		if ACLTokens.read(tx, Key{ID: r.Token.AccessorID}) != nil {
			return errs.Newf(errs.Conflict, "a token of the accessor %q exists", r.Token.AccessorID)
		}
		if err := upsertACLToken(tx, r.Token.Copy(), false); err != nil {
			return err
		}
		aclBootstraps.put(tx, &aclBootstrap{ResetIndex: tx.opIndex})
		return nil
	})
}

// ACLBootstrapIndex returns the index that resets the bootstrap, 0 if there was none.
func (sn *Snapshot) ACLBootstrapIndex() uint64 {
	if row := aclBootstraps.get(sn, nil, Key{ID: "bootstrap"}); row != nil {
		return row.ResetIndex
	}
	return 0
}
