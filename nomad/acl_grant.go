package nomad

import (
	"slices"
	"strings"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// refuse says why a delegate may not do what a management token may.
func refuse(format string, args ...any) error {
	return errs.Newf(errs.PermissionDenied, "Permission denied: "+format, args...)
}

// unbounded reports whether the caller may give away, take away and change what it does not hold.
func (c *leaderCall) unbounded() bool { return allowsOne(c.acl, acl.ACLGrantAll) }

// mayGrant refuses to let a caller give away, take away or change what it could not
// do itself: who may write tokens, roles or rules must not raise anybody's rights by
// them. The policies count together, as their holder has them: without the one that
// denies something, the others are more. what names the object in the error.
func (c *leaderCall) mayGrant(sn *state.Snapshot, what string, names ...string) error {
	if c.unbounded() {
		return nil
	}
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	for _, name := range names {
		if sn.ACLPolicy(nil, name) == nil && !c.id.Holds(name) {
			return refuse("%s has the policy %q, which does not exist yet: write it first", what, name)
		}
	}
	if slices.Equal(names, c.id.Policies) {
		return nil
	}
	policies, err := storedPolicies(sn, names)
	if err != nil {
		return err
	}
	if gap := c.acl.Lacks(policies...); gap != nil {
		return refuse("%s has the policy %q, which grants more than you hold: that takes the capability %s", what, gap.Policy, acl.ACLGrantAll)
	}
	return nil
}

// storedPolicies parses the policies of the names; those that do not exist are left out.
func storedPolicies(sn *state.Snapshot, names []string) ([]*acl.Policy, error) {
	var out []*acl.Policy
	for _, name := range names {
		stored := sn.ACLPolicy(nil, name)
		if stored == nil {
			continue
		}
		p, err := acl.ParseStored(stored.Rules)
		if err != nil {
			return nil, refuse("the stored policy %q cannot be read: write it again with a management token", name)
		}
		p.Name = name
		out = append(out, p)
	}
	return out, nil
}

// rolePolicies returns the names of the policies of a role, nil for no role.
func rolePolicies(role *structs.ACLRole) []string {
	if role == nil {
		return nil
	}
	names := make([]string, len(role.Policies))
	for i, p := range role.Policies {
		names[i] = p.Name
	}
	return names
}

// tokenPolicies returns the names of the policies of a token, through its roles too.
func tokenPolicies(sn *state.Snapshot, t *structs.ACLToken) []string {
	names := slices.Clone(t.Policies)
	for _, link := range t.Roles {
		names = append(names, rolePolicies(sn.ACLRole(nil, link.ID))...)
	}
	return names
}

// mayGrantToken refuses a token, stored or to be stored, that may do more than the caller.
func (c *leaderCall) mayGrantToken(sn *state.Snapshot, t *structs.ACLToken) error {
	switch {
	case t == nil, t.IsManagement() && allowsOne(c.acl, acl.ACLTokenManagement):
		return nil
	case t.IsManagement():
		return refuse("to write management tokens takes one, or the capability %s", acl.ACLTokenManagement)
	case c.unbounded():
		return nil
	}
	return c.mayGrant(sn, "the token", tokenPolicies(sn, t)...)
}

// isTemplate reports whether a login decides on the name that a rule binds.
func isTemplate(r *structs.ACLBindingRule) bool { return strings.Contains(r.BindName, "${") }

// mayBind refuses a binding rule that gives logins more than the caller holds.
// A name that the login decides on could be anything.
func (c *leaderCall) mayBind(sn *state.Snapshot, r *structs.ACLBindingRule) error {
	switch {
	case r == nil:
		return nil
	case r.BindType == structs.ACLBindingRuleBindTypeManagement:
		if allowsOne(c.acl, acl.ACLBindingRuleManagement) {
			return nil
		}
		return refuse("to bind logins to management takes a management token or the capability %s", acl.ACLBindingRuleManagement)
	case c.unbounded():
		return nil
	case isTemplate(r):
	case r.BindType == structs.ACLBindingRuleBindTypePolicy:
		return c.mayGrant(sn, "the binding rule", r.BindName)
	case r.BindType == structs.ACLBindingRuleBindTypeRole:
		if role := sn.ACLRoleByName(nil, r.BindName); role != nil {
			return c.mayGrant(sn, "the role of the binding rule", rolePolicies(role)...)
		}
	}
	return refuse("a binding rule must name a policy or role that you hold: any other takes the capability %s", acl.ACLGrantAll)
}

// mayBindAll applies mayBind to all rules of a method.
func (c *leaderCall) mayBindAll(sn *state.Snapshot, method string) error {
	for rule := range sn.ACLBindingRules(nil, method) {
		if err := c.mayBind(sn, rule); err != nil {
			return err
		}
	}
	return nil
}

// mayChangePolicy refuses a delegate the policies that decide on its own rights,
// those that decide on everybody's, and those of workloads.
func (c *leaderCall) mayChangePolicy(sn *state.Snapshot, name string) error {
	if name == structs.ACLAnonymousPolicy && !allowsOne(c.acl, acl.ACLPolicyAnonymous) {
		return refuse("to change the policy %q takes a management token or the capability %s", name, acl.ACLPolicyAnonymous)
	}
	if !c.unbounded() && c.id.Holds(name) {
		return refuse("to change the policy %q, which applies to you, takes the capability %s", name, acl.ACLGrantAll)
	}
	stored := sn.ACLPolicy(nil, name)
	if stored == nil {
		return nil
	}
	if err := c.mayGovernWorkloads(stored); err != nil {
		return err
	}
	return c.mayGrant(sn, "the stored object", name)
}

// mayGovernWorkloads refuses a delegate the policies of workloads, unless that is what it
// was made for.
func (c *leaderCall) mayGovernWorkloads(p *structs.ACLPolicy) error {
	if p.JobACL == nil || allowsOne(c.acl, acl.ACLPolicyWorkload) {
		return nil
	}
	return refuse("to write policies for workloads takes a management token or the capability %s", acl.ACLPolicyWorkload)
}

// mayWritePolicy refuses a delegate a policy that grants what it does not hold, that
// uncovers it for holders of the policy, or that workloads would get without
// anybody's consent. rules are nil for a policy that goes.
func (c *leaderCall) mayWritePolicy(sn *state.Snapshot, p *structs.ACLPolicy, rules *acl.Policy) error {
	if err := c.mayGovernWorkloads(p); err != nil {
		return err
	}
	if c.unbounded() {
		return c.mayChangePolicy(sn, p.Name)
	}
	var fresh []*acl.Policy
	if rules != nil {
		fresh = append(fresh, rules)
	}
	if gap := c.acl.Lacks(fresh...); gap != nil {
		return refuse("the policy grants %s by %s (line %d), which you do not hold: that takes the capability %s", strings.Join(gap.Missing, ", "), gap.Rule, gap.Pos.Line, acl.ACLGrantAll)
	}
	if err := c.mayChangePolicy(sn, p.Name); err != nil {
		return err
	}
	if stored := sn.ACLPolicy(nil, p.Name); stored != nil && stored.JobACL != nil && (p.JobACL == nil || *p.JobACL != *stored.JobACL) {
		fresh = nil // the workloads that had it lose it
	}
	return c.mayRelease(sn, "the policy", []string{p.Name}, fresh, func(h *holder) bool { return slices.Contains(h.policies, p.Name) })
}

// mayRelease refuses a change by which somebody else gets what the caller does not
// hold: a rule hides looser ones of the same holder, until it goes. old are the
// policies before, fresh those after; holds selects who is concerned.
func (c *leaderCall) mayRelease(sn *state.Snapshot, what string, old []string, fresh []*acl.Policy, holds func(*holder) bool) error {
	if c.unbounded() {
		return nil
	}
	before, err := storedPolicies(sn, old)
	if err != nil || len(before) == 0 {
		return err
	}
	seen := map[string]bool{}
	for h := range holders(sn) {
		key := strings.Join(h.policies, ",")
		if seen[key] || !h.anything && !holds(h) {
			continue
		}
		seen[key] = true
		others, err := storedPolicies(sn, h.policies)
		if err != nil {
			return err
		}
		if uncovered := acl.Released(before, fresh, others); uncovered != nil {
			if gap := c.acl.Lacks(uncovered); gap != nil {
				return refuse("%s keeps others from %s on %s, which you do not hold: that takes the capability %s", what, strings.Join(gap.Missing, ", "), gap.Rule, acl.ACLGrantAll)
			}
		}
	}
	return nil
}

// mayChangeRole refuses a delegate a role that grants more than it holds, before or
// after, and a change that uncovers more. fresh is nil for a role that goes.
func (c *leaderCall) mayChangeRole(sn *state.Snapshot, existing, fresh *structs.ACLRole) error {
	for _, role := range []*structs.ACLRole{existing, fresh} {
		if err := c.mayGrant(sn, "the role", rolePolicies(role)...); err != nil {
			return err
		}
	}
	if existing == nil || c.unbounded() {
		return nil
	}
	var after []*acl.Policy
	if fresh != nil && fresh.Name == existing.Name { // logins lose a role that is renamed
		var err error
		if after, err = storedPolicies(sn, rolePolicies(fresh)); err != nil {
			return err
		}
	}
	return c.mayRelease(sn, "the role", rolePolicies(existing), after, func(h *holder) bool { return slices.Contains(h.roles, existing.ID) })
}

// mayChangeRule is mayChangeRole for binding rules; existing is a stored one.
func (c *leaderCall) mayChangeRule(sn *state.Snapshot, existing, fresh *structs.ACLBindingRule) error {
	if err := c.mayBind(sn, existing); err != nil {
		return err
	}
	same := fresh != nil && fresh.BindType == existing.BindType && fresh.BindName == existing.BindName && fresh.Selector == existing.Selector
	if same {
		return nil
	}
	h := &holder{}
	h.bind(sn, existing)
	return c.mayRelease(sn, "the binding rule", h.policies, nil, func(h *holder) bool { return h.method == existing.AuthMethod })
}
