package nomad

import (
	"context"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

var aclRoleTables = []string{state.ACLRoles.Name()}

// seesRole reports whether the caller may read the role: its own, or any.
func (v *view) seesRole(id string) bool {
	return allowsOne(v.acl, acl.ACLRoleRead, acl.ACLRoleWrite) || v.id.HoldsRole(id)
}

var aclListRoles = newRead("ACL.ListRoles", aclRoleTables,
	anyone[structs.ACLRolesListRequest],
	func(v *view, r *structs.ACLRolesListRequest, reply *structs.ACLRolesListResponse) error {
		reply.ACLRoles = []*structs.ACLRoleListStub{}
		for role := range v.ACLRoles(v.ws, r.Prefix) {
			if v.id.HoldsRole(role.ID) || !r.Own && v.seesRole(role.ID) {
				reply.ACLRoles = append(reply.ACLRoles, role.Stub())
			}
		}
		return nil
	})

var aclGetRolesByID = newRead("ACL.GetRolesByID", aclRoleTables,
	anyone[structs.ACLRolesByIDRequest],
	func(v *view, r *structs.ACLRolesByIDRequest, reply *structs.ACLRolesByIDResponse) error {
		if !allowsOne(v.acl, acl.ACLRoleRead, acl.ACLRoleWrite) && !every(r.ACLRoleIDs, v.seesRole) {
			return errPermissionDenied
		}
		reply.ACLRoles = make(map[string]*structs.ACLRole, len(r.ACLRoleIDs))
		for _, id := range r.ACLRoleIDs {
			if role := v.ACLRole(v.ws, id); role != nil {
				reply.ACLRoles[id] = role
			}
		}
		return nil
	})

var aclGetRoleByID = newRead("ACL.GetRoleByID", aclRoleTables,
	anyone[structs.ACLRoleByIDRequest],
	func(v *view, r *structs.ACLRoleByIDRequest, reply *structs.ACLRoleByIDResponse) error {
		if !v.seesRole(r.RoleID) {
			return errPermissionDenied
		}
		if reply.ACLRole = v.ACLRole(v.ws, r.RoleID); reply.ACLRole != nil {
			v.index = reply.ACLRole.ModifyIndex
		}
		return nil
	})

// aclGetRoleByName looks at the row before it knows whether the caller may see it,
// and answers the same for a role that is absent and one that is not the caller's.
var aclGetRoleByName = newRead("ACL.GetRoleByName", aclRoleTables,
	anyone[structs.ACLRoleByNameRequest],
	func(v *view, r *structs.ACLRoleByNameRequest, reply *structs.ACLRoleByNameResponse) error {
		role := v.ACLRoleByName(v.ws, r.RoleName)
		id := ""
		if role != nil {
			id = role.ID
		}
		if !v.seesRole(id) {
			return errPermissionDenied
		}
		if reply.ACLRole = role; role != nil {
			v.index = role.ModifyIndex
		}
		return nil
	})

var aclUpsertRoles = newLeader("ACL.UpsertRoles",
	delegated[structs.ACLRolesUpsertRequest](acl.ACLRoleWrite),
	func(ctx context.Context, c *leaderCall, r *structs.ACLRolesUpsertRequest, reply *structs.ACLRolesUpsertResponse) error {
		if err := r.Validate(); err != nil {
			return err
		}
		sn := c.srv.state.Snapshot()
		entry := &structs.ACLRolesUpsertRequest{AllowMissingPolicies: r.AllowMissingPolicies && c.unbounded()}
		for _, role := range r.ACLRoles {
			row, err := c.prepareRole(sn, role.Copy(), entry.AllowMissingPolicies)
			if err != nil {
				return err
			}
			entry.ACLRoles = append(entry.ACLRoles, row)
		}
		res, err := c.apply(ctx, structs.ACLRolesUpsertRequestType, entry)
		if err != nil {
			return err
		}
		return tellRoles(ctx, c, r, reply, res)
	}).shared(always[structs.ACLRolesUpsertRequest])

// tellRoles answers with the roles that were written.
func tellRoles(_ context.Context, c *leaderCall, _ *structs.ACLRolesUpsertRequest, reply *structs.ACLRolesUpsertResponse, res applied) (err error) {
	sn := c.srv.state.Snapshot()
	reply.Index = res.index
	reply.ACLRoles, err = storedRows(res, func(id string) *structs.ACLRole { return sn.ACLRole(nil, id) })
	return err
}

// prepareRole turns what a caller sent into a row: checked, with an ID, and each
// policy once. It changes role.
func (c *leaderCall) prepareRole(sn *state.Snapshot, role *structs.ACLRole, missing bool) (*structs.ACLRole, error) {
	existing := sn.ACLRole(nil, role.ID)
	if role.ID != "" && existing == nil && !missing {
		return nil, errs.Newf(errs.NotFound, "cannot find role %s", role.ID)
	}
	slices.SortFunc(role.Policies, func(a, b *structs.ACLRolePolicyLink) int { return strings.Compare(a.Name, b.Name) })
	role.Policies = slices.CompactFunc(role.Policies, func(a, b *structs.ACLRolePolicyLink) bool { return a.Name == b.Name })
	for _, p := range role.Policies {
		if !missing && sn.ACLPolicy(nil, p.Name) == nil {
			return nil, errs.Newf(errs.Invalid, "cannot find policy %s", p.Name)
		}
	}
	if other := sn.ACLRoleByName(nil, role.Name); other != nil && other.ID != role.ID {
		return nil, errs.Newf(errs.Invalid, "role with name %s already exists", role.Name)
	}
	if err := c.mayChangeRole(sn, existing, role); err != nil {
		return nil, err
	}
	if role.ID == "" {
		role.ID = uuid.NewString()
	}
	role.SetHash()
	return role, nil
}

var aclDeleteRolesByID = newLeader("ACL.DeleteRolesByID",
	delegated[structs.ACLRolesDeleteByIDRequest](acl.ACLRoleWrite),
	func(ctx context.Context, c *leaderCall, r *structs.ACLRolesDeleteByIDRequest, reply *structs.ACLRolesDeleteByIDResponse) (err error) {
		if err := r.Validate(); err != nil {
			return err
		}
		sn := c.srv.state.Snapshot()
		for _, id := range r.ACLRoleIDs {
			role := sn.ACLRole(nil, id)
			if role == nil {
				return errs.New(errs.NotFound, "ACL role not found")
			}
			if err := c.mayChangeRole(sn, role, nil); err != nil {
				return err
			}
		}
		reply.Index, err = c.commit(ctx, structs.ACLRolesDeleteByIDRequestType, &structs.ACLRolesDeleteByIDRequest{ACLRoleIDs: r.ACLRoleIDs})
		return err
	}).shared(always[structs.ACLRolesDeleteByIDRequest])

// ListRoles lists the roles of the caller's token, or all to whoever may read them.
func (a *ACL) ListRoles(ctx context.Context, args *structs.ACLRolesListRequest, reply *structs.ACLRolesListResponse) error {
	return aclListRoles.serve(ctx, a.srv, args, reply)
}

// GetRolesByID reads several roles.
func (a *ACL) GetRolesByID(ctx context.Context, args *structs.ACLRolesByIDRequest, reply *structs.ACLRolesByIDResponse) error {
	return aclGetRolesByID.serve(ctx, a.srv, args, reply)
}

// GetRoleByID reads one role.
func (a *ACL) GetRoleByID(ctx context.Context, args *structs.ACLRoleByIDRequest, reply *structs.ACLRoleByIDResponse) error {
	return aclGetRoleByID.serve(ctx, a.srv, args, reply)
}

// GetRoleByName reads one role.
func (a *ACL) GetRoleByName(ctx context.Context, args *structs.ACLRoleByNameRequest, reply *structs.ACLRoleByNameResponse) error {
	return aclGetRoleByName.serve(ctx, a.srv, args, reply)
}

// UpsertRoles creates or updates roles, all or none.
func (a *ACL) UpsertRoles(ctx context.Context, args *structs.ACLRolesUpsertRequest, reply *structs.ACLRolesUpsertResponse) error {
	return aclUpsertRoles.serve(ctx, a.srv, args, reply)
}

// DeleteRolesByID deletes roles, all or none.
func (a *ACL) DeleteRolesByID(ctx context.Context, args *structs.ACLRolesDeleteByIDRequest, reply *structs.ACLRolesDeleteByIDResponse) error {
	return aclDeleteRolesByID.serve(ctx, a.srv, args, reply)
}
