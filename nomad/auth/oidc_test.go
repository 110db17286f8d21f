package auth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/hashicorp/cap/oidc"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

const callback = "http://127.0.0.1:4649/oidc/callback"

func oidcMethod(tp *oidc.TestProvider, pkce bool) *structs.ACLAuthMethod {
	id, secret := tp.ClientCreds()
	m := &structs.ACLAuthMethod{Name: "sso", Type: structs.ACLAuthMethodTypeOIDC, Config: &structs.ACLAuthMethodConfig{
		OIDCDiscoveryURL: tp.Addr(), OIDCClientID: id, OIDCClientSecret: secret, OIDCEnablePKCE: pkce,
		AllowedRedirectURIs: []string{callback}, DiscoveryCaPem: []string{tp.CACert()}, SigningAlgs: []string{"ES256"},
	}}
	m.SetHash()
	return m
}

func newProvider(t *testing.T) *oidc.TestProvider {
	tp := oidc.StartTestProvider(t)
	tp.SetClientCreds("cairn", "client-secret")
	tp.SetAllowedRedirectURIs([]string{callback})
	tp.SetCustomClaims(map[string]any{"team": "eng"})
	tp.SetUserInfoReply(map[string]any{"sub": "alice@example.com", "color": "red", "team": "forged"})
	return tp
}

// begun begins a login and does what a browser does, up to the redirect.
func begun(t *testing.T, l *Logins, tp *oidc.TestProvider, m *structs.ACLAuthMethod, nonce string) *structs.ACLOIDCCompleteAuthRequest {
	t.Helper()
	tp.SetExpectedAuthNonce(nonce)
	tp.SetExpectedAuthCode("code-" + nonce)
	address, err := l.AuthURL(t.Context(), m, callback, nonce)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	if pkce := u.Query().Get("code_challenge_method") == "S256"; pkce != m.Config.OIDCEnablePKCE {
		t.Errorf("PKCE %v, want %v", pkce, m.Config.OIDCEnablePKCE)
	}
	client := tp.HTTPClient()
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	to, err := resp.Location()
	if err != nil {
		t.Fatal(err)
	}
	return &structs.ACLOIDCCompleteAuthRequest{AuthMethodName: m.Name, ClientNonce: nonce, RedirectURI: callback,
		State: to.Query().Get("state"), Code: to.Query().Get("code")}
}

func TestOIDCLogin(t *testing.T) {
	tp := newProvider(t)
	var l Logins
	m := oidcMethod(tp, false)
	end := begun(t, &l, tp, m, "nonce-1")
	claims, err := l.CompleteAuth(t.Context(), m, end)
	if err != nil || claims["team"] != "eng" || claims["sub"] == "" {
		t.Fatalf("got %v, %v", claims, err)
	}
	if claims["color"] == nil {
		t.Errorf("the claims of the user info are missing: %v", claims)
	}
	if _, err := l.CompleteAuth(t.Context(), m, end); !errors.Is(err, errs.Invalid) {
		t.Errorf("a second end: %v", err)
	}
}

func TestOIDCLoginWithPKCE(t *testing.T) {
	tp := newProvider(t)
	var l Logins
	m := oidcMethod(tp, true)
	end := begun(t, &l, tp, m, "nonce-1")
	tp.SetPKCEVerifier(l.pending["nonce-1"].PKCEVerifier())
	if _, err := l.CompleteAuth(t.Context(), m, end); err != nil {
		t.Error(err)
	}
}

func TestOIDCLoginRefusesWhatItShould(t *testing.T) {
	tp := newProvider(t)
	m := oidcMethod(tp, false)
	for name, c := range map[string]struct {
		change func(*structs.ACLOIDCCompleteAuthRequest)
		want   errs.Code
	}{
		"other nonce":    {func(r *structs.ACLOIDCCompleteAuthRequest) { r.ClientNonce = "x" }, errs.Invalid},
		"other redirect": {func(r *structs.ACLOIDCCompleteAuthRequest) { r.RedirectURI = "http://evil" }, errs.Invalid},
		"other state":    {func(r *structs.ACLOIDCCompleteAuthRequest) { r.State = "x" }, errs.Unauthenticated},
		"other code":     {func(r *structs.ACLOIDCCompleteAuthRequest) { r.Code = "x" }, errs.Unauthenticated},
		"other issuer":   {func(r *structs.ACLOIDCCompleteAuthRequest) { r.Iss = "https://evil" }, errs.Unauthenticated},
	} {
		var l Logins
		end := begun(t, &l, tp, m, "nonce-1")
		c.change(end)
		if _, err := l.CompleteAuth(t.Context(), m, end); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	var l Logins
	if _, err := l.AuthURL(t.Context(), m, "http://evil", "n"); !errors.Is(err, errs.Invalid) {
		t.Errorf("a redirect that is not allowed: %v", err)
	}
	begun(t, &l, tp, m, "nonce-1")
	if _, err := l.AuthURL(t.Context(), m, callback, "nonce-1"); !errors.Is(err, errs.Invalid) {
		t.Errorf("a nonce in use: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.AuthURL(ctx, m, callback, "nonce-2"); !errors.Is(err, errs.Invalid) {
		t.Errorf("a caller that went away: %v", err)
	}
	changed := m.Copy()
	changed.Config.OIDCClientID = "other"
	changed.SetHash()
	if _, err := l.CompleteAuth(t.Context(), changed, &structs.ACLOIDCCompleteAuthRequest{ClientNonce: "nonce-1", RedirectURI: callback}); !errors.Is(err, errs.Invalid) {
		t.Errorf("a method that changed: %v", err)
	}
}
