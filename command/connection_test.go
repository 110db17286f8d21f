package command

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestConnectionComesFromFlagsThenCairnThenNomad(t *testing.T) {
	all := map[string]string{
		"CAIRN_ADDR": "http://c:1", "NOMAD_ADDR": "http://n:1", "CAIRN_REGION": "cr", "NOMAD_REGION": "nr",
		"NOMAD_TOKEN": "nt", "CAIRN_SKIP_VERIFY": "true", "NOMAD_CACERT": "n.pem", "CAIRN_NAMESPACE": "cn",
	}
	get := func(n string) string { return all[n] }
	c := connection{region: "flag"}
	c.fill(get)
	want := connection{address: "http://c:1", region: "flag", namespace: "cn", token: "nt", caCert: "n.pem", skipVerify: true}
	if c != want {
		t.Errorf("got %+v, want %+v", c, want)
	}
	none := func(string) string { return "" }
	c = connection{}
	c.fill(none)
	if c.address != defaultAddress {
		t.Errorf("default address %q", c.address)
	}
	c = connection{address: "10.0.0.1:4646"}
	c.fill(none)
	if c.address != "http://10.0.0.1:4646" {
		t.Errorf("address without a scheme became %q", c.address)
	}
}

func TestConnectionOptionsReachTheAgent(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{"GET /v1/vars": {body: "[]"}})
	i := invocation{env: map[string]string{"NOMAD_ADDR": f.URL, "NOMAD_TOKEN": "env"}}
	i.run("var", "list", "-region", "eu", "-namespace", "web", "-token", "flag", "app/").expect(t, 0, []string{"no variables found"}, nil)
	if got := f.last(); got.line != "GET /v1/vars?namespace=web&prefix=app%2F&region=eu" || got.token != "flag" {
		t.Errorf("request %+v", got)
	}
	i.run("var", "list")
	if got := f.last(); got.token != "env" {
		t.Errorf("token of the environment was not used: %+v", got)
	}
}

func TestUnixSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "an agent's.sock")
	run := func() result {
		return invocation{env: map[string]string{"CAIRN_ADDR": "unix://" + socket}}.run("var", "list", "-out", "terse")
	}
	run().expect(t, 1, nil, []string{"is an agent running at unix://" + socket})
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`[{"Path":"a/b"}]`))
	})}
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	run().expect(t, 0, []string{"a/b\n"}, nil)
}

func TestFailuresSayWhatHelps(t *testing.T) {
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	secure.Config.ErrorLog = nil
	defer secure.Close()
	plain := newFakeAgent(t, nil)
	hangup := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer hangup.Close()
	for name, tc := range map[string]struct{ addr, want string }{
		"nobody listens":   {"http://127.0.0.1:1", "start one with `cairn agent -dev` or set CAIRN_ADDR"},
		"unknown name":     {"http://no..name:4646", "check the name"}, // no server of names is asked
		"unknown CA":       {secure.URL, "-ca-cert"},
		"plain to TLS":     {strings.Replace(secure.URL, "https", "http", 1), "https://"},
		"TLS to plain":     {strings.Replace(plain.URL, "http", "https", 1), "http://"},
		"connection ended": {hangup.URL, "closed the connection"},
		"bad address":      {"http://%zz", "check -address"},
	} {
		t.Run(name, func(t *testing.T) {
			r := invocation{env: map[string]string{"CAIRN_ADDR": tc.addr}}.run("var", "get", "a")
			r.expect(t, 1, nil, []string{"error: ", tc.want})
		})
	}
	missing := invocation{env: map[string]string{"CAIRN_ADDR": secure.URL}}.run("var", "get", "-ca-cert", "/no/such.pem", "a")
	missing.expect(t, 1, nil, []string{"/no/such.pem", "TLS options"})
}

func TestAnswersOfTheAPIAreExplained(t *testing.T) {
	for _, tc := range []struct {
		status     int
		body       string
		want, hint string
	}{
		{403, "Permission denied", "error: reading a: permission denied (HTTP 403)", "CAIRN_TOKEN"},
		{500, "No cluster leader", "error: reading a: no cluster leader (HTTP 500)", "list-peers -stale"},
		{500, `No path to region "mars"`, `no path to region "mars" (HTTP 500)`, "api /v1/regions` lists the regions"},
		{500, `no answer from region "mars": cannot connect`, `no answer from region "mars": cannot connect (HTTP 500)`, "this region goes on without it"},
		{429, "too fast", "too fast (HTTP 429)", "try again later"},
		{500, "", "internal server error (HTTP 500)", ""},
		{400, "bad\x1b[31m", `bad\x1b[31m (HTTP 400)`, ""},
	} {
		f := newFakeAgent(t, map[string]reply{"GET /v1/var/a": {status: tc.status, body: tc.body}})
		f.run("var", "get", "a").expect(t, 1, nil, []string{tc.want, tc.hint})
	}
}

// What is wrong with a request may speak of the leader too, and an election does not help then.
func TestOnlyFailuresOfServersSpeakOfElections(t *testing.T) {
	const reason = "the file acl-bootstrap-reset of the leader must hold the reset index and nothing else"
	if hint := statusHint(http.StatusBadRequest, reason); hint != "" {
		t.Errorf("hint %q", hint)
	}
	if hint := statusHint(http.StatusInternalServerError, "no cluster leader"); hint == "" {
		t.Error("no hint where there is no leader")
	}
}

func TestTLSWithAuthority(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("[]")) }))
	defer srv.Close()
	i := invocation{env: map[string]string{"CAIRN_ADDR": srv.URL}}
	i.run("var", "list", "-tls-skip-verify").expect(t, 0, nil, nil)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pemOf(srv.Certificate().Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	i.run("var", "list", "-ca-cert", ca).expect(t, 0, nil, nil)
	i.run("var", "list", "-ca-cert", ca, "-tls-server-name", "wrong.test").expect(t, 1, nil, []string{"-tls-server-name"})
}

func TestAbsentNamespaceIsToldOf(t *testing.T) {
	f := newFakeAgent(t, map[string]reply{"PUT /v1/var/a": {status: 404, body: `namespace "shop" not found`}})
	f.run("var", "put", "-namespace", "shop", "a", "b=c").expect(t, 1, nil, []string{`namespace "shop" not found (HTTP 404)`, "namespace list` shows what there is"})
}
