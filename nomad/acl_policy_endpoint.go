package nomad

import (
	"context"

	"github.com/cairn-project/cairn/acl"
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
			if v.id.Holds(p.Name) || !r.Own && v.seesPolicy(p.Name) {
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
		if !allowsOne(v.acl, acl.ACLPolicyRead, acl.ACLPolicyWrite) && !every(r.Names, v.seesPolicy) {
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
		sn, entry := c.srv.state.Snapshot(), &structs.ACLPolicyUpsertRequest{}
		for _, p := range r.Policies {
			rules, err := acl.Parse(p.Rules)
			if err != nil {
				return err
			}
			if err := c.mayWritePolicy(sn, p, rules); err != nil {
				return err
			}
			row := p.Copy()
			row.SetHash()
			entry.Policies = append(entry.Policies, row)
		}
		reply.Index, err = c.commit(ctx, structs.ACLPolicyUpsertRequestType, entry)
		return err
	}).shared(always[structs.ACLPolicyUpsertRequest])

var aclDeletePolicies = newLeader("ACL.DeletePolicies",
	delegated[structs.ACLPolicyDeleteRequest](acl.ACLPolicyWrite),
	func(ctx context.Context, c *leaderCall, r *structs.ACLPolicyDeleteRequest, reply *structs.GenericResponse) (err error) {
		if err := r.Validate(); err != nil {
			return err
		}
		sn := c.srv.state.Snapshot()
		for _, name := range r.Names {
			if err := c.mayWritePolicy(sn, &structs.ACLPolicy{Name: name}, nil); err != nil {
				return err
			}
		}
		reply.Index, err = c.commit(ctx, structs.ACLPolicyDeleteRequestType, &structs.ACLPolicyDeleteRequest{Names: r.Names})
		return err
	}).shared(always[structs.ACLPolicyDeleteRequest])

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
