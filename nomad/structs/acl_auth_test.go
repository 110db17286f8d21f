package structs

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func mustPublicKey(t *testing.T) string {
	t.Helper()
	pub, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func method(typ string, c *ACLAuthMethodConfig) ACLAuthMethod {
	return ACLAuthMethod{Name: "m", Type: typ, TokenLocality: "local", MaxTokenTTL: time.Hour, Config: c}
}

func TestACLAuthMethodValidate(t *testing.T) {
	oidc := func(f func(*ACLAuthMethodConfig)) ACLAuthMethod {
		c := &ACLAuthMethodConfig{OIDCDiscoveryURL: "https://idp", OIDCClientID: "id", OIDCClientSecret: "s",
			AllowedRedirectURIs: []string{"http://localhost:4649/oidc/callback"}}
		f(c)
		return method("OIDC", c)
	}
	jwt := func(f func(*ACLAuthMethodConfig)) ACLAuthMethod {
		c := &ACLAuthMethodConfig{JWTValidationPubKeys: []string{mustPublicKey(t)}}
		f(c)
		return method("JWT", c)
	}
	for _, c := range []struct {
		name string
		m    ACLAuthMethod
		want []string
	}{
		{"oidc", oidc(func(*ACLAuthMethodConfig) {}), nil},
		{"jwt", jwt(func(*ACLAuthMethodConfig) {}), nil},
		{"everything", ACLAuthMethod{Name: "a b", TokenNameFormat: "${x}"},
			[]string{"Name", "TokenLocality", "MaxTokenTTL", "TokenNameFormat", "Type", "Config"}},
		{"oidc, nothing", method("OIDC", &ACLAuthMethodConfig{}),
			[]string{"Config.AllowedRedirectURIs", "Config.OIDCClientID", "Config.OIDCDiscoveryURL"}},
		{"jwt, nothing", method("JWT", &ACLAuthMethodConfig{}), []string{"Config.JWKSURL"}},
		{"jwt, two sources", jwt(func(c *ACLAuthMethodConfig) { c.JWKSURL = "https://x/keys" }), []string{"Config.JWKSURL"}},
		{"alg none", jwt(func(c *ACLAuthMethodConfig) { c.SigningAlgs = []string{"RS256", "none", "HS256"} }),
			[]string{"Config.SigningAlgs", "Config.SigningAlgs"}},
		{"bad key", jwt(func(c *ACLAuthMethodConfig) { c.JWTValidationPubKeys = []string{"x"} }), []string{"Config.JWTValidationPubKeys"}},
		{"bad URLs", oidc(func(c *ACLAuthMethodConfig) {
			c.OIDCDiscoveryURL, c.AllowedRedirectURIs = "ftp://x", []string{"/callback"}
		}),
			[]string{"Config.AllowedRedirectURIs", "Config.OIDCDiscoveryURL"}},
		{"bad authority", oidc(func(c *ACLAuthMethodConfig) { c.DiscoveryCaPem = []string{"x"} }), []string{"Config.DiscoveryCaPem"}},
		{"leeway", jwt(func(c *ACLAuthMethodConfig) { c.ClockSkewLeeway, c.NotBeforeLeeway = 2*time.Hour, -1 }), []string{"Config.ClockSkewLeeway"}},
		{"same name twice", jwt(func(c *ACLAuthMethodConfig) { c.ClaimMappings = map[string]string{"a": "x", "b": "x"} }), []string{"Config.ClaimMappings"}},
		{"huge", jwt(func(c *ACLAuthMethodConfig) {
			c.BoundAudiences, c.BoundIssuer = make([]string, 257), []string{strings.Repeat("x", maxAuthText+1)}
		}), []string{"Config.BoundAudiences", "Config.BoundIssuer"}},
		{"assertion", oidc(func(c *ACLAuthMethodConfig) { c.OIDCClientAssertion = &OIDCClientAssertion{KeySource: "nomad"} }), nil},
		{"assertion without source", oidc(func(c *ACLAuthMethodConfig) { c.OIDCClientAssertion = &OIDCClientAssertion{} }),
			[]string{"Config.OIDCClientAssertion"}},
		{"assertion without key", oidc(func(c *ACLAuthMethodConfig) {
			c.OIDCClientAssertion = &OIDCClientAssertion{KeySource: "private_key"}
		}), []string{"Config.OIDCClientAssertion.PrivateKey"}},
	} {
		if diff := cmp.Diff(c.want, fields(t, c.m.Validate(DefaultACLTokenLimits()))); diff != "" {
			t.Errorf("%s:\n%s", c.name, diff)
		}
	}
}

func TestACLAuthMethodSecrets(t *testing.T) {
	stored := method("OIDC", &ACLAuthMethodConfig{OIDCDiscoveryURL: "https://idp", OIDCClientID: "id", OIDCClientSecret: "s1",
		AllowedRedirectURIs: []string{"http://localhost"},
		OIDCClientAssertion: &OIDCClientAssertion{KeySource: "private_key", PrivateKey: &OIDCClientAssertionKey{PemKey: "s2", KeyID: "k"}}})
	shown := stored.Redacted()
	if shown.Config.OIDCClientSecret != ACLRedacted || shown.Config.OIDCClientAssertion.PrivateKey.PemKey != ACLRedacted ||
		stored.Config.OIDCClientSecret != "s1" {
		t.Errorf("redacted %+v", shown.Config)
	}
	if err := shown.Validate(DefaultACLTokenLimits()); err == nil {
		t.Error("the placeholder would be stored")
	}
	moved := shown.Copy()
	moved.Config.OIDCDiscoveryURL = "https://attacker"
	moved.KeepSecrets(&stored)
	if moved.Config.OIDCClientSecret != ACLRedacted {
		t.Error("the secret would go to another provider")
	}
	shown.KeepSecrets(&stored)
	if diff := cmp.Diff(stored.Config, shown.Config); diff != "" {
		t.Error(diff)
	}
	if err := shown.Validate(DefaultACLTokenLimits()); err != nil {
		t.Error(err)
	}
	if none := (&ACLAuthMethod{}).Redacted(); none.Config != nil {
		t.Error("a configuration came from nowhere")
	}
}

func FuzzACLJSON(f *testing.F) {
	for _, s := range []string{`{"ExpirationTTL":"1h","Roles":[null,{"ID":"x"}]}`, `{"MaxTokenTTL":5e9,"Config":{"ClockSkewLeeway":"1s","OIDCClientAssertion":{"KeySource":"private_key"}}}`,
		`{"BindType":"role","BindName":"${value.x}","Selector":"a == b"}`, `{"Policies":[null]}`, `null`, `{"Config":null}`, `[]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var token ACLToken
		if json.Unmarshal(raw, &token) == nil {
			if token.Validate(DefaultACLTokenLimits(), nil, time.Unix(0, 0)) == nil {
				token.SetHash()
			}
			_ = token.Stub()
			_ = token.Copy()
		}
		var m ACLAuthMethod
		if json.Unmarshal(raw, &m) == nil {
			m.KeepSecrets(m.Redacted())
			_ = m.Validate(DefaultACLTokenLimits())
			m.SetHash()
		}
		var rule ACLBindingRule
		if json.Unmarshal(raw, &rule) == nil {
			_ = rule.Validate()
		}
		var role ACLRole
		if json.Unmarshal(raw, &role) == nil && role.Validate() == nil {
			role.SetHash()
		}
		var policy ACLPolicy
		if json.Unmarshal(raw, &policy) == nil {
			_ = policy.Validate()
			policy.SetHash()
		}
	})
}
