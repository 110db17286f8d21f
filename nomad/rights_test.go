package nomad

import (
	"context"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func TestRightsOfPoliciesAndRoles(t *testing.T) {
	if a, err := startLone(t).RightsOf([]string{"any"}, nil); err != nil || !a.IsManagement() {
		t.Fatalf("access control is off: %v", err)
	}
	s := startEnforced(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	boot := &structs.ACLTokenUpsertResponse{}
	if err := s.RPC(ctx, "ACL.Bootstrap", &structs.ACLTokenBootstrapRequest{}, boot); err != nil {
		t.Fatal(err)
	}
	as := structs.WriteRequest{AuthToken: boot.Tokens[0].SecretID}
	policies := &structs.ACLPolicyUpsertRequest{WriteRequest: as, Policies: []*structs.ACLPolicy{
		{Name: "ops", Rules: `agent { policy = "write" }`}, {Name: "look", Rules: `agent { policy = "read" }`}}}
	if err := s.RPC(ctx, "ACL.UpsertPolicies", policies, &structs.GenericResponse{}); err != nil {
		t.Fatal(err)
	}
	roles := &structs.ACLRolesUpsertRequest{WriteRequest: as, ACLRoles: []*structs.ACLRole{
		{Name: "oncall", Policies: []*structs.ACLRolePolicyLink{{Name: "ops"}}}}}
	if err := s.RPC(ctx, "ACL.UpsertRoles", roles, &structs.ACLRolesUpsertResponse{}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		policies, roles []string
		read, write     bool
	}{
		{nil, nil, false, false},
		{[]string{"nope"}, nil, false, false},
		{[]string{"look"}, nil, true, false},
		{[]string{"look"}, []string{"oncall"}, true, true},
	} {
		a, err := s.RightsOf(tc.policies, tc.roles)
		if err != nil || a.AllowAgentRead() != tc.read || a.AllowAgentWrite() != tc.write || a.IsManagement() {
			t.Errorf("%v %v: read %t, write %t, %v", tc.policies, tc.roles, a.AllowAgentRead(), a.AllowAgentWrite(), err)
		}
	}
	if _, err := s.RightsOf(nil, []string{"nope"}); errs.CodeOf(err) != errs.PermissionDenied {
		t.Errorf("a role that does not exist: %v", err)
	}
}

func TestMethodsTellReadsFromWrites(t *testing.T) {
	writes := map[string]bool{}
	for _, m := range Methods() {
		writes[m.Name] = m.Writes
	}
	for name, want := range map[string]bool{"Variables.Apply": true, "Variables.Read": false, "Status.Leader": false, "Operator.RaftRemovePeerByID": true} {
		if got, ok := writes[name]; !ok || got != want {
			t.Errorf("%s: writes %t, described %t", name, got, ok)
		}
	}
}
