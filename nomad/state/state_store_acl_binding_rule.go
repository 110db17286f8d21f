package state

import (
	"iter"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// ACLBindingRules is the table of binding rules, by ID.
var ACLBindingRules = newTable("acl_binding_rules", structs.ACLBindingRuleSnapshot,
	func(r *structs.ACLBindingRule) Key { return Key{ID: r.ID} },
	func(a *acl.ACL, _ *structs.ACLBindingRule) bool { return readsBindingRules(a) },
	events[structs.ACLBindingRule]{
		topic:   structs.TopicACLBindingRule,
		payload: func(r *structs.ACLBindingRule) structs.EventPayload { return r },
		row:     sameRow[structs.ACLBindingRule],
		follows: follower(readsBindingRules),
		keys:    func(r *structs.ACLBindingRule) []string { return []string{r.AuthMethod} },
	}).notSearched()

func readsBindingRules(a *acl.ACL) bool {
	return holdsOne(a, acl.ACLBindingRuleRead, acl.ACLBindingRuleWrite)
}

// UpsertACLBindingRules creates or updates binding rules, all or none. Their auth
// methods must exist unless the request says otherwise, and cannot change. A
// missing Hash is computed.
func (s *StateStore) UpsertACLBindingRules(index uint64, r *structs.ACLBindingRulesUpsertRequest) error {
	return s.write(index, "ACLBindingRuleUpserted", func(tx *Txn) error {
		for _, rule := range r.ACLBindingRules {
			if rule == nil || rule.ID == "" {
				return errs.New(errs.Invalid, "a binding rule without an ID cannot be stored")
			}
			if !r.AllowMissingAuthMethods && ACLAuthMethods.read(tx, Key{ID: rule.AuthMethod}) == nil {
				return errs.Newf(errs.Invalid, "there is no auth method of the name %q: create it first", rule.AuthMethod)
			}
			if err := upsertACLBindingRule(tx, rule.Copy()); err != nil {
				return err
			}
		}
		return nil
	})
}

func upsertACLBindingRule(tx *Txn, row *structs.ACLBindingRule) error {
	if len(row.Hash) == 0 {
		row.SetHash()
	}
	row.CreateIndex, row.ModifyIndex = tx.opIndex, tx.opIndex
	if before := ACLBindingRules.read(tx, ACLBindingRules.key(row)); before != nil {
		if before.AuthMethod != row.AuthMethod {
			return errs.Newf(errs.Invalid, "the binding rule %q is for the auth method %q, which cannot change: create another rule", row.ID, before.AuthMethod)
		}
		row.CreateIndex, row.CreateTime = before.CreateIndex, before.CreateTime
	}
	ACLBindingRules.put(tx, row)
	return nil
}

// DeleteACLBindingRules deletes binding rules, all or none.
func (s *StateStore) DeleteACLBindingRules(index uint64, r *structs.ACLBindingRulesDeleteRequest) error {
	return s.write(index, "ACLBindingRuleDeleted", func(tx *Txn) error {
		for _, id := range r.ACLBindingRuleIDs {
			if ACLBindingRules.read(tx, Key{ID: id}) == nil {
				return errs.Newf(errs.NotFound, "binding rule %q not found", id)
			}
			ACLBindingRules.drop(tx, Key{ID: id})
		}
		return nil
	})
}

// ACLBindingRule returns a binding rule, nil if there is none of the ID.
func (sn *Snapshot) ACLBindingRule(ws memdb.WatchSet, id string) *structs.ACLBindingRule {
	return ACLBindingRules.get(sn, ws, Key{ID: id})
}

// ACLBindingRules yields the binding rules of an auth method, "" for all, in order
// of ID.
func (sn *Snapshot) ACLBindingRules(ws memdb.WatchSet, method string) iter.Seq[*structs.ACLBindingRule] {
	ACLBindingRules.watch(sn, ws, everything)
	return func(yield func(*structs.ACLBindingRule) bool) {
		for r := range ACLBindingRules.scan(sn, everything, Key{}, false) {
			if (method == "" || r.AuthMethod == method) && !yield(r) {
				return
			}
		}
	}
}
