package agent

import (
	"reflect"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func aclRoleRoutes() []route {
	body := reflect.TypeFor[structs.ACLRole]()
	return []route{
		read(doc{methods: "GET", pattern: "/v1/acl/roles", rpc: "ACL.ListRoles",
			summary: "List the roles that the caller may see.", lists: "prefix"},
			asIs[structs.ACLRolesListRequest], roleStubs),
		read(doc{methods: "GET", pattern: "/v1/acl/role/self", rpc: "ACL.ListRoles",
			summary: "List the roles of the caller's token."},
			func(_ *request, q *structs.ACLRolesListRequest) error {
				q.Own = true
				return nil
			}, roleStubs),
		write(doc{methods: "PUT POST", pattern: "/v1/acl/role", rpc: "ACL.UpsertRoles",
			summary: "Create a role; the servers choose its ID.", body: body},
			bindRole, writtenRole),
		read(doc{methods: "GET", pattern: "/v1/acl/role/name/{name}", rpc: "ACL.GetRoleByName",
			summary: "Read a role by its name.", status: []int{404}},
			func(r *request, q *structs.ACLRoleByNameRequest) error {
				q.RoleName = r.rest
				return r.needRest("role name")
			},
			func(_ *request, p *structs.ACLRoleByNameResponse) (*structs.ACLRole, error) {
				return found(p.ACLRole, "ACL role")
			}),
		read(doc{methods: "GET", pattern: "/v1/acl/role/{id}", rpc: "ACL.GetRoleByID",
			summary: "Read a role.", status: []int{404}},
			func(r *request, q *structs.ACLRoleByIDRequest) error {
				q.RoleID = r.rest
				return r.needRest("role ID")
			},
			func(_ *request, p *structs.ACLRoleByIDResponse) (*structs.ACLRole, error) {
				return found(p.ACLRole, "ACL role")
			}),
		write(doc{methods: "PUT POST", pattern: "/v1/acl/role/{id}", rpc: "ACL.UpsertRoles",
			summary: "Update a role; the body must have the same ID.", body: body, status: []int{404}},
			bindRole, writtenRole),
		write(doc{methods: "DELETE", pattern: "/v1/acl/role/{id}", rpc: "ACL.DeleteRolesByID",
			summary: "Delete a role.", status: []int{404}},
			func(r *request, q *structs.ACLRolesDeleteByIDRequest) error {
				q.ACLRoleIDs = []string{r.rest}
				return r.needRest("role ID")
			}, done[structs.ACLRolesDeleteByIDResponse]),
	}
}

func roleStubs(_ *request, p *structs.ACLRolesListResponse) ([]*structs.ACLRoleListStub, error) {
	return list(p.ACLRoles), nil
}

func bindRole(r *request, q *structs.ACLRolesUpsertRequest) error {
	role := &structs.ACLRole{}
	if err := r.bodyNamed(role, &role.ID, "role ID"); err != nil {
		return err
	}
	if r.rest == "" && role.ID != "" {
		return errs.Newf(errs.Invalid, "a new role gets its ID from the servers: drop it, or update with /v1/acl/role/%s", role.ID)
	}
	q.ACLRoles = []*structs.ACLRole{role}
	return nil
}

func writtenRole(_ *request, p *structs.ACLRolesUpsertResponse) (*structs.ACLRole, error) {
	return only(p.ACLRoles)
}
