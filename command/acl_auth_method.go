package command

import (
	"strings"

	"github.com/hashicorp/nomad/api"
)

func newACLAuthMethodList() action {
	return &aclList[api.ACLAuthMethodListStub]{
		words: about{
			synopsis: "show every SSO method", usage: "[options]",
			text:     "Lists the ways to log in. This needs no token.",
			examples: [][2]string{{"Show them", "cairn acl auth-method list"}},
		},
		what: "auth methods", head: []string{"Name", "Type", "Default"},
		row: func(m *api.ACLAuthMethodListStub) []string { return []string{m.Name, m.Type, yesNo(m.Default)} },
		fetch: func(c *api.Client, q *api.QueryOptions) ([]*api.ACLAuthMethodListStub, error) {
			list, _, err := c.ACLAuthMethods().List(q)
			return list, err
		},
	}
}

func newACLAuthMethodInfo() action {
	return &aclInfo[api.ACLAuthMethod]{
		words: about{
			synopsis: "show one SSO method", usage: "[options] <name>",
			text: "Shows an auth method. Servers never tell its secrets: they read \"redacted\".",
			examples: [][2]string{
				{"Show one", "cairn acl auth-method info github"},
				{"Only its configuration, to edit it", "cairn acl auth-method info -t '{{json .Config}}' github > github.json"},
			},
			args: authMethodNames,
		},
		what: "auth method", fetch: fetchAuthMethod, print: printAuthMethod,
	}
}

func newACLAuthMethodDelete() action {
	return &aclDelete{
		words: about{
			synopsis: "remove an SSO method", usage: "[options] <name>",
			text:     "Deletes an auth method with its binding rules. Tokens that logins made stay valid until they expire.",
			examples: [][2]string{{"Delete one", "cairn acl auth-method delete github"}},
			args:     authMethodNames,
		},
		what: "auth method",
		del: func(c *api.Client, name string, w *api.WriteOptions) error {
			_, err := c.ACLAuthMethods().Delete(name, w)
			return err
		},
	}
}

func fetchAuthMethod(c *api.Client, name string, q *api.QueryOptions) (*api.ACLAuthMethod, error) {
	m, _, err := c.ACLAuthMethods().Get(name, q)
	return m, err
}

func printAuthMethod(s *session, m *api.ACLAuthMethod) {
	s.pairs(
		[2]string{"Name", m.Name}, [2]string{"Type", m.Type}, [2]string{"Locality", orNone(m.TokenLocality)},
		[2]string{"Max Token TTL", m.MaxTokenTTL.String()}, [2]string{"Token Name Format", orNone(m.TokenNameFormat)},
		[2]string{"Default", yesNo(m.Default)},
		[2]string{"Create Time", wallTime(m.CreateTime)}, [2]string{"Modify Time", wallTime(m.ModifyTime)},
		[2]string{"Create Index", index(m.CreateIndex)}, [2]string{"Modify Index", index(m.ModifyIndex)},
	)
	if m.Config == nil {
		return
	}
	s.say("")
	s.title("Configuration")
	s.pairs(authConfigPairs(m.Config)...)
	for _, part := range []struct {
		title string
		texts map[string]string
	}{{"Claim Mappings", m.Config.ClaimMappings}, {"List Claim Mappings", m.Config.ListClaimMappings}} {
		if len(part.texts) > 0 {
			s.say("")
			s.title(part.title)
			s.pairs(sortedPairs(part.texts)...)
		}
	}
}

// authConfigPairs returns what a configuration sets.
func authConfigPairs(c *api.ACLAuthMethodConfig) [][2]string {
	kv := [][2]string{}
	for _, p := range [][2]string{
		{"JWKS URL", c.JWKSURL}, {"JWKS CA Cert", c.JWKSCACert}, {"OIDC Discovery URL", c.OIDCDiscoveryURL},
		{"OIDC Client ID", c.OIDCClientID}, {"OIDC Client Secret", c.OIDCClientSecret},
		{"OIDC Scopes", strings.Join(c.OIDCScopes, ", ")},
		{"Bound Issuer", strings.Join(c.BoundIssuer, ", ")}, {"Bound Audiences", strings.Join(c.BoundAudiences, ", ")},
		{"Allowed Redirects", strings.Join(c.AllowedRedirectURIs, ", ")}, {"Signing Algorithms", strings.Join(c.SigningAlgs, ", ")},
		{"JWT Public Keys", strings.Join(c.JWTValidationPubKeys, "\n")}, {"Discovery CA", strings.Join(c.DiscoveryCaPem, "\n")},
	} {
		if p[1] != "" {
			kv = append(kv, p)
		}
	}
	if a := c.OIDCClientAssertion; a != nil {
		kv = append(kv, [2]string{"OIDC Client Assertion", string(a.KeySource)})
	}
	return append(kv,
		[2]string{"OIDC PKCE", yesNo(c.OIDCEnablePKCE)}, [2]string{"OIDC User Info", yesNo(!c.OIDCDisableUserInfo)},
		[2]string{"Expiration Leeway", c.ExpirationLeeway.String()}, [2]string{"Not Before Leeway", c.NotBeforeLeeway.String()},
		[2]string{"Clock Skew Leeway", c.ClockSkewLeeway.String()}, [2]string{"Verbose Logging", yesNo(c.VerboseLogging)})
}
