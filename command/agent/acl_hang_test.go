package agent

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	sdkapi "github.com/hashicorp/nomad/api"

	"github.com/cairn-project/cairn/nomad"
)

// hangingProvider tells of itself below /good and is silent everywhere else, or
// breaks off in the middle of an answer below /half.
func hangingProvider(t *testing.T) string {
	t.Helper()
	ended := make(chan struct{})
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/good/.well-known/openid-configuration":
			me := server.URL + "/good"
			fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":%q,"token_endpoint":%q,"jwks_uri":%q,"id_token_signing_alg_values_supported":["RS256"]}`,
				me, me+"/auth", me+"/token", me+"/keys")
			return
		case strings.HasPrefix(r.URL.Path, "/half"):
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, `{"issuer":`)
			w.(http.Flusher).Flush()
		}
		select {
		case <-ended:
		case <-r.Context().Done():
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(ended) })
	return server.URL
}

// beginLogin begins an OIDC login. The provider has so little time in this test that a
// busy machine may miss it: then it is asked again.
func beginLogin(t *testing.T, client *sdkapi.Client, method string) (nonce string, to *url.URL) {
	t.Helper()
	for {
		nonce := uuid.NewString()
		began, _, err := client.ACLAuth().GetAuthURL(&sdkapi.ACLOIDCAuthURLRequest{AuthMethodName: method, RedirectURI: redirect, ClientNonce: nonce}, nil)
		if err != nil && strings.Contains(err.Error(), "does not answer") && t.Context().Err() == nil {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if to, err = url.Parse(began.AuthURL); err != nil {
			t.Fatal(err)
		}
		return nonce, to
	}
}

// A login at a provider that hangs ends with the reason, and its secrets stay out of
// the log.
func TestLoginAtAProviderThatHangs(t *testing.T) {
	log := newSyncBuffer()
	_, client := aclAgentStarting(t, aclOn, hclog.New(&hclog.LoggerOptions{Output: log, Level: hclog.Trace}), func(c *nomad.Config) (server, error) {
		c.ACL.ProviderTimeout = 50 * time.Millisecond
		return nomad.NewServer(c)
	})
	root, _, err := client.ACLTokens().Bootstrap(nil)
	if err != nil {
		t.Fatal(err)
	}
	client.SetSecretID(root.SecretID)
	at, idp := hangingProvider(t), newIssuer(t)
	const clientSecret, code = "hush-client-secret", "hush-code"
	config := func(discovery string) *sdkapi.ACLAuthMethodConfig {
		return &sdkapi.ACLAuthMethodConfig{OIDCDiscoveryURL: discovery, OIDCClientID: "c", OIDCClientSecret: clientSecret, AllowedRedirectURIs: []string{redirect}, VerboseLogging: true}
	}
	for _, m := range []*sdkapi.ACLAuthMethod{
		{Name: "jwks", Type: "JWT", Config: &sdkapi.ACLAuthMethodConfig{JWKSURL: at + "/keys"}},
		{Name: "jwks-half", Type: "JWT", Config: &sdkapi.ACLAuthMethodConfig{JWKSURL: at + "/half"}},
		{Name: "discovery", Type: "JWT", Config: &sdkapi.ACLAuthMethodConfig{OIDCDiscoveryURL: at}},
		{Name: "discovery-half", Type: "JWT", Config: &sdkapi.ACLAuthMethodConfig{OIDCDiscoveryURL: at + "/half"}},
		{Name: "keys", Type: "JWT", Config: &sdkapi.ACLAuthMethodConfig{OIDCDiscoveryURL: at + "/good"}},
		{Name: "sso", Type: "OIDC", Config: config(at)}, {Name: "sso-half", Type: "OIDC", Config: config(at + "/half")}, {Name: "sso-token", Type: "OIDC", Config: config(at + "/good")},
	} {
		m.TokenLocality, m.MaxTokenTTL = "local", time.Hour
		if _, _, err := client.ACLAuthMethods().Create(m, nil); err != nil {
			t.Fatal(err)
		}
	}
	login := idp.token(nil)
	for _, name := range []string{"jwks", "jwks-half", "discovery", "discovery-half", "keys"} {
		_, _, err := client.ACLAuth().Login(&sdkapi.ACLLoginRequest{AuthMethodName: name, LoginToken: login}, nil)
		wantStatus(t, name, err, 400, "the provider of auth method "+name+" does not answer")
	}
	for _, name := range []string{"sso", "sso-half"} {
		_, _, err := client.ACLAuth().GetAuthURL(&sdkapi.ACLOIDCAuthURLRequest{AuthMethodName: name, RedirectURI: redirect, ClientNonce: "n"}, nil)
		wantStatus(t, name, err, 400, "the provider of auth method "+name+" does not answer")
	}
	nonce, to := beginLogin(t, client, "sso-token")
	_, _, err = client.ACLAuth().CompleteAuth(&sdkapi.ACLOIDCCompleteAuthRequest{AuthMethodName: "sso-token", ClientNonce: nonce,
		State: to.Query().Get("state"), Code: code, RedirectURI: redirect}, nil)
	wantStatus(t, "the end of a login", err, 400, "the provider of auth method sso-token does not answer")
	text := log.String()
	for what, secret := range map[string]string{"JWT": login, "client secret": clientSecret, "code": code} {
		if strings.Contains(text, secret) || strings.Contains(err.Error(), secret) {
			t.Errorf("the %s is told", what)
		}
	}
	if got := strings.Count(text, "login refused"); got < 8 {
		t.Errorf("the log tells of %d logins that were refused, not of 8", got)
	}
}
