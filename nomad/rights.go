package nomad

import (
	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// RightsOf returns the sum of the rights of stored policies and of roles by their
// names, for callers that the agent knows by other means than a token. A role that
// does not exist is an error, a policy that does not exist grants nothing. While access
// control is off everyone has all rights.
func (s *Server) RightsOf(policies, roles []string) (*acl.ACL, error) {
	if !s.auth.Enabled() {
		return acl.Disabled, nil
	}
	store := s.state.Snapshot()
	token := &structs.ACLToken{Type: structs.ACLClientToken, Policies: policies}
	for _, name := range roles {
		role := store.ACLRoleByName(nil, name)
		if role == nil {
			return nil, errs.Newf(errs.PermissionDenied, "role %q does not exist", name)
		}
		token.Roles = append(token.Roles, &structs.ACLTokenRoleLink{ID: role.ID})
	}
	id, err := s.auth.Holder(store, token)
	if err != nil {
		return nil, err
	}
	return id.ACL, nil
}
