package nomad_test

import (
	"errors"
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
