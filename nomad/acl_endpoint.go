package nomad

import (
	"context"
	"slices"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// ACL answers the RPCs on access control itself. While that is off, all of them
// but WhoAmI are refused before they come here.
type ACL struct{ srv *Server }

// newResolver returns the resolver of callers, on the server's own store and keyring.
func (s *Server) newResolver(enabled bool) *auth.Resolver {
	return auth.New(auth.Config{
		Enabled: enabled,
		Store:   func() auth.Store { return s.state.Snapshot() },
		Verify:  s.keyring.Verify,
	})
}

// mayGrant refuses to let a caller give away, take away or change what it does not
// hold itself: who may write tokens, roles or rules must not raise its own rights
// by them. what names the object in the error.
func (c *leaderCall) mayGrant(what string, policies ...string) error {
	if c.acl.IsManagement() {
		return nil
	}
	for _, name := range policies {
		if !c.id.Holds(name) {
			return errs.Newf(errs.PermissionDenied, "Permission denied: %s has the policy %q, which you do not hold", what, name)
		}
	}
	return nil
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

// mayGrantToken refuses a token, stored or to be stored, that may do more than the caller.
func (c *leaderCall) mayGrantToken(sn *state.Snapshot, t *structs.ACLToken) error {
	if t == nil || c.acl.IsManagement() {
		return nil
	}
	if t.IsManagement() {
		return errs.New(errs.PermissionDenied, "Permission denied: only a management token may write management tokens")
	}
	policies := slices.Clone(t.Policies)
	for _, link := range t.Roles {
		policies = append(policies, rolePolicies(sn.ACLRole(nil, link.ID))...)
	}
	return c.mayGrant("the token", policies...)
}

// mayBind refuses a binding rule that gives logins more than the caller holds.
// A name that the login decides on could be anything.
func (c *leaderCall) mayBind(sn *state.Snapshot, r *structs.ACLBindingRule) error {
	if r == nil || c.acl.IsManagement() {
		return nil
	}
	switch r.BindType {
	case structs.ACLBindingRuleBindTypePolicy:
		return c.mayGrant("the binding rule", r.BindName)
	case structs.ACLBindingRuleBindTypeRole:
		if role := sn.ACLRoleByName(nil, r.BindName); role != nil {
			return c.mayGrant("the role of the binding rule", rolePolicies(role)...)
		}
	}
	return errs.New(errs.PermissionDenied, "Permission denied: without a management token, a binding rule must name a policy or role that you hold")
}

// commit puts one entry into the log and returns its index.
func (c *leaderCall) commit(ctx context.Context, t structs.MessageType, entry any) (uint64, error) {
	res, err := c.srv.apply(ctx, t, entry)
	return res.index, err
}
