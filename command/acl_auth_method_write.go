package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"
)

// aclAuthMethodWrite makes or changes an auth method.
type aclAuthMethodWrite struct {
	f                                      *flags
	update                                 bool
	name, kind, locality, nameFormat, conf string
	ttl                                    time.Duration
	isDefault                              bool
}

func (c *aclAuthMethodWrite) about() about {
	a := about{
		synopsis: "make a single-sign-on method", usage: "[options]",
		text: "Makes a way to log in with the identity of somebody else's directory. The configuration is a JSON object with the keys of the API." +
			"\n\nFor JWTs it names who signs them, by one of JWKSURL, OIDCDiscoveryURL and JWTValidationPubKeys, and what they must say: BoundAudiences, BoundIssuer. For OIDC it has OIDCDiscoveryURL, OIDCClientID, OIDCClientSecret or OIDCClientAssertion, AllowedRedirectURIs, and perhaps OIDCScopes and OIDCEnablePKCE. ClaimMappings and ListClaimMappings give claims the names by which binding rules ask for them. docs/access-control.md has all keys." +
			"\n\nA login is given rights by binding rules: without one nobody can log in.",
		examples: [][2]string{
			{"Programs with JWTs", "cairn acl auth-method create -name github -type JWT -max-token-ttl 30m -token-locality local -config github.json"},
			{"People with a browser", "cairn acl auth-method create -name sso -type OIDC -default -max-token-ttl 8h -token-locality global -config sso.json"},
		},
		groups: withAgent | withData,
	}
	if c.update {
		a.synopsis, a.usage, a.min, a.max, a.args = "change an existing SSO method", "[options] <name>", 1, 1, authMethodNames
		a.text = "Changes what the options say of an auth method and keeps the rest. -config replaces the whole configuration; a secret that reads \"redacted\" stays as it is."
		a.examples = [][2]string{{"Shorter sessions", "cairn acl auth-method update -max-token-ttl 1h sso"}}
	}
	return a
}

func (c *aclAuthMethodWrite) flags(f *flags) {
	c.f = f
	if !c.update {
		f.text(&c.name, "name", "name", "Name of the method: 1 to 128 letters, digits and dashes.")
	}
	f.text(&c.kind, "type", "type", "How one logs in, "+oneOfValues("JWT", "OIDC")+".", oneOf("JWT", "OIDC"))
	f.duration(&c.ttl, "max-token-ttl", "How long the tokens of logins are valid, such as 8h.")
	f.text(&c.locality, "token-locality", "where", "Where they are valid: local, in this region, or global.", oneOf("local", "global"))
	f.text(&c.nameFormat, "token-name-format", "format", "How they are named; may hold ${auth_method_type}, ${auth_method_name} and ${value.claim}.")
	f.boolean(&c.isDefault, "default", "Use the method for logins that name none; -default=false takes that back.")
	f.text(&c.conf, "config", "file", "File with the configuration as JSON; - for standard input.", anyFile)
}

func (c *aclAuthMethodWrite) run(s *session, args []string) error {
	m := &api.ACLAuthMethod{Name: c.name}
	var err error
	if c.update {
		if !c.f.givenAny("type", "max-token-ttl", "token-locality", "token-name-format", "default", "config") {
			return usagef("nothing to change: give -max-token-ttl, -token-locality, -token-name-format, -default or -config")
		}
		if m, err = readACL(s, "auth method", args[0], fetchAuthMethod); err != nil {
			return err
		}
	}
	if err := c.apply(s, m); err != nil {
		return err
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	put, doing := client.ACLAuthMethods().Create, "creating auth method "
	if c.update {
		put, doing = client.ACLAuthMethods().Update, "updating auth method "
	}
	stored, _, err := put(m, s.write())
	if err != nil {
		return failed(doing+clean(m.Name), err)
	}
	return s.show(stored, func() { printAuthMethod(s, stored) })
}

func (c *aclAuthMethodWrite) apply(s *session, m *api.ACLAuthMethod) error {
	if c.kind != "" {
		m.Type = strings.ToUpper(c.kind)
	}
	if c.f.given("max-token-ttl") {
		m.MaxTokenTTL = c.ttl
	}
	if c.locality != "" {
		m.TokenLocality = c.locality
	}
	if c.f.given("token-name-format") {
		m.TokenNameFormat = c.nameFormat
	}
	if c.f.given("default") {
		m.Default = c.isDefault
	}
	switch {
	case m.Name == "":
		return usagef("-name is missing")
	case m.Type != "JWT" && m.Type != "OIDC":
		return usagef("-type: %q is not %s", c.kind, oneOfValues("JWT", "OIDC"))
	case m.TokenLocality != "local" && m.TokenLocality != "global":
		return usagef("-token-locality: %q is not %s", m.TokenLocality, oneOfValues("local", "global"))
	case m.MaxTokenTTL <= 0:
		return usagef("-max-token-ttl must be given, and positive")
	case c.conf == "" && m.Config == nil:
		return usagef("-config is missing")
	case c.conf == "":
		return nil
	}
	src, err := s.readFile(c.conf)
	if err != nil {
		return err
	}
	m.Config, err = parseAuthConfig(src, c.conf)
	return err
}

// parseAuthConfig reads a configuration. Keys that the API does not have are
// refused, as a misspelled bound would let everybody in.
func parseAuthConfig(src []byte, name string) (*api.ACLAuthMethodConfig, error) {
	var keys map[string]json.RawMessage
	dec := json.NewDecoder(bytes.NewReader(src))
	if err := dec.Decode(&keys); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s: something follows the JSON object", name)
	}
	if keys == nil {
		return nil, fmt.Errorf("%s: must be a JSON object", name)
	}
	t := reflect.TypeFor[api.ACLAuthMethodConfig]()
	var known []string
	for i := range t.NumField() {
		known = append(known, strings.ToLower(t.Field(i).Name))
	}
	for key := range keys {
		if !slices.Contains(known, strings.ToLower(key)) {
			return nil, fmt.Errorf("%s: unknown key %q", name, key)
		}
	}
	var c api.ACLAuthMethodConfig
	if err := json.Unmarshal(src, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &c, nil
}
