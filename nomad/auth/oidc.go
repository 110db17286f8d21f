package auth

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/cap/oidc"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// oidcPatience is how long a login at a provider may take.
	oidcPatience = 6 * time.Minute
	// maxPending bounds the logins that have begun and not ended.
	maxPending = 4096
)

// pendingLogin is an OIDC login that has begun: what its end must fit.
type pendingLogin struct {
	*oidc.Req
	method, hash string
}

// AuthURL begins an OIDC login: it returns where the user has to go, and remembers
// the login by its client nonce until it ends or is too old.
func (l *Logins) AuthURL(ctx context.Context, m *structs.ACLAuthMethod, redirectURI, clientNonce string) (string, error) {
	if !slices.Contains(m.Config.AllowedRedirectURIs, redirectURI) {
		return "", errs.New(errs.Invalid, "the redirect URI is none of AllowedRedirectURIs of the auth method")
	}
	proof, err := l.assertion(m)
	if err != nil {
		return "", err
	}
	p, err := l.openProvider(ctx, m)
	if err != nil {
		return "", err
	}
	defer p.Done()
	options, err := loginOptions(m.Config, clientNonce, proof)
	if err != nil {
		return "", err
	}
	req, err := oidc.NewRequest(oidcPatience, redirectURI, options...)
	if err != nil {
		return "", errs.Wrap(errs.Invalid, "the login cannot begin: "+oneLine(err), err)
	}
	if err := l.begin(clientNonce, &pendingLogin{req, m.Name, string(m.Hash)}); err != nil {
		return "", err
	}
	url, err := p.AuthURL(ctx, req)
	if err != nil {
		return "", errs.Wrap(errs.Invalid, "the login cannot begin: "+oneLine(err), err)
	}
	return url, nil
}

// loginOptions says what a login asks of the provider; proof is nil for a method
// without a client assertion.
func loginOptions(c *structs.ACLAuthMethodConfig, clientNonce string, proof oidc.JWTSerializer) ([]oidc.Option, error) {
	options := []oidc.Option{oidc.WithNonce(clientNonce)}
	if proof != nil {
		options = append(options, oidc.WithClientAssertionJWT(proof))
	}
	if len(c.OIDCScopes) > 0 {
		options = append(options, oidc.WithScopes(c.OIDCScopes...))
	}
	if len(c.BoundAudiences) > 0 {
		options = append(options, oidc.WithAudiences(c.BoundAudiences...))
	}
	if c.OIDCEnablePKCE {
		verifier, err := oidc.NewCodeVerifier()
		if err != nil {
			return nil, errs.Wrap(errs.Internal, "no code verifier could be made", err)
		}
		options = append(options, oidc.WithPKCE(verifier))
	}
	return options, nil
}

// begin remembers a login. A nonce that is in use belongs to somebody else.
func (l *Logins) begin(nonce string, p *pendingLogin) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.pending == nil {
		l.pending = map[string]*pendingLogin{}
	}
	maps.DeleteFunc(l.pending, func(_ string, p *pendingLogin) bool { return p.IsExpired() })
	if l.pending[nonce] != nil {
		return errs.New(errs.Invalid, "the client nonce is in use: begin again with a new one")
	}
	if len(l.pending) >= maxPending {
		return errs.New(errs.Busy, "too many logins have begun and not ended: try again in some minutes").WithRetryAfter(time.Minute)
	}
	l.pending[nonce] = p
	return nil
}

// end forgets a login and returns it if it is one of the method and not too old.
func (l *Logins) end(nonce string, m *structs.ACLAuthMethod) (*pendingLogin, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.pending[nonce]
	if p == nil || p.IsExpired() || p.method != m.Name || p.hash != string(m.Hash) {
		return nil, errs.New(errs.Invalid, "no login with this nonce has begun, or it took too long: log in again")
	}
	delete(l.pending, nonce)
	return p, nil
}

// CompleteAuth ends an OIDC login: it exchanges the code at the provider and
// returns the claims of the user.
func (l *Logins) CompleteAuth(ctx context.Context, m *structs.ACLAuthMethod, r *structs.ACLOIDCCompleteAuthRequest) (map[string]any, error) {
	pending, err := l.end(r.ClientNonce, m)
	if err != nil {
		return nil, err
	}
	if r.RedirectURI != pending.RedirectURL() {
		return nil, errs.New(errs.Invalid, "the redirect URI is not that of the beginning of the login")
	}
	if r.Iss != "" && r.Iss != m.Config.OIDCDiscoveryURL {
		return nil, errs.New(errs.Unauthenticated, "the answer comes from another provider (RFC 9207)")
	}
	p, err := l.openProvider(ctx, m)
	if err != nil {
		return nil, err
	}
	defer p.Done()
	token, err := p.Exchange(ctx, pending, r.State, r.Code)
	switch {
	case noAnswer(err):
		return nil, unreachable(m, err)
	case err != nil:
		return nil, errs.New(errs.Unauthenticated, "the provider's code is not valid: "+oneLine(err))
	}
	claims := map[string]any{}
	if err := token.IDToken().Claims(&claims); err != nil {
		return nil, errs.New(errs.Unauthenticated, "the ID token has unreadable claims")
	}
	return claims, addUserInfo(ctx, p, token, m, claims)
}

// addUserInfo adds what the provider tells beside the ID token, whose own claims stand.
func addUserInfo(ctx context.Context, p *oidc.Provider, token *oidc.Tk, m *structs.ACLAuthMethod, claims map[string]any) error {
	source := token.StaticTokenSource()
	if m.Config.OIDCDisableUserInfo || source == nil {
		return nil
	}
	subject, _ := claims["sub"].(string)
	more := map[string]any{}
	switch err := p.UserInfo(ctx, source, subject, &more); {
	case noAnswer(err):
		return unreachable(m, err)
	case err != nil:
		return errs.New(errs.Unauthenticated, "the provider tells nothing about the user, set OIDCDisableUserInfo if it never does: "+oneLine(err))
	}
	for name, v := range more {
		if _, ok := claims[name]; !ok {
			claims[name] = v
		}
	}
	return nil
}

// openProvider asks the provider of a method about itself. Done must be called.
func (l *Logins) openProvider(ctx context.Context, m *structs.ACLAuthMethod) (*oidc.Provider, error) {
	c := m.Config
	secret := c.OIDCClientSecret
	if c.OIDCClientAssertion != nil {
		secret = "" // what is signed with it stands for it
	}
	var algs []oidc.Alg
	for _, alg := range c.SigningAlgs {
		algs = append(algs, oidc.Alg(alg))
	}
	if len(algs) == 0 {
		algs = []oidc.Alg{oidc.RS256}
	}
	known, err := l.known(m)
	if err != nil {
		return nil, err
	}
	conf, err := oidc.NewConfig(c.OIDCDiscoveryURL, c.OIDCClientID, oidc.ClientSecret(secret), algs, c.AllowedRedirectURIs)
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, "the configuration of auth method "+m.Name+" is not usable: "+oneLine(err), err)
	}
	conf.RoundTripper = timed{&exchanging{next: known.client.Transport}, ctx, l.timeout()}
	p, err := oidc.NewProvider(conf)
	if err != nil {
		return nil, unreachable(m, cmp.Or(ctx.Err(), err))
	}
	return p, nil
}
