package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	sdkapi "github.com/hashicorp/nomad/api"
)

// aclAgent starts a real agent from an HCL file that holds more, with data in
// memory, and returns a client without a token.
func aclAgent(t *testing.T, more string) (*Agent, *sdkapi.Client) {
	t.Helper()
	return aclAgentLogging(t, more, hclog.NewNullLogger())
}

func aclAgentLogging(t *testing.T, more string, logger hclog.Logger) (*Agent, *sdkapi.Client) {
	t.Helper()
	return aclAgentStarting(t, more, logger, startServer)
}

func aclAgentStarting(t *testing.T, more string, logger hclog.Logger, newServer startFunc) (*Agent, *sdkapi.Client) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agent.hcl")
	text := "name = \"n1\"\n\nports {\n  http = 0\n  rpc  = 0\n  serf = 0\n}\n\n" + more + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFlags()
	if err := f.set.Parse([]string{"-dev", "-config", path}); err != nil {
		t.Fatal(err)
	}
	c, unused, err := f.config()
	if err != nil || len(unused) > 0 {
		t.Fatal(unused, err)
	}
	a, err := start(c, logger, newServer)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Stop(false); err != nil {
			t.Error(err)
		}
	})
	client, err := sdkapi.NewClient(&sdkapi.Config{Address: "http://" + a.HTTPAddr()})
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if h, err := client.Agent().Health(); err == nil && h.Server.Ok {
			return a, client
		} else if time.Now().After(deadline) {
			t.Fatal("no leader: ", err)
		}
	}
}

const aclOn = "acl {\n  enabled = true\n}"

func wantStatus(t *testing.T, what string, err error, code int, text string) {
	t.Helper()
	var status sdkapi.UnexpectedResponseError
	if !errors.As(err, &status) || status.StatusCode() != code || !strings.Contains(status.Body(), text) {
		t.Errorf("%s: %v, want %d %q", what, err, code, text)
	}
}

// TestSDKOfAccessControl drives a real agent through every ACL call of the public Go SDK.
func TestSDKOfAccessControl(t *testing.T) {
	_, client := aclAgent(t, aclOn)
	_, _, err := client.ACLTokens().List(nil)
	wantStatus(t, "no token", err, 403, "Permission denied")
	root, _, err := client.ACLTokens().Bootstrap(nil)
	if err != nil || root.Type != "management" || root.SecretID == "" || !root.Global {
		t.Fatalf("bootstrap: %+v %v", root, err)
	}
	_, _, err = client.ACLTokens().BootstrapOpts(secretID, nil)
	wantStatus(t, "second bootstrap", err, 400, "reset index")
	client.SetSecretID(root.SecretID)
	sdkACLPolicies(t, client)
	role := sdkACLRoles(t, client)
	sdkACLTokens(t, client, root, role)
	sdkACLLogins(t, client)
}

func sdkACLPolicies(t *testing.T, client *sdkapi.Client) {
	p := &sdkapi.ACLPolicy{Name: "web", Description: "d", Rules: "namespace \"*\" {\n  policy = \"read\"\n}\n",
		JobACL: &sdkapi.JobACL{Namespace: "default", JobID: "api"}}
	if wm, err := client.ACLPolicies().Upsert(p, nil); err != nil || wm.LastIndex == 0 {
		t.Fatal(wm, err)
	}
	got, qm, err := client.ACLPolicies().Info("web", nil)
	if err != nil || got.Rules != p.Rules || got.JobACL == nil || got.JobACL.JobID != "api" || qm.LastIndex != got.ModifyIndex {
		t.Errorf("%+v %+v %v", got, qm, err)
	}
	list, _, err := client.ACLPolicies().List(&sdkapi.QueryOptions{Prefix: "w"})
	if err != nil || len(list) != 1 || list[0].Name != "web" {
		t.Errorf("%+v %v", list, err)
	}
	_, err = client.ACLPolicies().Upsert(&sdkapi.ACLPolicy{Name: "bad", Rules: "namespace {"}, nil)
	wantStatus(t, "bad rules", err, 400, "line 1")
	_, _, err = client.ACLPolicies().Info("nope", nil)
	wantStatus(t, "absent", err, 404, "ACL policy not found")
	if _, err := client.ACLPolicies().Upsert(&sdkapi.ACLPolicy{Name: "gone", Rules: p.Rules}, nil); err != nil {
		t.Error(err)
	}
	if _, err := client.ACLPolicies().Delete("gone", nil); err != nil {
		t.Error(err)
	}
}

func sdkACLRoles(t *testing.T, client *sdkapi.Client) *sdkapi.ACLRole {
	role, _, err := client.ACLRoles().Create(&sdkapi.ACLRole{Name: "ops", Policies: []*sdkapi.ACLRolePolicyLink{{Name: "web"}}}, nil)
	if err != nil || role.ID == "" {
		t.Fatal(role, err)
	}
	role.Description = "new"
	if _, _, err := client.ACLRoles().Update(role, nil); err != nil {
		t.Error(err)
	}
	byID, _, err1 := client.ACLRoles().Get(role.ID, nil)
	byName, _, err2 := client.ACLRoles().GetByName("ops", nil)
	list, _, err3 := client.ACLRoles().List(nil)
	if err := errors.Join(err1, err2, err3); err != nil || byID.Description != "new" || byName.ID != role.ID || len(list) != 1 {
		t.Errorf("%+v %+v %+v %v", byID, byName, list, err)
	}
	_, _, err = client.ACLRoles().Create(&sdkapi.ACLRole{Name: "x", Policies: []*sdkapi.ACLRolePolicyLink{{Name: "nope"}}}, nil)
	wantStatus(t, "a role with a policy that is not there", err, 400, "nope")
	_, _, err = client.ACLRoles().GetByName("nope", nil)
	wantStatus(t, "absent", err, 404, "ACL role not found")
	other, _, err := client.ACLRoles().Create(&sdkapi.ACLRole{Name: "gone", Policies: role.Policies}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.ACLRoles().Delete(other.ID, nil); err != nil {
		t.Error(err)
	}
	return role
}

func sdkACLTokens(t *testing.T, client *sdkapi.Client, root *sdkapi.ACLToken, role *sdkapi.ACLRole) {
	tokens := client.ACLTokens()
	made, _, err := tokens.Create(&sdkapi.ACLToken{Name: "ci", Type: "client", Policies: []string{"web"},
		Roles: []*sdkapi.ACLTokenRoleLink{{Name: "ops"}}, ExpirationTTL: time.Hour}, nil)
	if err != nil || made.SecretID == "" || made.ExpirationTime == nil || len(made.Roles) != 1 || made.Roles[0].ID != role.ID {
		t.Fatalf("%+v %v", made, err)
	}
	made.Name, made.ExpirationTTL = "renamed", 0
	if changed, _, err := tokens.Update(made, nil); err != nil || changed.Name != "renamed" || changed.SecretID != made.SecretID {
		t.Errorf("%+v %v", changed, err)
	}
	if got, _, err := tokens.Info(made.AccessorID, nil); err != nil || got.SecretID != made.SecretID || got.Name != "renamed" {
		t.Errorf("%+v %v", got, err)
	}
	up, _, err := tokens.Upload(&sdkapi.ACLToken{AccessorID: accessor, SecretID: secretID, Type: "client", Policies: []string{"web"}}, nil)
	if err != nil || up.AccessorID != accessor {
		t.Errorf("upload: %+v %v", up, err)
	}
	page, qm, err := tokens.List(&sdkapi.QueryOptions{PerPage: 1})
	if err != nil || len(page) != 1 || qm.NextToken == "" {
		t.Errorf("%+v %+v %v", page, qm, err)
	}
	all, _, err := tokens.List(&sdkapi.QueryOptions{Filter: `Type == "management"`})
	if err != nil || len(all) != 1 || all[0].AccessorID != root.AccessorID {
		t.Errorf("%+v %v", all, err)
	}
	if global, _, err := tokens.List(&sdkapi.QueryOptions{Params: map[string]string{"global": "true"}}); err != nil || len(global) != 1 {
		t.Errorf("%+v %v", global, err)
	}
	_, _, err = tokens.Info("00000000-0000-0000-0000-000000000000", nil)
	wantStatus(t, "absent", err, 404, "ACL token not found")
	sdkACLAsClient(t, client, root, made)
	if _, err := tokens.Delete(accessor, nil); err != nil {
		t.Error(err)
	}
}

func sdkACLAsClient(t *testing.T, client *sdkapi.Client, root, made *sdkapi.ACLToken) {
	tokens := client.ACLTokens()
	client.SetSecretID(made.SecretID)
	defer client.SetSecretID(root.SecretID)
	if self, _, err := tokens.Self(nil); err != nil || self.AccessorID != made.AccessorID {
		t.Errorf("self: %+v %v", self, err)
	}
	if own, _, err := client.ACLPolicies().Self(nil); err != nil || len(own) != 1 || own[0].Name != "web" {
		t.Errorf("own policies: %+v %v", own, err)
	}
	_, _, err := tokens.List(nil)
	wantStatus(t, "a list as a client", err, 403, "Permission denied")
	once, _, err := tokens.UpsertOneTimeToken(nil)
	if err != nil || once.OneTimeSecretID == "" {
		t.Fatal(once, err)
	}
	client.SetSecretID("")
	if back, _, err := tokens.ExchangeOneTimeToken(once.OneTimeSecretID, nil); err != nil || back.SecretID != made.SecretID {
		t.Errorf("exchange: %+v %v", back, err)
	}
	_, _, err = tokens.ExchangeOneTimeToken(once.OneTimeSecretID, nil)
	wantStatus(t, "second exchange", err, 403, "")
	if self, _, err := tokens.Self(nil); err != nil || self.AccessorID != "anonymous" {
		t.Errorf("anonymous: %+v %v", self, err)
	}
	client.SetSecretID(made.SecretID)
	var why explainReply
	if _, err := client.Raw().Write("/v1/acl/explain", map[string]any{"Kind": "namespace", "Name": "x", "Capability": "read-job"}, &why, nil); err != nil ||
		!why.Allowed || len(why.Rules) == 0 || why.Rules[0].Policy != "web" || why.Rules[0].Line != 1 {
		t.Errorf("explain: %+v %v", why, err)
	}
}

func sdkACLLogins(t *testing.T, client *sdkapi.Client) {
	methods, rules := client.ACLAuthMethods(), client.ACLBindingRules()
	m, _, err := methods.Create(&sdkapi.ACLAuthMethod{Name: "sso", Type: "OIDC", TokenLocality: "global", MaxTokenTTL: time.Hour, Default: true,
		Config: &sdkapi.ACLAuthMethodConfig{OIDCDiscoveryURL: "https://idp.invalid", OIDCClientID: "c", OIDCClientSecret: "hush",
			AllowedRedirectURIs: []string{"http://localhost:4649/oidc/callback"}, ClockSkewLeeway: time.Minute}}, nil)
	if err != nil || m.MaxTokenTTL != time.Hour || m.Config.OIDCClientSecret == "hush" {
		t.Fatalf("%+v %v", m, err)
	}
	_, _, err = methods.Create(m, nil)
	wantStatus(t, "a method that exists", err, 400, "already exists: update it")
	m.MaxTokenTTL = 2 * time.Hour
	if _, _, err := methods.Update(m, nil); err != nil {
		t.Error(err)
	}
	got, _, err := methods.Get("sso", nil)
	if err != nil || got.MaxTokenTTL != 2*time.Hour || got.Config.ClockSkewLeeway != time.Minute || got.Config.OIDCClientSecret != "redacted" {
		t.Errorf("%+v %v", got, err)
	}
	_, _, err = methods.Get("nope", nil)
	wantStatus(t, "absent method", err, 404, "ACL auth-method not found")
	r, _, err := rules.Create(&sdkapi.ACLBindingRule{AuthMethod: "sso", BindType: "role", BindName: "ops", Selector: `"a" in list.groups`}, nil)
	if err != nil || r.ID == "" {
		t.Fatal(r, err)
	}
	r.Description = "new"
	if _, _, err := rules.Update(r, nil); err != nil {
		t.Error(err)
	}
	if got, _, err := rules.Get(r.ID, nil); err != nil || got.Description != "new" {
		t.Errorf("%+v %v", got, err)
	}
	if list, _, err := rules.List(nil); err != nil || len(list) != 1 || list[0].AuthMethod != "sso" {
		t.Errorf("%+v %v", list, err)
	}
	if _, err := rules.Delete(r.ID, nil); err != nil {
		t.Error(err)
	}
	if list, _, err := methods.List(nil); err != nil || len(list) != 1 || !list[0].Default {
		t.Errorf("%+v %v", list, err)
	}
	if _, _, err = rules.Create(&sdkapi.ACLBindingRule{AuthMethod: "sso", BindType: "management"}, nil); err != nil {
		t.Error(err)
	}
	if _, err := methods.Delete("sso", nil); err != nil {
		t.Error(err)
	}
	if list, _, err := rules.List(nil); err != nil || len(list) != 0 {
		t.Errorf("rules of a method that is gone: %+v %v", list, err)
	}
	_, err = methods.Delete("sso", nil)
	wantStatus(t, "a method that is gone", err, 404, "not found")
}
