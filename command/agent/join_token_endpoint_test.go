package agent

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairn-project/cairn/nomad/structs"
)

func (f *fakeServer) fillJoinTokens() {
	stub := &structs.JoinTokenStub{ID: nobodysID, Name: "n", Role: structs.JoinRoleServer, MaxUses: 2, Uses: 1,
		CreateTime: time.Unix(1, 0).UTC(), ExpirationTime: time.Unix(2, 0).UTC(),
		Joined: []*structs.JoinTokenNode{{Node: "s2", Address: "10.0.0.2:5000", Time: time.Unix(1, 0).UTC()}}}
	on(f, "JoinToken.List", func(_ *structs.JoinTokenListRequest, r *structs.JoinTokenListResponse) error {
		r.JoinTokens, r.QueryMeta = []*structs.JoinTokenStub{stub}, structs.QueryMeta{Index: 42, KnownLeader: true}
		return nil
	})
	on(f, "JoinToken.Create", func(_ *structs.JoinTokenCreateRequest, r *structs.JoinTokenCreateResponse) error {
		r.JoinToken, r.Text, r.Index = stub, "cairn-join-1-text", 43
		return nil
	})
	authority := &structs.AuthorityStub{ID: "ab12", Phase: structs.AuthorityNext, Requested: true, CreateTime: time.Unix(1, 0).UTC(),
		NotBefore: time.Unix(1, 0).UTC(), NotAfter: time.Unix(3, 0).UTC(), Until: time.Unix(2, 0).UTC()}
	on(f, "Authority.List", func(_ *structs.AuthorityListRequest, r *structs.AuthorityListResponse) error {
		r.Authorities, r.QueryMeta = []*structs.AuthorityStub{authority}, structs.QueryMeta{Index: 42, KnownLeader: true}
		return nil
	})
	on(f, "Authority.Rotate", func(_ *structs.AuthorityRotateRequest, r *structs.AuthorityRotateResponse) error {
		r.Authority, r.Index = authority, 45
		return nil
	})
	on(f, "JoinToken.Delete", func(_ *structs.JoinTokenDeleteRequest, r *structs.GenericResponse) error { r.Index = 44; return nil })
}

func TestJoinTokenRoutes(t *testing.T) {
	f := newFake().fill()
	h := testAPI(t, f)
	w := call(h, "PUT", "/v1/operator/join-token", `{"Name":"n","Role":"server","TTL":"90m","MaxUses":2}`)
	if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"Text":"cairn-join-1-text"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if got := f.last.(*structs.JoinTokenCreateRequest); got.Role != structs.JoinRoleServer || got.TTL != 90*time.Minute || got.MaxUses != 2 || got.Name != "n" {
		t.Errorf("asked for %+v", got)
	}
	for _, ttl := range []string{"soon", "-1h", "0s"} {
		if w := call(h, "PUT", "/v1/operator/join-token", `{"Role":"server","TTL":"`+ttl+`"}`); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "duration such as 1h") {
			t.Errorf("TTL %s: %d %s", ttl, w.Code, w.Body)
		}
	}
	if w := call(h, "GET", "/v1/operator/authorities", ""); !strings.Contains(w.Body.String(), `"Phase":"next"`) || w.Header().Get("X-Nomad-Index") != "42" {
		t.Errorf("authorities: %s", w.Body)
	}
	if w := call(h, "PUT", "/v1/operator/authority/rotate", ""); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), `"ID":"ab12"`) {
		t.Errorf("rotate: %d %s", w.Code, w.Body)
	}
	if w := call(h, "GET", "/v1/operator/join-tokens", ""); !strings.Contains(w.Body.String(), `"Node":"s2"`) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := call(h, "DELETE", "/v1/operator/join-token/"+nobodysID, ""); w.Code != http.StatusOK || f.last.(*structs.JoinTokenDeleteRequest).IDs[0] != nobodysID {
		t.Errorf("%d %s, asked for %+v", w.Code, w.Body, f.last)
	}
}

// configured is the configuration of a command line.
func configured(t *testing.T, args ...string) (*Config, error) {
	t.Helper()
	f := newFlags()
	if err := f.set.Parse(args); err != nil {
		t.Fatal(err)
	}
	c, _, err := f.config()
	return c, err
}

// A node agent that is no server is certified as that.
func TestNodeAgentsJoinByToken(t *testing.T) {
	dir := t.TempDir()
	c, err := configured(t, "-client", "-data-dir", dir, "-join-token", "x")
	if err != nil || !c.TLSConfig.Auto || !c.TLSConfig.VerifyServerHostname || c.TLSConfig.CAFile != filepath.Join(dir, "client", "tls", "ca.pem") {
		t.Errorf("%+v: %v", c.TLSConfig, err)
	}
	c, err = configured(t, "-client", "-server", "-data-dir", dir, "-join-token", "x")
	if err != nil || c.TLSConfig.CAFile != filepath.Join(dir, "server", "tls", "ca.pem") {
		t.Errorf("both in one: %+v: %v", c.TLSConfig, err)
	}
	c, err = configured(t, "-client", "-data-dir", dir)
	if err != nil || c.TLSConfig.EnableRPC {
		t.Errorf("without a token: %+v: %v", c.TLSConfig, err)
	}
}

// A token or a certificate that is there is as good as tls.auto.
func TestTLSIsOnWithoutBeingAskedFor(t *testing.T) {
	dir := t.TempDir()
	server := []string{"-server", "-data-dir", dir}
	c, err := configured(t, server...)
	if err != nil || c.TLSConfig.EnableRPC {
		t.Fatalf("TLS %v without a reason: %v", c.TLSConfig.EnableRPC, err)
	}
	c, err = configured(t, append(server, "-join-token", "x")...)
	if err != nil || !c.TLSConfig.EnableRPC || !c.TLSConfig.VerifyServerHostname || c.TLSConfig.CAFile != filepath.Join(dir, "server", "tls", "ca.pem") {
		t.Errorf("with a token: %+v: %v", c.TLSConfig, err)
	}
	if strings.Contains(c.String(), `"x"`) {
		t.Error("the token is shown")
	}
	if err := c.certDir().SaveIdentity([]byte("cert"), []byte("key"), nil); err != nil {
		t.Fatal(err)
	}
	if c, err = configured(t, server...); err != nil || !c.TLSConfig.Auto || !c.TLSConfig.EnableRPC {
		t.Errorf("with a certificate: %+v: %v", c.TLSConfig, err)
	}
}

func TestAutoTLSProblems(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tls.hcl")
	write := func(text string) string {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	server := []string{"-server", "-data-dir", t.TempDir()}
	for want, args := range map[string][]string{
		"-dev keeps nothing":           {"-dev", "-tls-auto"},
		"client.join_token: give":      {"-client", "-data-dir", t.TempDir(), "-join-token", "x", "-join-token-file", "y"},
		"bootstrap_expect: must not":   append(server, "-join-token", "x", "-bootstrap-expect", "3"),
		"or join_token_file, not both": append(server, "-join-token", "x", "-join-token-file", "y"),
		"auto_cert_ttl: must be from":  append(server, "-config", write(`tls { auto_cert_ttl = "1s" }`)),
	} {
		if _, err := configured(t, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", args, err, want)
		}
	}
	_, err := configured(t, append(server, "-config", write(`tls {
		auto = true
		cert_file = "c.pem"
	}`))...)
	if err == nil || !strings.Contains(err.Error(), "remove ca_file, cert_file and key_file") {
		t.Error(err)
	}
}

func TestJoinTokenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	for _, c := range []*Config{
		{DataDir: t.TempDir(), Server: ServerConfig{Enabled: true, JoinTokenFile: file}},
		{DataDir: t.TempDir(), Client: ClientConfig{Enabled: true, JoinTokenFile: file}},
	} {
		if _, err := c.joinToken(); err == nil || !strings.Contains(err.Error(), "join_token_file") {
			t.Errorf("a file that is missing: %v", err)
		}
		if err := os.WriteFile(file, []byte("text\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if text, err := c.joinToken(); err != nil || text != "text\n" {
			t.Errorf("%q %v", text, err)
		}
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if err := c.certDir().SaveIdentity([]byte("cert"), []byte("key"), nil); err != nil {
			t.Fatal(err)
		}
		if text, err := c.joinToken(); err != nil || text != "" {
			t.Errorf("a file that is not needed any more: %q %v", text, err)
		}
	}
}
