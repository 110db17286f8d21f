package nomad_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

func withACL(c *nomad.Config) { c.ACL.Enabled = true }

// caller calls one server with one token.
type caller struct {
	*nomadtest.Node
	t      *testing.T
	secret string
}

func (c caller) call(method string, args, reply any) error {
	c.t.Helper()
	switch r := args.(type) {
	case structs.Query:
		r.QueryOpts().AuthToken = c.secret
	case structs.Write:
		r.WriteOpts().AuthToken = c.secret
	default:
		c.t.Fatalf("%s: %T carries no token", method, args)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	return c.RPC(ctx, method, args, reply)
}

func (c caller) must(method string, args, reply any) {
	c.t.Helper()
	if err := c.call(method, args, reply); err != nil {
		c.t.Fatalf("%s: %v", method, err)
	}
}

// refused fails unless the call is refused with the code.
func (c caller) refused(code errs.Code, method string, args, reply any) {
	c.t.Helper()
	if err := c.call(method, args, reply); !errors.Is(err, code) {
		c.t.Errorf("%s %+v: %v, want %s", method, args, err, code)
	}
}

func (c caller) as(secret string) caller { return caller{c.Node, c.t, secret} }

// admin bootstraps access control and returns a caller that may do everything.
func admin(t *testing.T, n *nomadtest.Node) caller {
	t.Helper()
	var reply structs.ACLTokenUpsertResponse
	c := caller{n, t, ""}
	c.must("ACL.Bootstrap", &structs.ACLTokenBootstrapRequest{}, &reply)
	return c.as(reply.Tokens[0].SecretID)
}

func (c caller) policy(name, rules string) {
	c.t.Helper()
	c.must("ACL.UpsertPolicies", policyRequest(name, rules), &structs.GenericResponse{})
}

func policyRequest(name, rules string) *structs.ACLPolicyUpsertRequest {
	return &structs.ACLPolicyUpsertRequest{Policies: []*structs.ACLPolicy{{Name: name, Rules: rules}}}
}

func tokenRequest(t structs.ACLToken) *structs.ACLTokenUpsertRequest {
	return &structs.ACLTokenUpsertRequest{Tokens: []*structs.ACLToken{&t}}
}

func (c caller) token(t structs.ACLToken) *structs.ACLToken {
	c.t.Helper()
	var reply structs.ACLTokenUpsertResponse
	c.must("ACL.UpsertTokens", tokenRequest(t), &reply)
	return reply.Tokens[0]
}

func (c caller) role(name string, policies ...string) *structs.ACLRole {
	c.t.Helper()
	var reply structs.ACLRolesUpsertResponse
	c.must("ACL.UpsertRoles", &structs.ACLRolesUpsertRequest{ACLRoles: []*structs.ACLRole{newRole(name, policies...)}}, &reply)
	return reply.ACLRoles[0]
}

func newRole(name string, policies ...string) *structs.ACLRole {
	role := &structs.ACLRole{Name: name}
	for _, p := range policies {
		role.Policies = append(role.Policies, &structs.ACLRolePolicyLink{Name: p})
	}
	return role
}

func client(policies ...string) structs.ACLToken {
	return structs.ACLToken{Type: structs.ACLClientToken, Policies: policies}
}

func TestBootstrapOnceAndReset(t *testing.T) {
	dir := t.TempDir()
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		anon := caller{c.Nodes[0], t, ""}
		anon.refused(errs.Invalid, "ACL.Bootstrap", &structs.ACLTokenBootstrapRequest{BootstrapSecret: "short"}, &structs.ACLTokenUpsertResponse{})
		var first structs.ACLTokenUpsertResponse
		secret := uuid.NewString()
		anon.must("ACL.Bootstrap", &structs.ACLTokenBootstrapRequest{BootstrapSecret: secret}, &first)
		if got := first.Tokens[0]; got.SecretID != secret || !got.IsManagement() || !got.Global || got.CreateIndex == 0 {
			t.Fatalf("got %+v", *got)
		}
		err := anon.call("ACL.Bootstrap", &structs.ACLTokenBootstrapRequest{}, &structs.ACLTokenUpsertResponse{})
		_, index, _ := strings.Cut(errs.From(err, "").Msg, "reset index: ")
		if n, bad := strconv.Atoi(strings.TrimSuffix(index, ")")); !errors.Is(err, errs.Invalid) || bad != nil || n == 0 {
			t.Fatalf("the second bootstrap: %v", err)
		}
		for text, ok := range map[string]bool{"7": false, "x": false, strings.TrimSuffix(index, ")") + "\n": true} {
			if err := os.WriteFile(filepath.Join(dir, "acl-bootstrap-reset"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			err := anon.call("ACL.Bootstrap", &structs.ACLTokenBootstrapRequest{}, &structs.ACLTokenUpsertResponse{})
			if (err == nil) != ok {
				t.Errorf("reset file %q: %v", text, err)
			}
		}
		anon.refused(errs.Invalid, "ACL.Bootstrap", &structs.ACLTokenBootstrapRequest{}, &structs.ACLTokenUpsertResponse{})
	}, withACL, func(c *nomad.Config) { c.DataDir = dir })
}

func TestBootstrapFromFile(t *testing.T) {
	secret := uuid.NewString()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		time.Sleep(time.Second)
		caller{c.Nodes[0], t, secret}.must("ACL.ListTokens", &structs.ACLTokenListRequest{}, &structs.ACLTokenListResponse{})
	}, withACL, func(c *nomad.Config) { c.ACL.BootstrapSecretFile = file })
}

func TestAFileClosesBootstrapToOthers(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "secret")
	if err := os.WriteFile(file, []byte("no uuid"), 0o600); err != nil {
		t.Fatal(err)
	}
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		time.Sleep(time.Second)
		anon := caller{c.Nodes[0], t, ""}
		anon.refused(errs.Invalid, "ACL.Bootstrap", &structs.ACLTokenBootstrapRequest{}, &structs.ACLTokenUpsertResponse{})
		anon.refused(errs.Invalid, "ACL.Bootstrap", &structs.ACLTokenBootstrapRequest{BootstrapSecret: uuid.NewString()}, &structs.ACLTokenUpsertResponse{})
	}, withACL, func(c *nomad.Config) { c.ACL.BootstrapSecretFile = file })
}

func TestNewTokenWorksOnEveryServerAtOnce(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Follower())
		for _, n := range c.Nodes {
			made := root.token(structs.ACLToken{Type: structs.ACLManagementToken})
			got := caller{n, t, made.SecretID}
			got.must("Namespace.ListNamespaces", &structs.NamespaceListRequest{QueryOptions: structs.QueryOptions{AllowStale: true}}, &structs.NamespaceListResponse{})
			made = root.token(structs.ACLToken{Type: structs.ACLManagementToken})
			got.as(made.SecretID).must("Status.Members", &structs.GenericRequest{}, &structs.MembersResponse{})
			made = root.token(structs.ACLToken{Type: structs.ACLManagementToken})
			if rights, err := n.Authorize(context.Background(), made.SecretID); err != nil || !rights.IsManagement() {
				t.Errorf("what the agent answers itself: %v", err)
			}
			made = root.token(structs.ACLToken{Type: structs.ACLManagementToken})
			got.as(made.SecretID).must("ACL.ListTokens", &structs.ACLTokenListRequest{}, &structs.ACLTokenListResponse{})
			got.as(uuid.NewString()).refused(errs.PermissionDenied, "ACL.ListTokens", &structs.ACLTokenListRequest{}, &structs.ACLTokenListResponse{})
		}
	}, withACL)
}

func TestANewTokenOutlivesTheLeaderThatMadeIt(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		old := c.WaitLeader()
		made := admin(t, old).token(structs.ACLToken{Type: structs.ACLManagementToken})
		c.Crash(old)
		for _, n := range c.Nodes { // while they elect a leader, too
			if n != old {
				caller{n, t, made.SecretID}.must("ACL.ListTokens", &structs.ACLTokenListRequest{}, &structs.ACLTokenListResponse{})
			}
		}
	}, withACL)
}

// A server that is cut off cannot say that there is no such token.
func TestATokenIsUnknownOnlyWhereThatIsCertain(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		admin(t, c.WaitLeader())
		cut := c.Follower()
		c.Fabric.Isolate(cut.Host)
		time.Sleep(10 * time.Second)
		got := caller{cut, t, uuid.NewString()}
		got.refused(errs.NoLeader, "Status.Members", &structs.GenericRequest{}, &structs.MembersResponse{})
		got.refused(errs.NoLeader, "ACL.ListTokens", &structs.ACLTokenListRequest{}, &structs.ACLTokenListResponse{})
		got.as("nonsense").refused(errs.PermissionDenied, "Status.Members", &structs.GenericRequest{}, &structs.MembersResponse{})
		c.Fabric.HealAll()
		c.WaitReady()
		got.refused(errs.PermissionDenied, "Status.Members", &structs.GenericRequest{}, &structs.MembersResponse{})
	}, withACL)
}

func TestRevokedTokenEndsItsBlockingRead(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		made := root.token(structs.ACLToken{Type: structs.ACLManagementToken})
		var list structs.NamespaceListResponse
		root.must("Namespace.ListNamespaces", &structs.NamespaceListRequest{}, &list)
		done := make(chan error, 1)
		go func() {
			req := &structs.NamespaceListRequest{QueryOptions: structs.QueryOptions{MinQueryIndex: list.Index, MaxQueryTime: time.Minute}}
			done <- root.as(made.SecretID).call("Namespace.ListNamespaces", req, &structs.NamespaceListResponse{})
		}()
		time.Sleep(time.Second)
		root.must("ACL.DeleteTokens", &structs.ACLTokenDeleteRequest{AccessorIDs: []string{made.AccessorID}}, &structs.GenericResponse{})
		root.must("Namespace.UpsertNamespaces", &structs.NamespaceUpsertRequest{Namespaces: []*structs.Namespace{{Name: "new"}}}, &structs.GenericResponse{})
		if err := <-done; !errors.Is(err, errs.PermissionDenied) {
			t.Errorf("got %v", err)
		}
	}, withACL)
}

func TestListsShowWhatPoliciesAllow(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		root.must("Namespace.UpsertNamespaces", &structs.NamespaceUpsertRequest{Namespaces: []*structs.Namespace{{Name: "team-a"}, {Name: "team-b"}}}, &structs.GenericResponse{})
		for _, path := range []string{"app/db", "app/secret/key", "other"} {
			v := &structs.VariableDecrypted{VariableMetadata: structs.VariableMetadata{Path: path}, Items: structs.VariableItems{"a": "b"}}
			root.must("Variables.Apply", &structs.VariablesApplyRequest{Op: structs.VarOpSet, Var: v}, &structs.VariablesApplyResponse{})
		}
		root.policy("reader", `namespace "team-a" { policy = "read" }
			namespace "default" { variables { path "app/*" { capabilities = ["read"] } path "app/secret/*" { capabilities = ["deny"] } } }`)
		role := root.role("readers", "reader")
		made := root.token(structs.ACLToken{Type: structs.ACLClientToken, Roles: []*structs.ACLTokenRoleLink{{Name: "readers"}}})
		if want := []*structs.ACLTokenRoleLink{{ID: role.ID, Name: "readers"}}; cmp.Diff(want, made.Roles) != "" {
			t.Errorf("roles %v", made.Roles)
		}
		reader := root.as(made.SecretID)
		var spaces structs.NamespaceListResponse
		reader.must("Namespace.ListNamespaces", &structs.NamespaceListRequest{}, &spaces)
		var names []string
		for _, n := range spaces.Namespaces {
			names = append(names, n.Name)
		}
		if diff := cmp.Diff([]string{"default", "team-a"}, names); diff != "" {
			t.Error(diff)
		}
		var vars structs.VariablesListResponse
		reader.must("Variables.List", &structs.VariablesListRequest{}, &vars)
		if len(vars.Data) != 1 || vars.Data[0].Path != "app/db" {
			t.Errorf("variables %+v", vars.Data)
		}
		var policies structs.ACLPolicyListResponse
		root.policy("hidden", `node { policy = "read" }`)
		reader.must("ACL.ListPolicies", &structs.ACLPolicyListRequest{}, &policies)
		if len(policies.Policies) != 1 || policies.Policies[0].Name != "reader" {
			t.Errorf("policies %+v", policies.Policies)
		}
		reader.must("ACL.GetPolicy", &structs.ACLPolicySpecificRequest{Name: "reader"}, &structs.SingleACLPolicyResponse{})
		reader.refused(errs.PermissionDenied, "ACL.GetPolicy", &structs.ACLPolicySpecificRequest{Name: "hidden"}, &structs.SingleACLPolicyResponse{})
		reader.must("ACL.GetRoleByName", &structs.ACLRoleByNameRequest{RoleName: "readers"}, &structs.ACLRoleByNameResponse{})
		reader.refused(errs.PermissionDenied, "ACL.GetRoleByName", &structs.ACLRoleByNameRequest{RoleName: "absent"}, &structs.ACLRoleByNameResponse{})
		root.policy("lister", `operator { capabilities = ["acl-policy-read", "acl-role-read"] }`)
		lister := root.as(root.token(client("lister")).SecretID)
		for who, want := range map[string][4]int{made.SecretID: {1, 1, 1, 1}, lister.secret: {3, 1, 1, 0}, root.secret: {3, 3, 1, 0}} {
			var got [4]int
			for i, own := range []bool{false, true} {
				var policies structs.ACLPolicyListResponse
				root.as(who).must("ACL.ListPolicies", &structs.ACLPolicyListRequest{Own: own}, &policies)
				var roles structs.ACLRolesListResponse
				root.as(who).must("ACL.ListRoles", &structs.ACLRolesListRequest{Own: own}, &roles)
				got[i], got[2+i] = len(policies.Policies), len(roles.ACLRoles)
			}
			if got != want {
				t.Errorf("lists %v, want %v: policies, own policies, roles, own roles", got, want)
			}
		}
		var self structs.ACLWhoAmIResponse
		reader.must("ACL.WhoAmI", &structs.GenericRequest{}, &self)
		if self.Identity.ACLToken.AccessorID != made.AccessorID {
			t.Errorf("who am I: %+v", self.Identity)
		}
		var why structs.ACLExplainResponse
		reader.must("ACL.Explain", &structs.ACLExplainRequest{Kind: "variables", Name: "app/secret/key", Capability: "read"}, &why)
		if why.Allowed || len(why.Rules) != 1 || why.Rules[0].Policy != "reader" || why.Rules[0].Line != 2 {
			t.Errorf("explained %+v", why)
		}
		reader.refused(errs.PermissionDenied, "ACL.Explain", &structs.ACLExplainRequest{Policies: []string{"hidden"}, Kind: "node", Capability: "read"}, &why)
	}, withACL)
}

func TestTokenRules(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		own := client("p")
		own.AccessorID, own.SecretID = uuid.NewString(), uuid.NewString()
		if got := root.token(own); got.SecretID != own.SecretID {
			t.Errorf("got secret of its own")
		}
		for name, bad := range map[string]structs.ACLToken{
			"no policy":       {Type: structs.ACLClientToken},
			"with policy":     {Type: structs.ACLManagementToken, Policies: []string{"p"}},
			"own IDs":         {Type: structs.ACLManagementToken, AccessorID: uuid.NewString(), SecretID: uuid.NewString()},
			"too short":       {Type: structs.ACLManagementToken, ExpirationTTL: time.Second},
			"too long":        {Type: structs.ACLManagementToken, ExpirationTTL: 25 * time.Hour},
			"unknown role":    {Type: structs.ACLClientToken, Roles: []*structs.ACLTokenRoleLink{{Name: "x"}}},
			"change secret":   {Type: structs.ACLClientToken, Policies: []string{"p"}, AccessorID: own.AccessorID, SecretID: uuid.NewString()},
			"change locality": {Type: structs.ACLClientToken, Policies: []string{"p"}, AccessorID: own.AccessorID, Global: true},
			"change expiry":   {Type: structs.ACLClientToken, Policies: []string{"p"}, AccessorID: own.AccessorID, ExpirationTTL: time.Hour},
		} {
			if err := root.call("ACL.UpsertTokens", tokenRequest(bad), &structs.ACLTokenUpsertResponse{}); !errors.Is(err, errs.Invalid) {
				t.Errorf("%s: %v", name, err)
			}
		}
		stolen := client("p")
		stolen.AccessorID, stolen.SecretID = uuid.NewString(), own.SecretID
		root.refused(errs.Conflict, "ACL.UpsertTokens", tokenRequest(stolen), &structs.ACLTokenUpsertResponse{})
		absent := client("p")
		absent.AccessorID = uuid.NewString()
		root.refused(errs.NotFound, "ACL.UpsertTokens", tokenRequest(absent), &structs.ACLTokenUpsertResponse{})
		root.refused(errs.NotFound, "ACL.DeleteTokens", &structs.ACLTokenDeleteRequest{AccessorIDs: []string{absent.AccessorID}}, &structs.GenericResponse{})
		changed := client("p", "q")
		changed.AccessorID, changed.Name = own.AccessorID, "renamed"
		if got := root.token(changed); got.Name != "renamed" || got.SecretID != own.SecretID || got.CreateTime.IsZero() {
			t.Errorf("updated to %+v", *got)
		}
		var pages []string
		for next, n := "", 0; n == 0 || next != ""; n++ {
			var list structs.ACLTokenListResponse
			root.must("ACL.ListTokens", &structs.ACLTokenListRequest{QueryOptions: structs.QueryOptions{PerPage: 1, NextToken: next}}, &list)
			for _, s := range list.Tokens {
				pages = append(pages, s.Name)
			}
			next = list.NextToken
		}
		if diff := cmp.Diff([]string{"Bootstrap Token", "renamed"}, pages); diff != "" {
			t.Error(diff)
		}
		root.refused(errs.Invalid, "ACL.ListTokens", &structs.ACLTokenListRequest{QueryOptions: structs.QueryOptions{NextToken: "x"}}, &structs.ACLTokenListResponse{})
		root.refused(errs.Invalid, "ACL.ListTokens", &structs.ACLTokenListRequest{QueryOptions: structs.QueryOptions{Filter: `SecretID != ""`}}, &structs.ACLTokenListResponse{})
	}, withACL)
}

func TestExpiredTokensAreRefusedAndDeleted(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		made := root.token(structs.ACLToken{Type: structs.ACLManagementToken, ExpirationTTL: time.Minute})
		old := root.as(made.SecretID)
		old.must("ACL.ListTokens", &structs.ACLTokenListRequest{}, &structs.ACLTokenListResponse{})
		time.Sleep(time.Minute)
		old.refused(errs.PermissionDenied, "ACL.ListTokens", &structs.ACLTokenListRequest{}, &structs.ACLTokenListResponse{})
		if _, err := c.Nodes[0].Authorize(context.Background(), made.SecretID); !errors.Is(err, errs.PermissionDenied) {
			t.Errorf("the agent: %v", err)
		}
		time.Sleep(10 * time.Minute)
		var got structs.SingleACLTokenResponse
		if root.must("ACL.GetToken", &structs.ACLTokenSpecificRequest{AccessorID: made.AccessorID}, &got); got.Token != nil {
			t.Errorf("the expired token is still there: %+v", *got.Token)
		}
	}, withACL)
}

func TestOneTimeToken(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		anon := root.as("")
		anon.refused(errs.PermissionDenied, "ACL.UpsertOneTimeToken", &structs.OneTimeTokenUpsertRequest{}, &structs.OneTimeTokenUpsertResponse{})
		made := func() string {
			var reply structs.OneTimeTokenUpsertResponse
			root.must("ACL.UpsertOneTimeToken", &structs.OneTimeTokenUpsertRequest{}, &reply)
			return reply.OneTimeToken.OneTimeSecretID
		}
		secret := made()
		var got structs.OneTimeTokenExchangeResponse
		anon.must("ACL.ExchangeOneTimeToken", &structs.OneTimeTokenExchangeRequest{OneTimeSecretID: secret}, &got)
		if got.Token.SecretID != root.secret {
			t.Error("another token came back")
		}
		late := made()
		time.Sleep(structs.ACLOneTimeTokenTTL)
		for _, bad := range []string{secret, late, "", uuid.NewString()} {
			anon.refused(errs.PermissionDenied, "ACL.ExchangeOneTimeToken", &structs.OneTimeTokenExchangeRequest{OneTimeSecretID: bad}, &got)
		}
	}, withACL)
}

func TestDelegatesCannotRaiseTheirRights(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		root.policy("delegate", `operator { capabilities = ["acl-policy-write", "acl-token-write", "acl-token-read", "acl-role-write", "acl-binding-rule-write", "acl-auth-method-write"] }
			namespace "x" { policy = "read" }`)
		root.policy("strong", `namespace "*" { policy = "write" }`)
		made := root.token(client("delegate"))
		strong := root.token(client("strong"))
		role := root.role("strongs", "strong")
		method := &structs.ACLAuthMethod{Name: "ci", Type: "JWT", TokenLocality: "local", MaxTokenTTL: time.Hour, Config: &structs.ACLAuthMethodConfig{JWKSURL: "http://127.0.0.1:1"}}
		methods := func() *structs.ACLAuthMethodUpsertRequest {
			return &structs.ACLAuthMethodUpsertRequest{AuthMethods: []*structs.ACLAuthMethod{method.Copy()}}
		}
		d := root.as(made.SecretID)
		d.must("ACL.UpsertAuthMethods", methods(), &structs.ACLAuthMethodUpsertResponse{})
		rule := func(kind, name string) *structs.ACLBindingRulesUpsertRequest {
			return &structs.ACLBindingRulesUpsertRequest{ACLBindingRules: []*structs.ACLBindingRule{{AuthMethod: "ci", BindType: kind, BindName: name}}}
		}
		d.must("ACL.UpsertBindingRules", rule("policy", "delegate"), &structs.ACLBindingRulesUpsertResponse{})
		root.must("ACL.UpsertBindingRules", rule("role", "strongs"), &structs.ACLBindingRulesUpsertResponse{})
		d.token(client("delegate"))
		d.policy("harmless", `namespace "x" { policy = "read" }`)
		viaRole := structs.ACLToken{Type: structs.ACLClientToken, Roles: []*structs.ACLTokenRoleLink{{ID: role.ID}}}
		update := client("delegate")
		update.AccessorID = strong.AccessorID
		workload := policyRequest("mine", `namespace "*" { policy = "write" }`)
		workload.Policies[0].JobACL = &structs.JobACL{Namespace: "default"}
		signer := &structs.ACLAuthMethod{Name: "signer", Type: "OIDC", TokenLocality: "local", MaxTokenTTL: time.Hour, Config: &structs.ACLAuthMethodConfig{
			OIDCDiscoveryURL: "http://127.0.0.1:1", OIDCClientID: "someone:else", AllowedRedirectURIs: []string{"http://127.0.0.1:1/oidc/callback"},
			OIDCClientAssertion: &structs.OIDCClientAssertion{KeySource: "nomad"}}}
		roles := func(id, name string, policies ...string) *structs.ACLRolesUpsertRequest {
			r := newRole(name, policies...)
			r.ID = id
			return &structs.ACLRolesUpsertRequest{ACLRoles: []*structs.ACLRole{r}}
		}
		for _, bad := range []struct {
			method      string
			args, reply any
		}{
			{"ACL.UpsertTokens", tokenRequest(structs.ACLToken{Type: structs.ACLManagementToken}), &structs.ACLTokenUpsertResponse{}},
			{"ACL.UpsertTokens", tokenRequest(client("strong")), &structs.ACLTokenUpsertResponse{}},
			{"ACL.UpsertTokens", tokenRequest(client("missing")), &structs.ACLTokenUpsertResponse{}},
			{"ACL.UpsertTokens", tokenRequest(viaRole), &structs.ACLTokenUpsertResponse{}},
			{"ACL.UpsertTokens", tokenRequest(update), &structs.ACLTokenUpsertResponse{}},
			{"ACL.DeleteTokens", &structs.ACLTokenDeleteRequest{AccessorIDs: []string{strong.AccessorID}}, &structs.GenericResponse{}},
			{"ACL.UpsertPolicies", policyRequest("delegate", `namespace "*" { policy = "write" }`), &structs.GenericResponse{}},
			{"ACL.UpsertPolicies", policyRequest("anonymous", `namespace "*" { policy = "write" }`), &structs.GenericResponse{}},
			{"ACL.UpsertPolicies", policyRequest("new", `operator { capabilities = ["replication-read"] }`), &structs.GenericResponse{}},
			{"ACL.UpsertPolicies", policyRequest("new", `operator { policy = "write" }`), &structs.GenericResponse{}},
			{"ACL.UpsertPolicies", policyRequest("new", `agent { policy = "write" }`), &structs.GenericResponse{}},
			{"ACL.UpsertPolicies", policyRequest("new", `namespace "*" { policy = "read" }`), &structs.GenericResponse{}},
			{"ACL.UpsertPolicies", policyRequest("new", `node { policy = "read" }`), &structs.GenericResponse{}},
			{"ACL.UpsertPolicies", workload, &structs.GenericResponse{}},
			{"ACL.DeletePolicies", &structs.ACLPolicyDeleteRequest{Names: []string{"delegate"}}, &structs.GenericResponse{}},
			{"ACL.UpsertRoles", roles("", "mine", "strong"), &structs.ACLRolesUpsertResponse{}},
			{"ACL.UpsertRoles", roles(role.ID, "strongs", "delegate"), &structs.ACLRolesUpsertResponse{}},
			{"ACL.DeleteRolesByID", &structs.ACLRolesDeleteByIDRequest{ACLRoleIDs: []string{role.ID}}, &structs.ACLRolesDeleteByIDResponse{}},
			{"ACL.UpsertBindingRules", rule("management", ""), &structs.ACLBindingRulesUpsertResponse{}},
			{"ACL.UpsertBindingRules", rule("policy", "strong"), &structs.ACLBindingRulesUpsertResponse{}},
			{"ACL.UpsertBindingRules", rule("policy", "${value.x}"), &structs.ACLBindingRulesUpsertResponse{}},
			{"ACL.UpsertBindingRules", rule("role", "strongs"), &structs.ACLBindingRulesUpsertResponse{}},
			{"ACL.UpsertBindingRules", rule("role", "later"), &structs.ACLBindingRulesUpsertResponse{}},
			{"ACL.UpsertAuthMethods", methods(), &structs.ACLAuthMethodUpsertResponse{}},
			{"ACL.UpsertAuthMethods", &structs.ACLAuthMethodUpsertRequest{AuthMethods: []*structs.ACLAuthMethod{signer}}, &structs.ACLAuthMethodUpsertResponse{}},
			{"ACL.DeleteAuthMethods", &structs.ACLAuthMethodDeleteRequest{Names: []string{"ci"}}, &structs.ACLAuthMethodDeleteResponse{}},
		} {
			d.refused(errs.PermissionDenied, bad.method, bad.args, bad.reply)
		}
		var got structs.SingleACLTokenResponse
		d.must("ACL.GetToken", &structs.ACLTokenSpecificRequest{AccessorID: strong.AccessorID}, &got)
		if got.Token.SecretID != "" {
			t.Error("a delegate reads the secret of another token")
		}
		if d.must("ACL.GetToken", &structs.ACLTokenSpecificRequest{AccessorID: made.AccessorID}, &got); got.Token.SecretID != made.SecretID {
			t.Error("a token does not read its own secret")
		}
	}, withACL)
}

// A delegate whose token expires leaves nothing behind that is valid longer, and reads
// no other token's secret by changing it.
func TestDelegatesThatExpire(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		root.policy("delegate", `operator { capabilities = ["acl-token-write", "acl-token-read"] }`)
		short := client("delegate")
		short.ExpirationTTL = time.Hour
		d := root.as(root.token(short).SecretID)
		until := func(at time.Time) structs.ACLToken {
			c := client("delegate")
			c.ExpirationTime = &at
			return c
		}
		later := client("delegate")
		later.ExpirationTTL = time.Hour + time.Second
		for _, bad := range []structs.ACLToken{client("delegate"), later, until(time.Now().Add(2 * time.Hour))} {
			err := d.call("ACL.UpsertTokens", tokenRequest(bad), &structs.ACLTokenUpsertResponse{})
			if !errors.Is(err, errs.PermissionDenied) || !strings.Contains(err.Error(), time.Now().Add(time.Hour).UTC().Format(time.RFC3339)) {
				t.Errorf("%v: %v", bad.ExpirationTime, err)
			}
		}
		d.token(until(time.Now().Add(time.Hour)))
		d.token(until(time.Now().Add(time.Minute)))
		root.token(client("delegate"))

		old := root.token(client("delegate"))
		change := client("delegate")
		change.AccessorID, change.Name = old.AccessorID, "changed"
		if got := d.token(change); got.SecretID != "" || got.Name != "changed" {
			t.Errorf("the delegate was told %+v, secret %q", *got, got.SecretID)
		}
		if got := root.as(old.SecretID).token(change); got.SecretID != old.SecretID {
			t.Error("a token that changes itself is not told its secret")
		}

		// Nor does it keep its rights in a token that was there before.
		root.policy("weak", `namespace "x" { policy = "read" }`)
		root.policy("deny", `operator { policy = "deny" }`)
		root.policy("delegate", `operator { capabilities = ["acl-token-write", "acl-token-read"] } namespace "x" { policy = "read" }`)
		ending := client("weak")
		ending.ExpirationTTL = time.Hour - time.Minute
		for name, c := range map[string]struct {
			token structs.ACLToken
			gets  []string
			ok    bool
		}{
			"more":             {client("weak"), []string{"delegate"}, false},
			"more beside":      {client("weak"), []string{"weak", "delegate"}, false},
			"without its deny": {client("delegate", "deny"), []string{"delegate"}, false},
			"the same":         {client("delegate"), []string{"delegate", "weak"}, true},
			"less":             {client("delegate"), []string{"weak"}, true},
			"sooner at an end": {ending, []string{"delegate"}, true},
		} {
			change := client(c.gets...)
			change.AccessorID = root.token(c.token).AccessorID
			err := d.call("ACL.UpsertTokens", tokenRequest(change), &structs.ACLTokenUpsertResponse{})
			if (err == nil) != c.ok || err != nil && !errors.Is(err, errs.PermissionDenied) {
				t.Errorf("%s: %v", name, err)
			}
		}
	}, withACL)
}

func TestExplainSaysWhatATokenHasInVain(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		root.policy("there", `node { policy = "read" }`)
		role := root.role("gone", "there")
		token := client("there", "later")
		token.Roles = []*structs.ACLTokenRoleLink{{ID: role.ID}}
		made := root.token(token)
		root.must("ACL.DeleteRolesByID", &structs.ACLRolesDeleteByIDRequest{ACLRoleIDs: []string{role.ID}}, &structs.ACLRolesDeleteByIDResponse{})
		for who, ask := range map[string]structs.ACLExplainRequest{made.SecretID: {}, root.secret: {AccessorID: made.AccessorID}} {
			ask.Kind, ask.Capability = "node", "read"
			var why structs.ACLExplainResponse
			root.as(who).must("ACL.Explain", &ask, &why)
			if !why.Allowed || cmp.Diff([]string{"later"}, why.MissingPolicies) != "" || cmp.Diff([]string{role.ID}, why.MissingRoles) != "" {
				t.Errorf("explained %+v", why)
			}
		}
		var why structs.ACLExplainResponse
		root.must("ACL.Explain", &structs.ACLExplainRequest{Kind: "node", Capability: "read", Policies: []string{"there"}}, &why)
		if !why.Allowed || why.MissingPolicies != nil || why.MissingRoles != nil {
			t.Errorf("explained %+v", why)
		}
	}, withACL)
}

func TestLoginWithJWT(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Follower())
		root.policy("eng-read", `namespace "default" { policy = "read" }`)
		method := &structs.ACLAuthMethod{
			Name: "ci", Type: "JWT", TokenLocality: "local", MaxTokenTTL: time.Hour, TokenNameFormat: "${auth_method_name}-${value.who}",
			Config: &structs.ACLAuthMethodConfig{
				JWTValidationPubKeys: []string{string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))},
				BoundAudiences:       []string{"cairn"}, ClaimMappings: map[string]string{"team": "team", "sub": "who"},
			},
		}
		root.must("ACL.UpsertAuthMethods", &structs.ACLAuthMethodUpsertRequest{AuthMethods: []*structs.ACLAuthMethod{method}}, &structs.ACLAuthMethodUpsertResponse{})
		rule := &structs.ACLBindingRule{AuthMethod: "ci", Selector: `value.team != "none"`, BindType: "policy", BindName: "${value.team}-read"}
		root.must("ACL.UpsertBindingRules", &structs.ACLBindingRulesUpsertRequest{ACLBindingRules: []*structs.ACLBindingRule{rule}}, &structs.ACLBindingRulesUpsertResponse{})
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, nil)
		if err != nil {
			t.Fatal(err)
		}
		login := func(team, audience string) (*structs.ACLToken, error) {
			claims := map[string]any{"sub": "pat", "team": team, "aud": audience, "iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
			token, err := jwt.Signed(signer).Claims(claims).Serialize()
			if err != nil {
				t.Fatal(err)
			}
			var reply structs.ACLLoginResponse
			err = root.as("").call("ACL.Login", &structs.ACLLoginRequest{AuthMethodName: "ci", LoginToken: token}, &reply)
			return reply.ACLToken, err
		}
		got, err := login("Eng", "cairn")
		if err != nil {
			t.Fatal(err)
		}
		if got.Name != "ci-pat" || got.ExpirationTime == nil || cmp.Diff([]string{"eng-read"}, got.Policies) != "" {
			t.Errorf("logged in as %+v", *got)
		}
		root.as(got.SecretID).must("Namespace.GetNamespace", &structs.NamespaceSpecificRequest{Name: "default"}, &structs.SingleNamespaceResponse{})
		if _, err := login("none", "cairn"); !errors.Is(err, errs.Invalid) {
			t.Errorf("nothing bound: %v", err)
		}
		if _, err := login("Eng", "vault"); !errors.Is(err, errs.Unauthenticated) {
			t.Errorf("wrong audience: %v", err)
		}
	}, withACL)
}

// A request that lacks its object is told so, as far as its caller may do such things at all.
func TestRequestsWithoutTheirObject(t *testing.T) {
	variable := func() (string, any, any) {
		return "Variables.Apply", &structs.VariablesApplyRequest{Op: structs.VarOpSet}, &structs.VariablesApplyResponse{}
	}
	joinToken := func() (string, any, any) {
		return "JoinToken.Delete", &structs.JoinTokenDeleteRequest{}, &structs.GenericResponse{}
	}
	refused := func(c caller, code errs.Code, request func() (string, any, any)) {
		t.Helper()
		method, args, reply := request()
		c.refused(code, method, args, reply)
	}
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		root := admin(t, c.Nodes[0])
		root.policy("writer", `namespace "default" { variables { path "app/*" { capabilities = ["list", "write"] } } }`)
		root.policy("joins", `operator { capabilities = ["join-token-write"] }`)
		root.policy("other", `namespace "other" { policy = "write" }`)
		writer, joins := root.as(root.token(client("writer")).SecretID), root.as(root.token(client("joins")).SecretID)
		strangers := []caller{root.as(""), root.as(root.token(client("other")).SecretID)}
		for _, may := range []caller{root, writer} {
			refused(may, errs.Invalid, variable)
		}
		for _, may := range []caller{root, joins} {
			refused(may, errs.Invalid, joinToken)
		}
		for _, may := range append(strangers, joins) {
			refused(may, errs.PermissionDenied, variable)
		}
		for _, may := range append(strangers, writer) {
			refused(may, errs.PermissionDenied, joinToken)
		}
	}, withACL)
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		anyone := caller{c.Nodes[0], t, ""}
		refused(anyone, errs.Invalid, variable)
		refused(anyone, errs.Invalid, joinToken)
	})
}
