package agent

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	accessor = "11111111-2222-3333-4444-555555555555"
	secretID = "99999999-2222-3333-4444-555555555555"
)

func testToken() *structs.ACLToken {
	at := time.Unix(1700003600, 0).UTC()
	return &structs.ACLToken{AccessorID: accessor, SecretID: secretID, Name: "ci", Type: structs.ACLClientToken,
		Policies: []string{"web"}, Roles: []*structs.ACLTokenRoleLink{{ID: accessor, Name: "ops"}}, Global: true, Hash: []byte{1, 2},
		CreateTime: time.Unix(1700000000, 0).UTC(), ExpirationTime: &at, ExpirationTTL: time.Hour, CreateIndex: 3, ModifyIndex: 4}
}

// fillACL answers every RPC of access control with data.
func (f *fakeServer) fillACL() {
	meta := structs.QueryMeta{Index: 42, KnownLeader: true}
	policy := &structs.ACLPolicy{Name: "web", Description: "d", Rules: `agent { policy = "read" }`,
		JobACL: &structs.JobACL{Namespace: "default"}, Hash: []byte{1}, CreateIndex: 1, ModifyIndex: 2}
	wrote := func(r *structs.GenericResponse) error { r.Index = 43; return nil }
	on(f, "ACL.ListPolicies", func(_ *structs.ACLPolicyListRequest, r *structs.ACLPolicyListResponse) error {
		r.Policies, r.QueryMeta = []*structs.ACLPolicyListStub{policy.Stub()}, meta
		return nil
	})
	on(f, "ACL.GetClaimPolicies", func(_ *structs.GenericRequest, r *structs.ACLPolicySetResponse) error {
		r.Policies, r.QueryMeta = map[string]*structs.ACLPolicy{"workload": {Name: "workload"}}, meta
		return nil
	})
	on(f, "ACL.GetPolicy", func(a *structs.ACLPolicySpecificRequest, r *structs.SingleACLPolicyResponse) error {
		if r.QueryMeta = meta; a.Name == "web" {
			r.Policy = policy
		}
		return nil
	})
	on(f, "ACL.UpsertPolicies", func(_ *structs.ACLPolicyUpsertRequest, r *structs.GenericResponse) error { return wrote(r) })
	on(f, "ACL.DeletePolicies", func(_ *structs.ACLPolicyDeleteRequest, r *structs.GenericResponse) error { return wrote(r) })
	f.fillTokens(meta)
	f.fillRoles(meta)
	f.fillLogins(meta)
}

func (f *fakeServer) fillTokens(meta structs.QueryMeta) {
	tokens := func(r *structs.ACLTokenUpsertResponse) error {
		r.Tokens, r.Index = []*structs.ACLToken{testToken()}, 43
		return nil
	}
	on(f, "ACL.ListTokens", func(_ *structs.ACLTokenListRequest, r *structs.ACLTokenListResponse) error {
		r.Tokens, r.QueryMeta = []*structs.ACLTokenListStub{testToken().Stub()}, meta
		return nil
	})
	on(f, "ACL.TokenUsage", func(_ *structs.ACLTokenUsageRequest, r *structs.ACLTokenUsageResponse) error {
		r.Since, r.LastUsed = time.Unix(60, 0).UTC(), map[string]int64{"a": 2}
		return nil
	})
	on(f, "ACL.GetToken", func(a *structs.ACLTokenSpecificRequest, r *structs.SingleACLTokenResponse) error {
		if r.QueryMeta = meta; a.AccessorID == accessor {
			r.Token = testToken()
		}
		return nil
	})
	on(f, "ACL.WhoAmI", func(_ *structs.GenericRequest, r *structs.ACLWhoAmIResponse) error {
		r.Identity, r.QueryMeta = &structs.AuthenticatedIdentity{ACLToken: testToken()}, meta
		return nil
	})
	on(f, "ACL.UpsertTokens", func(_ *structs.ACLTokenUpsertRequest, r *structs.ACLTokenUpsertResponse) error { return tokens(r) })
	on(f, "ACL.DeleteTokens", func(_ *structs.ACLTokenDeleteRequest, r *structs.GenericResponse) error { r.Index = 43; return nil })
	on(f, "ACL.Bootstrap", func(_ *structs.ACLTokenBootstrapRequest, r *structs.ACLTokenUpsertResponse) error { return tokens(r) })
	on(f, "ACL.UpsertOneTimeToken", func(_ *structs.OneTimeTokenUpsertRequest, r *structs.OneTimeTokenUpsertResponse) error {
		r.OneTimeToken, r.Index = &structs.OneTimeToken{OneTimeSecretID: secretID, AccessorID: accessor, ExpiresAt: time.Unix(1700000600, 0).UTC()}, 43
		return nil
	})
	on(f, "ACL.ExchangeOneTimeToken", func(_ *structs.OneTimeTokenExchangeRequest, r *structs.OneTimeTokenExchangeResponse) error {
		r.Token, r.Index = testToken(), 43
		return nil
	})
}

func (f *fakeServer) fillRoles(meta structs.QueryMeta) {
	role := &structs.ACLRole{ID: accessor, Name: "ops", Policies: []*structs.ACLRolePolicyLink{{Name: "web"}}, Hash: []byte{1}}
	on(f, "ACL.ListRoles", func(a *structs.ACLRolesListRequest, r *structs.ACLRolesListResponse) error {
		if r.ACLRoles, r.QueryMeta = []*structs.ACLRoleListStub{role.Stub()}, meta; a.Own {
			r.ACLRoles[0].Name = "my-own"
		}
		return nil
	})
	on(f, "ACL.GetRoleByID", func(a *structs.ACLRoleByIDRequest, r *structs.ACLRoleByIDResponse) error {
		if r.QueryMeta = meta; a.RoleID == accessor {
			r.ACLRole = role
		}
		return nil
	})
	on(f, "ACL.GetRoleByName", func(a *structs.ACLRoleByNameRequest, r *structs.ACLRoleByNameResponse) error {
		if r.QueryMeta = meta; a.RoleName == "ops" {
			r.ACLRole = role
		}
		return nil
	})
	on(f, "ACL.UpsertRoles", func(_ *structs.ACLRolesUpsertRequest, r *structs.ACLRolesUpsertResponse) error {
		r.ACLRoles, r.Index = []*structs.ACLRole{role}, 43
		return nil
	})
	on(f, "ACL.DeleteRolesByID", func(_ *structs.ACLRolesDeleteByIDRequest, r *structs.ACLRolesDeleteByIDResponse) error {
		r.Index = 43
		return nil
	})
}

func (f *fakeServer) fillLogins(meta structs.QueryMeta) {
	method := &structs.ACLAuthMethod{Name: "gh", Type: structs.ACLAuthMethodTypeJWT, TokenLocality: "local", MaxTokenTTL: time.Hour, Default: true,
		Hash: []byte{1}, CreateTime: time.Unix(1700000000, 0).UTC(), ModifyTime: time.Unix(1700000000, 0).UTC(),
		Config: &structs.ACLAuthMethodConfig{JWKSURL: "https://x", ClockSkewLeeway: time.Minute, ClaimMappings: map[string]string{"a": "b"},
			OIDCClientAssertion: &structs.OIDCClientAssertion{KeySource: "nomad"}}}
	rule := &structs.ACLBindingRule{ID: accessor, AuthMethod: "gh", Selector: "value.a == b", BindType: "role", BindName: "ops", Hash: []byte{1},
		CreateTime: time.Unix(1700000000, 0).UTC(), ModifyTime: time.Unix(1700000000, 0).UTC()}
	on(f, "ACL.ListAuthMethods", func(_ *structs.ACLAuthMethodListRequest, r *structs.ACLAuthMethodListResponse) error {
		r.AuthMethods, r.QueryMeta = []*structs.ACLAuthMethodListStub{method.Stub()}, meta
		return nil
	})
	on(f, "ACL.GetAuthMethod", func(a *structs.ACLAuthMethodGetRequest, r *structs.ACLAuthMethodGetResponse) error {
		if r.QueryMeta = meta; a.MethodName == "gh" {
			r.AuthMethod = method
		}
		return nil
	})
	on(f, "ACL.UpsertAuthMethods", func(_ *structs.ACLAuthMethodUpsertRequest, r *structs.ACLAuthMethodUpsertResponse) error {
		r.AuthMethods, r.Index = []*structs.ACLAuthMethod{method}, 43
		return nil
	})
	on(f, "ACL.DeleteAuthMethods", func(_ *structs.ACLAuthMethodDeleteRequest, r *structs.ACLAuthMethodDeleteResponse) error {
		r.Index = 43
		return nil
	})
	on(f, "ACL.ListBindingRules", func(_ *structs.ACLBindingRulesListRequest, r *structs.ACLBindingRulesListResponse) error {
		r.ACLBindingRules, r.QueryMeta = []*structs.ACLBindingRuleListStub{rule.Stub()}, meta
		return nil
	})
	on(f, "ACL.GetBindingRule", func(a *structs.ACLBindingRuleRequest, r *structs.ACLBindingRuleResponse) error {
		if r.QueryMeta = meta; a.ACLBindingRuleID == accessor {
			r.ACLBindingRule = rule
		}
		return nil
	})
	on(f, "ACL.UpsertBindingRules", func(_ *structs.ACLBindingRulesUpsertRequest, r *structs.ACLBindingRulesUpsertResponse) error {
		r.ACLBindingRules, r.Index = []*structs.ACLBindingRule{rule}, 43
		return nil
	})
	on(f, "ACL.DeleteBindingRules", func(_ *structs.ACLBindingRulesDeleteRequest, r *structs.ACLBindingRulesDeleteResponse) error {
		r.Index = 43
		return nil
	})
	on(f, "ACL.Login", func(_ *structs.ACLLoginRequest, r *structs.ACLLoginResponse) error {
		r.ACLToken, r.Index = testToken(), 43
		return nil
	})
	on(f, "ACL.OIDCAuthURL", func(_ *structs.ACLOIDCAuthURLRequest, r *structs.ACLOIDCAuthURLResponse) error {
		r.AuthURL = "https://idp"
		return nil
	})
	on(f, "ACL.OIDCCompleteAuth", func(_ *structs.ACLOIDCCompleteAuthRequest, r *structs.ACLLoginResponse) error {
		r.ACLToken, r.Index = testToken(), 43
		return nil
	})
	on(f, "ACL.Explain", func(_ *structs.ACLExplainRequest, r *structs.ACLExplainResponse) error {
		r.Allowed, r.Reason, r.QueryMeta = true, "allowed", meta
		r.Rules = []*structs.ACLExplainRule{{Policy: "web", Line: 1, Column: 1, Rule: "agent", Effect: "allow"}}
		return nil
	})
}

func init() {
	maps.Copy(samples, map[string][2]string{
		"GET /v1/acl/policy/{name}":          {"web", ""},
		"PUT /v1/acl/policy/{name}":          {"web", `{"Name":"web","Rules":"agent {}"}`},
		"DELETE /v1/acl/policy/{name}":       {"web", ""},
		"PUT /v1/acl/token":                  {"", `{"Type":"client","Policies":["web"],"ExpirationTTL":"1h"}`},
		"GET /v1/acl/token/{accessor}":       {accessor, ""},
		"PUT /v1/acl/token/{accessor}":       {accessor, `{"AccessorID":"` + accessor + `"}`},
		"DELETE /v1/acl/token/{accessor}":    {accessor, ""},
		"PUT /v1/acl/token/onetime/exchange": {"", `{"OneTimeSecretID":"x"}`},
		"PUT /v1/acl/role":                   {"", `{"Name":"ops","Policies":[{"Name":"web"}]}`},
		"GET /v1/acl/role/{id}":              {accessor, ""},
		"GET /v1/acl/role/name/{name}":       {"ops", ""},
		"PUT /v1/acl/role/{id}":              {accessor, `{"ID":"` + accessor + `"}`},
		"DELETE /v1/acl/role/{id}":           {accessor, ""},
		"PUT /v1/acl/auth-method":            {"", `{"Name":"gh","MaxTokenTTL":"1h","Config":{"ClockSkewLeeway":"1m"}}`},
		"GET /v1/acl/auth-method/{name}":     {"gh", ""},
		"PUT /v1/acl/auth-method/{name}":     {"gh", `{"Name":"gh"}`},
		"DELETE /v1/acl/auth-method/{name}":  {"gh", ""},
		"PUT /v1/acl/binding-rule":           {"", `{"AuthMethod":"gh"}`},
		"GET /v1/acl/binding-rule/{id}":      {accessor, ""},
		"PUT /v1/acl/binding-rule/{id}":      {accessor, `{"ID":"` + accessor + `"}`},
		"DELETE /v1/acl/binding-rule/{id}":   {accessor, ""},
		"PUT /v1/acl/login":                  {"", `{"AuthMethodName":"gh","LoginToken":"j"}`},
		"PUT /v1/acl/oidc/auth-url":          {"", `{"AuthMethodName":"gh","RedirectURI":"r","ClientNonce":"n"}`},
		"PUT /v1/acl/oidc/complete-auth":     {"", `{"AuthMethodName":"gh","ClientNonce":"n","State":"s","Code":"c","RedirectURI":"r"}`},
		"PUT /v1/acl/explain":                {"", `{"Kind":"agent","Capability":"read"}`},
	})
}

func TestACLStatuses(t *testing.T) {
	for _, tc := range []struct {
		method, target, body string
		status               int
		reply                string // "" for any
	}{
		{"GET", "/v1/acl/policy/nope", "", 404, "ACL policy not found"},
		{"GET", "/v1/acl/policy/", "", 400, "missing policy name"},
		{"GET", "/v1/acl/policy", "", 404, "resource not found"},
		{"GET", "/v1/acl/policy/a/b", "", 404, "resource not found"},
		{"PUT", "/v1/acl/policy/web", `{"Name":"web"}`, 200, ""},
		{"POST", "/v1/acl/policy/web", `{"Name":"web"}`, 200, ""},
		{"PUT", "/v1/acl/policy/web", `{"Name":"other"}`, 400, `policy name does not match request path: the body has "other", the path "web"`},
		{"PUT", "/v1/acl/policy/", `{"Name":"web"}`, 400, "missing policy name"},
		{"PUT", "/v1/acl/policy/web", "", 400, "Request body is empty"},
		{"DELETE", "/v1/acl/policy/web", "", 200, ""},
		{"DELETE", "/v1/acl/policy/", "", 400, "missing policy name"},
		{"PATCH", "/v1/acl/policy/web", "", 405, "Invalid method"},
		{"PUT", "/v1/acl/policy/self", `{"Name":"self"}`, 405, "Invalid method"},
		{"PUT", "/v1/acl/policies", "", 405, "Invalid method"},
		{"GET", "/v1/acl/tokens?global=maybe", "", 400, ""},
		{"GET", "/v1/acl/token/" + secretID, "", 404, "ACL token not found"},
		{"PUT", "/v1/acl/token/" + accessor, `{"AccessorID":"` + secretID + `"}`, 400, ""},
		{"PUT", "/v1/acl/token", `{"ExpirationTTL":"soon"}`, 400, ""},
		{"PUT", "/v1/acl/token", "", 400, "Request body is empty"},
		{"GET", "/v1/acl/token", "", 405, "Invalid method"},
		{"DELETE", "/v1/acl/token/" + accessor, "", 200, ""},
		{"DELETE", "/v1/acl/token/", "", 400, "missing token accessor"},
		{"PUT", "/v1/acl/bootstrap", "", 200, ""},
		{"POST", "/v1/acl/bootstrap", `{"BootstrapSecret":"` + secretID + `"}`, 200, ""},
		{"PUT", "/v1/acl/bootstrap", `{"BootstrapSecret":1}`, 400, ""},
		{"GET", "/v1/acl/bootstrap", "", 405, "Invalid method"},
		{"PUT", "/v1/acl/token/onetime/exchange", "", 400, "Request body is empty"},
		{"GET", "/v1/acl/token/onetime", "", 405, "Invalid method"},
		{"GET", "/v1/acl/role/" + secretID, "", 404, "ACL role not found"},
		{"GET", "/v1/acl/role/name/nope", "", 404, "ACL role not found"},
		{"GET", "/v1/acl/role/name/", "", 400, "missing role name"},
		{"PUT", "/v1/acl/role", `{"ID":"x","Name":"ops"}`, 400, ""},
		{"PUT", "/v1/acl/role/" + accessor, `{"ID":"x"}`, 400, ""},
		{"DELETE", "/v1/acl/role/", "", 400, "missing role ID"},
		{"GET", "/v1/acl/auth-method/nope", "", 404, "ACL auth-method not found"},
		{"PUT", "/v1/acl/auth-method/gh", `{"Name":"x"}`, 400, ""},
		{"PUT", "/v1/acl/auth-method", `{"MaxTokenTTL":"soon"}`, 400, ""},
		{"DELETE", "/v1/acl/auth-method/", "", 400, "missing auth-method name"},
		{"GET", "/v1/acl/binding-rule/" + secretID, "", 404, "ACL binding rule not found"},
		{"PUT", "/v1/acl/binding-rule/" + accessor, `{"ID":"x"}`, 400, ""},
		{"DELETE", "/v1/acl/binding-rule/", "", 400, "missing binding rule ID"},
		{"PUT", "/v1/acl/login", "", 400, "Request body is empty"},
		{"GET", "/v1/acl/login", "", 405, "Invalid method"},
		{"PUT", "/v1/acl/oidc/auth-url", "", 400, "Request body is empty"},
		{"PUT", "/v1/acl/oidc/auth-url", "{}", 200, `{"AuthURL":"https://idp"}`},
		{"PUT", "/v1/acl/oidc/complete-auth", "nonsense", 400, ""},
		{"POST", "/v1/acl/explain", "", 400, "Request body is empty"},
		{"GET", "/v1/acl/explain", "", 405, "Invalid method"},
	} {
		t.Run(tc.method+" "+tc.target, func(t *testing.T) {
			w := call(testAPI(t, newFake().fill()), tc.method, tc.target, tc.body)
			if w.Code != tc.status || tc.reply != "" && w.Body.String() != tc.reply {
				t.Errorf("%d %q, want %d %q", w.Code, w.Body, tc.status, tc.reply)
			}
		})
	}
}

func TestACLErrorsOfTheServers(t *testing.T) {
	f := newFake().fill()
	h := testAPI(t, f)
	f.answers["ACL.Login"] = func(any, any) error { return errs.New(errs.Unauthenticated, "the JWT has expired") }
	f.answers["ACL.OIDCCompleteAuth"], f.answers["ACL.OIDCAuthURL"] = f.answers["ACL.Login"], f.answers["ACL.Login"]
	f.answers["ACL.GetToken"] = func(any, any) error { return errs.New(errs.Unauthenticated, "Permission denied") }
	f.answers["ACL.ListTokens"] = func(any, any) error { return errs.New(errs.Invalid, "ACL support disabled") }
	for _, tc := range []struct {
		method, target string
		status         int
		reply          string
	}{
		{"PUT", "/v1/acl/login", 401, "the JWT has expired"},
		{"PUT", "/v1/acl/oidc/auth-url", 401, "the JWT has expired"},
		{"PUT", "/v1/acl/oidc/complete-auth", 401, "the JWT has expired"},
		{"GET", "/v1/acl/token/" + accessor, 403, "Permission denied"},
		{"GET", "/v1/acl/tokens", 400, "ACL support disabled"},
	} {
		if w := call(h, tc.method, tc.target, "{}"); w.Code != tc.status || w.Body.String() != tc.reply {
			t.Errorf("%s: %d %q", tc.target, w.Code, w.Body)
		}
	}
}

// What a route takes from path, query and body reaches the RPC, and nothing else does.
func TestACLRequests(t *testing.T) {
	f := newFake().fill()
	h := testAPI(t, f)
	read := structs.QueryOptions{AuthToken: "s", Namespace: "shop"}
	auth := structs.WriteRequest{AuthToken: "s"}
	for _, tc := range []struct {
		method, target, body string
		want                 any
	}{
		{"GET", "/v1/acl/tokens?global", "", &structs.ACLTokenListRequest{GlobalOnly: true, QueryOptions: structs.QueryOptions{AuthToken: "s"}}},
		{"PUT", "/v1/acl/token", `{"Name":"n","ExpirationTTL":"90s"}`,
			&structs.ACLTokenUpsertRequest{Tokens: []*structs.ACLToken{{Name: "n", ExpirationTTL: 90 * time.Second}}, WriteRequest: auth}},
		{"PUT", "/v1/acl/token", `{"ExpirationTTL":90000000000}`,
			&structs.ACLTokenUpsertRequest{Tokens: []*structs.ACLToken{{ExpirationTTL: 90 * time.Second}}, WriteRequest: auth}},
		{"PUT", "/v1/acl/bootstrap", `{"BootstrapSecret":"b","Token":{"Name":"x"},"ResetIndex":9}`, &structs.ACLTokenBootstrapRequest{BootstrapSecret: "b"}},
		{"PUT", "/v1/acl/token/onetime/exchange", `{"OneTimeSecretID":"o"}`, &structs.OneTimeTokenExchangeRequest{OneTimeSecretID: "o"}},
		{"PUT", "/v1/acl/token/onetime", `{"OneTimeToken":{"AccessorID":"forged"}}`, &structs.OneTimeTokenUpsertRequest{WriteRequest: auth}},
		{"PUT", "/v1/acl/login", `{"AuthMethodName":"gh","LoginToken":"j","AuthToken":"forged"}`, &structs.ACLLoginRequest{AuthMethodName: "gh", LoginToken: "j"}},
		{"PUT", "/v1/acl/oidc/auth-url", `{"AuthMethodName":"gh","RedirectURI":"r","ClientNonce":"n"}`,
			&structs.ACLOIDCAuthURLRequest{AuthMethodName: "gh", RedirectURI: "r", ClientNonce: "n"}},
		{"PUT", "/v1/acl/oidc/complete-auth", `{"AuthMethodName":"gh","ClientNonce":"n","State":"st","Code":"c","RedirectURI":"r","Iss":"i"}`,
			&structs.ACLOIDCCompleteAuthRequest{AuthMethodName: "gh", ClientNonce: "n", State: "st", Code: "c", RedirectURI: "r", Iss: "i"}},
		{"POST", "/v1/acl/explain", `{"Policies":["web"],"Kind":"variables","Namespace":"shop","Name":"a/b","Capability":"read"}`,
			&structs.ACLExplainRequest{Policies: []string{"web"}, Kind: "variables", Name: "a/b", Capability: "read", QueryOptions: read}},
		{"POST", "/v1/acl/explain?namespace=shop", `{"AccessorID":"a","Rules":["x"],"Kind":"agent","Capability":"read","AuthToken":"forged"}`,
			&structs.ACLExplainRequest{AccessorID: "a", Rules: []string{"x"}, Kind: "agent", Capability: "read", QueryOptions: read}},
		{"GET", "/v1/acl/role/name/ops", "", &structs.ACLRoleByNameRequest{RoleName: "ops", QueryOptions: structs.QueryOptions{AuthToken: "s"}}},
		{"DELETE", "/v1/acl/binding-rule/x", "", &structs.ACLBindingRulesDeleteRequest{ACLBindingRuleIDs: []string{"x"}, WriteRequest: auth}},
	} {
		if w := call(h, tc.method, tc.target, tc.body, "X-Nomad-Token", "s"); w.Code != 200 {
			t.Errorf("%s: %d %s", tc.target, w.Code, w.Body)
		}
		if diff := cmp.Diff(tc.want, f.last); diff != "" {
			t.Errorf("%s %s (-want +got):\n%s", tc.target, tc.body, diff)
		}
	}
}

func TestACLReplies(t *testing.T) {
	f := newFake().fill()
	h := testAPI(t, f)
	for _, tc := range []struct {
		method, target, body, header string
		has, lacks                   string
	}{
		{"GET", "/v1/acl/tokens", "", "", accessor, secretID},
		{"GET", "/v1/acl/token/self", "", "", `"ExpirationTTL":"1h0m0s"`, "QueryMeta"},
		{"PUT", "/v1/acl/token/onetime", "", "", `{"OneTimeToken":{"OneTimeSecretID":"` + secretID, `"Index"`},
		{"PUT", "/v1/acl/token/onetime/exchange", `{"OneTimeSecretID":"x"}`, "", `{"Token":{`, `"Index"`},
		{"GET", "/v1/acl/auth-method/gh", "", "", `"MaxTokenTTL":"1h0m0s"`, "3600000000000"},
		{"GET", "/v1/acl/policy/self", "", secretID, `"Name":"web"`, "Rules"},
		{"GET", "/v1/acl/policy/self", "", "a.b.c", `"Name":"workload"`, `"web"`},
		{"GET", "/v1/acl/role/self", "", secretID, `"Name":"my-own"`, "QueryMeta"},
		{"GET", "/v1/acl/roles", "", secretID, `"Name":"ops"`, "my-own"},
		{"POST", "/v1/acl/explain", `{}`, "", `"Overruled":[]`, "LastContact"},
	} {
		w := call(h, tc.method, tc.target, tc.body, "X-Nomad-Token", tc.header)
		if got := w.Body.String(); w.Code != 200 || !strings.Contains(got, tc.has) || strings.Contains(got, tc.lacks) {
			t.Errorf("%s: %d %s", tc.target, w.Code, got)
		}
		if w.Header().Get("X-Nomad-Index") == "" {
			t.Errorf("%s: no index", tc.target)
		}
	}
	on(f, "ACL.WhoAmI", func(_ *structs.GenericRequest, r *structs.ACLWhoAmIResponse) error { return nil })
	if w := call(h, "GET", "/v1/acl/token/self", ""); w.Code != 404 || w.Body.String() != "ACL token not found" {
		t.Errorf("self without a token: %d %s", w.Code, w.Body)
	}
	on(f, "ACL.UpsertTokens", func(*structs.ACLTokenUpsertRequest, *structs.ACLTokenUpsertResponse) error { return nil })
	if w := call(h, "PUT", "/v1/acl/token", "{}"); w.Code != 500 {
		t.Errorf("a write without a result: %d %s", w.Code, w.Body)
	}
	for _, path := range []string{"policies", "tokens", "roles", "auth-methods", "binding-rules"} {
		for name := range f.answers {
			if strings.HasPrefix(name, "ACL.List") {
				f.answers[name] = func(any, any) error { return nil }
			}
		}
		if w := call(h, "GET", "/v1/acl/"+path, ""); w.Body.String() != "[]" {
			t.Errorf("empty list of %s: %s", path, w.Body)
		}
	}
}

func TestDurationTextsNameFieldsThatAreText(t *testing.T) {
	for typ, fields := range durationTexts {
		b, err := json.Marshal(reflect.New(typ).Interface())
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatal(err)
		}
		for _, name := range fields {
			if _, text := got[name].(string); !text {
				t.Errorf("%s.%s is %v", typ, name, got[name])
			}
		}
	}
}
