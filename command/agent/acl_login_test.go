package agent

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/hashicorp/cap/oidc"
	sdkapi "github.com/hashicorp/nomad/api"
)

// issuer signs JWTs as somebody's identity provider does.
type issuer struct {
	t   *testing.T
	key *rsa.PrivateKey
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return &issuer{t, key}
}

// pem returns the public key.
func (i *issuer) pem() string {
	der, err := x509.MarshalPKIXPublicKey(i.key.Public())
	if err != nil {
		i.t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// token signs the claims of a good login with some of them changed.
func (i *issuer) token(change map[string]any) string {
	i.t.Helper()
	claims := map[string]any{"iss": "https://idp", "aud": "cairn", "sub": "pat", "groups": []string{"eng"},
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix()}
	for name, v := range change {
		claims[name] = v
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: i.key}, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	text, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return text
}

// unsigned returns a token whose header says that it needs no signature.
func (i *issuer) unsigned() string {
	_, rest, _ := strings.Cut(i.token(nil), ".")
	claims, _, _ := strings.Cut(rest, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + claims + "."
}

// loginCluster is an agent with a role "readers" that logins get for the group eng.
func loginCluster(t *testing.T, method *sdkapi.ACLAuthMethod) (g *guarded, role *sdkapi.ACLRole) {
	t.Helper()
	a, client := aclAgent(t, aclOn)
	g = &guarded{t: t, client: client, url: "http://" + a.HTTPAddr(), secrets: map[string]string{}}
	g.bootstrap()
	g.policy("default-read", `namespace "default" { policy = "read" }`)
	role, _, err := client.ACLRoles().Create(&sdkapi.ACLRole{Name: "readers", Policies: []*sdkapi.ACLRolePolicyLink{{Name: "default-read"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := client.ACLAuthMethods().Create(method, nil); err != nil {
		t.Fatal(err)
	}
	rule := &sdkapi.ACLBindingRule{AuthMethod: method.Name, BindType: "role", BindName: "readers", Selector: `"eng" in list.groups`}
	if _, _, err := client.ACLBindingRules().Create(rule, nil); err != nil {
		t.Fatal(err)
	}
	return g, role
}

// mustBeReader fails unless the token is that of a login with the role, and works.
func (g *guarded) mustBeReader(token *sdkapi.ACLToken, role *sdkapi.ACLRole) {
	g.t.Helper()
	if token.Type != "client" || token.ExpirationTime == nil || len(token.Roles) != 1 || token.Roles[0].ID != role.ID || token.Roles[0].Name != "readers" {
		g.t.Fatalf("logged in as %+v", token)
	}
	for target, want := range map[string]int{"/v1/namespace/default": 200, "/v1/acl/tokens": 403, "/v1/acl/token/self": 200} {
		if status, body := g.request("GET", target, "", token.SecretID); status != want {
			g.t.Errorf("%s after the login: %d %s", target, status, body)
		}
	}
}

func TestLoginWithJWTFromEndToEnd(t *testing.T) {
	idp := newIssuer(t)
	g, role := loginCluster(t, &sdkapi.ACLAuthMethod{Name: "ci", Type: "JWT", TokenLocality: "local", MaxTokenTTL: time.Hour,
		Config: &sdkapi.ACLAuthMethodConfig{JWTValidationPubKeys: []string{idp.pem()}, BoundAudiences: []string{"cairn"},
			BoundIssuer: []string{"https://idp"}, ListClaimMappings: map[string]string{"groups": "groups"}}})
	g.client.SetSecretID("")
	token, _, err := g.client.ACLAuth().Login(&sdkapi.ACLLoginRequest{AuthMethodName: "ci", LoginToken: idp.token(nil)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	g.mustBeReader(token, role)
	now := time.Now()
	for name, bad := range map[string]struct {
		token  string
		status int
		text   string
	}{
		"no signature":     {idp.unsigned(), 401, "not valid"},
		"another key":      {newIssuer(t).token(nil), 401, "not valid"},
		"other audience":   {idp.token(map[string]any{"aud": "vault"}), 401, "aud"},
		"other issuer":     {idp.token(map[string]any{"iss": "https://evil"}), 401, "iss"},
		"expired":          {idp.token(map[string]any{"iat": now.Add(-2 * time.Hour).Unix(), "exp": now.Add(-time.Hour).Unix()}), 401, "exp"},
		"not yet valid":    {idp.token(map[string]any{"nbf": now.Add(time.Hour).Unix()}), 401, "nbf"},
		"from the future":  {idp.token(map[string]any{"iat": now.Add(time.Hour).Unix(), "exp": now.Add(2 * time.Hour).Unix()}), 401, "not yet valid"},
		"nothing is bound": {idp.token(map[string]any{"groups": []string{"guests"}}), 400, "bindings matched"},
		"no JWT":           {"nonsense", 401, "not valid"},
		"empty":            {"", 400, ""},
	} {
		_, _, err := g.client.ACLAuth().Login(&sdkapi.ACLLoginRequest{AuthMethodName: "ci", LoginToken: bad.token}, nil)
		wantStatus(t, name, err, bad.status, bad.text)
	}
	_, _, err = g.client.ACLAuth().Login(&sdkapi.ACLLoginRequest{AuthMethodName: "nope", LoginToken: idp.token(nil)}, nil)
	wantStatus(t, "an unknown method", err, 400, "nope")
}

// A login with clocks that differ by less than the leeway is let in.
func TestLoginAllowsForClocksThatDiffer(t *testing.T) {
	idp := newIssuer(t)
	g, role := loginCluster(t, &sdkapi.ACLAuthMethod{Name: "ci", Type: "JWT", TokenLocality: "local", MaxTokenTTL: time.Hour,
		Config: &sdkapi.ACLAuthMethodConfig{JWTValidationPubKeys: []string{idp.pem()}, BoundAudiences: []string{"cairn"},
			ListClaimMappings: map[string]string{"groups": "groups"}, ClockSkewLeeway: 5 * time.Minute, ExpirationLeeway: 5 * time.Minute}})
	late := idp.token(map[string]any{"iat": time.Now().Add(-time.Hour).Unix(), "exp": time.Now().Add(-2 * time.Minute).Unix()})
	token, _, err := g.client.ACLAuth().Login(&sdkapi.ACLLoginRequest{AuthMethodName: "ci", LoginToken: late}, nil)
	if err != nil {
		t.Fatal(err)
	}
	g.mustBeReader(token, role)
	for name, claims := range map[string]map[string]any{
		"expired longer ago": {"iat": time.Now().Add(-time.Hour).Unix(), "exp": time.Now().Add(-15 * time.Minute).Unix()},
		"not yet made":       {"iat": time.Now().Add(15 * time.Minute).Unix(), "exp": time.Now().Add(time.Hour).Unix()},
	} {
		_, _, err := g.client.ACLAuth().Login(&sdkapi.ACLLoginRequest{AuthMethodName: "ci", LoginToken: idp.token(claims)}, nil)
		wantStatus(t, name, err, 401, "not valid")
	}
}

func TestLoginAtAProviderThatDoesNotAnswer(t *testing.T) {
	const gone = "http://127.0.0.1:1"
	idp := newIssuer(t)
	g, _ := loginCluster(t, &sdkapi.ACLAuthMethod{Name: "jwks", Type: "JWT", TokenLocality: "local", MaxTokenTTL: time.Hour,
		Config: &sdkapi.ACLAuthMethodConfig{JWKSURL: gone + "/keys", ListClaimMappings: map[string]string{"groups": "groups"}}})
	for _, m := range []*sdkapi.ACLAuthMethod{
		{Name: "discovery", Type: "JWT", Config: &sdkapi.ACLAuthMethodConfig{OIDCDiscoveryURL: gone}},
		{Name: "oidc", Type: "OIDC", Config: &sdkapi.ACLAuthMethodConfig{OIDCDiscoveryURL: gone, OIDCClientID: "c", OIDCClientSecret: "s", AllowedRedirectURIs: []string{redirect}}},
	} {
		m.TokenLocality, m.MaxTokenTTL = "local", time.Hour
		if _, _, err := g.client.ACLAuthMethods().Create(m, nil); err != nil {
			t.Fatal(err)
		}
	}
	for name, status := range map[string]int{"jwks": 400, "discovery": 400} {
		_, _, err := g.client.ACLAuth().Login(&sdkapi.ACLLoginRequest{AuthMethodName: name, LoginToken: idp.token(nil)}, nil)
		wantStatus(t, name, err, status, "refused")
	}
	_, _, err := g.client.ACLAuth().GetAuthURL(&sdkapi.ACLOIDCAuthURLRequest{AuthMethodName: "oidc", RedirectURI: redirect, ClientNonce: "n"}, nil)
	wantStatus(t, "the beginning of an OIDC login", err, 400, "does not answer")
}

const redirect = "http://127.0.0.1:4649/oidc/callback"

// browser does what a browser does with the address of a login, up to the redirect.
func browser(t *testing.T, tp *oidc.TestProvider, address string) (state, code string) {
	t.Helper()
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
	if to.Query().Get("code") == "" {
		t.Fatalf("the provider sent the browser to %s", to)
	}
	return to.Query().Get("state"), to.Query().Get("code")
}

func TestLoginWithOIDCFromEndToEnd(t *testing.T) {
	tp := oidc.StartTestProvider(t)
	tp.SetClientCreds("cairn", "client-secret")
	tp.SetAllowedRedirectURIs([]string{redirect})
	tp.SetCustomClaims(map[string]any{"groups": []string{"eng"}})
	tp.SetUserInfoReply(map[string]any{"sub": tp.ExpectedSubject()})
	g, role := loginCluster(t, &sdkapi.ACLAuthMethod{Name: "sso", Type: "OIDC", TokenLocality: "local", MaxTokenTTL: time.Hour,
		Config: &sdkapi.ACLAuthMethodConfig{OIDCDiscoveryURL: tp.Addr(), OIDCClientID: "cairn", OIDCClientSecret: "client-secret",
			AllowedRedirectURIs: []string{redirect}, DiscoveryCaPem: []string{tp.CACert()}, SigningAlgs: []string{"ES256"},
			ListClaimMappings: map[string]string{"groups": "groups"}}})
	g.client.SetSecretID("")
	begin := func(nonce string) *sdkapi.ACLOIDCCompleteAuthRequest {
		tp.SetExpectedAuthNonce(nonce)
		tp.SetExpectedAuthCode("code-" + nonce)
		began, _, err := g.client.ACLAuth().GetAuthURL(&sdkapi.ACLOIDCAuthURLRequest{AuthMethodName: "sso", RedirectURI: redirect, ClientNonce: nonce}, nil)
		if err != nil {
			t.Fatal(err)
		}
		state, code := browser(t, tp, began.AuthURL)
		return &sdkapi.ACLOIDCCompleteAuthRequest{AuthMethodName: "sso", ClientNonce: nonce, State: state, Code: code, RedirectURI: redirect}
	}
	end := begin("nonce-1")
	token, _, err := g.client.ACLAuth().CompleteAuth(end, nil)
	if err != nil {
		t.Fatal(err)
	}
	g.mustBeReader(token, role)
	_, _, err = g.client.ACLAuth().CompleteAuth(end, nil)
	wantStatus(t, "a code used twice", err, 400, "log in again")
	forgedState := begin("nonce-2")
	forgedState.State = "forged"
	_, _, err = g.client.ACLAuth().CompleteAuth(forgedState, nil)
	wantStatus(t, "a forged state", err, 400, "log in again")
	tp.SetCustomClaims(map[string]any{"groups": []string{"guests"}})
	_, _, err = g.client.ACLAuth().CompleteAuth(begin("nonce-3"), nil)
	wantStatus(t, "a user whom nothing is bound to", err, 400, "bindings matched")
	_, _, err = g.client.ACLAuth().Login(&sdkapi.ACLLoginRequest{AuthMethodName: "sso", LoginToken: "a.b.c"}, nil)
	wantStatus(t, "a JWT for an OIDC method", err, 400, "OIDC")
}
