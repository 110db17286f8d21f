package nomad

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/structs"
)

// guard says who may call a method.
type guard struct {
	// rules are exactly the right that the method needs, "" for management tokens only.
	rules string
	// args fills in what the right depends on, nil for an empty request.
	args func() any
}

func operator(capability string) guard {
	return guard{rules: `operator { capabilities = ["` + capability + `"] }`}
}

// guards holds every method that is not in openMethods, selfMethods or workloadMethods.
var guards = map[string]guard{
	"ACL.UpsertPolicies": operator("acl-policy-write"), "ACL.DeletePolicies": operator("acl-policy-write"),
	"ACL.GetPolicy": operator("acl-policy-read"), "ACL.GetPolicies": {
		rules: operator("acl-policy-read").rules, args: func() any { return &structs.ACLPolicySetRequest{Names: []string{"secret"}} }},
	"ACL.UpsertTokens": operator("acl-token-write"), "ACL.DeleteTokens": operator("acl-token-write"),
	"ACL.ListTokens": operator("acl-token-read"), "ACL.GetToken": operator("acl-token-read"), "ACL.GetTokens": operator("acl-token-read"), "ACL.TokenUsage": operator("acl-token-read"),
	"ACL.ExpireOneTimeTokens": operator("acl-one-time-token-expire"),
	"ACL.UpsertRoles":         operator("acl-role-write"), "ACL.DeleteRolesByID": operator("acl-role-write"),
	"ACL.GetRolesByID": {rules: operator("acl-role-read").rules, args: func() any {
		return &structs.ACLRolesByIDRequest{ACLRoleIDs: []string{uuid.NewString()}}
	}},
	"ACL.GetRoleByID": operator("acl-role-read"), "ACL.GetRoleByName": operator("acl-role-read"),
	"ACL.UpsertAuthMethods": operator("acl-auth-method-write"), "ACL.DeleteAuthMethods": operator("acl-auth-method-write"),
	"ACL.GetAuthMethod": operator("acl-auth-method-read"), "ACL.GetAuthMethods": operator("acl-auth-method-secrets"),
	"ACL.UpsertBindingRules": operator("acl-binding-rule-write"), "ACL.DeleteBindingRules": operator("acl-binding-rule-write"),
	"ACL.ListBindingRules": operator("acl-binding-rule-read"), "ACL.GetBindingRules": operator("acl-binding-rule-read"),
	"ACL.GetBindingRule": operator("acl-binding-rule-read"),
	"Keyring.List":       operator("keyring-read"),
	"Identity.Sign":      operator("identity-sign"),
	"WorkloadEvent.Raise": {rules: `namespace "default" { capabilities = ["raise-event"] }`, args: func() any {
		return &structs.WorkloadEventRaiseRequest{Event: &structs.WorkloadEvent{Namespace: "default", Type: "done"}}
	}},
	"Authority.List": operator("join-token-read"), "Authority.Rotate": operator("authority-rotate"),
	"JoinToken.Create": operator("join-token-write"), "JoinToken.Delete": operator("join-token-write"), "JoinToken.List": operator("join-token-read"),
	"Namespace.GetNamespace": {rules: `namespace "secret" { policy = "read" }`, args: func() any {
		return &structs.NamespaceSpecificRequest{Name: "secret"}
	}},
	"Namespace.GetNamespaces": operator("namespace-write"),
	"Namespace.UpsertNamespaces": {rules: `namespace "secret" { capabilities = ["manage-namespace"] }`, args: func() any {
		return &structs.NamespaceUpsertRequest{Namespaces: []*structs.Namespace{{Name: "secret"}}}
	}},
	"Namespace.DeleteNamespaces": {rules: operator("namespace-write").rules, args: func() any {
		return &structs.NamespaceDeleteRequest{Namespaces: []string{"absent"}}
	}},
	"Operator.RaftGetConfiguration": operator("raft-read"), "Operator.RaftRemovePeerByID": operator("raft-write"),
	"Operator.TransferLeadershipToPeer": operator("raft-write"), "Operator.ReplicationStatus": operator("raft-read"), "Operator.ReplicationAccept": operator("raft-write"),
	"Status.Members": {rules: `node { policy = "read" }`},
	"Variables.Read": {rules: path("read"), args: func() any { return &structs.VariablesReadRequest{Path: "app/db"} }},
	"Variables.List": {rules: path("list")},
	"Variables.Apply": {rules: path("write"), args: func() any {
		v := &structs.VariableDecrypted{VariableMetadata: structs.VariableMetadata{Path: "app/db"}, Items: structs.VariableItems{"a": "b"}}
		return &structs.VariablesApplyRequest{Op: structs.VarOpSet, Var: v}
	}},
	"Variables.RenewLock": {rules: path("write"), args: func() any { return &structs.VariablesRenewLockRequest{Path: "app/db"} }},
}

func path(capability string) string {
	return `namespace "default" { variables { path "app/*" { capabilities = ["` + capability + `"] } } }`
}

func init() {
	read, write := `node { policy = "read" }`, `node { policy = "write" }`
	pool := func(word string) string { return `node_pool "gpu" { policy = "` + word + `" }` }
	maps.Copy(guards, map[string]guard{
		"ACL.CreateClientIntroductionToken": {rules: write},
		"ClientStats.Stats":                 {rules: read},
		"NodeMeta.Read":                     {rules: read}, "NodeMeta.Apply": {rules: write},
		"NodeLink.Call": {rules: write, args: func() any { return &structs.NodeCallRequest{NodeID: "n", Method: "Node.Apply"} }},
		"NodeLink.List": {rules: read}, "NodeLink.Kick": {rules: write},
		"Node.List": {rules: read}, "Node.GetNode": {rules: read}, "Node.GetAllocs": {rules: read},
		"Node.Deregister": {rules: write}, "Node.BatchDeregister": {rules: write}, "Node.Evaluate": {rules: write},
		"Node.UpdateDrain": {rules: write}, "Node.UpdateEligibility": {rules: write},
		"NodePool.GetNodePool": {rules: pool("read"), args: func() any { return &structs.NodePoolSpecificRequest{Name: "gpu"} }},
		"NodePool.ListNodes":   {rules: pool("read") + read, args: func() any { return &structs.NodePoolNodesRequest{Name: "gpu"} }},
		"NodePool.UpsertNodePools": {rules: pool("write"), args: func() any {
			return &structs.NodePoolUpsertRequest{NodePools: []*structs.NodePool{{Name: "gpu"}}}
		}},
		"NodePool.DeleteNodePools": {rules: pool("write"), args: func() any {
			return &structs.NodePoolDeleteRequest{Names: []string{"gpu"}}
		}},
	})
}

// nodeMethods answer nodes only, about themselves.
var nodeMethods = []string{"Node.Register", "Node.UpdateStatus", "Node.EmitEvents", "Node.GetClientAllocs", "Alloc.GetAllocs"}

// selfMethods answer every token, and nobody without one.
var selfMethods = []string{"ACL.UpsertOneTimeToken"}

// workloadMethods answer workloads only; implicitMethods answer workloads too, with
// what is theirs without a policy; provenMethods want a proof of their own.
var (
	workloadMethods = []string{"ACL.GetClaimPolicies"}
	implicitMethods = []string{"Variables.List"}
	provenMethods   = []string{"ACL.ExchangeOneTimeToken", "Authority.Join", "Authority.Renew"}
)

// unrelated is a right that no method above needs.
const unrelated = `namespace "other" { policy = "read" }`

// nodeSecret is that of a node agent, which is no token.
const nodeSecret = "0d3f7c1e-5a55-4e0c-8f55-5d1f5b3f8f01"

// workload returns the identity of a job, as the cluster signs it.
func workload(t *testing.T, s *Server, job, audience string) string {
	t.Helper()
	token, _, err := s.keyring.Sign(&auth.WorkloadClaims{Namespace: "default", JobID: job, Task: "web",
		Subject: "global:default:" + job + ":front:web:default", Audience: []string{audience}})
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestEveryMethodIsEnforced(t *testing.T) {
	s := startEnforced(t)
	admin := bootstrapped(t, s)
	waitForKeys(t, s)
	job, other := workload(t, s, "shop", auth.DefaultAudience), workload(t, s, "shop", "vault")
	expired := tokenWith(t, s, admin, structs.ACLManagementToken, "")
	expire(t, s, expired)
	without := tokenWith(t, s, admin, structs.ACLClientToken, unrelated)
	for name := range methods {
		g, guarded := guards[name]
		open := slices.Contains(openMethods, name)
		self := slices.Contains(selfMethods, name)
		claims := slices.Contains(workloadMethods, name)
		jobs := open || claims || slices.Contains(implicitMethods, name)
		never := claims || slices.Contains(provenMethods, name) || slices.Contains(nodeMethods, name)
		if !guarded && !open && !self && !never {
			t.Errorf("%s: nothing says who may call it", name)
			continue
		}
		try := func(who, secret string, want bool) {
			t.Helper()
			if got := attempt(t, s, name, g, secret); got != want {
				t.Errorf("%s by %s: allowed %v, want %v", name, who, got, want)
			}
		}
		try("nobody", "", open)
		try("an unknown token", uuid.NewString(), false)
		try("an expired token", expired.SecretID, false)
		try("a token without the right", without.SecretID, open || self)
		try("a management token", admin, !never)
		try("a node's secret", nodeSecret, false)
		try("a workload", job, jobs)
		try("a workload that is meant for another service", other, false)
		if g.rules != "" {
			try("a token with the right", tokenWith(t, s, admin, structs.ACLClientToken, g.rules).SecretID, true)
			writePolicy(t, s, admin, structs.ACLAnonymousPolicy, g.rules)
			try("anonymous with the right", "", true)
			writePolicy(t, s, admin, structs.ACLAnonymousPolicy, unrelated)
			writeJobPolicy(t, s, admin, "shop", g.rules)
			try("a workload with the right", job, true)
			writeJobPolicy(t, s, admin, "other", g.rules)
			try("a workload beside one with the right", job, jobs)
		}
	}
}

// waitForKeys returns once the cluster can sign.
func waitForKeys(t *testing.T, s *Server) {
	t.Helper()
	select {
	case <-s.keyring.Ready():
	case <-time.After(20 * time.Second):
		t.Fatal("no root key")
	}
}

// writeJobPolicy gives a right to the workloads of a job.
func writeJobPolicy(t *testing.T, s *Server, admin, job, rules string) {
	t.Helper()
	policy := &structs.ACLPolicy{Name: "of-a-job", Rules: rules, JobACL: &structs.JobACL{Namespace: "default", JobID: job}}
	req := &structs.ACLPolicyUpsertRequest{Policies: []*structs.ACLPolicy{policy}, WriteRequest: structs.WriteRequest{AuthToken: admin}}
	mustCall(t, s, "ACL.UpsertPolicies", req, &structs.GenericResponse{})
}

func TestManagementOfAccessControlIsRefusedWhileItIsOff(t *testing.T) {
	s := startLone(t)
	for name, info := range methods {
		m, _ := s.registry.Lookup(name)
		err := m.Invoke(t.Context(), m.NewArgs(), m.NewReply())
		refused := errors.Is(err, errs.Invalid) && err.Error() == "ACL support disabled"
		if want := info.name[:4] == "ACL." && name != "ACL.WhoAmI" && name != "ACL.CreateClientIntroductionToken"; refused != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// attempt calls a method and reports whether the caller was let in.
func attempt(t *testing.T, s *Server, name string, g guard, secret string) bool {
	t.Helper()
	m, _ := s.registry.Lookup(name)
	args := m.NewArgs()
	if g.args != nil {
		args = g.args()
	}
	switch r := args.(type) {
	case structs.Query:
		r.QueryOpts().AuthToken = secret
	case structs.Write:
		r.WriteOpts().AuthToken = secret
	default:
		t.Fatalf("%s: %T carries no token", name, args)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := m.Invoke(ctx, args, m.NewReply())
	return !errors.Is(err, errs.PermissionDenied)
}

func mustCall(t *testing.T, s *Server, method string, args, reply any) {
	t.Helper()
	if err := s.RPC(t.Context(), method, args, reply); err != nil {
		t.Fatalf("%s: %v", method, err)
	}
}

func bootstrapped(t *testing.T, s *Server) (secret string) {
	t.Helper()
	var reply structs.ACLTokenUpsertResponse
	mustCall(t, s, "ACL.Bootstrap", &structs.ACLTokenBootstrapRequest{}, &reply)
	return reply.Tokens[0].SecretID
}

func writePolicy(t *testing.T, s *Server, admin, name, rules string) {
	t.Helper()
	req := &structs.ACLPolicyUpsertRequest{Policies: []*structs.ACLPolicy{{Name: name, Rules: rules}}, WriteRequest: structs.WriteRequest{AuthToken: admin}}
	mustCall(t, s, "ACL.UpsertPolicies", req, &structs.GenericResponse{})
}

// tokenWith makes a token, of a policy of its own unless it is a management token.
func tokenWith(t *testing.T, s *Server, admin, kind, rules string) *structs.ACLToken {
	t.Helper()
	token := &structs.ACLToken{Type: kind, Name: "test"}
	if kind == structs.ACLClientToken {
		token.Policies = []string{"p-" + uuid.NewString()}
		writePolicy(t, s, admin, token.Policies[0], rules)
	} else {
		token.ExpirationTTL = time.Hour
	}
	req := &structs.ACLTokenUpsertRequest{Tokens: []*structs.ACLToken{token}, WriteRequest: structs.WriteRequest{AuthToken: admin}}
	var reply structs.ACLTokenUpsertResponse
	mustCall(t, s, "ACL.UpsertTokens", req, &reply)
	return reply.Tokens[0]
}

// expire replaces a token by one that expired long ago, as no endpoint would.
func expire(t *testing.T, s *Server, token *structs.ACLToken) {
	t.Helper()
	ctx := t.Context()
	if _, err := s.apply(ctx, structs.ACLTokenDeleteRequestType, &structs.ACLTokenDeleteRequest{AccessorIDs: []string{token.AccessorID}}); err != nil {
		t.Fatal(err)
	}
	old := token.Copy()
	at := time.Now().Add(-time.Minute)
	old.ExpirationTime = &at
	if _, err := s.apply(ctx, structs.ACLTokenUpsertRequestType, &structs.ACLTokenUpsertRequest{Tokens: []*structs.ACLToken{old}}); err != nil {
		t.Fatal(err)
	}
}
