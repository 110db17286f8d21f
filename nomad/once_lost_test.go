package nomad_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/jointoken"
	"github.com/cairn-project/cairn/internal/tlsconf"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// lostAnswer is a write whose leader is lost after it was applied and before it is answered.
type lostAnswer struct {
	// nothing says that the write has no entry of the log, so that its index proves nothing.
	nothing bool
	// begin makes ready what the write needs and returns its request, its reply, and
	// what has to hold once it is answered.
	begin func(root caller) (args, reply any, check func(root caller) error)
}

// lost makes a lostAnswer of typed functions.
func lost[Req, Resp any](args func(root caller) *Req, check func(root caller, args *Req, reply *Resp) error) lostAnswer {
	return lostAnswer{begin: func(root caller) (any, any, func(caller) error) {
		a, r := args(root), new(Resp)
		return a, r, func(root caller) error {
			if check == nil {
				return nil
			}
			return check(root, a, r)
		}
	}}
}

// entryless is lost for what writes nothing.
func entryless[Req, Resp any](args func(root caller) *Req, check func(root caller, args *Req, reply *Resp) error) lostAnswer {
	l := lost(args, check)
	l.nothing = true
	return l
}

// readyNode registers a node.
func readyNode(root caller) *structs.Node {
	n := newNode("")
	mustReady(root.t, root.Node, n)
	return n
}

// events returns how many events of a node say so.
func (c caller) events(id, message string) (count int) {
	var reply structs.SingleNodeResponse
	c.must("Node.GetNode", &structs.NodeSpecificRequest{NodeID: id}, &reply)
	for _, e := range reply.Node.Events {
		if e.Message == message {
			count++
		}
	}
	return count
}

// sameToken reports whether the token that was answered is the only one of its name.
func sameToken(root caller, got *structs.ACLToken) error {
	var list structs.ACLTokenListResponse
	root.must("ACL.ListTokens", &structs.ACLTokenListRequest{}, &list)
	var found int
	for _, t := range list.Tokens {
		if t.Name == got.Name {
			found++
		}
	}
	var reply structs.SingleACLTokenResponse
	root.must("ACL.GetToken", &structs.ACLTokenSpecificRequest{AccessorID: got.AccessorID}, &reply)
	if found != 1 || reply.Token == nil || reply.Token.SecretID != got.SecretID || got.SecretID == "" {
		return fmt.Errorf("%d tokens %q, answered %+v, stored %+v", found, got.Name, got, reply.Token)
	}
	return nil
}

func writeVar(op structs.VarOp, path string, lock *structs.VariableLock) *structs.VariablesApplyRequest {
	return &structs.VariablesApplyRequest{Op: op, Var: &structs.VariableDecrypted{VariableMetadata: structs.VariableMetadata{Path: path, Lock: lock}, Items: structs.VariableItems{"k": "v"}}}
}

// loginKey signs the logins of the auth method "ci".
var loginKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func loginMethod(root caller) string {
	key, err := loginKey()
	if err != nil {
		root.t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		root.t.Fatal(err)
	}
	method := &structs.ACLAuthMethod{Name: "ci", Type: "JWT", TokenLocality: "local", MaxTokenTTL: time.Hour, TokenNameFormat: "${auth_method_name}-login",
		Config: &structs.ACLAuthMethodConfig{BoundAudiences: []string{"cairn"}, JWTValidationPubKeys: []string{string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}}}
	root.must("ACL.UpsertAuthMethods", &structs.ACLAuthMethodUpsertRequest{AuthMethods: []*structs.ACLAuthMethod{method}}, &structs.ACLAuthMethodUpsertResponse{})
	root.policy("ci", `namespace "default" { policy = "read" }`)
	rule := &structs.ACLBindingRule{AuthMethod: "ci", BindType: "policy", BindName: "ci"}
	root.must("ACL.UpsertBindingRules", &structs.ACLBindingRulesUpsertRequest{ACLBindingRules: []*structs.ACLBindingRule{rule}}, &structs.ACLBindingRulesUpsertResponse{})
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, nil)
	if err != nil {
		root.t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(map[string]any{"sub": "pat", "aud": "cairn", "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}).Serialize()
	if err != nil {
		root.t.Fatal(err)
	}
	return token
}

func joinToken(root caller) *structs.JoinTokenCreateResponse {
	var reply structs.JoinTokenCreateResponse
	root.must("JoinToken.Create", &structs.JoinTokenCreateRequest{Name: "ready", Role: structs.JoinRoleClient, MaxUses: 1}, &reply)
	return &reply
}

// lostAnswers has a case for every write of the registry, but for those below.
var lostAnswers = map[string]lostAnswer{
	"ACL.UpsertTokens": lost(func(caller) *structs.ACLTokenUpsertRequest {
		return tokenRequest(structs.ACLToken{Name: "made", Type: structs.ACLManagementToken})
	}, func(root caller, _ *structs.ACLTokenUpsertRequest, reply *structs.ACLTokenUpsertResponse) error {
		return sameToken(root, reply.Tokens[0])
	}),
	"ACL.DeleteTokens": lost(func(root caller) *structs.ACLTokenDeleteRequest {
		return &structs.ACLTokenDeleteRequest{AccessorIDs: []string{root.token(structs.ACLToken{Type: structs.ACLManagementToken}).AccessorID}}
	}, noCheck[structs.ACLTokenDeleteRequest, structs.GenericResponse]),
	"ACL.UpsertPolicies": lost(func(caller) *structs.ACLPolicyUpsertRequest {
		return policyRequest("made", `node { policy = "read" }`)
	}, noCheck[structs.ACLPolicyUpsertRequest, structs.GenericResponse]),
	"ACL.DeletePolicies": lost(func(root caller) *structs.ACLPolicyDeleteRequest {
		root.policy("deleted", `node { policy = "read" }`)
		return &structs.ACLPolicyDeleteRequest{Names: []string{"deleted"}}
	}, noCheck[structs.ACLPolicyDeleteRequest, structs.GenericResponse]),
	"ACL.UpsertRoles": lost(func(root caller) *structs.ACLRolesUpsertRequest {
		root.policy("of-role", `node { policy = "read" }`)
		return &structs.ACLRolesUpsertRequest{ACLRoles: []*structs.ACLRole{newRole("made", "of-role")}}
	}, func(root caller, _ *structs.ACLRolesUpsertRequest, reply *structs.ACLRolesUpsertResponse) error {
		var stored structs.ACLRoleByNameResponse
		root.must("ACL.GetRoleByName", &structs.ACLRoleByNameRequest{RoleName: "made"}, &stored)
		if reply.ACLRoles[0].ID != stored.ACLRole.ID || stored.ACLRole.CreateIndex != reply.Index {
			return fmt.Errorf("answered %+v, stored %+v", reply.ACLRoles[0], stored.ACLRole)
		}
		return nil
	}),
	"ACL.DeleteRolesByID": lost(func(root caller) *structs.ACLRolesDeleteByIDRequest {
		root.policy("of-gone", `node { policy = "read" }`)
		return &structs.ACLRolesDeleteByIDRequest{ACLRoleIDs: []string{root.role("gone", "of-gone").ID}}
	}, noCheck[structs.ACLRolesDeleteByIDRequest, structs.ACLRolesDeleteByIDResponse]),
	"ACL.UpsertAuthMethods": lost(func(root caller) *structs.ACLAuthMethodUpsertRequest {
		return methodRequest("made")
	}, func(_ caller, _ *structs.ACLAuthMethodUpsertRequest, reply *structs.ACLAuthMethodUpsertResponse) error {
		if m := reply.AuthMethods[0]; m.Name != "made" || m.CreateIndex != reply.Index {
			return fmt.Errorf("answered %+v", m)
		}
		return nil
	}),
	"ACL.DeleteAuthMethods": lost(func(root caller) *structs.ACLAuthMethodDeleteRequest {
		root.must("ACL.UpsertAuthMethods", methodRequest("gone"), &structs.ACLAuthMethodUpsertResponse{})
		return &structs.ACLAuthMethodDeleteRequest{Names: []string{"gone"}}
	}, noCheck[structs.ACLAuthMethodDeleteRequest, structs.ACLAuthMethodDeleteResponse]),
	"ACL.UpsertBindingRules": lost(func(root caller) *structs.ACLBindingRulesUpsertRequest {
		root.must("ACL.UpsertAuthMethods", methodRequest("bound"), &structs.ACLAuthMethodUpsertResponse{})
		return &structs.ACLBindingRulesUpsertRequest{ACLBindingRules: []*structs.ACLBindingRule{{AuthMethod: "bound", BindType: "management"}}}
	}, func(root caller, _ *structs.ACLBindingRulesUpsertRequest, reply *structs.ACLBindingRulesUpsertResponse) error {
		var stored structs.ACLBindingRuleResponse
		root.must("ACL.GetBindingRule", &structs.ACLBindingRuleRequest{ACLBindingRuleID: reply.ACLBindingRules[0].ID}, &stored)
		if stored.ACLBindingRule == nil || stored.ACLBindingRule.CreateIndex != reply.Index {
			return fmt.Errorf("answered %+v, stored %+v", reply.ACLBindingRules[0], stored.ACLBindingRule)
		}
		return nil
	}),
	"ACL.DeleteBindingRules": lost(func(root caller) *structs.ACLBindingRulesDeleteRequest {
		root.must("ACL.UpsertAuthMethods", methodRequest("unbound"), &structs.ACLAuthMethodUpsertResponse{})
		var reply structs.ACLBindingRulesUpsertResponse
		root.must("ACL.UpsertBindingRules", &structs.ACLBindingRulesUpsertRequest{ACLBindingRules: []*structs.ACLBindingRule{{AuthMethod: "unbound", BindType: "management"}}}, &reply)
		return &structs.ACLBindingRulesDeleteRequest{ACLBindingRuleIDs: []string{reply.ACLBindingRules[0].ID}}
	}, noCheck[structs.ACLBindingRulesDeleteRequest, structs.ACLBindingRulesDeleteResponse]),
	"ACL.Login": lost(func(root caller) *structs.ACLLoginRequest {
		return &structs.ACLLoginRequest{AuthMethodName: "ci", LoginToken: loginMethod(root)}
	}, func(root caller, _ *structs.ACLLoginRequest, reply *structs.ACLLoginResponse) error {
		return sameToken(root, reply.ACLToken)
	}),
	"ACL.UpsertOneTimeToken": lost(func(caller) *structs.OneTimeTokenUpsertRequest {
		return &structs.OneTimeTokenUpsertRequest{}
	}, func(root caller, _ *structs.OneTimeTokenUpsertRequest, reply *structs.OneTimeTokenUpsertResponse) error {
		var exchanged structs.OneTimeTokenExchangeResponse
		root.must("ACL.ExchangeOneTimeToken", &structs.OneTimeTokenExchangeRequest{OneTimeSecretID: reply.OneTimeToken.OneTimeSecretID}, &exchanged)
		if exchanged.Token.SecretID != root.secret {
			return fmt.Errorf("exchanged for %+v", exchanged.Token)
		}
		return nil
	}),
	"ACL.ExchangeOneTimeToken": lost(func(root caller) *structs.OneTimeTokenExchangeRequest {
		var made structs.OneTimeTokenUpsertResponse
		other := root.token(structs.ACLToken{Name: "exchanged", Type: structs.ACLManagementToken})
		root.as(other.SecretID).must("ACL.UpsertOneTimeToken", &structs.OneTimeTokenUpsertRequest{}, &made)
		return &structs.OneTimeTokenExchangeRequest{OneTimeSecretID: made.OneTimeToken.OneTimeSecretID}
	}, func(root caller, args *structs.OneTimeTokenExchangeRequest, reply *structs.OneTimeTokenExchangeResponse) error {
		again := &structs.OneTimeTokenExchangeRequest{OneTimeSecretID: args.OneTimeSecretID}
		if err := root.call("ACL.ExchangeOneTimeToken", again, &structs.OneTimeTokenExchangeResponse{}); err == nil {
			return errors.New("another exchange is answered, too")
		}
		return sameToken(root, reply.Token)
	}),
	"ACL.ExpireOneTimeTokens": lost(func(caller) *structs.OneTimeTokenExpireRequest {
		return &structs.OneTimeTokenExpireRequest{}
	}, noCheck[structs.OneTimeTokenExpireRequest, structs.GenericResponse]),
	"ACL.CreateClientIntroductionToken": entryless(func(caller) *structs.ACLCreateClientIntroductionTokenRequest {
		return &structs.ACLCreateClientIntroductionTokenRequest{}
	}, func(_ caller, _ *structs.ACLCreateClientIntroductionTokenRequest, reply *structs.ACLCreateClientIntroductionTokenResponse) error {
		if reply.JWT == "" {
			return errors.New("no token")
		}
		return nil
	}),
	"Authority.Join": lost(func(root caller) *structs.AuthorityJoinRequest {
		token, err := jointoken.Parse(joinToken(root).Text)
		if err != nil {
			root.t.Fatal(err)
		}
		key, err := tlsconf.NewKey()
		if err != nil {
			root.t.Fatal(err)
		}
		csr, err := tlsconf.NewRequest(key, nil)
		if err != nil {
			root.t.Fatal(err)
		}
		return &structs.AuthorityJoinRequest{TokenID: token.ID, Secret: token.Secret, Role: structs.JoinRoleClient, CSR: csr, Time: time.Now()}
	}, func(root caller, args *structs.AuthorityJoinRequest, reply *structs.AuthorityJoinResponse) error {
		var list structs.JoinTokenListResponse
		root.must("JoinToken.List", &structs.JoinTokenListRequest{}, &list)
		for _, t := range list.JoinTokens {
			if t.ID == args.TokenID && t.Uses == 1 && len(reply.Certificate) > 0 {
				return nil
			}
		}
		return fmt.Errorf("%d bytes of a certificate, tokens %+v", len(reply.Certificate), list.JoinTokens)
	}),
	"Authority.Rotate": lost(func(caller) *structs.AuthorityRotateRequest {
		return &structs.AuthorityRotateRequest{}
	}, func(root caller, _ *structs.AuthorityRotateRequest, reply *structs.AuthorityRotateResponse) error {
		var list structs.AuthorityListResponse
		root.must("Authority.List", &structs.AuthorityListRequest{}, &list)
		if len(list.Authorities) != 2 || list.Authorities[1].ID != reply.Authority.ID || reply.Authority.Phase != structs.AuthorityNext {
			return fmt.Errorf("answered %+v, stored %+v", reply.Authority, list.Authorities)
		}
		return nil
	}),
	"JoinToken.Create": lost(func(caller) *structs.JoinTokenCreateRequest {
		return &structs.JoinTokenCreateRequest{Name: "made", Role: structs.JoinRoleServer, MaxUses: 1}
	}, func(root caller, _ *structs.JoinTokenCreateRequest, reply *structs.JoinTokenCreateResponse) error {
		var list structs.JoinTokenListResponse
		root.must("JoinToken.List", &structs.JoinTokenListRequest{}, &list)
		var ids []string
		for _, t := range list.JoinTokens {
			if t.Name == "made" {
				ids = append(ids, t.ID)
			}
		}
		token, err := jointoken.Parse(reply.Text)
		if err != nil || len(ids) != 1 || ids[0] != reply.JoinToken.ID || token.ID != ids[0] {
			return fmt.Errorf("%v: answered %+v, stored %v", err, token, ids)
		}
		wrong := &structs.AuthorityJoinRequest{TokenID: token.ID, Secret: token.Secret, Role: structs.JoinRoleServer, CSR: []byte("none"), Time: time.Now()}
		if err := root.call("Authority.Join", wrong, &structs.AuthorityJoinResponse{}); err == nil || strings.Contains(err.Error(), "unknown") {
			return fmt.Errorf("the secret is not the token's: %v", err)
		}
		return nil
	}),
	"JoinToken.Delete": lost(func(root caller) *structs.JoinTokenDeleteRequest {
		return &structs.JoinTokenDeleteRequest{IDs: []string{joinToken(root).JoinToken.ID}}
	}, noCheck[structs.JoinTokenDeleteRequest, structs.GenericResponse]),
	"Namespace.UpsertNamespaces": lost(func(caller) *structs.NamespaceUpsertRequest {
		return &structs.NamespaceUpsertRequest{Namespaces: []*structs.Namespace{{Name: "made"}}}
	}, noCheck[structs.NamespaceUpsertRequest, structs.GenericResponse]),
	"Namespace.DeleteNamespaces": lost(func(root caller) *structs.NamespaceDeleteRequest {
		root.must("Namespace.UpsertNamespaces", &structs.NamespaceUpsertRequest{Namespaces: []*structs.Namespace{{Name: "gone"}}}, &structs.GenericResponse{})
		return &structs.NamespaceDeleteRequest{Namespaces: []string{"gone"}}
	}, noCheck[structs.NamespaceDeleteRequest, structs.GenericResponse]),
	"Node.Register": lost(func(caller) *structs.NodeRegisterRequest {
		return &structs.NodeRegisterRequest{Node: newNode("")}
	}, func(root caller, args *structs.NodeRegisterRequest, reply *structs.NodeUpdateResponse) error {
		if n := root.events(args.Node.ID, "Node registered"); n != 1 || reply.HeartbeatTTL == 0 || reply.SignedIdentity == nil || reply.NodeModifyIndex != reply.Index {
			return fmt.Errorf("%d events, answered %+v", n, reply)
		}
		return nil
	}),
	"Node.UpdateStatus": lostAs(func(root caller) (*structs.NodeUpdateStatusRequest, string) {
		n := newNode("")
		if _, err := register(root.Node, n, n.SecretID); err != nil {
			root.t.Fatal(err)
		}
		return &structs.NodeUpdateStatusRequest{NodeID: n.ID, Status: structs.NodeStatusReady}, n.SecretID
	}, func(_ caller, _ *structs.NodeUpdateStatusRequest, reply *structs.NodeUpdateResponse) error {
		if reply.HeartbeatTTL == 0 || reply.NodeModifyIndex != reply.Index {
			return fmt.Errorf("answered %+v", reply)
		}
		return nil
	}),
	"Node.EmitEvents": lostAs(func(root caller) (*structs.EmitNodeEventsRequest, string) {
		n := readyNode(root)
		return &structs.EmitNodeEventsRequest{NodeEvents: map[string][]*structs.NodeEvent{n.ID: {structs.NewNodeEvent("Test", "happened", time.Now())}}}, n.SecretID
	}, func(root caller, args *structs.EmitNodeEventsRequest, _ *structs.EmitNodeEventsResponse) error {
		for id := range args.NodeEvents {
			if n := root.events(id, "happened"); n != 1 {
				return fmt.Errorf("it happened %d times", n)
			}
		}
		return nil
	}),
	"Node.UpdateDrain": lost(func(root caller) *structs.NodeUpdateDrainRequest {
		return &structs.NodeUpdateDrainRequest{NodeID: readyNode(root).ID, DrainStrategy: &structs.DrainStrategy{DrainSpec: structs.DrainSpec{Deadline: time.Hour}}}
	}, func(root caller, args *structs.NodeUpdateDrainRequest, reply *structs.NodeDrainUpdateResponse) error {
		if n := root.events(args.NodeID, "Node drain strategy set"); n != 1 || reply.NodeModifyIndex != reply.Index {
			return fmt.Errorf("set %d times, answered %+v", n, reply)
		}
		return nil
	}),
	"Node.UpdateEligibility": lost(func(root caller) *structs.NodeUpdateEligibilityRequest {
		return &structs.NodeUpdateEligibilityRequest{NodeID: readyNode(root).ID, Eligibility: structs.NodeSchedulingIneligible}
	}, func(root caller, args *structs.NodeUpdateEligibilityRequest, _ *structs.NodeEligibilityUpdateResponse) error {
		if n := root.events(args.NodeID, "Node marked as ineligible for scheduling"); n != 1 {
			return fmt.Errorf("marked %d times", n)
		}
		return nil
	}),
	"Node.Deregister": lost(func(root caller) *structs.NodeDeregisterRequest {
		return &structs.NodeDeregisterRequest{NodeID: readyNode(root).ID}
	}, noCheck[structs.NodeDeregisterRequest, structs.NodeUpdateResponse]),
	"Node.BatchDeregister": lost(func(root caller) *structs.NodeBatchDeregisterRequest {
		return &structs.NodeBatchDeregisterRequest{NodeIDs: []string{readyNode(root).ID}}
	}, noCheck[structs.NodeBatchDeregisterRequest, structs.NodeUpdateResponse]),
	"Node.Evaluate": entryless(func(root caller) *structs.NodeEvaluateRequest {
		return &structs.NodeEvaluateRequest{NodeID: readyNode(root).ID}
	}, noCheck[structs.NodeEvaluateRequest, structs.NodeUpdateResponse]),
	"NodePool.UpsertNodePools": lost(func(caller) *structs.NodePoolUpsertRequest {
		return &structs.NodePoolUpsertRequest{NodePools: []*structs.NodePool{{Name: "made"}}}
	}, noCheck[structs.NodePoolUpsertRequest, structs.GenericResponse]),
	"NodePool.DeleteNodePools": lost(func(root caller) *structs.NodePoolDeleteRequest {
		root.must("NodePool.UpsertNodePools", &structs.NodePoolUpsertRequest{NodePools: []*structs.NodePool{{Name: "gone"}}}, &structs.GenericResponse{})
		return &structs.NodePoolDeleteRequest{Names: []string{"gone"}}
	}, noCheck[structs.NodePoolDeleteRequest, structs.GenericResponse]),
	"Variables.Apply": lost(func(caller) *structs.VariablesApplyRequest {
		return writeVar(structs.VarOpLockAcquire, "made", &structs.VariableLock{TTL: time.Minute})
	}, func(root caller, _ *structs.VariablesApplyRequest, reply *structs.VariablesApplyResponse) error {
		renew := &structs.VariablesRenewLockRequest{Path: "made", LockID: reply.Output.Lock.ID}
		return root.call("Variables.RenewLock", renew, &structs.VariablesRenewLockResponse{})
	}),
	"Variables.RenewLock": entryless(func(root caller) *structs.VariablesRenewLockRequest {
		var reply structs.VariablesApplyResponse
		root.must("Variables.Apply", writeVar(structs.VarOpLockAcquire, "renewed", &structs.VariableLock{TTL: time.Minute}), &reply)
		return &structs.VariablesRenewLockRequest{Path: "renewed", LockID: reply.Output.Lock.ID}
	}, noCheck[structs.VariablesRenewLockRequest, structs.VariablesRenewLockResponse]),
	"WorkloadEvent.Raise": lost(func(caller) *structs.WorkloadEventRaiseRequest {
		return &structs.WorkloadEventRaiseRequest{Event: &structs.WorkloadEvent{Namespace: "default", Type: "done", Source: structs.PeerIdentity{NodeID: "n1"}}}
	}, noCheck[structs.WorkloadEventRaiseRequest, structs.WorkloadEventRaiseResponse]),
	"Operation.Upsert": lost(func(caller) *structs.OperationUpsertRequest {
		return &structs.OperationUpsertRequest{Operation: &structs.Operation{ID: "op-made", Kind: "backup", Name: "made", Agent: "s1", State: structs.OperationRunning}}
	}, noCheck[structs.OperationUpsertRequest, structs.OperationUpsertResponse]),
	"Operator.AutopilotSetConfiguration": lost(func(root caller) *structs.AutopilotRequest {
		conf := *settings(root.t, root.Node, root.secret)
		conf.MinQuorum = 4
		return &structs.AutopilotRequest{Config: conf, CAS: true}
	}, func(root caller, _ *structs.AutopilotRequest, reply *structs.AutopilotSetConfigResponse) error {
		if got := settings(root.t, root.Node, root.secret); !reply.Updated || got.MinQuorum != 4 || got.ModifyIndex != reply.Index {
			return fmt.Errorf("answered %+v, stored %+v", reply, got)
		}
		return nil
	}),
	"System.GarbageCollect": entryless(func(caller) *structs.SystemRequest { return &structs.SystemRequest{} },
		noCheck[structs.SystemRequest, structs.GenericResponse]),
}

// lostElsewhere are writes that are lost in tests of their own, or why they are in none.
var lostElsewhere = map[string]string{
	"ACL.Bootstrap":                     "TestBootstrapOutlivesTheLeader",
	"Operator.RaftRemovePeerByID":       "TestChangesOfPeersOutliveTheLeader",
	"Operator.TransferLeadershipToPeer": "TestChangesOfPeersOutliveTheLeader",
	"Operator.ReplicationAccept":        "needs another region, and accepting twice is as good as once",
	"ACL.OIDCAuthURL":                   "writes nothing, and a provider cannot be asked on the network in memory",
	"ACL.OIDCCompleteAuth":              "ends as ACL.Login does, and a provider cannot be asked on the network in memory",
}

// noCheck checks nothing but that the write was answered by its first try.
func noCheck[Req, Resp any](caller, *Req, *Resp) error { return nil }

// lostAs is lost for a call with another secret than the root's.
func lostAs[Req, Resp any](args func(root caller) (*Req, string), check func(caller, *Req, *Resp) error) lostAnswer {
	return lost(func(root caller) *Req {
		a, secret := args(root)
		any(a).(structs.Write).WriteOpts().AuthToken = secret
		return a
	}, check)
}

func methodRequest(name string) *structs.ACLAuthMethodUpsertRequest {
	return &structs.ACLAuthMethodUpsertRequest{AuthMethods: []*structs.ACLAuthMethod{{Name: name, Type: "JWT", TokenLocality: "local", MaxTokenTTL: time.Hour,
		Config: &structs.ACLAuthMethodConfig{JWKSURL: "https://" + name + ".example.com/keys"}}}}
}

// latest returns how far the store of a server is.
func latest(t *testing.T, n *nomadtest.Node) uint64 {
	t.Helper()
	var reply structs.RegionIndexResponse
	if err := n.RPC(context.Background(), "Region.LatestIndex", &structs.GenericRequest{}, &reply); err != nil {
		t.Fatal(err)
	}
	return reply.Index
}

// started is a write whose answer is under way.
type started struct {
	name        string
	nothing     bool
	args, reply any
	check       func(caller) error
	err         error
}

// lose sends the writes through a follower and cuts the leader off when it has applied
// them and none of its answers has arrived.
func lose(t *testing.T, c *nomadtest.Cluster, through *nomadtest.Node, calls []*started) {
	t.Helper()
	old := c.WaitLeader()
	const way = 300 * time.Millisecond
	c.Fabric.Delay(old.Host, through.Host, way)
	if err := through.RPC(t.Context(), "Status.ReadIndex", &structs.ReadIndexRequest{}, &structs.ReadIndexResponse{}); err != nil {
		t.Fatal(err) // and there is a connection
	}
	before := latest(t, old)
	var wg sync.WaitGroup
	for _, call := range calls {
		wg.Go(func() { call.err = through.RPC(t.Context(), call.name, call.args, call.reply) })
	}
	time.Sleep(way + way/2)
	applied := latest(t, old)
	c.Fabric.Isolate(old.Host)
	wg.Wait()
	for _, call := range calls {
		w, ok := call.reply.(structs.WriteReply)
		if call.err != nil {
			t.Errorf("%s: %v", call.name, call.err)
		} else if index := w.WriteMetaData().Index; ok && !call.nothing && (index <= before || index > applied) {
			t.Errorf("%s was answered with index %d, its first try has one of %d to %d", call.name, index, before+1, applied)
		}
	}
}

func TestEveryWriteOutlivesItsLeader(t *testing.T) {
	option := ownAuthority(t, 24*time.Hour)
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		c.WaitReady()
		root := admin(t, c.Follower())
		within(t, "an authority", func() bool {
			return root.call("JoinToken.Create", &structs.JoinTokenCreateRequest{Name: "first", Role: structs.JoinRoleClient}, &structs.JoinTokenCreateResponse{}) == nil
		})
		var calls []*started
		for _, name := range nomad.Writes() {
			l, ok := lostAnswers[name]
			if !ok {
				if lostElsewhere[name] == "" {
					t.Errorf("%s: add a case to lostAnswers, and the method to the list in once.go", name)
				}
				continue
			}
			call := &started{name: name, nothing: l.nothing}
			call.args, call.reply, call.check = l.begin(root)
			if w := call.args.(structs.Write).WriteOpts(); w.AuthToken == "" {
				w.AuthToken = root.secret
			}
			calls = append(calls, call)
		}
		lose(t, c, root.Node, calls)
		for _, call := range calls {
			if call.err == nil {
				if err := call.check(root); err != nil {
					t.Errorf("%s: %v", call.name, err)
				}
			}
		}
	}, withACL, option)
}

func TestBootstrapOutlivesTheLeader(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		c.WaitReady()
		through := c.Follower()
		var reply structs.ACLTokenUpsertResponse
		lose(t, c, through, []*started{{name: "ACL.Bootstrap", args: &structs.ACLTokenBootstrapRequest{}, reply: &reply}})
		if err := sameToken(caller{through, t, reply.Tokens[0].SecretID}, reply.Tokens[0]); err != nil {
			t.Error(err)
		}
	}, withACL)
}

func TestChangesOfPeersOutliveTheLeader(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		gone := c.Add(func(conf *nomad.Config) { conf.NonVoter = true })
		within(t, "a fourth peer", func() bool { return len(peers(t, c.WaitLeader())) == 4 })
		c.WaitReady()
		c.Crash(gone)
		old, through := c.WaitLeader(), c.Follower()
		remove := &started{name: "Operator.RaftRemovePeerByID", nothing: true, args: &structs.RaftPeerByIDRequest{ID: "00000000-0000-0000-0000-000000000004"}, reply: &structs.GenericResponse{}}
		lose(t, c, through, []*started{remove})
		if n := len(peers(t, through)); n != 3 {
			t.Errorf("%d peers are left", n)
		}
		c.Fabric.HealAll()
		c.Fabric.Delay(old.Host, through.Host, 0)
		time.Sleep(5 * time.Second)

		old = c.WaitLeader()
		through = otherThan(c, old)
		var reply structs.LeadershipTransferResponse
		var to *nomadtest.Node
		for _, n := range c.Nodes[:3] {
			if n != old && n != through {
				to = n
			}
		}
		c.Fabric.Delay(old.Host, through.Host, 300*time.Millisecond)
		ended := make(chan error, 1)
		go func() {
			ended <- through.RPC(t.Context(), "Operator.TransferLeadershipToPeer", &structs.RaftPeerRequest{Address: raft.ServerAddress(to.Host + ":4647")}, &reply)
		}()
		time.Sleep(450 * time.Millisecond)
		c.Fabric.Isolate(old.Host)
		if err := <-ended; err != nil || reply.Noop || c.WaitLeader() != to {
			t.Errorf("%+v, %v", reply, err)
		}
	})
}

// A secret is told to whoever has a token, not to whoever guesses an idempotency token.
func TestIdempotencyTokenOfNobodyTellsNoSecret(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		token := loginMethod(root)
		login := func() *structs.ACLToken {
			var reply structs.ACLLoginResponse
			req := &structs.ACLLoginRequest{AuthMethodName: "ci", LoginToken: token, WriteRequest: structs.WriteRequest{IdempotencyToken: "login-1"}}
			root.as("").must("ACL.Login", req, &reply)
			return reply.ACLToken
		}
		if login().SecretID == login().SecretID {
			t.Error("a second login with a guessed idempotency token tells the secret of the first")
		}
		named := func(c caller) *structs.ACLToken {
			var reply structs.ACLTokenUpsertResponse
			req := tokenRequest(structs.ACLToken{Name: "named", Type: structs.ACLManagementToken})
			req.IdempotencyToken = "token-1"
			c.must("ACL.UpsertTokens", req, &reply)
			return reply.Tokens[0]
		}
		first := named(root)
		if again := named(root); again.SecretID != first.SecretID || again.AccessorID != first.AccessorID {
			t.Errorf("the caller got %s first, then %s", first.AccessorID, again.AccessorID)
		}
		if other := named(root.as(first.SecretID)); other.SecretID == first.SecretID {
			t.Error("another caller got the token of the first")
		}
		if err := root.call("ACL.DeleteTokens", &structs.ACLTokenDeleteRequest{AccessorIDs: []string{first.AccessorID}}, &structs.GenericResponse{}); err != nil {
			t.Fatal(err)
		}
		req := tokenRequest(structs.ACLToken{Name: "named", Type: structs.ACLManagementToken})
		req.IdempotencyToken = "token-1"
		if err := root.call("ACL.UpsertTokens", req, &structs.ACLTokenUpsertResponse{}); err == nil || !strings.Contains(err.Error(), "deleted or replaced") {
			t.Errorf("after what was made is gone: %v", err)
		}
	}, withACL)
}
