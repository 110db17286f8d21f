package client

import (
	"context"
	"slices"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// disabledAccessor is the accessor of every caller while access control is off.
const disabledAccessor = "acls-disabled"

// Authorize returns the rights of the holder of a secret, "" for a caller without
// one, for what the agent answers itself. The servers say who that is.
func (c *Client) Authorize(ctx context.Context, secret string) (*acl.ACL, error) {
	args, reply := &structs.GenericRequest{}, &structs.ACLWhoAmIResponse{}
	args.AuthToken, args.AllowStale = secret, true
	if err := c.RPC(ctx, "ACL.WhoAmI", args, reply); err != nil {
		return nil, err
	}
	who := reply.Identity
	switch {
	case who == nil:
		return acl.DenyAll, nil
	case who.ACLToken == nil && who.ClientID == c.identity.nodeID:
		return acl.Client(c.config.NodePool), nil
	case who.ACLToken == nil:
		return c.claimed(ctx, secret)
	case who.ACLToken.AccessorID == disabledAccessor:
		return acl.Disabled, nil
	case who.ACLToken.IsManagement():
		return acl.Management, nil
	}
	names, err := c.policyNames(ctx, secret, who.ACLToken)
	if err != nil {
		return nil, err
	}
	policies := &structs.ACLPolicySetResponse{}
	ask := &structs.ACLPolicySetRequest{Names: names}
	ask.AuthToken, ask.AllowStale = secret, true
	if err := c.RPC(ctx, "ACL.GetPolicies", ask, policies); err != nil {
		return nil, err
	}
	return compile(policies.Policies)
}

// policyNames returns the policies of a token and of its roles.
func (c *Client) policyNames(ctx context.Context, secret string, token *structs.ACLToken) ([]string, error) {
	names := slices.Clone(token.Policies)
	if len(token.Roles) == 0 {
		return names, nil
	}
	args, reply := &structs.ACLRolesByIDRequest{}, &structs.ACLRolesByIDResponse{}
	args.AuthToken, args.AllowStale = secret, true
	for _, link := range token.Roles {
		args.ACLRoleIDs = append(args.ACLRoleIDs, link.ID)
	}
	if err := c.RPC(ctx, "ACL.GetRolesByID", args, reply); err != nil {
		return nil, err
	}
	for _, role := range reply.ACLRoles {
		for _, p := range role.Policies {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// claimed returns the rights of a workload; other callers without a token have none.
func (c *Client) claimed(ctx context.Context, secret string) (*acl.ACL, error) {
	args, reply := &structs.GenericRequest{}, &structs.ACLPolicySetResponse{}
	args.AuthToken, args.AllowStale = secret, true
	err := c.RPC(ctx, "ACL.GetClaimPolicies", args, reply)
	switch errs.CodeOf(err) {
	case "":
		return compile(reply.Policies)
	case errs.PermissionDenied:
		return acl.DenyAll, nil
	}
	return nil, err
}

// compile returns the sum of the rights of policies. One that cannot be read may
// hold a deny, so that it fails the whole.
func compile(policies map[string]*structs.ACLPolicy) (*acl.ACL, error) {
	if len(policies) == 0 {
		return acl.DenyAll, nil
	}
	var parsed []*acl.Policy
	for name, p := range policies {
		rules, err := acl.ParseStored(p.Rules)
		if err != nil {
			return nil, errs.Wrap(errs.Internal, "the stored policy "+name+" cannot be read: write it again", err)
		}
		rules.Name = name
		parsed = append(parsed, rules)
	}
	return acl.New(false, parsed...)
}
