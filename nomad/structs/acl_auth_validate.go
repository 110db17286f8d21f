package structs

import (
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"slices"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// Bounds of an auth method's configuration.
const (
	maxAuthList   = 256
	maxAuthText   = 64 << 10
	maxAuthLeeway = time.Hour
)

// signingAlgs are the asymmetric algorithms of RFC 7518 and RFC 8037; "none" and
// the symmetric ones prove nothing here.
var signingAlgs = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512", "EdDSA"}

// problems returns everything wrong with the configuration of a method of type typ.
func (c *ACLAuthMethodConfig) problems(typ string) []errs.Erratum {
	var l problemList
	switch typ {
	case ACLAuthMethodTypeOIDC:
		c.oidcProblems(&l)
	case ACLAuthMethodTypeJWT:
		c.jwtProblems(&l)
	}
	checkURL(&l, "Config.OIDCDiscoveryURL", c.OIDCDiscoveryURL)
	checkURL(&l, "Config.JWKSURL", c.JWKSURL)
	for _, pub := range c.JWTValidationPubKeys {
		if !isPublicKey(pub) {
			l.add("Config.JWTValidationPubKeys", "a validation key is not a PEM public key or certificate")
		}
	}
	for _, ca := range append(slices.Clone(c.DiscoveryCaPem), c.JWKSCACert) {
		if ca != "" && !x509.NewCertPool().AppendCertsFromPEM([]byte(ca)) {
			l.add("Config.DiscoveryCaPem", "an authority is not a PEM certificate")
		}
	}
	for _, alg := range c.SigningAlgs {
		if !slices.Contains(signingAlgs, alg) {
			l.add("Config.SigningAlgs", "signing algorithm %q is not one of %v", clip(alg), signingAlgs)
		}
	}
	for field, d := range map[string]time.Duration{"Config.ClockSkewLeeway": c.ClockSkewLeeway,
		"Config.ExpirationLeeway": c.ExpirationLeeway, "Config.NotBeforeLeeway": c.NotBeforeLeeway} {
		if d > maxAuthLeeway {
			l.add(field, "%s %s is longer than %s", field, d, maxAuthLeeway)
		}
	}
	c.sizeProblems(&l)
	slices.SortStableFunc(l, func(a, b errs.Erratum) int { return compareText(a.Field, b.Field) })
	return l
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (c *ACLAuthMethodConfig) oidcProblems(l *problemList) {
	if c.OIDCDiscoveryURL == "" {
		l.add("Config.OIDCDiscoveryURL", "OIDC needs OIDCDiscoveryURL")
	}
	if c.OIDCClientID == "" {
		l.add("Config.OIDCClientID", "OIDC needs OIDCClientID")
	}
	if len(c.AllowedRedirectURIs) == 0 {
		l.add("Config.AllowedRedirectURIs", "OIDC needs at least one of AllowedRedirectURIs")
	}
	for _, u := range c.AllowedRedirectURIs {
		checkURL(l, "Config.AllowedRedirectURIs", u)
	}
	if a := c.OIDCClientAssertion; a != nil {
		a.problems(l, c.OIDCClientSecret)
	}
}

func (a *OIDCClientAssertion) problems(l *problemList, clientSecret string) {
	const field = "Config.OIDCClientAssertion"
	switch a.KeySource {
	case "nomad":
	case "client_secret":
		if clientSecret == "" {
			l.add(field, "an assertion signed with the client secret needs OIDCClientSecret")
		}
	case "private_key":
		a.PrivateKey.problems(l, field+".PrivateKey")
	default:
		l.add(field, "the key source %q of the client assertion must be nomad, private_key or client_secret", clip(a.KeySource))
	}
}

func (k *OIDCClientAssertionKey) problems(l *problemList, field string) {
	if k == nil {
		l.add(field, "an assertion signed with a private key needs PrivateKey")
		return
	}
	if (k.PemKey == "") == (k.PemKeyFile == "") {
		l.add(field, "give PemKey or PemKeyFile, one of them")
	}
	ids := 0
	for _, s := range []string{k.KeyID, k.PemCert, k.PemCertFile} {
		if s != "" {
			ids++
		}
	}
	if ids != 1 {
		l.add(field, "give KeyID, PemCert or PemCertFile, one of them")
	}
	if !slices.Contains([]string{"", "kid", "x5t", "x5t#S256"}, k.KeyIDHeader) {
		l.add(field, "the key ID header %q must be kid, x5t or x5t#S256", clip(k.KeyIDHeader))
	}
}

func (c *ACLAuthMethodConfig) jwtProblems(l *problemList) {
	sources := 0
	for _, given := range []bool{len(c.JWTValidationPubKeys) > 0, c.JWKSURL != "", c.OIDCDiscoveryURL != ""} {
		if given {
			sources++
		}
	}
	if sources != 1 {
		l.add("Config.JWKSURL", "JWT needs one of JWTValidationPubKeys, JWKSURL and OIDCDiscoveryURL, and only one")
	}
}

func checkURL(l *problemList, field, raw string) {
	if raw == "" {
		return
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		l.add(field, "%q is not a URL with http or https and a host", clip(raw))
	}
}

func isPublicKey(text string) bool {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return false
	}
	if _, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
		return true
	}
	_, err := x509.ParseCertificate(block.Bytes)
	return err == nil
}

func (c *ACLAuthMethodConfig) sizeProblems(l *problemList) {
	lists := map[string][]string{"Config.JWTValidationPubKeys": c.JWTValidationPubKeys, "Config.OIDCScopes": c.OIDCScopes,
		"Config.BoundAudiences": c.BoundAudiences, "Config.BoundIssuer": c.BoundIssuer, "Config.DiscoveryCaPem": c.DiscoveryCaPem,
		"Config.AllowedRedirectURIs": c.AllowedRedirectURIs, "Config": {c.OIDCClientID, c.OIDCClientSecret, c.OIDCDiscoveryURL, c.JWKSURL, c.JWKSCACert}}
	for field, list := range lists {
		if len(list) > maxAuthList {
			l.add(field, "%d entries are more than %d", len(list), maxAuthList)
		}
		for _, s := range list {
			if len(s) > maxAuthText {
				l.add(field, "an entry has %d bytes, more than %d", len(s), maxAuthText)
			}
		}
	}
	for field, m := range map[string]map[string]string{"Config.ClaimMappings": c.ClaimMappings, "Config.ListClaimMappings": c.ListClaimMappings} {
		if len(m) > maxAuthList {
			l.add(field, "%d entries are more than %d", len(m), maxAuthList)
		}
		seen := map[string]bool{}
		for _, name := range m {
			if name == "" || seen[name] {
				l.add(field, "each claim needs a name of its own, %q is not", clip(name))
			}
			seen[name] = true
		}
	}
}
