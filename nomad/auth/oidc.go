package auth

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/hashicorp/cap/oidc"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// oidcPatience is how long a login at a provider may take.
const oidcPatience = 6 * time.Minute

// AuthURL begins an OIDC login: it returns where the user has to go. What the end needs
// to know of the beginning goes with the user, sealed in the state.
func (l *Logins) AuthURL(ctx context.Context, m *structs.ACLAuthMethod, redirectURI, clientNonce string) (string, error) {
	if !slices.Contains(m.Config.AllowedRedirectURIs, redirectURI) {
		return "", errs.New(errs.Invalid, "the redirect URI is none of AllowedRedirectURIs of the auth method")
	}
	ticket := &loginTicket{expires: time.Now().Add(oidcPatience), binding: bindLogin(m, redirectURI, clientNonce)}
	if m.Config.OIDCEnablePKCE {
		verifier, err := oidc.NewCodeVerifier()
		if err != nil {
			return "", errs.Wrap(errs.Internal, "no code verifier could be made", err)
		}
		ticket.verifier = verifier.Verifier()
	}
	state, err := l.sealTicket(ticket)
	if err != nil {
		return "", err
	}
	p, req, err := l.atProvider(ctx, m, ticket, redirectURI, clientNonce, state)
	if err != nil {
		return "", err
	}
	defer p.Done()
	url, err := p.AuthURL(ctx, req)
	if err != nil {
		return "", errs.Wrap(errs.Invalid, "the login cannot begin: "+oneLine(err), err)
	}
	return url, nil
}

// atProvider opens the provider of a method for a login. Done of the provider must be
// called.
func (l *Logins) atProvider(ctx context.Context, m *structs.ACLAuthMethod, ticket *loginTicket, redirectURI, clientNonce, state string) (*oidc.Provider, *oidc.Req, error) {
	options := []oidc.Option{oidc.WithNonce(clientNonce), oidc.WithState(state)}
	proof, err := l.assertion(m)
	if err != nil {
		return nil, nil, err
	}
	if proof != nil {
		options = append(options, oidc.WithClientAssertionJWT(proof))
	}
	if len(m.Config.OIDCScopes) > 0 {
		options = append(options, oidc.WithScopes(m.Config.OIDCScopes...))
	}
	if len(m.Config.BoundAudiences) > 0 {
		options = append(options, oidc.WithAudiences(m.Config.BoundAudiences...))
	}
	if ticket.verifier != "" {
		verifier, err := oidc.NewCodeVerifier(oidc.WithVerifier(ticket.verifier))
		if err != nil {
			return nil, nil, errs.Wrap(errs.Internal, "no code verifier could be made", err)
		}
		options = append(options, oidc.WithPKCE(verifier))
	}
	req, err := oidc.NewRequest(time.Until(ticket.expires), redirectURI, options...)
	if err != nil {
		return nil, nil, errs.Wrap(errs.Invalid, "the login cannot go on: "+oneLine(err), err)
	}
	p, err := l.openProvider(ctx, m)
	return p, req, err
}

// CompleteAuth ends an OIDC login: it exchanges the code at the provider and
// returns the claims of the user.
func (l *Logins) CompleteAuth(ctx context.Context, m *structs.ACLAuthMethod, r *structs.ACLOIDCCompleteAuthRequest) (map[string]any, error) {
	ticket, err := l.openTicket(m, r)
	if err != nil {
		return nil, err
	}
	if r.Iss != "" && r.Iss != m.Config.OIDCDiscoveryURL {
		return nil, errs.New(errs.Unauthenticated, "the answer comes from another provider (RFC 9207)")
	}
	p, req, err := l.atProvider(ctx, m, ticket, r.RedirectURI, r.ClientNonce, r.State)
	if err != nil {
		return nil, err
	}
	defer p.Done()
	token, err := p.Exchange(ctx, req, r.State, r.Code)
	switch {
	case noAnswer(err):
		return nil, unreachable(m, err)
	case err != nil:
		return nil, errs.New(errs.Unauthenticated, "the provider's code is not valid: "+oneLine(err))
	}
	if err := l.endTicket(ticket); err != nil {
		return nil, err
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
