package structs

import (
	"slices"

	"github.com/cairn-project/cairn/internal/errs"
)

// ACLRole is a set of policies under one name.
type ACLRole struct {
	// ID is a UUID, set by the leader.
	ID string
	// Name is unique, 1 to 128 letters, digits and dashes.
	Name string
	// Description is for people, at most 256 characters.
	Description string
	// Policies is not empty.
	Policies []*ACLRolePolicyLink
	// Hash is a digest of the contents, see SetHash.
	Hash []byte

	CreateIndex uint64
	ModifyIndex uint64
}

// ACLRolePolicyLink names a policy.
type ACLRolePolicyLink struct {
	Name string
}

// ACLRoleListStub is what lists show of a role.
type ACLRoleListStub struct {
	ID          string
	Name        string
	Description string
	Policies    []*ACLRolePolicyLink
	Hash        []byte

	CreateIndex uint64
	ModifyIndex uint64
}

// Copy returns a deep copy; nil gives nil.
func (r *ACLRole) Copy() *ACLRole {
	if r == nil {
		return nil
	}
	c := *r
	c.Hash = slices.Clone(r.Hash)
	c.Policies = slices.Clone(r.Policies)
	for i, p := range c.Policies {
		if p != nil {
			link := *p
			c.Policies[i] = &link
		}
	}
	return &c
}

// Stub returns what lists show. It shares memory with r.
func (r *ACLRole) Stub() *ACLRoleListStub {
	return &ACLRoleListStub{r.ID, r.Name, r.Description, r.Policies, r.Hash, r.CreateIndex, r.ModifyIndex}
}

// SetHash sets Hash to the digest of everything that a writer sets, and returns it.
func (r *ACLRole) SetHash() []byte {
	h := newContentHash()
	h.text(r.ID, r.Name, r.Description)
	h.number(int64(len(r.Policies)))
	for _, p := range r.Policies {
		h.text(p.Name)
	}
	r.Hash = h.sum()
	return r.Hash
}

func (r *ACLRole) problems() []errs.Erratum {
	var l problemList
	if r.ID != "" && !isUUID(r.ID) {
		l.add("ID", "role ID %q is not a UUID", clip(r.ID))
	}
	l.name("Name", r.Name)
	l.description(r.Description)
	if len(r.Policies) == 0 {
		l.add("Policies", "a role needs at least one policy")
	}
	if n := len(r.Policies); n > maxACLLinks {
		l.add("Policies", "%d policies are more than %d: split the role", n, maxACLLinks)
	}
	for _, p := range r.Policies {
		if p == nil {
			l.add("Policies", "a policy is null")
			continue
		}
		l.name("Policies", p.Name)
	}
	return l
}

// Validate returns every problem at once. Whether the policies exist, the caller checks.
func (r *ACLRole) Validate() error { return errataError("invalid role", r.problems()) }

// ACLRolesUpsertRequest creates or updates roles, all or none.
type ACLRolesUpsertRequest struct {
	ACLRoles []*ACLRole
	// AllowMissingPolicies is set by replication, which may see roles first.
	AllowMissingPolicies bool
	WriteRequest
}

// Validate returns every problem of the request at once.
func (r *ACLRolesUpsertRequest) Validate() error {
	if err := batchError(len(r.ACLRoles), "role"); err != nil {
		return err
	}
	var all []errs.Erratum
	for _, role := range r.ACLRoles {
		if role == nil {
			return invalidf("a role is null")
		}
		all = append(all, role.problems()...)
	}
	return errataError("invalid role", all)
}

// ACLRolesUpsertResponse answers ACLRolesUpsertRequest with the roles as stored.
type ACLRolesUpsertResponse struct {
	ACLRoles []*ACLRole
	WriteMeta
}

// ACLRolesDeleteByIDRequest deletes roles, all or none.
type ACLRolesDeleteByIDRequest struct {
	ACLRoleIDs []string
	WriteRequest
}

// Validate returns every problem of the request at once.
func (r *ACLRolesDeleteByIDRequest) Validate() error {
	if err := batchError(len(r.ACLRoleIDs), "role"); err != nil {
		return err
	}
	return errataError("invalid role", uuidErrors("ACLRoleIDs", r.ACLRoleIDs))
}

// ACLRolesDeleteByIDResponse answers ACLRolesDeleteByIDRequest.
type ACLRolesDeleteByIDResponse struct {
	WriteMeta
}

// ACLRolesListRequest lists the roles that the caller may see.
type ACLRolesListRequest struct {
	// Own selects those that the caller's token is linked to.
	Own bool
	QueryOptions
}

// ACLRolesListResponse answers ACLRolesListRequest.
type ACLRolesListResponse struct {
	ACLRoles []*ACLRoleListStub
	QueryMeta
}

// ACLRolesByIDRequest reads several roles, for node agents and the leaders of
// other regions.
type ACLRolesByIDRequest struct {
	ACLRoleIDs []string
	QueryOptions
}

// ACLRolesByIDResponse answers ACLRolesByIDRequest; absent IDs are left out.
type ACLRolesByIDResponse struct {
	ACLRoles map[string]*ACLRole
	QueryMeta
}

// ACLRoleByIDRequest reads one role.
type ACLRoleByIDRequest struct {
	RoleID string
	QueryOptions
}

// ACLRoleByIDResponse answers ACLRoleByIDRequest; nil means absent.
type ACLRoleByIDResponse struct {
	ACLRole *ACLRole
	QueryMeta
}

// ACLRoleByNameRequest reads one role.
type ACLRoleByNameRequest struct {
	RoleName string
	QueryOptions
}

// ACLRoleByNameResponse answers ACLRoleByNameRequest; nil means absent.
type ACLRoleByNameResponse struct {
	ACLRole *ACLRole
	QueryMeta
}
