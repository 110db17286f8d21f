package nomad_test

import (
	"errors"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// everyACLWrite is what a delegate of the whole management of access control has.
const everyACLWrite = `operator { capabilities = ["acl-policy-write", "acl-token-write", "acl-role-write", "acl-binding-rule-write", "acl-auth-method-write"] }`

// try writes something of access control and returns how that ended.
func (c caller) try(args any) error {
	c.t.Helper()
	switch r := args.(type) {
	case *structs.ACLPolicyUpsertRequest:
		return c.call("ACL.UpsertPolicies", r, &structs.GenericResponse{})
	case *structs.ACLPolicyDeleteRequest:
		return c.call("ACL.DeletePolicies", r, &structs.GenericResponse{})
	case *structs.ACLTokenUpsertRequest:
		return c.call("ACL.UpsertTokens", r, &structs.ACLTokenUpsertResponse{})
	case *structs.ACLRolesUpsertRequest:
		return c.call("ACL.UpsertRoles", r, &structs.ACLRolesUpsertResponse{})
	case *structs.ACLRolesDeleteByIDRequest:
		return c.call("ACL.DeleteRolesByID", r, &structs.ACLRolesDeleteByIDResponse{})
	case *structs.ACLBindingRulesUpsertRequest:
		return c.call("ACL.UpsertBindingRules", r, &structs.ACLBindingRulesUpsertResponse{})
	case *structs.ACLBindingRulesDeleteRequest:
		return c.call("ACL.DeleteBindingRules", r, &structs.ACLBindingRulesDeleteResponse{})
	}
	c.t.Fatalf("no method for %T", args)
	return nil
}

func rolesRequest(id, name string, policies ...string) *structs.ACLRolesUpsertRequest {
	role := newRole(name, policies...)
	role.ID = id
	return &structs.ACLRolesUpsertRequest{ACLRoles: []*structs.ACLRole{role}}
}

func ruleRequest(id, kind, name string) *structs.ACLBindingRulesUpsertRequest {
	return &structs.ACLBindingRulesUpsertRequest{ACLBindingRules: []*structs.ACLBindingRule{{ID: id, AuthMethod: "ci", BindType: kind, BindName: name}}}
}

func (c caller) rule(kind, name string) string {
	c.t.Helper()
	var reply structs.ACLBindingRulesUpsertResponse
	c.must("ACL.UpsertBindingRules", ruleRequest("", kind, name), &reply)
	return reply.ACLBindingRules[0].ID
}

// loginMethod makes the auth method of ruleRequest.
func (c caller) loginMethod() {
	c.t.Helper()
	m := &structs.ACLAuthMethod{Name: "ci", Type: "JWT", TokenLocality: "local", MaxTokenTTL: time.Hour, Config: &structs.ACLAuthMethodConfig{JWKSURL: "http://127.0.0.1:1"}}
	c.must("ACL.UpsertAuthMethods", &structs.ACLAuthMethodUpsertRequest{AuthMethods: []*structs.ACLAuthMethod{m}}, &structs.ACLAuthMethodUpsertResponse{})
}

// TestDelegatesGiveWhatTheyHold holds that a delegate works without anybody's help as
// long as it stays within its own rights, and cannot leave out what is denied to it.
func TestDelegatesGiveWhatTheyHold(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		root.loginMethod()
		root.policy("delegate", everyACLWrite+` namespace "*" { policy = "write" } namespace "team-*" {
			 policy = "write"
			 variables { path "*" { capabilities = ["write"] } } }`)
		root.policy("no-prod", `namespace "prod" { policy = "deny" }`)
		d := root.as(root.token(client("delegate", "no-prod")).SecretID)
		for name, c := range map[string]struct {
			args any
			ok   bool
		}{
			"both of its policies":    {tokenRequest(client("delegate", "no-prod")), true},
			"without the deny":        {tokenRequest(client("delegate")), false},
			"only the deny":           {tokenRequest(client("no-prod")), true},
			"a role without the deny": {rolesRequest("", "r1", "delegate"), false},
			"a role with both":        {rolesRequest("", "r2", "delegate", "no-prod"), true},
			"a rule without the deny": {ruleRequest("", "policy", "delegate"), false},
			"a rule for the deny":     {ruleRequest("", "policy", "no-prod"), true},
			"a part": {policyRequest("part", `namespace "team-a" {
			 policy = "read"
			 variables { path "x/*" { capabilities = ["write"] } } }`), true},
			"more on variables":     {policyRequest("more", `namespace "team-a" { variables { path "*" { capabilities = ["destroy"] } } }`), false},
			"a glob over the deny":  {policyRequest("glob", `namespace "p*" { policy = "read" }`), false},
			"explicit capabilities": {policyRequest("explicit", `namespace "a" { capabilities = ["alloc-node-exec"] }`), false},
			"another operator":      {policyRequest("operator", `operator { capabilities = ["raft-read"] }`), false},
			"host volumes":          {policyRequest("volumes", `host_volume "*" { policy = "read" }`), false},
			"node pools":            {policyRequest("pools", `node_pool "*" { policy = "read" }`), false},
			"sentinel":              {policyRequest("sentinel", `sentinel { policy = "read" }`), false},
		} {
			if err := d.try(c.args); (err == nil) != c.ok || err != nil && !errors.Is(err, errs.PermissionDenied) {
				t.Errorf("%s: %v", name, err)
			}
		}
		d.policy("mine", `namespace "team-a" { policy = "read" }`)
		d.token(client("mine"))
		d.must("ACL.DeletePolicies", &structs.ACLPolicyDeleteRequest{Names: []string{"mine"}}, &structs.GenericResponse{})
		d.refused(errs.PermissionDenied, "ACL.UpsertTokens", tokenRequest(client("mine")), &structs.ACLTokenUpsertResponse{})
	}, withACL)
}

// TestDelegatesDoNotUncoverRights holds that what keeps others from something stays,
// wherever it comes from, for whoever could not do it either.
func TestDelegatesDoNotUncoverRights(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		root.loginMethod()
		root.policy("strong", `namespace "*" { policy = "write" }`)
		root.policy("no-prod", `namespace "prod" { policy = "deny" }`)
		root.policy("read-prod", `namespace "prod" { policy = "read" }`)
		root.policy("no-test", `namespace "test" { policy = "deny" }`)
		root.policy("delegate", everyACLWrite+` namespace "prod" { policy = "read" } namespace "test" { policy = "write" }`)
		root.policy("workload", `namespace "test" { policy = "read" }`)
		workload := policyRequest("workload", `namespace "test" { policy = "read" }`)
		workload.Policies[0].JobACL = &structs.JobACL{Namespace: "default"}
		root.must("ACL.UpsertPolicies", workload, &structs.GenericResponse{})
		deny, narrow := root.role("deny", "no-prod"), root.role("narrow", "read-prod")
		for _, role := range []*structs.ACLRole{deny, narrow} {
			held := client("strong")
			held.Roles = []*structs.ACLTokenRoleLink{{ID: role.ID}}
			root.token(held)
		}
		root.token(client("strong", "no-prod"))
		root.token(client("strong", "no-test"))
		strong, fence := root.rule("policy", "strong"), root.rule("role", "deny")
		d := root.as(root.token(client("delegate")).SecretID)
		for name, args := range map[string]any{
			"empty a deny":             policyRequest("no-prod", `namespace "other-prod" { policy = "deny" }`),
			"delete a deny":            &structs.ACLPolicyDeleteRequest{Names: []string{"no-prod"}},
			"narrow rule goes":         &structs.ACLPolicyDeleteRequest{Names: []string{"read-prod"}},
			"role of a deny":           rolesRequest(deny.ID, "deny", "no-test"),
			"rename the role":          rolesRequest(deny.ID, "renamed", "no-prod"),
			"delete the role":          &structs.ACLRolesDeleteByIDRequest{ACLRoleIDs: []string{deny.ID}},
			"delete the narrow":        &structs.ACLRolesDeleteByIDRequest{ACLRoleIDs: []string{narrow.ID}},
			"rule of a deny":           ruleRequest(fence, "policy", "no-test"),
			"delete the rule":          &structs.ACLBindingRulesDeleteRequest{ACLBindingRuleIDs: []string{fence}},
			"rule that gives more":     &structs.ACLBindingRulesDeleteRequest{ACLBindingRuleIDs: []string{strong}},
			"policy of the strong":     policyRequest("strong", `namespace "x" { policy = "deny" }`),
			"delete that":              &structs.ACLPolicyDeleteRequest{Names: []string{"strong"}},
			"delete that of workloads": &structs.ACLPolicyDeleteRequest{Names: []string{"workload"}},
			"write that of workloads":  policyRequest("workload", `namespace "test" { policy = "deny" }`),
		} {
			if err := d.try(args); !errors.Is(err, errs.PermissionDenied) {
				t.Errorf("%s: %v", name, err)
			}
		}
		// What the delegate could do itself it may uncover.
		d.must("ACL.UpsertPolicies", policyRequest("no-test", `namespace "test" { policy = "read" }`), &structs.GenericResponse{})
	}, withACL)
}
