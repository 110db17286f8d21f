package auth

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/hashicorp/cap/oidc/clientassertion"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// strictProvider is a provider that takes client assertions only.
type strictProvider struct {
	*httptest.Server
	t   *testing.T
	key *rsa.PrivateKey
	// client checks assertions: an RSA public key, or a secret.
	client any
	// header is that of the last assertion.
	header jose.Header
}

func newStrictProvider(t *testing.T, client any) *strictProvider {
	t.Helper()
	p := &strictProvider{t: t, key: newKey(t), client: client}
	mux := http.NewServeMux()
	p.Server = httptest.NewTLSServer(mux)
	t.Cleanup(p.Close)
	answer := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"issuer": p.URL, "authorization_endpoint": p.URL + "/authorize", "token_endpoint": p.URL + "/token", "jwks_uri": p.URL + "/keys"})
	})
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: p.key.Public(), KeyID: "p", Algorithm: "RS256", Use: "sig"}}})
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		if err := p.check(r); err != nil {
			http.Error(w, `{"error":"invalid_client","error_description":"`+err.Error()+`"}`, http.StatusUnauthorized)
			return
		}
		answer(w, map[string]any{"access_token": "a", "token_type": "Bearer", "id_token": p.idToken()})
	})
	return p
}

// check wants a valid assertion for this provider and no secret.
func (p *strictProvider) check(r *http.Request) error {
	if _, _, basic := r.BasicAuth(); basic || r.FormValue("client_secret") != "" {
		return errors.New("a secret was sent")
	}
	if r.FormValue("client_assertion_type") != clientassertion.JWTTypeParam {
		return errors.New("no assertion was sent")
	}
	parsed, err := jwt.ParseSigned(r.FormValue("client_assertion"), []jose.SignatureAlgorithm{jose.RS256, jose.HS256})
	if err != nil {
		return err
	}
	var claims jwt.Claims
	if err := parsed.Claims(p.client, &claims); err != nil {
		return err
	}
	p.header = parsed.Headers[0]
	if claims.ID == "" || claims.Expiry == nil {
		return errors.New("the assertion can be used for ever")
	}
	return claims.Validate(jwt.Expected{Issuer: "cairn", Subject: "cairn", AnyAudience: jwt.Audience{p.URL}, Time: time.Now()})
}

func (p *strictProvider) idToken() string {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: p.key}, (&jose.SignerOptions{}).WithHeader("kid", "p"))
	if err != nil {
		p.t.Error(err)
		return ""
	}
	now := time.Now()
	text, err := jwt.Signed(signer).Claims(map[string]any{"iss": p.URL, "aud": "cairn", "sub": "ada", "nonce": "n",
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}).Serialize()
	if err != nil {
		p.t.Error(err)
	}
	return text
}

// method logs in at the provider with an assertion.
func (p *strictProvider) method(a *structs.OIDCClientAssertion) *structs.ACLAuthMethod {
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Certificate().Raw})
	m := &structs.ACLAuthMethod{Name: "sso", Type: structs.ACLAuthMethodTypeOIDC, Config: &structs.ACLAuthMethodConfig{
		OIDCDiscoveryURL: p.URL, OIDCClientID: "cairn", AllowedRedirectURIs: []string{callback}, DiscoveryCaPem: []string{string(ca)},
		OIDCDisableUserInfo: true, OIDCClientAssertion: a}}
	m.SetHash()
	return m
}

// login runs a login from its beginning to its end.
func (p *strictProvider) login(l *Logins, m *structs.ACLAuthMethod) error {
	p.t.Helper()
	box := newLogins(p.t)
	l.Seal, l.Open = box.Seal, box.Open
	address, err := l.AuthURL(p.t.Context(), m, callback, "n")
	if err != nil {
		return err
	}
	u, err := url.Parse(address)
	if err != nil {
		return err
	}
	state := u.Query().Get("state")
	_, err = l.CompleteAuth(p.t.Context(), m, &structs.ACLOIDCCompleteAuthRequest{AuthMethodName: m.Name, ClientNonce: "n",
		RedirectURI: callback, State: state, Code: "c"})
	return err
}

func newKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func TestLoginWithAnAssertionOfAPrivateKey(t *testing.T) {
	key := newKey(t)
	p := newStrictProvider(t, key.Public())
	text := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600); err != nil {
		t.Fatal(err)
	}
	assertion := func(k structs.OIDCClientAssertionKey) *structs.OIDCClientAssertion {
		return &structs.OIDCClientAssertion{KeySource: "private_key", PrivateKey: &k, ExtraHeaders: map[string]string{"extra": "x"}}
	}
	if err := p.login(&Logins{}, p.method(assertion(structs.OIDCClientAssertionKey{PemKey: text, KeyID: "k1"}))); err != nil || p.header.KeyID != "k1" || p.header.ExtraHeaders["extra"] != "x" {
		t.Errorf("a key in place: %v %+v", err, p.header)
	}
	byCert := structs.OIDCClientAssertionKey{PemKeyFile: file, PemCert: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))}
	sum := sha256.Sum256(cert)
	if err := p.login(&Logins{}, p.method(assertion(byCert))); err != nil || p.header.ExtraHeaders["x5t#S256"] != base64.RawURLEncoding.EncodeToString(sum[:]) {
		t.Errorf("a key in a file, with a certificate: %v %+v", err, p.header)
	}
	byCert.KeyIDHeader = "x5t"
	if err := p.login(&Logins{}, p.method(assertion(byCert))); err != nil || p.header.ExtraHeaders["x5t"] == nil {
		t.Errorf("the older thumbprint: %v %+v", err, p.header)
	}
	other := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(newKey(t))}))
	if err := p.login(&Logins{}, p.method(assertion(structs.OIDCClientAssertionKey{PemKey: other, KeyID: "k1"}))); !errors.Is(err, errs.Unauthenticated) {
		t.Errorf("a key that the provider does not know: %v", err)
	}
	for name, bad := range map[string]structs.OIDCClientAssertionKey{
		"no PEM":         {PemKey: "s3cret", KeyID: "k"},
		"no key":         {PemKey: byCert.PemCert, KeyID: "k"},
		"no file":        {PemKeyFile: file + "x", KeyID: "k"},
		"no certificate": {PemKey: text, PemCert: text},
	} {
		err := p.login(&Logins{}, p.method(assertion(bad)))
		if !errors.Is(err, errs.Invalid) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLoginWithAnAssertionOfTheClientSecret(t *testing.T) {
	secret := strings.Repeat("s", 32)
	p := newStrictProvider(t, []byte(secret))
	m := p.method(&structs.OIDCClientAssertion{KeySource: "client_secret"})
	m.Config.OIDCClientSecret = secret
	if err := p.login(&Logins{}, m); err != nil {
		t.Error(err)
	}
	m.Config.OIDCClientSecret = "short"
	if err := p.login(&Logins{}, m); !errors.Is(err, errs.Invalid) || strings.Contains(err.Error(), "short\"") {
		t.Errorf("a secret that is too short for the algorithm: %v", err)
	}
}

func TestLoginWithAnAssertionOfTheCluster(t *testing.T) {
	key := newKey(t)
	p := newStrictProvider(t, key.Public())
	l := &Logins{Sign: func(claims any) (string, string, error) {
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "root"))
		if err != nil {
			return "", "", err
		}
		token, err := jwt.Signed(signer).Claims(claims).Serialize()
		return token, "root", err
	}}
	if err := p.login(l, p.method(&structs.OIDCClientAssertion{KeySource: "nomad"})); err != nil || p.header.KeyID != "root" {
		t.Errorf("%v %+v", err, p.header)
	}
	for name, bad := range map[string]*structs.OIDCClientAssertion{
		"headers":   {KeySource: "nomad", ExtraHeaders: map[string]string{"a": "b"}},
		"algorithm": {KeySource: "nomad", KeyAlgorithm: "RS512"},
	} {
		if err := p.login(l, p.method(bad)); !errors.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := p.login(&Logins{}, p.method(&structs.OIDCClientAssertion{KeySource: "nomad"})); !errors.Is(err, errs.Invalid) {
		t.Errorf("without a keyring: %v", err)
	}
}
