package structs

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// The kinds of auth methods.
const (
	ACLAuthMethodTypeOIDC = "OIDC"
	ACLAuthMethodTypeJWT  = "JWT"
)

// Where the tokens of an auth method are valid.
const (
	ACLAuthMethodTokenLocalityLocal  = "local"
	ACLAuthMethodTokenLocalityGlobal = "global"
)

// DefaultACLAuthMethodTokenNameFormat names the tokens of a login after the method.
const DefaultACLAuthMethodTokenNameFormat = "${auth_method_type}-${auth_method_name}"

// ACLRedacted stands for a secret that is not shown. A writer who sends it back
// keeps the secret that is stored.
const ACLRedacted = "redacted"

// ACLAuthMethod says how people and programs of somebody else's directory log in.
type ACLAuthMethod struct {
	// Name is 1 to 128 letters, digits and dashes.
	Name string
	// Type is ACLAuthMethodTypeOIDC or ACLAuthMethodTypeJWT.
	Type string
	// TokenLocality is local or global.
	TokenLocality string
	// TokenNameFormat names the tokens; "" for DefaultACLAuthMethodTokenNameFormat.
	TokenNameFormat string
	// MaxTokenTTL is the life of the tokens.
	MaxTokenTTL time.Duration
	// Default marks the method of logins that name none. One method may be it.
	Default bool
	Config  *ACLAuthMethodConfig
	// Hash is a digest of the contents, see SetHash.
	Hash []byte

	CreateTime  time.Time
	ModifyTime  time.Time
	CreateIndex uint64
	ModifyIndex uint64
}

// ACLAuthMethodListStub is what everybody may see of an auth method.
type ACLAuthMethodListStub struct {
	Name    string
	Type    string
	Default bool
	Hash    []byte

	CreateIndex uint64
	ModifyIndex uint64
}

// Copy returns a deep copy; nil gives nil.
func (m *ACLAuthMethod) Copy() *ACLAuthMethod {
	if m == nil {
		return nil
	}
	c := *m
	c.Hash = slices.Clone(m.Hash)
	c.Config = m.Config.Copy()
	return &c
}

// Stub returns what lists show.
func (m *ACLAuthMethod) Stub() *ACLAuthMethodListStub {
	return &ACLAuthMethodListStub{m.Name, m.Type, m.Default, m.Hash, m.CreateIndex, m.ModifyIndex}
}

// Redacted returns a copy in which secrets read ACLRedacted, for every reader.
func (m *ACLAuthMethod) Redacted() *ACLAuthMethod {
	c := m.Copy()
	for _, s := range c.Config.secrets() {
		if *s != "" {
			*s = ACLRedacted
		}
	}
	return c
}

// KeepSecrets puts the stored secrets back where a writer sent ACLRedacted. It
// does not if the provider changes, as secrets would be told to another one;
// Validate then refuses what is left.
func (m *ACLAuthMethod) KeepSecrets(stored *ACLAuthMethod) {
	if stored == nil || stored.Config == nil || m.Config == nil || stored.Config.OIDCDiscoveryURL != m.Config.OIDCDiscoveryURL {
		return
	}
	old := stored.Copy().Config.secrets() // a copy, as missing parts are filled in
	for i, s := range m.Config.secrets() {
		if *s == ACLRedacted && i < len(old) {
			*s = *old[i]
		}
	}
}

// String names the method without its secrets.
func (m ACLAuthMethod) String() string { return "auth method " + m.Name }

// GoString keeps the secrets out of %#v.
func (m ACLAuthMethod) GoString() string { return m.String() }

// Canonicalize fills in defaults and times. Only the leader calls it.
func (m *ACLAuthMethod) Canonicalize(now time.Time) {
	if m.TokenNameFormat == "" {
		m.TokenNameFormat = DefaultACLAuthMethodTokenNameFormat
	}
	if m.CreateTime.IsZero() {
		m.CreateTime = now.UTC()
	}
	m.ModifyTime = now.UTC()
}

// SetHash sets Hash to the digest of everything that a writer sets, and returns it.
func (m *ACLAuthMethod) SetHash() []byte {
	h := newContentHash()
	h.text(m.Name, m.Type, m.TokenLocality, m.TokenNameFormat)
	h.number(int64(m.MaxTokenTTL))
	h.flag(m.Default)
	if h.flag(m.Config != nil); m.Config != nil {
		m.Config.hash(h)
	}
	m.Hash = h.sum()
	return m.Hash
}

func (m *ACLAuthMethod) problems(limits ACLTokenLimits) []errs.Erratum {
	var l problemList
	l.name("Name", m.Name)
	if m.TokenLocality != ACLAuthMethodTokenLocalityLocal && m.TokenLocality != ACLAuthMethodTokenLocalityGlobal {
		l.add("TokenLocality", "token locality %q must be %s or %s", clip(m.TokenLocality),
			ACLAuthMethodTokenLocalityLocal, ACLAuthMethodTokenLocalityGlobal)
	}
	if m.MaxTokenTTL < limits.MinTTL || m.MaxTokenTTL > limits.MaxTTL {
		l.add("MaxTokenTTL", "MaxTokenTTL %s must be between acl.token_min_expiration_ttl of %s and acl.token_max_expiration_ttl of %s",
			m.MaxTokenTTL, limits.MinTTL, limits.MaxTTL)
	}
	if len(m.TokenNameFormat) > maxACLTokenName {
		l.add("TokenNameFormat", "the format has %d bytes, more than %d", len(m.TokenNameFormat), maxACLTokenName)
	}
	if err := checkTemplate(m.TokenNameFormat, "auth_method_type", "auth_method_name"); err != "" {
		l.add("TokenNameFormat", "%s", err)
	}
	if m.Type != ACLAuthMethodTypeOIDC && m.Type != ACLAuthMethodTypeJWT {
		l.add("Type", "auth method type %q must be %s or %s", clip(m.Type), ACLAuthMethodTypeOIDC, ACLAuthMethodTypeJWT)
	}
	if m.Config == nil {
		l.add("Config", "an auth method needs a configuration")
		return l
	}
	for _, s := range m.Config.secrets() {
		if *s == ACLRedacted {
			l.add("Config", "a secret reads %q, and none is stored for this provider: send the secret itself", ACLRedacted)
		}
	}
	return append(l, m.Config.problems(m.Type)...)
}

// Validate returns every problem at once.
func (m *ACLAuthMethod) Validate(limits ACLTokenLimits) error {
	return errataError("invalid auth method", m.problems(limits))
}

// checkTemplate returns what is wrong with a text that may hold ${value.x} and
// the other variables, "" for nothing.
func checkTemplate(s string, others ...string) string {
	for {
		_, rest, found := strings.Cut(s, "${")
		if !found {
			return ""
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return "a ${ is not closed with }"
		}
		if key, ok := strings.CutPrefix(name, "value."); (!ok || key == "") && !slices.Contains(others, name) {
			return "unknown variable ${" + clip(name) + "}: use ${value.name} of the claim mappings"
		}
		s = after
	}
}

// ACLAuthMethodConfig is the configuration of an auth method. Keys that the type
// does not use are kept as given.
type ACLAuthMethodConfig struct {
	// JWTValidationPubKeys are PEM public keys that sign the JWTs.
	JWTValidationPubKeys []string
	// JWKSURL serves the keys that sign the JWTs; JWKSCACert is the PEM authority of its host.
	JWKSURL    string
	JWKSCACert string
	// OIDCDiscoveryURL is the issuer, without its /.well-known part.
	OIDCDiscoveryURL string
	OIDCClientID     string
	// OIDCClientSecret is redacted on read.
	OIDCClientSecret    string
	OIDCClientAssertion *OIDCClientAssertion
	OIDCEnablePKCE      bool
	OIDCDisableUserInfo bool
	// OIDCScopes are asked for beside openid.
	OIDCScopes []string
	// BoundAudiences and BoundIssuer are what a token must carry one of, nil for any.
	BoundAudiences []string
	BoundIssuer    []string
	// AllowedRedirectURIs are where an OIDC login may return to.
	AllowedRedirectURIs []string
	// DiscoveryCaPem are PEM authorities of the discovery URL's host.
	DiscoveryCaPem []string
	// SigningAlgs are the algorithms accepted, nil for the library's default.
	SigningAlgs []string
	// The leeways allow for clocks that differ; 0 for the library's default, below 0 for none.
	ExpirationLeeway time.Duration
	NotBeforeLeeway  time.Duration
	ClockSkewLeeway  time.Duration
	// ClaimMappings and ListClaimMappings map claims to names in selectors and templates.
	ClaimMappings     map[string]string
	ListClaimMappings map[string]string
	// VerboseLogging logs the claims of logins at level debug and must not be on in production.
	VerboseLogging bool
}

// OIDCClientAssertion is how the server proves itself without a client secret (RFC 7523).
type OIDCClientAssertion struct {
	// Audience is nil for the issuer.
	Audience []string
	// KeySource is nomad, private_key or client_secret.
	KeySource string
	// KeyAlgorithm is "" for the default of the source.
	KeyAlgorithm string
	// PrivateKey is set for the source private_key.
	PrivateKey *OIDCClientAssertionKey
	// ExtraHeaders go into the JWT's header.
	ExtraHeaders map[string]string
}

// OIDCClientAssertionKey is a signing key of one's own, in place or in a file of the servers.
type OIDCClientAssertionKey struct {
	// PemKey is redacted on read.
	PemKey     string
	PemKeyFile string
	// KeyIDHeader is kid, x5t or x5t#S256; KeyID is for the first, a certificate for the others.
	KeyIDHeader string
	KeyID       string
	PemCert     string
	PemCertFile string
}

// Copy returns a deep copy; nil gives nil.
func (c *ACLAuthMethodConfig) Copy() *ACLAuthMethodConfig {
	if c == nil {
		return nil
	}
	d := *c
	for _, s := range []*[]string{&d.JWTValidationPubKeys, &d.OIDCScopes, &d.BoundAudiences, &d.BoundIssuer, &d.AllowedRedirectURIs,
		&d.DiscoveryCaPem, &d.SigningAlgs} {
		*s = slices.Clone(*s)
	}
	d.ClaimMappings = maps.Clone(c.ClaimMappings)
	d.ListClaimMappings = maps.Clone(c.ListClaimMappings)
	d.OIDCClientAssertion = c.OIDCClientAssertion.Copy()
	return &d
}

// Copy returns a deep copy; nil gives nil.
func (a *OIDCClientAssertion) Copy() *OIDCClientAssertion {
	if a == nil {
		return nil
	}
	c := *a
	c.Audience = slices.Clone(a.Audience)
	c.ExtraHeaders = maps.Clone(a.ExtraHeaders)
	if a.PrivateKey != nil {
		key := *a.PrivateKey
		c.PrivateKey = &key
	}
	return &c
}

// SignsWithServerKeys reports whether logins sign with the cluster's own key or
// read files of the servers.
func (c *ACLAuthMethodConfig) SignsWithServerKeys() bool {
	if c == nil || c.OIDCClientAssertion == nil {
		return false
	}
	a := c.OIDCClientAssertion
	return a.KeySource == "nomad" || a.PrivateKey != nil && (a.PrivateKey.PemKeyFile != "" || a.PrivateKey.PemCertFile != "")
}

// secrets returns where the secrets of a configuration are, always in the same order.
func (c *ACLAuthMethodConfig) secrets() []*string {
	if c == nil {
		return nil
	}
	out := []*string{&c.OIDCClientSecret}
	if a := c.OIDCClientAssertion; a != nil && a.PrivateKey != nil {
		out = append(out, &a.PrivateKey.PemKey)
	}
	return out
}

func (c *ACLAuthMethodConfig) hash(h contentHash) {
	h.text(c.JWKSURL, c.JWKSCACert, c.OIDCDiscoveryURL, c.OIDCClientID, c.OIDCClientSecret)
	for _, s := range [][]string{c.JWTValidationPubKeys, c.OIDCScopes, c.BoundAudiences, c.BoundIssuer, c.AllowedRedirectURIs,
		c.DiscoveryCaPem, c.SigningAlgs} {
		h.list(s)
	}
	for _, d := range []time.Duration{c.ExpirationLeeway, c.NotBeforeLeeway, c.ClockSkewLeeway} {
		h.number(int64(d))
	}
	h.dict(c.ClaimMappings)
	h.dict(c.ListClaimMappings)
	for _, f := range []bool{c.OIDCEnablePKCE, c.OIDCDisableUserInfo, c.VerboseLogging, c.OIDCClientAssertion != nil} {
		h.flag(f)
	}
	if a := c.OIDCClientAssertion; a != nil {
		h.list(a.Audience)
		h.text(a.KeySource, a.KeyAlgorithm)
		h.dict(a.ExtraHeaders)
		if h.flag(a.PrivateKey != nil); a.PrivateKey != nil {
			k := a.PrivateKey
			h.text(k.PemKey, k.PemKeyFile, k.KeyIDHeader, k.KeyID, k.PemCert, k.PemCertFile)
		}
	}
}
