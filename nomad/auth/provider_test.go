package auth

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Whoever may write an auth method names an address that the servers ask, and whoever
// logs in is told what came of it: no page is read that way.
func TestLoginsTellNothingOfOtherPages(t *testing.T) {
	const page = "credentials: AKIA"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var status int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &status)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if strings.Contains(r.URL.Path, "json") {
			fmt.Fprintf(w, `{"error": %q, "keys": []}`, page)
			return
		}
		fmt.Fprint(w, page)
	}))
	defer server.Close()
	for _, path := range []string{"/200", "/203", "/304", "/401", "/401/json", "/500", "/500/json"} {
		for name, c := range map[string]*structs.ACLAuthMethodConfig{
			"jwks": {JWKSURL: server.URL + path}, "discovery": {OIDCDiscoveryURL: server.URL + path},
		} {
			var l Logins
			_, err := l.VerifyJWT(t.Context(), &structs.ACLAuthMethod{Name: "ci", Config: c}, signed(t, jose.RS256, loginKey, goodClaims()))
			if !errors.Is(err, errs.Invalid) || strings.Contains(err.Error(), page) {
				t.Errorf("%s of %s: %v", name, path, err)
			}
		}
	}
}

// What a provider says of a code is for whoever set the method up.
func TestRefusalsOfProvidersAreTold(t *testing.T) {
	tp := newProvider(t)
	m := oidcMethod(tp, false)
	l := newLogins(t)
	end := begun(t, l, tp, m, "nonce-1")
	tp.SetExpectedAuthCode("another")
	if _, err := l.CompleteAuth(t.Context(), m, end); !errors.Is(err, errs.Unauthenticated) || !strings.Contains(err.Error(), "invalid_grant") {
		t.Errorf("a code that is not known: %v", err)
	}
}

// asked answers with a set of keys and counts how often.
type asked struct {
	n    atomic.Int64
	body string
}

func (a *asked) RoundTrip(r *http.Request) (*http.Response, error) {
	a.n.Add(1)
	rec := httptest.NewRecorder()
	rec.Header().Set("Content-Type", "application/json")
	fmt.Fprint(rec, a.body)
	resp := rec.Result()
	resp.Request = r
	return resp, nil
}

// Tokens of unknown keys, which cost nothing to make, are no way to have a provider
// flooded; keys that are new are known after a moment.
func TestProvidersAreAskedOnceInAMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := &asked{body: `{"keys": []}`}
		client := &http.Client{Transport: &remembering{next: next}}
		get := func(url, token string) string {
			t.Helper()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			if token != "" {
				req.Header.Set("Authorization", token)
			}
			resp, err := client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/json" {
				t.Errorf("answered %v", resp)
			}
			return readAll(t, resp)
		}
		for range 100 {
			if got := get("http://idp/keys", ""); got != next.body {
				t.Errorf("got %s", got)
			}
		}
		if n := next.n.Load(); n != 1 {
			t.Errorf("asked %d times", n)
		}
		next.body = `{"keys": [1]}`
		time.Sleep(rememberFor)
		if got := get("http://idp/keys", ""); got != next.body {
			t.Errorf("after a moment %s", got)
		}
		for range 10 {
			get("http://idp/userinfo", "Bearer x")
		}
		if n := next.n.Load(); n != 12 {
			t.Errorf("asked %d times, want answers with credentials of their own", n)
		}
		for i := range 10 {
			get(fmt.Sprint("http://idp/", i), "")
		}
		if n := len(client.Transport.(*remembering).kept); n > maxRemembered {
			t.Errorf("%d replies are kept", n)
		}
	})
}

// Of OIDC logins that begin at once, one asks the provider about itself.
func TestOIDCLoginsShareWhatTheProviderSays(t *testing.T) {
	tp := newProvider(t)
	m := oidcMethod(tp, false)
	l := newLogins(t)
	known, err := l.known(m)
	if err != nil {
		t.Fatal(err)
	}
	counting := &counted{next: known.client.Transport.(*remembering).next}
	known.client.Transport = &remembering{next: counting}
	for i := range 20 {
		if _, err := l.AuthURL(t.Context(), m, callback, fmt.Sprint("nonce-", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n := counting.n.Load(); n >= 20 {
		t.Errorf("asked %d times for 20 logins", n)
	}
}

type counted struct {
	next http.RoundTripper
	n    atomic.Int64
}

func (c *counted) RoundTrip(r *http.Request) (*http.Response, error) {
	c.n.Add(1)
	return c.next.RoundTrip(r)
}

func readAll(t *testing.T, resp *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
