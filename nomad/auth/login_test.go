package auth

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

var loginKey = func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}()

func publicPEM(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func signed(t *testing.T, alg jose.SignatureAlgorithm, key any, claims map[string]any) string {
	t.Helper()
	opts := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", "k1")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
	if err != nil {
		t.Fatal(err)
	}
	token, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func goodClaims() map[string]any {
	return map[string]any{"iss": "me", "aud": "cairn", "sub": "eng-7", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix()}
}

func staticMethod(t *testing.T) *structs.ACLAuthMethod {
	m := &structs.ACLAuthMethod{Name: "ci", Type: structs.ACLAuthMethodTypeJWT, Config: &structs.ACLAuthMethodConfig{
		JWTValidationPubKeys: []string{publicPEM(t, loginKey.Public())}, BoundAudiences: []string{"cairn"}, BoundIssuer: []string{"other", "me"},
	}}
	m.SetHash()
	return m
}

func TestVerifyJWTRefusesWhatItShould(t *testing.T) {
	var l Logins
	m := staticMethod(t)
	if claims, err := l.VerifyJWT(t.Context(), m, signed(t, jose.RS256, loginKey, goodClaims())); err != nil || claims["sub"] != "eng-7" {
		t.Fatalf("a good token: %v, %v", claims, err)
	}
	change := func(key string, v any) string {
		c := goodClaims()
		if c[key] = v; v == nil {
			delete(c, key)
		}
		return signed(t, jose.RS256, loginKey, c)
	}
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := strings.Split(change("jti", "1"), ".")
	for name, token := range map[string]string{
		"other audience":    change("aud", "vault"),
		"no audience":       change("aud", nil),
		"other issuer":      change("iss", "mallory"),
		"issuer of no text": change("iss", 7),
		"expired":           change("exp", time.Now().Add(-time.Hour).Unix()),
		"from the future":   change("nbf", time.Now().Add(time.Hour).Unix()),
		"other key":         signed(t, jose.RS256, stranger, goodClaims()),
		"other algorithm":   signed(t, jose.EdDSA, edKey, goodClaims()),
		"shared secret":     signed(t, jose.HS256, []byte(publicPEM(t, loginKey.Public())), goodClaims()),
		"alg none":          "eyJhbGciOiJub25lIn0." + good[1] + ".",
		"no signature":      good[0] + "." + good[1] + ".",
		"garbage":           "x.y.z",
		"empty":             "",
	} {
		if _, err := l.VerifyJWT(t.Context(), m, token); !errors.Is(err, errs.Unauthenticated) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// provider serves discovery and keys.
func provider(t *testing.T, keys *jose.JSONWebKeySet) *httptest.Server {
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": server.URL, "jwks_uri": server.URL + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(keys) })
	return server
}

func TestVerifyJWTAsksTheProvider(t *testing.T) {
	set := &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: loginKey.Public(), KeyID: "k1", Algorithm: "RS256", Use: "sig"}}}
	server := provider(t, set)
	for name, c := range map[string]*structs.ACLAuthMethodConfig{
		"jwks":      {JWKSURL: server.URL + "/keys"},
		"discovery": {OIDCDiscoveryURL: server.URL},
	} {
		var l Logins
		m := &structs.ACLAuthMethod{Name: name, Config: c}
		m.SetHash()
		token := signed(t, jose.RS256, loginKey, goodClaims())
		for range 2 { // the second time from what is kept, after the first context ended
			ctx, cancel := context.WithCancel(t.Context())
			if _, err := l.VerifyJWT(ctx, m, token); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			cancel()
		}
	}
}

func TestVerifyJWTDoesNotHangOnADeadProvider(t *testing.T) {
	hang := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	defer close(hang)
	for name, c := range map[string]*structs.ACLAuthMethodConfig{
		"silent jwks":      {JWKSURL: server.URL},
		"silent discovery": {OIDCDiscoveryURL: server.URL},
		"refused":          {OIDCDiscoveryURL: "http://127.0.0.1:1"},
		"refused jwks":     {JWKSURL: "http://127.0.0.1:1"},
	} {
		var l Logins
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err := l.VerifyJWT(ctx, &structs.ACLAuthMethod{Name: "ci", Config: c}, signed(t, jose.RS256, loginKey, goodClaims()))
		cancel()
		if !errors.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMapClaims(t *testing.T) {
	var claims map[string]any
	src := `{"sub":"Eng","n":7,"b":true,"null":null,"groups":["a","b"],"one":"x","deep":{"a/b":{"c":"d"}},"obj":{}}`
	if err := json.Unmarshal([]byte(src), &claims); err != nil {
		t.Fatal(err)
	}
	c := &structs.ACLAuthMethodConfig{
		ClaimMappings:     map[string]string{"sub": "who", "n": "n", "b": "b", "null": "null", "missing": "m", "/deep/a~1b/c": "deep", "/sub/x": "no"},
		ListClaimMappings: map[string]string{"groups": "teams", "one": "ones", "absent": "x"},
	}
	got, err := MapClaims(c, claims)
	want := &Claims{
		Value: map[string]string{"who": "Eng", "n": "7", "b": "true", "deep": "d"},
		List:  map[string][]string{"teams": {"a", "b"}, "ones": {"x"}},
	}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
	for _, bad := range []*structs.ACLAuthMethodConfig{
		{ClaimMappings: map[string]string{"obj": "o"}}, {ClaimMappings: map[string]string{"groups": "o"}}, {ListClaimMappings: map[string]string{"obj": "o"}},
	} {
		if _, err := MapClaims(bad, claims); !errors.Is(err, errs.Unauthenticated) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// fakeRules are the rules of one method; policies and roles that begin with "no" do not exist.
type fakeRules []*structs.ACLBindingRule

func (f fakeRules) ACLBindingRules(memdb.WatchSet, string) iter.Seq[*structs.ACLBindingRule] {
	return func(yield func(*structs.ACLBindingRule) bool) {
		for _, r := range f {
			if !yield(r) {
				return
			}
		}
	}
}

func (f fakeRules) ACLPolicy(_ memdb.WatchSet, name string) *structs.ACLPolicy {
	if strings.HasPrefix(name, "no") {
		return nil
	}
	return &structs.ACLPolicy{Name: name}
}

func (f fakeRules) ACLRoleByName(_ memdb.WatchSet, name string) *structs.ACLRole {
	if strings.HasPrefix(name, "no") {
		return nil
	}
	return &structs.ACLRole{ID: "id-" + name, Name: name}
}

func TestBind(t *testing.T) {
	claims := &Claims{Value: map[string]string{"team": "Eng", "sly": "${value.team}"}, List: map[string][]string{"groups": {"ops"}}}
	policy := func(selector, name string) *structs.ACLBindingRule {
		return &structs.ACLBindingRule{Selector: selector, BindType: structs.ACLBindingRuleBindTypePolicy, BindName: name}
	}
	for name, c := range map[string]struct {
		rules fakeRules
		want  *Bindings
	}{
		"interpolated":      {fakeRules{policy("", "${value.team}-Read")}, &Bindings{Policies: []string{"eng-Read"}}},
		"not again":         {fakeRules{policy("", "x-${value.sly}")}, &Bindings{Policies: []string{"x-${value.team}"}}},
		"selected":          {fakeRules{policy(`value.team == "Eng" and "ops" in list.groups`, "a"), policy(`value.team == "Ops"`, "b")}, &Bindings{Policies: []string{"a"}}},
		"absent claim":      {fakeRules{policy(`value.nothing == "x"`, "a"), policy("", "${value.nothing}")}, nil},
		"does not exist":    {fakeRules{policy("", "nothing")}, nil},
		"unknown selector":  {fakeRules{policy(`other.thing == "x"`, "a"), policy("((", "b")}, nil},
		"once":              {fakeRules{policy("", "a"), policy("", "a")}, &Bindings{Policies: []string{"a"}}},
		"management wins":   {fakeRules{policy("", "a"), {BindType: structs.ACLBindingRuleBindTypeManagement}}, &Bindings{Management: true}},
		"role":              {fakeRules{{BindType: structs.ACLBindingRuleBindTypeRole, BindName: "r"}}, &Bindings{Roles: []*structs.ACLTokenRoleLink{{ID: "id-r"}}}},
		"no rules":          {nil, nil},
		"unselected manage": {fakeRules{{Selector: `value.team == "x"`, BindType: structs.ACLBindingRuleBindTypeManagement}}, nil},
	} {
		got, err := Bind(c.rules, "ci", claims)
		if diff := cmp.Diff(c.want, got); diff != "" || (c.want == nil) != errors.Is(err, errs.Invalid) {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
}

func TestTokenName(t *testing.T) {
	m := &structs.ACLAuthMethod{Name: "ci", Type: "JWT", TokenNameFormat: "${auth_method_type}-${auth_method_name}-${value.who}-${value.no}!"}
	if got := TokenName(m, &Claims{Value: map[string]string{"who": "${auth_method_name}"}}); got != "JWT-ci-${auth_method_name}-!" {
		t.Error(got)
	}
	m.TokenNameFormat = "${value.who}"
	if got := TokenName(m, &Claims{Value: map[string]string{"who": strings.Repeat("ü", 1000)}}); len([]rune(got)) != 256 {
		t.Error(len(got))
	}
}
