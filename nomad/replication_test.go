package nomad_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

func TestLocalTokenIsAnonymousInOtherRegions(t *testing.T) {
	runRegions(t, func(r *regions) {
		var local *structs.ACLToken
		within(t, "rights in the other region", func() bool {
			var reply structs.ACLTokenUpsertResponse
			token := &structs.ACLToken{Name: "here", Type: structs.ACLManagementToken}
			err := r.far.RPC(context.Background(), "ACL.UpsertTokens", &structs.ACLTokenUpsertRequest{Tokens: []*structs.ACLToken{token}, WriteRequest: root("")}, &reply)
			if err == nil {
				local = reply.Tokens[0]
			}
			return err == nil
		})
		whoAmI := func(n *nomadtest.Node, region, secret string) (*structs.ACLToken, error) {
			var reply structs.ACLWhoAmIResponse
			err := n.RPC(context.Background(), "ACL.WhoAmI", &structs.GenericRequest{QueryOptions: structs.QueryOptions{Region: region, AuthToken: secret}}, &reply)
			if err != nil {
				return nil, err
			}
			return reply.Identity.ACLToken, nil
		}
		if me, err := whoAmI(r.far, "", local.SecretID); err != nil || me.AccessorID != local.AccessorID {
			t.Fatalf("at home it is %v, %v", me, err)
		}
		if me, err := whoAmI(r.far, "global", local.SecretID); err != nil || me.AccessorID == local.AccessorID || me.SecretID != "" {
			t.Fatalf("in the other region it is %v, %v", me, err)
		}
		if me, err := whoAmI(r.far, "global", rootSecret); err != nil || me.Type != structs.ACLManagementToken {
			t.Fatalf("a global token is %v, %v", me, err)
		}
		node := newNode("")
		if _, err := register(r.far, node, ""); err != nil {
			t.Fatal(err)
		}
		if me, err := whoAmI(r.far, "global", node.SecretID); err != nil || me.AccessorID != "anonymous" { // an error would mean that the secret went there
			t.Fatalf("a node of mars is %v, %v", me, err)
		}
		req := &structs.ACLTokenListRequest{QueryOptions: structs.QueryOptions{Region: "global", AuthToken: local.SecretID}}
		err := r.far.RPC(context.Background(), "ACL.ListTokens", req, &structs.ACLTokenListResponse{})
		if !errors.Is(err, errs.PermissionDenied) || !strings.HasPrefix(err.Error(), "Permission denied: the token is local to region \"mars\"") {
			t.Fatalf("got %v", err)
		}
		if req.AuthToken != local.SecretID {
			t.Fatal("the caller's request was changed")
		}
	})
}

// A token that was made a moment ago does not leave its region by a server that has yet
// to hear of it.
func TestLocalTokenStaysHomeBeforeEveryServerKnowsIt(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		r := &regions{Cluster: c, t: t, home: c.WaitLeader()}
		r.mustCall(r.home, "ACL.Bootstrap", &structs.ACLTokenBootstrapRequest{BootstrapSecret: rootSecret}, &structs.ACLTokenUpsertResponse{})
		follower := c.Nodes[0]
		if follower == r.home {
			follower = c.Nodes[1]
		}
		r.far = c.Add(sharing, inRegion("mars"), expects(1), joins(r.home.Host))
		within(t, "two regions", func() bool {
			return r.far.IsLeader() && slices.Equal(r.regionsOf(follower), []string{"global", "mars"})
		})
		for range 20 {
			local := r.putToken(r.home, &structs.ACLToken{Type: structs.ACLManagementToken})
			var reply structs.ACLWhoAmIResponse // for nobody in mars; refused for a secret that mars does not know
			err := follower.RPC(t.Context(), "ACL.WhoAmI", &structs.GenericRequest{QueryOptions: structs.QueryOptions{Region: "mars", AuthToken: local.SecretID}}, &reply)
			if err != nil {
				t.Fatalf("the secret went to mars: %v", err)
			}
		}
	}, sharing)
}

// has reports whether the region of n has an object of its own; path names the
// kind and the ID.
func (r *regions) has(n *nomadtest.Node, kind, id string) bool {
	r.t.Helper()
	ctx, q := context.Background(), ask("")
	var found bool
	var err error
	switch kind {
	case "namespace":
		var reply structs.SingleNamespaceResponse
		err = n.RPC(ctx, "Namespace.GetNamespace", &structs.NamespaceSpecificRequest{Name: id, QueryOptions: q}, &reply)
		found = reply.Namespace != nil
	case "pool":
		var reply structs.SingleNodePoolResponse
		err = n.RPC(ctx, "NodePool.GetNodePool", &structs.NodePoolSpecificRequest{Name: id, QueryOptions: q}, &reply)
		found = reply.NodePool != nil
	case "policy":
		var reply structs.SingleACLPolicyResponse
		err = n.RPC(ctx, "ACL.GetPolicy", &structs.ACLPolicySpecificRequest{Name: id, QueryOptions: q}, &reply)
		found = reply.Policy != nil
	case "role":
		var reply structs.ACLRoleByIDResponse
		err = n.RPC(ctx, "ACL.GetRoleByID", &structs.ACLRoleByIDRequest{RoleID: id, QueryOptions: q}, &reply)
		found = reply.ACLRole != nil
	case "token":
		var reply structs.SingleACLTokenResponse
		err = n.RPC(ctx, "ACL.GetToken", &structs.ACLTokenSpecificRequest{AccessorID: id, QueryOptions: q}, &reply)
		found = reply.Token != nil
	case "method":
		var reply structs.ACLAuthMethodGetResponse
		err = n.RPC(ctx, "ACL.GetAuthMethod", &structs.ACLAuthMethodGetRequest{MethodName: id, QueryOptions: q}, &reply)
		found = reply.AuthMethod != nil
	case "rule":
		var reply structs.ACLBindingRuleResponse
		err = n.RPC(ctx, "ACL.GetBindingRule", &structs.ACLBindingRuleRequest{ACLBindingRuleID: id, QueryOptions: q}, &reply)
		found = reply.ACLBindingRule != nil
	}
	return err == nil && found
}

// object is something global, with the write that deletes it.
type object struct {
	kind, id, deleter string
	args              any
}

// makeAll makes one of everything that is global, through n, which may be anywhere.
func (r *regions) makeAll(n *nomadtest.Node) []object {
	r.t.Helper()
	done := &structs.GenericResponse{}
	r.mustCall(n, "Namespace.UpsertNamespaces", &structs.NamespaceUpsertRequest{Namespaces: []*structs.Namespace{{Name: "shop", Meta: map[string]string{"a": "b"}}}, WriteRequest: root("")}, done)
	r.mustCall(n, "NodePool.UpsertNodePools", &structs.NodePoolUpsertRequest{NodePools: []*structs.NodePool{{Name: "gpu"}}, WriteRequest: root("")}, done)
	r.putPolicy(n, "reader", readAll)
	role := &structs.ACLRole{Name: "readers", Policies: []*structs.ACLRolePolicyLink{{Name: "reader"}}}
	var roles structs.ACLRolesUpsertResponse
	r.mustCall(n, "ACL.UpsertRoles", &structs.ACLRolesUpsertRequest{ACLRoles: []*structs.ACLRole{role}, WriteRequest: root("")}, &roles)
	roleID := roles.ACLRoles[0].ID
	token := r.putToken(r.home, &structs.ACLToken{Type: structs.ACLClientToken, Global: true, Roles: []*structs.ACLTokenRoleLink{{ID: roleID}}})
	method := &structs.ACLAuthMethod{Name: "sso", Type: structs.ACLAuthMethodTypeJWT, TokenLocality: "local", MaxTokenTTL: time.Hour,
		Config: &structs.ACLAuthMethodConfig{JWKSURL: "https://id.example/keys"}}
	r.mustCall(n, "ACL.UpsertAuthMethods", &structs.ACLAuthMethodUpsertRequest{AuthMethods: []*structs.ACLAuthMethod{method}, WriteRequest: root("")}, &structs.ACLAuthMethodUpsertResponse{})
	rule := &structs.ACLBindingRule{AuthMethod: "sso", BindType: structs.ACLBindingRuleBindTypePolicy, BindName: "reader"}
	var rules structs.ACLBindingRulesUpsertResponse
	r.mustCall(n, "ACL.UpsertBindingRules", &structs.ACLBindingRulesUpsertRequest{ACLBindingRules: []*structs.ACLBindingRule{rule}, WriteRequest: root("")}, &rules)
	ruleID := rules.ACLBindingRules[0].ID
	return []object{
		{"namespace", "shop", "Namespace.DeleteNamespaces", &structs.NamespaceDeleteRequest{Namespaces: []string{"shop"}, WriteRequest: root("")}},
		{"pool", "gpu", "NodePool.DeleteNodePools", &structs.NodePoolDeleteRequest{Names: []string{"gpu"}, WriteRequest: root("")}},
		{"token", token.AccessorID, "ACL.DeleteTokens", &structs.ACLTokenDeleteRequest{AccessorIDs: []string{token.AccessorID}, WriteRequest: root("")}},
		{"role", roleID, "ACL.DeleteRolesByID", &structs.ACLRolesDeleteByIDRequest{ACLRoleIDs: []string{roleID}, WriteRequest: root("")}},
		{"policy", "reader", "ACL.DeletePolicies", &structs.ACLPolicyDeleteRequest{Names: []string{"reader"}, WriteRequest: root("")}},
		{"rule", ruleID, "ACL.DeleteBindingRules", &structs.ACLBindingRulesDeleteRequest{ACLBindingRuleIDs: []string{ruleID}, WriteRequest: root("")}},
		{"method", "sso", "ACL.DeleteAuthMethods", &structs.ACLAuthMethodDeleteRequest{Names: []string{"sso"}, WriteRequest: root("")}},
	}
}

// replyOf returns a reply for the method of a deletion.
func replyOf(method string) any {
	switch method {
	case "ACL.DeleteRolesByID":
		return &structs.ACLRolesDeleteByIDResponse{}
	case "ACL.DeleteBindingRules":
		return &structs.ACLBindingRulesDeleteResponse{}
	case "ACL.DeleteAuthMethods":
		return &structs.ACLAuthMethodDeleteResponse{}
	}
	return &structs.GenericResponse{}
}

// rootArrives waits until the region of far knows the first token.
func (r *regions) rootArrives() {
	r.t.Helper()
	within(r.t, "the first token in the other region", func() bool {
		var reply structs.ACLTokenListResponse
		return r.far.RPC(context.Background(), "ACL.ListTokens", &structs.ACLTokenListRequest{QueryOptions: ask("")}, &reply) == nil
	})
}

func (r *regions) eventually(o object, there bool) {
	r.t.Helper()
	within(r.t, fmt.Sprintf("%s %s in the other region: %v", o.kind, o.id, there), func() bool { return r.has(r.far, o.kind, o.id) == there })
}

func TestWhatIsGlobalIsCopiedAndDeleted(t *testing.T) {
	runRegions(t, func(r *regions) {
		r.rootArrives()
		objects := r.makeAll(r.home)
		for _, o := range objects {
			r.eventually(o, true)
		}
		local := r.putToken(r.home, &structs.ACLToken{Name: "at home", Type: structs.ACLManagementToken})
		theirs := r.putToken(r.far, &structs.ACLToken{Name: "away", Type: structs.ACLManagementToken})
		r.putPolicy(r.home, "reader", `namespace "*" { policy = "write" }`)
		within(t, "the changed policy", func() bool { return r.policy(r.far, "", "reader") == `namespace "*" { policy = "write" }` })
		for _, o := range objects {
			r.mustCall(r.far, o.deleter, o.args, replyOf(o.deleter)) // it is done where it belongs
			if r.has(r.home, o.kind, o.id) {
				t.Fatalf("%s %s is still in the authoritative region", o.kind, o.id)
			}
			r.eventually(o, false)
		}
		time.Sleep(3 * time.Minute)
		if r.has(r.far, "token", local.AccessorID) || r.has(r.home, "token", theirs.AccessorID) || !r.has(r.far, "token", theirs.AccessorID) {
			t.Error("local tokens did not stay where they belong")
		}
		for _, builtin := range []object{{kind: "namespace", id: "default"}, {kind: "pool", id: "all"}, {kind: "pool", id: "default"}} {
			if !r.has(r.far, builtin.kind, builtin.id) {
				t.Errorf("%s %s is gone", builtin.kind, builtin.id)
			}
		}
	})
}

func TestGlobalTokenWorksInEveryRegionAndARemadeOneReplacesIt(t *testing.T) {
	runRegions(t, func(r *regions) {
		r.rootArrives()
		accessor, first, second := uuid.NewString(), uuid.NewString(), uuid.NewString()
		knows := func(secret string) bool {
			var reply structs.ACLWhoAmIResponse
			q := structs.QueryOptions{AuthToken: secret}
			return r.far.RPC(context.Background(), "ACL.WhoAmI", &structs.GenericRequest{QueryOptions: q}, &reply) == nil
		}
		token := &structs.ACLToken{AccessorID: accessor, SecretID: first, Type: structs.ACLClientToken, Policies: []string{"reader"}, Global: true}
		r.putToken(r.home, token)
		within(t, "the token", func() bool { return knows(first) })
		// Both happen while the other region hears nothing.
		r.Fabric.Cut(r.home.Host, r.far.Host)
		r.mustCall(r.home, "ACL.DeleteTokens", &structs.ACLTokenDeleteRequest{AccessorIDs: []string{accessor}, WriteRequest: root("")}, &structs.GenericResponse{})
		token.SecretID = second
		r.putToken(r.home, token)
		r.Fabric.HealAll()
		within(t, "the new secret instead of the old one", func() bool { return knows(second) && !knows(first) })
	})
}

func TestNothingIsDeletedForWantOfRights(t *testing.T) {
	runRegions(t, func(r *regions) {
		r.rootArrives()
		objects := r.makeAll(r.home)
		for _, o := range objects {
			r.eventually(o, true)
		}
		weak := r.putToken(r.home, &structs.ACLToken{Type: structs.ACLClientToken, Policies: []string{"reader"}, Global: true})
		for what, secret := range map[string]string{"no token": "", "an unknown token": uuid.NewString(), "a token with few rights": weak.SecretID} {
			r.Crash(r.far)
			r.far.Reconfigure(func(conf *nomad.Config) { conf.ACL.ReplicationToken = secret })
			r.Restart(r.far)
			within(t, "mars leads again", r.far.IsLeader)
			r.putPolicy(r.home, "later-"+strings.ReplaceAll(what, " ", "-"), readAll)
			time.Sleep(3 * time.Minute)
			for _, o := range objects {
				if !r.has(r.far, o.kind, o.id) {
					t.Errorf("%s: the %s %s was deleted", what, o.kind, o.id)
				}
			}
			status := r.status(r.far)
			for _, table := range status.Tables {
				if !strings.Contains(table.LastError, "replication_token") || !table.LastSync.IsZero() {
					t.Errorf("%s: the status of %s is %+v", what, table.Table, table)
				}
			}
		}
		r.Crash(r.far)
		r.far.Reconfigure(sharing)
		r.Restart(r.far)
		within(t, "what came later", func() bool { return r.has(r.far, "policy", "later-no-token") })
	})
}

func (r *regions) status(n *nomadtest.Node) *structs.ReplicationStatusResponse {
	r.t.Helper()
	var reply structs.ReplicationStatusResponse
	r.mustCall(n, "Operator.ReplicationStatus", &structs.GenericRequest{QueryOptions: ask("")}, &reply)
	return &reply
}

func TestRegionLossAndReturn(t *testing.T) {
	runRegions(t, func(r *regions) {
		r.rootArrives()
		objects := r.makeAll(r.far)
		for _, o := range objects {
			r.eventually(o, true)
		}
		mustWrite := func() error {
			req := &structs.NamespaceUpsertRequest{Namespaces: []*structs.Namespace{{Name: "late"}}, WriteRequest: root("")}
			return r.far.RPC(context.Background(), "Namespace.UpsertNamespaces", req, &structs.GenericResponse{})
		}
		r.Crash(r.home)
		if err := mustWrite(); !errors.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), `region "global"`) { // gossip has yet to notice
			t.Errorf("a global write just after the authoritative region was lost gives %v", err)
		}
		time.Sleep(5 * time.Minute)
		for _, o := range objects {
			if !r.has(r.far, o.kind, o.id) {
				t.Errorf("the %s %s went with its region", o.kind, o.id)
			}
		}
		if err := mustWrite(); !errors.Is(err, errs.NoPath) && !errors.Is(err, errs.Unavailable) {
			t.Errorf("a global write without the authoritative region gives %v", err)
		}
		for _, table := range r.status(r.far).Tables {
			if table.LastError == "" || table.Failures == 0 {
				t.Errorf("the status of %s is %+v", table.Table, table)
			}
		}
		r.Restart(r.home)
		within(t, "global writes again", func() bool { return mustWrite() == nil })
		r.eventually(object{kind: "namespace", id: "late"}, true)
		within(t, "every table in step", func() bool {
			for _, table := range r.status(r.far).Tables {
				if table.LastError != "" || table.LastSync.IsZero() {
					return false
				}
			}
			return true
		})
	})
}

func TestRegionThatWasMadeAnewIsNotCopied(t *testing.T) {
	runRegions(t, func(r *regions) {
		r.rootArrives()
		objects := r.makeAll(r.home)
		for _, o := range objects {
			r.eventually(o, true)
		}
		r.Crash(r.home)
		within(t, "the region is known to be gone", func() bool {
			return errors.Is(r.far.RPC(context.Background(), "Status.Leader", &structs.GenericRequest{QueryOptions: ask("global")}, new(string)), errs.NoPath)
		})
		anew := r.Add(sharing, expects(1), joins(r.far.Host))
		within(t, "a new leader of the region", anew.IsLeader)
		r.mustCall(anew, "ACL.Bootstrap", &structs.ACLTokenBootstrapRequest{BootstrapSecret: rootSecret}, &structs.ACLTokenUpsertResponse{})
		time.Sleep(5 * time.Minute)
		for _, o := range objects {
			if !r.has(r.far, o.kind, o.id) {
				t.Errorf("the %s %s went with the old cluster", o.kind, o.id)
			}
		}
		for _, table := range r.status(r.far).Tables {
			if !strings.Contains(table.LastError, "is another cluster") {
				t.Errorf("the status of %s is %+v", table.Table, table)
			}
		}
		r.Crash(r.far)
		r.Restart(r.far)
		within(t, "a leader that copies again", func() bool {
			for _, table := range r.status(r.far).Tables {
				if strings.Contains(table.LastError, "is another cluster") {
					return true
				}
			}
			return false
		})
		time.Sleep(5 * time.Minute)
		for _, o := range objects {
			if !r.has(r.far, o.kind, o.id) {
				t.Errorf("the %s %s went with a restart", o.kind, o.id)
			}
		}
		var accepted structs.ReplicationAcceptResponse
		r.mustCall(r.far, "Operator.ReplicationAccept", &structs.ReplicationAcceptRequest{WriteRequest: root("mars")}, &accepted)
		if accepted.ClusterID == accepted.Before || accepted.Before == "" || accepted.Index == 0 {
			t.Errorf("accepted %+v", accepted)
		}
		for _, o := range objects {
			r.eventually(o, false)
		}
	})
}

func TestRowThatCannotBeDeletedDoesNotHoldUpTheOthers(t *testing.T) {
	runRegions(t, func(r *regions) {
		r.rootArrives()
		put := func(names ...string) {
			for _, name := range names {
				r.mustCall(r.home, "Namespace.UpsertNamespaces", &structs.NamespaceUpsertRequest{Namespaces: []*structs.Namespace{{Name: name}}, WriteRequest: root("")}, &structs.GenericResponse{})
			}
		}
		put("used", "unused")
		r.eventually(object{kind: "namespace", id: "used"}, true)
		r.eventually(object{kind: "namespace", id: "unused"}, true)
		v := &structs.VariableDecrypted{VariableMetadata: structs.VariableMetadata{Namespace: "used", Path: "app"}, Items: structs.VariableItems{"a": "b"}}
		write := root("")
		write.Namespace = "used"
		r.mustCall(r.far, "Variables.Apply", &structs.VariablesApplyRequest{Op: structs.VarOpSet, Var: v, WriteRequest: write}, &structs.VariablesApplyResponse{})
		deleteBoth := func(secret string) error {
			req := &structs.NamespaceDeleteRequest{Namespaces: []string{"used", "unused"}, WriteRequest: structs.WriteRequest{AuthToken: secret}}
			return r.home.RPC(context.Background(), "Namespace.DeleteNamespaces", req, &structs.GenericResponse{})
		}
		if err := deleteBoth(rootSecret); !errors.Is(err, errs.PreconditionFailed) || !strings.Contains(err.Error(), `namespace "used" has variables in region "mars"`) {
			t.Fatalf("got %v", err)
		}
		r.Fabric.Cut(r.home.Host, r.far.Host)
		if err := deleteBoth(rootSecret); !errors.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), `region "mars" does not say`) {
			t.Fatalf("got %v", err)
		}
		r.Fabric.HealAll()
		// Whoever may not look at the variables of mars is not told of them either.
		local := r.putToken(r.home, &structs.ACLToken{Type: structs.ACLManagementToken})
		within(t, "a deletion in the authoritative region", func() bool { return deleteBoth(local.SecretID) == nil })
		put("fresh")
		r.eventually(object{kind: "namespace", id: "unused"}, false)
		r.eventually(object{kind: "namespace", id: "fresh"}, true)
		within(t, "the reason", func() bool {
			for _, table := range r.status(r.far).Tables {
				if table.Table == "namespaces" {
					return strings.Contains(table.LastError, `namespace "used" has 1 variables`)
				}
			}
			return false
		})
		del := &structs.VariablesApplyRequest{Op: structs.VarOpDelete, Var: &structs.VariableDecrypted{VariableMetadata: structs.VariableMetadata{Namespace: "used", Path: "app"}}, WriteRequest: write}
		r.mustCall(r.far, "Variables.Apply", del, &structs.VariablesApplyResponse{})
		r.eventually(object{kind: "namespace", id: "used"}, false)
	})
}

func TestCopyGoesOnThroughElectionsInBothRegions(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		r := &regions{Cluster: c, t: t, home: c.Nodes[0]}
		r.mustCall(r.home, "ACL.Bootstrap", &structs.ACLTokenBootstrapRequest{BootstrapSecret: rootSecret}, &structs.ACLTokenUpsertResponse{})
		for range 3 {
			c.Add(sharing, inRegion("mars"), expects(3), joins(r.home.Host))
		}
		mars := c.Nodes[3:]
		leader := func() *nomadtest.Node {
			var lead *nomadtest.Node
			within(t, "a leader of mars", func() bool {
				for _, n := range mars {
					if n.IsLeader() {
						lead = n
					}
				}
				return lead != nil
			})
			return lead
		}
		r.far = leader()
		r.rootArrives()
		for i := range 6 {
			victim := c.Nodes[i]
			if i >= 3 {
				victim = leader()
			}
			c.Crash(victim)
			from := mars[0]
			if from == victim {
				from = mars[1]
			}
			name := fmt.Sprint("round-", i)
			within(t, "a policy through mars", func() bool {
				req := &structs.ACLPolicyUpsertRequest{Policies: []*structs.ACLPolicy{{Name: name, Rules: readAll}}, WriteRequest: root("")}
				return from.RPC(context.Background(), "ACL.UpsertPolicies", req, &structs.GenericResponse{}) == nil
			})
			within(t, "the policy in mars", func() bool { return r.has(from, "policy", name) })
			c.Restart(victim)
		}
	}, sharing)
}

func TestNodeWaitsForItsPool(t *testing.T) {
	runRegions(t, func(r *regions) {
		r.rootArrives()
		n := newNode("gpu")
		n.Status = structs.NodeStatusReady
		status := func() string {
			var reply structs.SingleNodeResponse
			r.mustCall(r.far, "Node.GetNode", &structs.NodeSpecificRequest{NodeID: n.ID, QueryOptions: ask("")}, &reply)
			return reply.Node.Status
		}
		mustReady(t, r.far, n)
		if got := status(); got != structs.NodeStatusInit || r.has(r.far, "pool", "gpu") {
			t.Fatalf("a node without its pool is %s", got)
		}
		r.mustCall(r.far, "NodePool.UpsertNodePools", &structs.NodePoolUpsertRequest{NodePools: []*structs.NodePool{{Name: "gpu"}}, WriteRequest: root("")}, &structs.GenericResponse{})
		r.eventually(object{kind: "pool", id: "gpu"}, true)
		mustReady(t, r.far, n)
		if got := status(); got != structs.NodeStatusReady {
			t.Errorf("with its pool it is %s", got)
		}
		req := &structs.NodePoolDeleteRequest{Names: []string{"gpu"}, WriteRequest: root("")}
		if err := r.home.RPC(context.Background(), "NodePool.DeleteNodePools", req, &structs.GenericResponse{}); !errors.Is(err, errs.PreconditionFailed) || !strings.Contains(err.Error(), `has nodes in region "mars"`) {
			t.Errorf("a pool that another region uses: %v", err)
		}
	})
}

func TestRolesThatSwapNamesAreCopied(t *testing.T) {
	runRegions(t, func(r *regions) {
		r.rootArrives()
		r.putPolicy(r.home, "reader", readAll)
		put := func(id, name string) string {
			role := &structs.ACLRole{ID: id, Name: name, Policies: []*structs.ACLRolePolicyLink{{Name: "reader"}}}
			var reply structs.ACLRolesUpsertResponse
			r.mustCall(r.home, "ACL.UpsertRoles", &structs.ACLRolesUpsertRequest{ACLRoles: []*structs.ACLRole{role}, WriteRequest: root("")}, &reply)
			return reply.ACLRoles[0].ID
		}
		a, b := put("", "one"), put("", "two")
		r.eventually(object{kind: "role", id: a}, true)
		r.eventually(object{kind: "role", id: b}, true)
		r.Fabric.Cut(r.home.Host, r.far.Host)
		put(a, "between")
		put(b, "one")
		put(a, "two")
		r.Fabric.HealAll()
		within(t, "the new names", func() bool {
			var reply structs.ACLRoleByNameResponse
			err := r.far.RPC(context.Background(), "ACL.GetRoleByName", &structs.ACLRoleByNameRequest{RoleName: "one", QueryOptions: ask("")}, &reply)
			return err == nil && reply.ACLRole != nil && reply.ACLRole.ID == b && r.has(r.far, "role", a)
		})
	})
}

func TestManyRowsAreCopiedInBatches(t *testing.T) {
	runRegions(t, func(r *regions) {
		r.rootArrives()
		req := &structs.ACLPolicyUpsertRequest{WriteRequest: root("")}
		for i := range 300 {
			req.Policies = append(req.Policies, &structs.ACLPolicy{Name: fmt.Sprint("p-", i), Rules: readAll})
		}
		big := strings.Repeat("# a long comment\n", 20000)
		for i := range 4 {
			req.Policies = append(req.Policies, &structs.ACLPolicy{Name: fmt.Sprint("big-", i), Rules: readAll + "\n" + big})
			if i%2 == 1 { // one request is one entry of the log
				r.mustCall(r.home, "ACL.UpsertPolicies", req, &structs.GenericResponse{})
				req = &structs.ACLPolicyUpsertRequest{WriteRequest: root("")}
			}
		}
		within(t, "all policies", func() bool {
			var reply structs.ACLPolicyListResponse
			err := r.far.RPC(context.Background(), "ACL.ListPolicies", &structs.ACLPolicyListRequest{QueryOptions: ask("")}, &reply)
			return err == nil && len(reply.Policies) == 304
		})
		status := func() (written uint64) {
			for _, table := range r.status(r.far).Tables {
				written += table.Written
			}
			return written
		}
		before := status()
		time.Sleep(10 * time.Minute)
		if after := status(); after != before {
			t.Errorf("%d rows were written although nothing changed", after-before)
		}
	})
}

func TestReplicationTokenIsReplacedWhileTheServerRuns(t *testing.T) {
	wrong := func(conf *nomad.Config) { conf.ACL.ReplicationToken = "11111111-0000-0000-0000-000000000000" }
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		r := &regions{Cluster: c, t: t, home: c.Nodes[0]}
		r.mustCall(r.home, "ACL.Bootstrap", &structs.ACLTokenBootstrapRequest{BootstrapSecret: rootSecret}, &structs.ACLTokenUpsertResponse{})
		r.far = c.Add(sharing, wrong, inRegion("mars"), expects(1), joins(r.home.Host))
		within(t, "a leader", r.far.IsLeader)
		time.Sleep(5 * time.Minute) // the pauses are at their longest
		if r.far.RPC(t.Context(), "ACL.ListTokens", &structs.ACLTokenListRequest{QueryOptions: ask("")}, &structs.ACLTokenListResponse{}) == nil {
			t.Fatal("the first token was copied with a wrong secret")
		}
		r.far.SetReplicationToken(rootSecret)
		time.Sleep(10 * time.Second)
		r.mustCall(r.far, "ACL.ListTokens", &structs.ACLTokenListRequest{QueryOptions: ask("")}, &structs.ACLTokenListResponse{})
	}, sharing)
}

// A region copies with a token that has the one capability for it, and copies nothing with
// less, be it all but one of the rights to read.
func TestRegionCopiesWithoutAManagementToken(t *testing.T) {
	runRegions(t, func(r *regions) {
		r.rootArrives()
		r.putPolicy(r.home, "copies", `operator { capabilities = ["replication-read"] }
			namespace "shop" { policy = "deny" }
			node_pool "gpu" { policy = "deny" }`)
		token := r.putToken(r.home, &structs.ACLToken{Type: structs.ACLClientToken, Policies: []string{"copies"}})
		r.far.SetReplicationToken(token.SecretID)
		objects := r.makeAll(r.home)
		for _, o := range objects {
			r.eventually(o, true)
		}
		for _, o := range objects {
			r.mustCall(r.home, o.deleter, o.args, replyOf(o.deleter))
			r.eventually(o, false)
		}
		for _, table := range r.status(r.far).Tables {
			if table.LastError != "" {
				t.Errorf("%s: %s", table.Table, table.LastError)
			}
		}
		objects = r.makeAll(r.home)
		for _, o := range objects {
			r.eventually(o, true)
		}
		r.putPolicy(r.home, "copies", `operator { capabilities = ["acl-policy-read", "acl-role-read", "acl-token-secrets", "acl-auth-method-secrets", "acl-binding-rule-read"] }`)
		time.Sleep(3 * time.Minute)
		for _, o := range objects {
			if !r.has(r.far, o.kind, o.id) {
				t.Errorf("the %s %s was deleted", o.kind, o.id)
			}
		}
		for _, table := range r.status(r.far).Tables {
			if !strings.Contains(table.LastError, "replication-read") {
				t.Errorf("the status of %s is %+v", table.Table, table)
			}
		}
	})
}
