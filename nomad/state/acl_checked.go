package state

import "github.com/cairn-project/cairn/internal/errs"

// ErrACLChanged refuses a write whose author's rights were checked against something
// that has changed. It is not kept as the outcome of a request: the write may be
// checked and tried again.
var ErrACLChanged = errs.New(errs.Conflict, "access control changed while your rights were checked: try again")

// aclTables are those that decide on rights.
var aclTables = []string{ACLPolicies.Name(), ACLRoles.Name(), ACLTokens.Name(), ACLAuthMethods.Name(), ACLBindingRules.Name()}

// bindingTables are those that decide on what a login gets. Logins make tokens, and
// would have each other checked anew if these were among them.
var bindingTables = []string{ACLPolicies.Name(), ACLRoles.Name(), ACLAuthMethods.Name(), ACLBindingRules.Name()}

// ACLIndex returns the logical index of the last change of what decides on rights.
func (sn *Snapshot) ACLIndex() uint64 { return sn.TableIndex(aclTables...) }

// BindingIndex returns the logical index of the last change of what decides on what a
// login gets.
func (sn *Snapshot) BindingIndex() uint64 { return sn.TableIndex(bindingTables...) }

// ACLUnchangedSince returns ErrACLChanged if what decides on rights has changed since
// ACLIndex returned index.
func (s *StateStore) ACLUnchangedSince(index uint64) error {
	return s.unchangedSince(aclTables, index)
}

// BindingsUnchangedSince returns ErrACLChanged if what decides on what a login gets has
// changed since BindingIndex returned index.
func (s *StateStore) BindingsUnchangedSince(index uint64) error {
	return s.unchangedSince(bindingTables, index)
}

func (s *StateStore) unchangedSince(tables []string, index uint64) error {
	last := s.Snapshot().last
	if s.txn != nil {
		last = s.txn.last
	}
	if newest(last, tables) > index {
		return ErrACLChanged
	}
	return nil
}
