package nomad

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// guard says who may call a method.
type guard struct {
	// rules are exactly the right that the method needs. There is always one: what needs
	// a management token otherwise has a capability of its own.
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
	"Operation.List": {rules: `operator { policy = "read" }`}, "Operation.Upsert": {rules: `operator { policy = "write" }`},
	"Operator.RaftGetConfiguration": operator("raft-read"), "Operator.RaftRemovePeerByID": operator("raft-write"),
	"Operator.TransferLeadershipToPeer": operator("raft-write"), "Operator.ReplicationStatus": operator("raft-read"), "Operator.ReplicationAccept": operator("raft-write"),
	"Operator.AutopilotGetConfiguration": {rules: `operator { policy = "read" }`}, "Operator.ServerHealth": {rules: `operator { policy = "read" }`},
	"Operator.AutopilotSetConfiguration": {rules: `operator { policy = "write" }`},
	"Search.PrefixSearch":                {rules: `node { policy = "read" }`, args: func() any { return &structs.SearchRequest{Context: structs.SearchNodes} }},
	"Search.FuzzySearch": {rules: `node { policy = "read" }`, args: func() any {
		return &structs.FuzzySearchRequest{Text: "worker", Context: structs.SearchNodes}
	}},
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
		"System.GarbageCollect": operator("system-gc"),
		"NodeIdentity.Get":      {rules: read}, "NodeIdentity.Renew": {rules: write},
		"Agent.Host": {rules: `agent { policy = "read" }`}, "Agent.Profile": {rules: `agent { policy = "write" }`},
		"NodePool.ListJobs": {rules: pool("read") + `namespace "default" { capabilities = ["list-jobs"] }`, args: func() any {
			return &structs.NodePoolJobsRequest{Name: "gpu"}
		}},
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
var nodeMethods = []string{"Node.Register", "Node.UpdateStatus", "Node.EmitEvents", "Node.GetClientAllocs", "Alloc.GetAllocs", "NodeLink.Notify"}

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

// ownMethods answer a node about itself, whoever may call them otherwise.
var ownMethods = map[string]func(id, secret string) any{
	"Node.Register": func(id, secret string) any {
		return &structs.NodeRegisterRequest{Node: &structs.Node{ID: id, SecretID: secret, Name: "worker", Datacenter: "dc1", NodePool: "default"}}
	},
	"Node.UpdateStatus": func(id, _ string) any {
		return &structs.NodeUpdateStatusRequest{NodeID: id, Status: structs.NodeStatusReady}
	},
	"Node.EmitEvents": func(id, _ string) any {
		e := structs.NewNodeEvent(structs.NodeEventSubsystemCluster, "hello", time.Unix(1700000000, 0))
		return &structs.EmitNodeEventsRequest{NodeEvents: map[string][]*structs.NodeEvent{id: {e}}}
	},
	"Identity.Sign": func(id, _ string) any {
		return &structs.IdentitySignRequest{Peer: structs.PeerIdentity{NodeID: id}}
	},
	"Node.GetClientAllocs": func(id, secret string) any { return &structs.NodeSpecificRequest{NodeID: id, SecretID: secret} },
	"NodeLink.Notify":      func(id, _ string) any { return &structs.NodeNotifyRequest{NodeID: id} },
	"Node.GetNode":         func(id, _ string) any { return &structs.NodeSpecificRequest{NodeID: id} },
	"Node.UpdateDrain":     func(id, _ string) any { return &structs.NodeUpdateDrainRequest{NodeID: id} },
	"Node.UpdateEligibility": func(id, _ string) any {
		return &structs.NodeUpdateEligibilityRequest{NodeID: id, Eligibility: structs.NodeSchedulingEligible}
	},
}

// clientMethods answer every node agent what an empty request asks for: nothing, or
// that there is no such node.
var clientMethods = []string{"Alloc.GetAllocs", "Identity.Sign", "Node.EmitEvents", "Node.GetClientAllocs"}

// machine is a registered node: its secret, and the identity that it was given.
type machine struct{ id, secret, identity string }

// registerMachine makes the server know a node of the pool.
func registerMachine(t *testing.T, s *Server, pool string) machine {
	t.Helper()
	m := machine{id: uuid.NewString(), secret: uuid.NewString()}
	n := &structs.Node{ID: m.id, SecretID: m.secret, Name: "worker", Datacenter: "dc1", NodePool: pool, HTTPAddr: "10.1.1.1:4646"}
	var reply structs.NodeUpdateResponse
	mustCall(t, s, "Node.Register", &structs.NodeRegisterRequest{Node: n, WriteRequest: structs.WriteRequest{AuthToken: m.secret}}, &reply)
	if reply.SignedIdentity == nil {
		t.Fatal("the node was given no identity")
	}
	m.identity = *reply.SignedIdentity
	return m
}

// introduction returns a token with which a new node may register.
func introduction(t *testing.T, s *Server, admin string) string {
	t.Helper()
	var reply structs.ACLCreateClientIntroductionTokenResponse
	mustCall(t, s, "ACL.CreateClientIntroductionToken", &structs.ACLCreateClientIntroductionTokenRequest{WriteRequest: structs.WriteRequest{AuthToken: admin}}, &reply)
	return reply.JWT
}

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
	node, introduced := registerMachine(t, s, "default"), introduction(t, s, admin)
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
		if guarded && g.rules == "" {
			t.Errorf("%s: no right delegates it, so that it takes a management token: make a capability for it", name)
		}
		nodes := open || slices.Contains(clientMethods, name)
		writePolicy(t, s, admin, structs.ACLAnonymousPolicy, unrelated)
		try := func(who, secret string, want bool) {
			t.Helper()
			if got := attempt(t, s, name, g, secret); got != want {
				t.Errorf("%s by %s: allowed %v, want %v", name, who, got, want)
			}
		}
		try("anonymous without the right", "", open)
		try("an unknown token", uuid.NewString(), false)
		try("an expired token", expired.SecretID, false)
		try("a token without the right", without.SecretID, open || self)
		try("a management token", admin, !never)
		try("a node's secret", node.secret, nodes)
		try("a node's identity", node.identity, nodes)
		try("an introduction of a node", introduced, open)
		try("a workload", job, jobs)
		try("a workload that is meant for another service", other, false)
		if g.rules != "" {
			try("a token with the right", tokenWith(t, s, admin, structs.ACLClientToken, g.rules).SecretID, true)
			writePolicy(t, s, admin, structs.ACLAnonymousPolicy, g.rules)
			try("anonymous with the right", "", true)
			try("a node's secret while anonymous has the right", node.secret, nodes)
			deletePolicy(t, s, admin, structs.ACLAnonymousPolicy)
			try("nobody", "", open)
			writeJobPolicy(t, s, admin, "shop", g.rules)
			try("a workload with the right", job, true)
			writeJobPolicy(t, s, admin, "other", g.rules)
			try("a workload beside one with the right", job, jobs)
			deletePolicy(t, s, admin, "of-a-job")
		}
	}
}

// What nodes may do about themselves they may not do about others, of another pool
// at that: not by their secret and not by their identity.
func TestNodesSpeakForThemselvesOnly(t *testing.T) {
	s := startEnforced(t)
	admin := bootstrapped(t, s)
	waitForKeys(t, s)
	without := tokenWith(t, s, admin, structs.ACLClientToken, unrelated).SecretID
	us, them := registerMachine(t, s, "default"), registerMachine(t, s, "gpu")
	for name, args := range ownMethods {
		about := func(m machine) guard { return guard{args: func() any { return args(m.id, us.secret) }} }
		for who, secret := range map[string]string{"secret": us.secret, "identity": us.identity} {
			if !attempt(t, s, name, about(us), secret) {
				t.Errorf("%s: a node is refused by its %s", name, who)
			}
			if attempt(t, s, name, about(them), secret) {
				t.Errorf("%s: a node may do it to others by its %s", name, who)
			}
		}
		shown := name == "Node.Register" || name == "Node.GetClientAllocs" // they carry the node's secret
		for who, secret := range map[string]string{"nobody": "", "a token without the right": without} {
			if attempt(t, s, name, about(us), secret) != shown {
				t.Errorf("%s by %s: allowed %v", name, who, !shown)
			}
		}
	}
	for _, name := range nodeMethods {
		if ownMethods[name] == nil && name != "Alloc.GetAllocs" {
			t.Errorf("%s: nothing says how a node calls it", name)
		}
	}
}

// What decides who belongs to the cluster is for operators, also while access control
// is off: those methods are known by the rights that they need.
func TestWhatIsForOperatorsOnly(t *testing.T) {
	for name, m := range methods {
		rules := guards[name].rules
		if want := rules == operator("join-token-write").rules || rules == operator("authority-rotate").rules || rules == operator("raft-write").rules ||
			name == "Operator.AutopilotSetConfiguration"; m.operatorsOnly != want {
			t.Errorf("%s: for operators only %v, want %v", name, m.operatorsOnly, want)
		}
	}
}

// TestEveryMethodOfAgentsIsEnforced has a row for each method that is called over the
// link of a node, streams included, with the callers of TestEveryMethodIsEnforced.
func TestEveryMethodOfAgentsIsEnforced(t *testing.T) {
	s := startEnforced(t)
	admin := bootstrapped(t, s)
	waitForKeys(t, s)
	expired := tokenWith(t, s, admin, structs.ACLManagementToken, "")
	expire(t, s, expired)
	without := tokenWith(t, s, admin, structs.ACLClientToken, unrelated).SecretID
	us, peer, them := registerMachine(t, s, "default"), registerMachine(t, s, "default"), registerMachine(t, s, "gpu")
	job := workload(t, s, "shop", auth.DefaultAudience)
	for _, m := range nodelink.Methods {
		kind, policy, _ := strings.Cut(m.Rule, ":")
		rules := fmt.Sprintf("%s { policy = %q }", kind, policy)
		try := func(who, secret string, want bool) {
			t.Helper()
			for _, n := range []machine{us, peer, them} {
				req := &structs.NodeCallRequest{NodeID: n.id, Method: m.Name, QueryOptions: structs.QueryOptions{AuthToken: secret}}
				var err error
				if m.Class == nodelink.Stream {
					_, err = s.StreamNode(t.Context(), req, io.Discard)
				} else {
					err = s.RPC(t.Context(), nodeLinkCallName, req, &structs.NodeCallResponse{})
				}
				if got := !errors.Is(err, errs.PermissionDenied); got != want {
					t.Errorf("%s by %s: allowed %v, want %v", m.Name, who, got, want)
				}
			}
		}
		try("nobody", "", false)
		writePolicy(t, s, admin, structs.ACLAnonymousPolicy, unrelated)
		try("anonymous without the right", "", false)
		try("an unknown token", uuid.NewString(), false)
		try("an expired token", expired.SecretID, false)
		try("a token without the right", without, false)
		try("a token with the right", tokenWith(t, s, admin, structs.ACLClientToken, rules).SecretID, true)
		try("a management token", admin, true)
		try("a node's secret", us.secret, false)
		try("a node's identity", us.identity, false)
		try("a workload", job, false)
		writeJobPolicy(t, s, admin, "shop", rules)
		try("a workload with the right", job, true)
		deletePolicy(t, s, admin, "of-a-job")
		deletePolicy(t, s, admin, structs.ACLAnonymousPolicy)
	}
}

// waitForKeys returns once the cluster can sign.
func waitForKeys(t testing.TB, s *Server) {
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

func deletePolicy(t *testing.T, s *Server, admin, name string) {
	t.Helper()
	req := &structs.ACLPolicyDeleteRequest{Names: []string{name}, WriteRequest: structs.WriteRequest{AuthToken: admin}}
	mustCall(t, s, "ACL.DeletePolicies", req, &structs.GenericResponse{})
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
