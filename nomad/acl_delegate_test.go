package nomad_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// What takes more than the right to call a method has a capability of its own too, and
// whoever has that gives nothing by it that it does not hold.
func TestWhatMethodsKeepBackIsDelegated(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		const most = `operator { capabilities = ["acl-policy-write", "acl-auth-method-write", "join-token-write"] } namespace "test" { policy = "read" }`
		const last = `operator { capabilities = ["acl-policy-anonymous", "acl-policy-workload", "acl-auth-method-server-keys", "join-token-server"] }`
		root.policy("most", most)
		root.policy("last", last)
		root.policy("anonymous", `namespace "test" { policy = "read" }`)
		some, all := root.as(root.token(client("most")).SecretID), root.as(root.token(client("most", "last")).SecretID)

		job := func(name, id, rules string) *structs.ACLPolicyUpsertRequest {
			r := policyRequest(name, rules)
			r.Policies[0].JobACL = &structs.JobACL{Namespace: "default", JobID: id}
			return r
		}
		signer := &structs.ACLAuthMethod{Name: "signer", Type: "OIDC", TokenLocality: "local", MaxTokenTTL: time.Hour, Config: &structs.ACLAuthMethodConfig{
			OIDCDiscoveryURL: "http://127.0.0.1:1", OIDCClientID: "cairn", AllowedRedirectURIs: []string{"http://127.0.0.1:1/oidc/callback"},
			OIDCClientAssertion: &structs.OIDCClientAssertion{KeySource: "nomad"}}}
		for _, one := range []struct {
			name, method string
			args, reply  func() any
		}{
			{"anonymous", "ACL.UpsertPolicies", func() any { return policyRequest("anonymous", `namespace "test" { capabilities = ["read-job"] }`) }, nil},
			{"anonymous goes", "ACL.DeletePolicies", func() any { return &structs.ACLPolicyDeleteRequest{Names: []string{"anonymous"}} }, nil},
			{"workloads", "ACL.UpsertPolicies", func() any { return job("front", "shop", `namespace "test" { policy = "read" }`) }, nil},
			{"server keys", "ACL.UpsertAuthMethods", func() any {
				return &structs.ACLAuthMethodUpsertRequest{AuthMethods: []*structs.ACLAuthMethod{signer.Copy()}}
			}, func() any { return &structs.ACLAuthMethodUpsertResponse{} }},
		} {
			reply := func() any { return &structs.GenericResponse{} }
			if one.reply != nil {
				reply = one.reply
			}
			if err := some.call(one.method, one.args(), reply()); !errors.Is(err, errs.PermissionDenied) {
				t.Errorf("%s without the capability: %v", one.name, err)
			}
			if err := all.call(one.method, one.args(), reply()); err != nil {
				t.Errorf("%s with the capability: %v", one.name, err)
			}
		}

		// What workloads are kept from stays, whichever way a policy that denies it would go.
		root.must("ACL.UpsertPolicies", job("wide", "shop", `namespace "*" { policy = "write" }`), &structs.GenericResponse{})
		root.must("ACL.UpsertPolicies", job("fence", "shop", `namespace "prod" { policy = "deny" }`), &structs.GenericResponse{})
		for name, args := range map[string]any{
			"more than it holds": job("mine", "shop", `namespace "prod" { policy = "write" }`),
			"empty":              job("fence", "shop", `namespace "x" { policy = "deny" }`),
			"of another job":     job("fence", "other", `namespace "prod" { policy = "deny" }`),
			"of none":            policyRequest("fence", `namespace "prod" { policy = "deny" }`),
			"public":             policyRequest("anonymous", `namespace "prod" { policy = "read" }`),
		} {
			if err := all.call("ACL.UpsertPolicies", args, &structs.GenericResponse{}); !errors.Is(err, errs.PermissionDenied) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := all.call("ACL.DeletePolicies", &structs.ACLPolicyDeleteRequest{Names: []string{"fence"}}, &structs.GenericResponse{}); !errors.Is(err, errs.PermissionDenied) {
			t.Errorf("a fence goes: %v", err)
		}
	}, withACL)
}

// managed are the writes that take a management token, each with the capabilities that
// delegate it: without the last one it is refused.
func managed(root caller) map[string]struct {
	capabilities []string
	args         func() any
} {
	root.loginMethod()
	root.policy("strong", `namespace "*" { policy = "write" }`)
	root.policy("fence", `namespace "prod" { policy = "deny" }`)
	root.token(client("strong", "fence"))
	old := root.token(structs.ACLToken{Type: structs.ACLManagementToken})
	bound := root.rule(structs.ACLBindingRuleBindTypeManagement, "")
	strong := root.token(client("strong"))
	rename := func(t *structs.ACLToken) func() any {
		return func() any {
			c := *t
			c.SecretID, c.Name = "", "renamed"
			return tokenRequest(c)
		}
	}
	policy := func(name, rules string) func() any { return func() any { return policyRequest(name, rules) } }
	return map[string]struct {
		capabilities []string
		args         func() any
	}{
		"make a management token":                  {[]string{"acl-token-management"}, func() any { return tokenRequest(structs.ACLToken{Type: structs.ACLManagementToken}) }},
		"change a management token":                {[]string{"acl-token-management"}, rename(old)},
		"bind to management":                       {[]string{"acl-binding-rule-management"}, func() any { return ruleRequest("", structs.ACLBindingRuleBindTypeManagement, "") }},
		"change such a rule":                       {[]string{"acl-binding-rule-management"}, func() any { return ruleRequest(bound, structs.ACLBindingRuleBindTypeManagement, "") }},
		"a token with more":                        {[]string{"acl-token-write", "acl-grant-all"}, func() any { return tokenRequest(client("strong")) }},
		"change a token with more":                 {[]string{"acl-token-write", "acl-grant-all"}, rename(strong)},
		"a token for a policy that does not exist": {[]string{"acl-token-write", "acl-grant-all"}, func() any { return tokenRequest(client("missing")) }},
		"a role with more":                         {[]string{"acl-role-write", "acl-grant-all"}, func() any { return rolesRequest("", "r", "strong") }},
		"a rule with more":                         {[]string{"acl-binding-rule-write", "acl-grant-all"}, func() any { return ruleRequest("", "policy", "strong") }},
		"a rule that a login fills":                {[]string{"acl-binding-rule-write", "acl-grant-all"}, func() any { return ruleRequest("", "policy", "${value.x}") }},
		"a policy with more":                       {[]string{"acl-policy-write", "acl-grant-all"}, policy("new", `node { policy = "write" }`)},
		"a policy of its own":                      {[]string{"acl-policy-write", "acl-grant-all"}, policy("held", `namespace "x" { policy = "read" }`)},
		"a fence goes":                             {[]string{"acl-policy-write", "acl-grant-all"}, func() any { return &structs.ACLPolicyDeleteRequest{Names: []string{"fence"}} }},
	}
}

// Everything that a management token can write has a capability; the methods demand one in
// any case, and these are what they ask for inside.
func TestWhatTakesManagementIsDelegated(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		root.policy("held", `namespace "x" { policy = "deny" }`)
		holder := func(capabilities ...string) caller {
			name := "d-" + strings.Join(capabilities, "-")
			root.policy(name, `operator { capabilities = ["`+strings.Join(capabilities, `", "`)+`"] }`)
			return root.as(root.token(client(name, "held")).SecretID)
		}
		coarse := `operator { policy = "write", capabilities = ["acl-policy-write", "acl-token-write", "acl-role-write", "acl-binding-rule-write", "acl-auth-method-write"] }`
		for name, w := range managed(root) {
			root.policy("coarse", coarse)
			last := w.capabilities[len(w.capabilities)-1]
			without := root.as(root.token(client("coarse", "held")).SecretID)
			if err := without.try(w.args()); !errors.Is(err, errs.PermissionDenied) || !strings.Contains(err.Error(), last) && !strings.Contains(name, "not exist") {
				t.Errorf("%s without %s: %v", name, last, err)
			}
			if err := holder(w.capabilities...).try(w.args()); err != nil {
				t.Errorf("%s with %v: %v", name, w.capabilities, err)
			}
		}
	}, withACL)
}

// Secrets of tokens are shown to whoever may read them, deleting a management token takes
// the right to write one, and a delegate who may not grant all leaves nothing that outlives it.
func TestDelegatesOfManagementTokens(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		root.policy("manage", `operator { capabilities = ["acl-token-management"] }`)
		root.policy("secrets", `operator { capabilities = ["acl-token-secrets"] }`)
		root.policy("all", `operator { capabilities = ["acl-grant-all"] }`)
		other := root.token(structs.ACLToken{Type: structs.ACLManagementToken})
		manage := root.as(root.token(client("manage")).SecretID)
		secrets := root.as(root.token(client("secrets")).SecretID)
		shown := func(c caller) string {
			var got structs.SingleACLTokenResponse
			c.must("ACL.GetToken", &structs.ACLTokenSpecificRequest{AccessorID: other.AccessorID}, &got)
			return got.Token.SecretID
		}
		if shown(manage) != "" || shown(secrets) != other.SecretID {
			t.Errorf("shown to whoever may write it %q, read it %q", shown(manage), shown(secrets))
		}
		gone := &structs.ACLTokenDeleteRequest{AccessorIDs: []string{other.AccessorID}}
		secrets.refused(errs.PermissionDenied, "ACL.DeleteTokens", gone, &structs.GenericResponse{})
		manage.must("ACL.DeleteTokens", gone, &structs.GenericResponse{})

		short := client("manage")
		short.ExpirationTTL = time.Hour
		d := root.as(root.token(short).SecretID)
		d.refused(errs.PermissionDenied, "ACL.UpsertTokens", tokenRequest(structs.ACLToken{Type: structs.ACLManagementToken}), &structs.ACLTokenUpsertResponse{})
		lasting := root.token(client("manage"))
		raise := structs.ACLToken{AccessorID: lasting.AccessorID, Type: structs.ACLManagementToken}
		d.refused(errs.PermissionDenied, "ACL.UpsertTokens", tokenRequest(raise), &structs.ACLTokenUpsertResponse{})
		d.token(structs.ACLToken{Type: structs.ACLManagementToken, ExpirationTTL: 30 * time.Minute})
		short.Policies = []string{"manage", "all"}
		root.as(root.token(short).SecretID).token(structs.ACLToken{Type: structs.ACLManagementToken})
	}, withACL)
}
