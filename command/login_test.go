package command

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-project/cairn/acl"
)

func mustRights(t testing.TB) *acl.ACL {
	t.Helper()
	p, err := acl.Parse(`namespace "*" { policy = "read" }`)
	if err != nil {
		t.Fatal(err)
	}
	rights, err := acl.New(false, p)
	if err != nil {
		t.Fatal(err)
	}
	return rights
}

func TestLoginWithJWT(t *testing.T) {
	replies := aclReplies()
	replies["PUT /v1/acl/login"] = reply{body: cannedToken}
	f := newFakeAgent(t, replies)
	file := write(t, "id.jwt", "a.b.c\n")
	env := map[string]string{"CAIRN_ADDR": f.URL, "CAIRN_TOKEN": "expired", "CAIRN_LOGIN_TOKEN": "a.b.c"}
	for _, args := range [][]string{
		{"login"}, {"login", "-login-token", "@" + file}, {"login", "-login-token", "-"}, {"login", "-method", "gh", "-type", "JWT"}, {"login", "-type", "jwt"},
	} {
		i := invocation{env: env, stdin: strings.NewReader("a.b.c")}
		i.run(args...).expect(t, 0, []string{masked, testAccessor}, []string{"masked"})
		if last := f.last(); last.body != `{"AuthMethodName":"gh","LoginToken":"a.b.c"}` || last.token != "" {
			t.Errorf("%q sent %+v", args, last)
		}
	}
	i := invocation{env: env}
	i.run("login", "-export").expect(t, 0, []string{"export CAIRN_TOKEN='" + testSecret + "'\n"}, nil)
	i.run("login", "-method", "nope").expect(t, 1, nil, []string{"there is no auth method nope", "auth-method list"})
	i.run("login", "-type", "oidc").expect(t, 1, nil, []string{"the auth method gh is of the type JWT, not OIDC"})
	delete(env, "CAIRN_LOGIN_TOKEN")
	i.run("login").expect(t, 1, nil, []string{"-login-token is missing"})
	f.replies["PUT /v1/acl/login"] = reply{status: 401, body: "the JWT has expired"}
	f.run("login", "-login-token", "x").expect(t, 1, nil, []string{"logging in with gh: the JWT has expired (HTTP 401)", "binding rule"})
	f.replies["PUT /v1/acl/login"] = reply{status: 400, body: "the provider of auth method gh does not answer: connection refused"}
	f.run("login", "-login-token", "x").expect(t, 1, nil, []string{"it is the servers that ask the provider", "acl auth-method info gh"})
	f.run("login", "-login-token", "@"+write(t, "empty", "\n")).expect(t, 1, nil, []string{"-login-token: there is nothing in what it names"})
	f.replies["PUT /v1/acl/login"] = reply{status: 401, body: "the JWT has expired"}
	i.env["CAIRN_ADDR"] = "http://127.0.0.1:1"
	i.run("login", "-method", "gh", "-type", "jwt", "-login-token", "x").expect(t, 1, nil, []string{"is an agent running at"})
	method := func(name, kind string) map[string]any {
		return map[string]any{"Name": name, "Type": kind, "Default": true}
	}
	f.replies["GET /v1/acl/auth-methods"] = reply{body: []map[string]any{method("aa", "JWT"), method("sso", "OIDC"), method("zz", "JWT")}}
	f.run("login", "-oidc-callback-addr", freeAddress(t)).expect(t, 1, nil, []string{"logging in with sso"})
	f.replies["GET /v1/acl/auth-methods"] = reply{body: []map[string]any{method("sso", "OIDC")}}
	f.run("login", "-login-token", "x").expect(t, 1, nil, []string{"the auth method sso is of the type OIDC, not JWT"})
	f.replies["GET /v1/acl/auth-methods"] = reply{body: []map[string]any{method("a", "OIDC"), method("gh", "JWT")}}
	f.run("login", "-login-token", "x").expect(t, 1, nil, []string{"logging in with gh: the JWT has expired"})
	env["CAIRN_LOGIN_TOKEN"], env["CAIRN_ADDR"] = "x", f.URL
	i.run("login").expect(t, 1, nil, []string{"logging in with gh: the JWT has expired"})
	f.replies["GET /v1/acl/auth-methods"] = reply{body: "[]"}
	f.run("login").expect(t, 1, nil, []string{"no auth method is the default one"})
}

// TestLoginWithOIDC plays the browser.
func TestLoginWithOIDC(t *testing.T) {
	for _, tc := range []struct {
		name, query    string
		code           int
		stdout, stderr string
	}{
		{"logged in", "state=s1&code=c1&iss=i", 0, masked, "open this address"},
		{"refused", "state=s1&error=access_denied&error_description=no", 1, "", "the provider refused the login: access_denied no"},
		{"no code", "state=s1", 1, "", "the provider sent no code"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			addr := freeAddress(t)
			var mu sync.Mutex
			var nonce, ended string
			var forged int
			mux := http.NewServeMux()
			mux.HandleFunc("PUT /v1/acl/oidc/auth-url", func(w http.ResponseWriter, r *http.Request) {
				body := readBody(r)
				mu.Lock()
				defer mu.Unlock()
				nonce = body
				go func() { // the browser of an attacker, then that of the user
					status := browse("http://" + addr + callbackPath + "?state=forged&code=evil")
					mu.Lock()
					forged = status
					mu.Unlock()
					browse("http://" + addr + callbackPath + "?" + tc.query)
				}()
				answer(w, map[string]any{"AuthURL": "https://idp/auth?state=s1"})
			})
			mux.HandleFunc("PUT /v1/acl/oidc/complete-auth", func(w http.ResponseWriter, r *http.Request) {
				body := readBody(r)
				mu.Lock()
				ended = body
				mu.Unlock()
				answer(w, cannedToken)
			})
			srv := httptest.NewServer(mux)
			defer srv.Close()
			i := invocation{env: map[string]string{"CAIRN_ADDR": srv.URL}}
			r := i.run("login", "-method", "sso", "-type", "oidc", "-oidc-callback-addr", addr)
			r.expect(t, tc.code, []string{tc.stdout}, []string{tc.stderr})
			mu.Lock()
			defer mu.Unlock()
			if forged != http.StatusBadRequest {
				t.Errorf("a forged answer got %d", forged)
			}
			if redirect := "http://" + addr + callbackPath; !strings.Contains(nonce, redirect) || tc.code == 0 && !strings.Contains(ended, `"Code":"c1"`) {
				t.Errorf("began with %s, ended with %s", nonce, ended)
			}
			if tc.code != 0 && ended != "" {
				t.Errorf("ended a login that failed with %s", ended)
			}
		})
	}
}

func TestLoginRefusesAddressesWithoutState(t *testing.T) {
	for _, address := range []string{"", "https://idp/auth", "javascript:alert(1)?state=x", "https://idp/auth?state=%zz"} {
		f := newFakeAgent(t, map[string]reply{"PUT /v1/acl/oidc/auth-url": {body: map[string]any{"AuthURL": address}}})
		f.run("login", "-method", "sso", "-type", "oidc", "-oidc-callback-addr", freeAddress(t)).expect(t, 1, nil, []string{"the servers answered with an address"})
	}
	f := newFakeAgent(t, nil)
	f.run("login", "-method", "sso", "-type", "oidc", "-oidc-callback-addr", "nonsense").expect(t, 1, nil, []string{"-oidc-callback-addr"})
}

func TestAwaitBrowserEndsWithItsContext(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := awaitBrowser(ctx, l, "s"); err == nil || !strings.Contains(err.Error(), "nobody logged in") {
		t.Errorf("%v", err)
	}
	if _, err := net.DialTimeout("tcp", l.Addr().String(), time.Second); err == nil {
		t.Error("still listening")
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func browse(address string) int {
	resp, err := http.Get(address)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

func readBody(r *http.Request) string {
	body, _ := io.ReadAll(r.Body)
	return string(body)
}
