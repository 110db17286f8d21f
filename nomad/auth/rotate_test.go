package auth

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// rotating is a method whose provider answers with the keys in next.
func rotating(t *testing.T, l *Logins) (m *structs.ACLAuthMethod, next *asked) {
	t.Helper()
	m = &structs.ACLAuthMethod{Name: "ci", Type: structs.ACLAuthMethodTypeJWT, Config: &structs.ACLAuthMethodConfig{JWKSURL: "http://idp/keys"}}
	m.SetHash()
	known, err := l.known(m)
	if err != nil {
		t.Fatal(err)
	}
	next = &asked{body: keysNamed(t)}
	known.client.Transport = &remembering{next: next}
	return m, next
}

// keysNamed returns a set with loginKey by each name.
func keysNamed(t *testing.T, names ...string) string {
	t.Helper()
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for _, name := range names {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: loginKey.Public(), KeyID: name, Algorithm: "RS256", Use: "sig"})
	}
	b, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func signedBy(t *testing.T, name string) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: loginKey}, (&jose.SignerOptions{}).WithHeader("kid", name))
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(goodClaims()).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// A provider that makes a new key a moment after it was asked keeps nobody out who
// waits for the next time that it may be asked.
func TestNewKeysAreAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Logins
		m, next := rotating(t, &l)
		try := func(name string) error {
			began, token := time.Now(), signedBy(t, name)
			_, err := l.VerifyJWT(t.Context(), m, token)
			if errors.Is(err, errs.Unauthenticated) && l.AwaitKeys(t.Context(), m, token, began) {
				_, err = l.VerifyJWT(t.Context(), m, token)
			}
			return err
		}
		next.body = keysNamed(t, "old")
		if err := try("old"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rememberFor / 4)
		next.body = keysNamed(t, "new")
		const logins = 20
		done := make(chan error, logins)
		for range logins {
			go func() { done <- try("new") }()
		}
		for range logins {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if n := next.n.Load(); n != 2 {
			t.Errorf("asked %d times, want once before and once after", n)
		}
	})
}

// Nothing is gained by waiting where the provider would not say anything new.
func TestOnlyNewKeysAreAwaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Logins
		m, next := rotating(t, &l)
		next.body = keysNamed(t, "old")
		before := time.Now()
		time.Sleep(time.Millisecond)
		if _, err := l.VerifyJWT(t.Context(), m, signedBy(t, "old")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Millisecond)
		for name, token := range map[string]string{"a key that is known": signedBy(t, "old"), "no JWT": "x", "no name": "e30.e30.x"} {
			if l.AwaitKeys(t.Context(), m, token, time.Now()) {
				t.Errorf("%s is waited for", name)
			}
		}
		unknown := signedBy(t, "unknown")
		if l.AwaitKeys(t.Context(), m, unknown, before) {
			t.Error("the provider was asked after the login began, and it is asked again")
		}
		done := make(chan bool, maxWaiting+1)
		ctx, cancel := context.WithCancel(t.Context())
		for range maxWaiting {
			go func() { done <- l.AwaitKeys(ctx, m, unknown, time.Now()) }()
		}
		synctest.Wait()
		if now := time.Now(); l.AwaitKeys(ctx, m, unknown, now) || !time.Now().Equal(now) {
			t.Error("more than some wait")
		}
		cancel()
		for range maxWaiting {
			if <-done {
				t.Error("a login whose caller went away goes on")
			}
		}
		time.Sleep(rememberFor)
		if l.AwaitKeys(t.Context(), m, unknown, time.Now()) {
			t.Error("the provider may be asked at once, and it is waited for")
		}
	})
}

// The keys are asked for anew after a code was exchanged, and before only once in a moment.
func TestKeysAreFreshAfterAnExchange(t *testing.T) {
	next := &asked{body: `{"keys": []}`}
	memory := &remembering{next: next}
	do := func(e *exchanging, method string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://idp/keys", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := e.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	for range 3 {
		do(&exchanging{next: memory}, http.MethodGet)
	}
	if n := next.n.Load(); n != 1 {
		t.Errorf("asked %d times before an exchange", n)
	}
	e := &exchanging{next: memory}
	do(e, http.MethodPost)
	do(e, http.MethodGet)
	if n := next.n.Load(); n != 3 {
		t.Errorf("asked %d times, want for the exchange and the keys after it too", n)
	}
}
