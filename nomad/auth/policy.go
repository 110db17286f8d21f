package auth

import (
	"slices"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// policyNames returns the sorted names of the policies of a token and of its roles.
func policyNames(store Store, token *structs.ACLToken) []string {
	names := slices.Clone(token.Policies)
	for _, link := range token.Roles {
		role := store.ACLRole(nil, link.ID)
		if role == nil {
			continue
		}
		for _, p := range role.Policies {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// named returns the stored policies of the names; those that do not exist are left out.
func named(store Store, names []string) []*structs.ACLPolicy {
	policies := make([]*structs.ACLPolicy, 0, len(names))
	for _, name := range names {
		if p := store.ACLPolicy(nil, name); p != nil {
			policies = append(policies, p)
		}
	}
	return policies
}

// Compile returns the sum of the rights of stored policies. Compiled sums are
// kept, so that only the first caller with the same policies pays. A policy that
// cannot be read may hold a deny, so that it fails the whole.
func (r *Resolver) Compile(policies []*structs.ACLPolicy) (*acl.ACL, error) {
	if len(policies) == 0 {
		return acl.DenyAll, nil
	}
	refs := make([]acl.Ref, len(policies))
	for i, p := range policies {
		refs[i] = acl.Ref{Name: p.Name, ModifyIndex: p.ModifyIndex, Hash: p.Hash}
	}
	return r.cache.Get(refs, func() (*acl.ACL, error) {
		parsed := make([]*acl.Policy, len(policies))
		for i, p := range policies {
			rules, err := acl.ParseStored(p.Rules)
			if err != nil {
				return nil, errs.Wrap(errs.Internal, "the stored policy "+p.Name+" cannot be read: write it again", err)
			}
			rules.Name = p.Name
			parsed[i] = rules
		}
		return acl.New(false, parsed...)
	})
}

// Holds reports whether the caller has the policy, as management has all.
func (i *Identity) Holds(policy string) bool {
	if i.ACL.IsManagement() {
		return true
	}
	_, ok := slices.BinarySearch(i.Policies, policy)
	return ok
}

// HoldsRole reports whether the caller's token is linked to the role.
func (i *Identity) HoldsRole(id string) bool {
	if i.Token == nil {
		return false
	}
	return slices.ContainsFunc(i.Token.Roles, func(l *structs.ACLTokenRoleLink) bool { return l.ID == id })
}
