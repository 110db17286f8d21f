package nomad

import (
	"context"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

var aclPolicyTables = []string{state.ACLPolicies.Name()}

// seesPolicy reports whether the caller may read the policy: its own, or any.
func (v *view) seesPolicy(name string) bool {
	return allowsOne(v.acl, acl.ACLPolicyRead, acl.ACLPolicyWrite) || v.id.Holds(name)
}

var aclListPolicies = newRead("ACL.ListPolicies", aclPolicyTables,
	anyone[structs.ACLPolicyListRequest],
	func(v *view, r *structs.ACLPolicyListRequest, reply *structs.ACLPolicyListResponse) error {
		reply.Policies = []*structs.ACLPolicyListStub{}
		for p := range v.ACLPolicies(v.ws, r.Prefix) {
			if v.seesPolicy(p.Name) {
				reply.Policies = append(reply.Policies, p.Stub())
			}
		}
		return nil
	})

var aclGetPolicy = newRead("ACL.GetPolicy", aclPolicyTables,
	anyone[structs.ACLPolicySpecificRequest],
	func(v *view, r *structs.ACLPolicySpecificRequest, reply *structs.SingleACLPolicyResponse) error {
		if !v.seesPolicy(r.Name) {
			return errPermissionDenied
		}
		if reply.Policy = v.ACLPolicy(v.ws, r.Name); reply.Policy != nil {
			v.index = reply.Policy.ModifyIndex
		}
		return nil
	})

var aclGetPolicies = newRead("ACL.GetPolicies", aclPolicyTables,
	anyone[structs.ACLPolicySetRequest],
	func(v *view, r *structs.ACLPolicySetRequest, reply *structs.ACLPolicySetResponse) error {
		if !v.id.ACL.IsManagement() && !every(r.Names, v.seesPolicy) {
			return errPermissionDenied
		}
		reply.Policies = make(map[string]*structs.ACLPolicy, len(r.Names))
		for _, name := range r.Names {
			if p := v.ACLPolicy(v.ws, name); p != nil {
				reply.Policies[name] = p
			}
		}
		return nil
	})

var aclGetClaimPolicies = newRead("ACL.GetClaimPolicies", aclPolicyTables,
	anyone[structs.GenericRequest],
	func(v *view, _ *structs.GenericRequest, reply *structs.ACLPolicySetResponse) error {
		if v.id.Workload == nil {
			return errPermissionDenied
		}
		reply.Policies = make(map[string]*structs.ACLPolicy, len(v.id.Policies))
		for _, name := range v.id.Policies {
			if p := v.ACLPolicy(v.ws, name); p != nil {
				reply.Policies[name] = p
			}
		}
		return nil
	})

var aclUpsertPolicies = newLeader("ACL.UpsertPolicies",
	delegated[structs.ACLPolicyUpsertRequest](acl.ACLPolicyWrite),
	func(ctx context.Context, c *leaderCall, r *structs.ACLPolicyUpsertRequest, reply *structs.GenericResponse) (err error) {
		if err := r.Validate(); err != nil {
			return err
		}
		entry := &structs.ACLPolicyUpsertRequest{}
		for _, p := range r.Policies {
			rules, err := acl.Parse(p.Rules)
			if err != nil {
				return err
			}
			if err := c.mayWritePolicy(p, rules); err != nil {
				return err
			}
			row := p.Copy()
			row.SetHash()
			entry.Policies = append(entry.Policies, row)
		}
		reply.Index, err = c.commit(ctx, structs.ACLPolicyUpsertRequestType, entry)
		return err
	})

var aclDeletePolicies = newLeader("ACL.DeletePolicies",
	delegated[structs.ACLPolicyDeleteRequest](acl.ACLPolicyWrite),
	func(ctx context.Context, c *leaderCall, r *structs.ACLPolicyDeleteRequest, reply *structs.GenericResponse) (err error) {
		if err := r.Validate(); err != nil {
			return err
		}
		for _, name := range r.Names {
			if err := c.mayChangePolicy(name); err != nil {
				return err
			}
		}
		reply.Index, err = c.commit(ctx, structs.ACLPolicyDeleteRequestType, &structs.ACLPolicyDeleteRequest{Names: r.Names})
		return err
	})

// mayChangePolicy refuses a delegate the policies that decide on its own rights,
// and the one that decides on everybody's.
func (c *leaderCall) mayChangePolicy(name string) error {
	if c.acl.IsManagement() {
		return nil
	}
	if name == structs.ACLAnonymousPolicy || c.id.Holds(name) {
		return errs.Newf(errs.PermissionDenied, "Permission denied: only a management token may change the policy %q, which applies to you", name)
	}
	return nil
}

// clusterLevels are the rights on the cluster as a whole by the words that grant them.
var clusterLevels = map[acl.Kind]map[string]func(*acl.ACL) bool{
	acl.KindAgent:    {"read": (*acl.ACL).AllowAgentRead, "write": (*acl.ACL).AllowAgentWrite},
	acl.KindNode:     {"read": (*acl.ACL).AllowNodeRead, "write": (*acl.ACL).AllowNodeWrite},
	acl.KindQuota:    {"read": (*acl.ACL).AllowQuotaRead, "write": (*acl.ACL).AllowQuotaWrite},
	acl.KindOperator: {"read": (*acl.ACL).AllowOperatorRead, "write": (*acl.ACL).AllowOperatorWrite},
	acl.KindPlugin:   {"read": (*acl.ACL).AllowPluginRead, "list": (*acl.ACL).AllowPluginList, "write": (*acl.ACL).AllowPluginWrite},
}

// mayWritePolicy refuses a delegate policies that would hand out the management of
// the cluster, or that workloads of its own would get without anybody's consent.
func (c *leaderCall) mayWritePolicy(p *structs.ACLPolicy, rules *acl.Policy) error {
	if c.acl.IsManagement() {
		return nil
	}
	if stored := c.srv.state.Snapshot().ACLPolicy(nil, p.Name); p.JobACL != nil || stored != nil && stored.JobACL != nil {
		return errs.New(errs.PermissionDenied, "Permission denied: only a management token may write policies for workloads")
	}
	for _, rule := range rules.Rules {
		if may := clusterLevels[rule.Kind][rule.Level]; may != nil && !may(c.acl) {
			return errs.Newf(errs.PermissionDenied, "Permission denied: the policy grants %s %s, which you do not hold", rule.Kind, rule.Level)
		}
		for _, word := range rule.Capabilities {
			if rule.Kind == acl.KindOperator && word != "deny" && !c.acl.AllowOperatorCapability(acl.OperatorCapability(word)) {
				return errs.Newf(errs.PermissionDenied, "Permission denied: the policy grants the operator capability %q, which you do not hold", word)
			}
		}
	}
	return c.mayChangePolicy(p.Name)
}

// ListPolicies lists the policies that the caller holds, or all to whoever may read them.
func (a *ACL) ListPolicies(ctx context.Context, args *structs.ACLPolicyListRequest, reply *structs.ACLPolicyListResponse) error {
	return aclListPolicies.serve(ctx, a.srv, args, reply)
}

// GetPolicy reads one policy.
func (a *ACL) GetPolicy(ctx context.Context, args *structs.ACLPolicySpecificRequest, reply *structs.SingleACLPolicyResponse) error {
	return aclGetPolicy.serve(ctx, a.srv, args, reply)
}

// GetPolicies reads several policies by name.
func (a *ACL) GetPolicies(ctx context.Context, args *structs.ACLPolicySetRequest, reply *structs.ACLPolicySetResponse) error {
	return aclGetPolicies.serve(ctx, a.srv, args, reply)
}

// GetClaimPolicies reads the policies that apply to the calling workload.
func (a *ACL) GetClaimPolicies(ctx context.Context, args *structs.GenericRequest, reply *structs.ACLPolicySetResponse) error {
	return aclGetClaimPolicies.serve(ctx, a.srv, args, reply)
}

// UpsertPolicies creates or updates policies, all or none.
func (a *ACL) UpsertPolicies(ctx context.Context, args *structs.ACLPolicyUpsertRequest, reply *structs.GenericResponse) error {
	return aclUpsertPolicies.serve(ctx, a.srv, args, reply)
}

// DeletePolicies deletes policies, all or none.
func (a *ACL) DeletePolicies(ctx context.Context, args *structs.ACLPolicyDeleteRequest, reply *structs.GenericResponse) error {
	return aclDeletePolicies.serve(ctx, a.srv, args, reply)
}
