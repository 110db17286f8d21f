package auth

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

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

// newLogins returns logins that seal with a key of their own.
func newLogins(t *testing.T) *Logins {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key) // it cannot fail
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		t.Fatal(err)
	}
	const keyID = "of the test"
	return &Logins{
		Seal: func(dst, plaintext []byte) ([]byte, string, error) {
			return aead.Seal(dst, nil, plaintext, nil), keyID, nil
		},
		Open: func(dst, sealed []byte, id string) ([]byte, error) {
			if id != keyID {
				return nil, errs.New(errs.Busy, "unknown key")
			}
			return aead.Open(dst, nil, sealed, nil)
		},
	}
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
	l := newLogins(t)
	m := oidcMethod(tp, false)
	end := begun(t, l, tp, m, "nonce-1")
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

// A login that begins at one leader may end at the next.
func TestOIDCLoginOutlivesTheServerWhereItBegan(t *testing.T) {
	tp := newProvider(t)
	m := oidcMethod(tp, false)
	first := newLogins(t)
	end := begun(t, first, tp, m, "nonce-1")
	next := &Logins{Seal: first.Seal, Open: first.Open}
	if claims, err := next.CompleteAuth(t.Context(), m, end); err != nil || claims["team"] != "eng" {
		t.Errorf("got %v, %v", claims, err)
	}
}

// A login that takes too long does not end, and what has ended is forgotten then.
func TestOIDCLoginsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, m := newLogins(t), &structs.ACLAuthMethod{Name: "sso", Hash: []byte("1")}
		var all []*structs.ACLOIDCCompleteAuthRequest
		for _, nonce := range []string{"ends", "hangs"} {
			state, err := l.sealTicket(&loginTicket{expires: time.Now().Add(oidcPatience), binding: bindLogin(m, callback, nonce), verifier: "v"})
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, &structs.ACLOIDCCompleteAuthRequest{ClientNonce: nonce, RedirectURI: callback, State: state})
		}
		time.Sleep(oidcPatience - time.Second)
		ticket, err := l.openTicket(m, all[0])
		if err != nil || ticket.verifier != "v" {
			t.Fatalf("%+v, %v", ticket, err)
		}
		if err := l.endTicket(ticket); err != nil {
			t.Error(err)
		}
		if err := l.endTicket(ticket); !errors.Is(err, errs.Invalid) {
			t.Errorf("ended at the same time: %v", err)
		}
		time.Sleep(2 * time.Second)
		if _, err := l.openTicket(m, all[1]); !errors.Is(err, errs.Invalid) {
			t.Errorf("a login that took too long: %v", err)
		}
		if err := l.endTicket(&loginTicket{id: "another", expires: time.Now().Add(time.Second)}); err != nil || len(l.ended) != 1 {
			t.Errorf("%v, and %d logins are remembered", err, len(l.ended))
		}
	})
}

func TestOIDCLoginWithPKCE(t *testing.T) {
	tp := newProvider(t)
	l := newLogins(t)
	m := oidcMethod(tp, true)
	end := begun(t, l, tp, m, "nonce-1")
	ticket, err := l.openTicket(m, end)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := oidc.NewCodeVerifier(oidc.WithVerifier(ticket.verifier))
	if err != nil {
		t.Fatal(err)
	}
	tp.SetPKCEVerifier(verifier)
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
		"other state":    {func(r *structs.ACLOIDCCompleteAuthRequest) { r.State = "x" }, errs.Invalid},
		"no state":       {func(r *structs.ACLOIDCCompleteAuthRequest) { r.State = "" }, errs.Invalid},
		"spoilt state":   {func(r *structs.ACLOIDCCompleteAuthRequest) { r.State = r.State[:len(r.State)-4] + "AAAA" }, errs.Invalid},
		"another key":    {func(r *structs.ACLOIDCCompleteAuthRequest) { r.State = "other" + r.State }, errs.Invalid},
		"other code":     {func(r *structs.ACLOIDCCompleteAuthRequest) { r.Code = "x" }, errs.Unauthenticated},
		"other issuer":   {func(r *structs.ACLOIDCCompleteAuthRequest) { r.Iss = "https://evil" }, errs.Unauthenticated},
	} {
		l := newLogins(t)
		end := begun(t, l, tp, m, "nonce-1")
		c.change(end)
		if _, err := l.CompleteAuth(t.Context(), m, end); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	l := newLogins(t)
	if _, err := l.AuthURL(t.Context(), m, "http://evil", "n"); !errors.Is(err, errs.Invalid) {
		t.Errorf("a redirect that is not allowed: %v", err)
	}
	end := begun(t, l, tp, m, "nonce-1")
	other := begun(t, l, tp, m, "nonce-2")
	other.State = end.State
	if _, err := l.CompleteAuth(t.Context(), m, other); !errors.Is(err, errs.Invalid) {
		t.Errorf("the state of another login: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.AuthURL(ctx, m, callback, "nonce-2"); !errors.Is(err, errs.Invalid) {
		t.Errorf("a caller that went away: %v", err)
	}
	changed := m.Copy()
	changed.Config.OIDCClientID = "other"
	changed.SetHash()
	if _, err := l.CompleteAuth(t.Context(), changed, end); !errors.Is(err, errs.Invalid) {
		t.Errorf("a method that changed: %v", err)
	}
}
