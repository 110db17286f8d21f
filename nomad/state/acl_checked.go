package state

import "github.com/cairn-project/cairn/internal/errs"

// ErrACLChanged refuses a write whose author's rights were checked against something
// that has changed. It is not kept as the outcome of a request: the write may be
// checked and tried again.
var ErrACLChanged = errs.New(errs.Conflict, "access control changed while your rights were checked: try again")

// aclTables are those that decide on rights.
var aclTables = []string{ACLPolicies.Name(), ACLRoles.Name(), ACLTokens.Name(), ACLAuthMethods.Name(), ACLBindingRules.Name()}

// ACLIndex returns the logical index of the last change of what decides on rights.
func (sn *Snapshot) ACLIndex() uint64 { return sn.TableIndex(aclTables...) }

// ACLUnchangedSince returns ErrACLChanged if what decides on rights has changed since
// ACLIndex returned index.
func (s *StateStore) ACLUnchangedSince(index uint64) error {
	last := s.Snapshot().last
	if s.txn != nil {
		last = s.txn.last
	}
	if newest(last, aclTables) > index {
		return ErrACLChanged
	}
	return nil
}
