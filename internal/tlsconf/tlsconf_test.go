package tlsconf

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority is an authority with certificates for one test.
type authority struct {
	t        *testing.T
	dir      string
	ca, key  []byte
	lifetime time.Duration
}

func newAuthority(t *testing.T, domains ...string) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir(), lifetime: time.Hour}
	var err error
	if a.ca, a.key, err = NewAuthority(AuthoritySpec{Lifetime: 2 * time.Hour, Domains: domains}); err != nil {
		t.Fatal(err)
	}
	a.write("ca.pem", a.ca)
	return a
}

func (a *authority) write(name string, data []byte) string {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// settings issues a certificate and returns the settings that use it.
func (a *authority) settings(role Role, region string) Settings {
	a.t.Helper()
	cert, key, err := Issue(a.ca, a.key, RoleCert(role, region, a.lifetime))
	if err != nil {
		a.t.Fatal(err)
	}
	name := string(role) + "-" + region
	return Settings{CAFile: filepath.Join(a.dir, "ca.pem"), CertFile: a.write(name+".pem", cert), KeyFile: a.write(name+"-key.pem", key)}
}

func (a *authority) load(role Role, region string) *Source {
	a.t.Helper()
	s, err := Load(a.settings(role, region))
	if err != nil {
		a.t.Fatal(err)
	}
	return s
}

// meet shakes hands and returns what the server learned of the client, and both errors.
func meet(server, client *tls.Config) (tls.ConnectionState, error, error) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	s, c := tls.Server(ours, server), tls.Client(theirs, client)
	failed := make(chan error, 1)
	go func() {
		err := c.HandshakeContext(ctx)
		if err == nil {
			_, err = c.Read(make([]byte, 1)) // a refusal of TLS 1.3 shows here
		}
		theirs.Close()
		failed <- err
	}()
	err := s.HandshakeContext(ctx)
	state := s.ConnectionState()
	if err == nil {
		s.Write([]byte{1})
	}
	ours.Close()
	return state, err, <-failed
}

func TestNamesAndRoles(t *testing.T) {
	for name, want := range map[string]Member{
		"server.global.nomad":  {RoleServer, "global"},
		"client.eu.west.nomad": {RoleClient, "eu.west"},
		"cli.global.nomad":     {RoleCLI, "global"},
		"*.global.nomad":       {}, "server.*.nomad": {}, "server.nomad": {}, "server..nomad": {}, "server.global.consul": {},
		"SERVER.global.nomad": {}, "evil.server.global.nomad": {}, "": {}, "nomad": {},
	} {
		if got, ok := ParseName(name); got != want || ok != (want != Member{}) {
			t.Errorf("%q: %v %v", name, got, ok)
		}
	}
	if got := RoleServer.Name("eu"); got != "server.eu.nomad" {
		t.Error(got)
	}
}

func TestHandshakesProveRoles(t *testing.T) {
	a := newAuthority(t)
	server, stranger := a.load(RoleServer, "global"), newAuthority(t).load(RoleServer, "global")
	for name, c := range map[string]struct {
		client *tls.Config
		role   Role
		region string
	}{
		"server":          {a.load(RoleServer, "global").Client("global"), RoleServer, "global"},
		"foreign server":  {a.load(RoleServer, "eu").Client(""), RoleServer, "eu"},
		"client":          {a.load(RoleClient, "global").Client("global"), RoleClient, "global"},
		"cli":             {a.load(RoleCLI, "global").Client("global"), RoleCLI, "global"},
		"wrong region":    {client: a.load(RoleServer, "global").Client("eu")},
		"other authority": {client: stranger.Client("global")},
		"no certificate":  {client: &tls.Config{InsecureSkipVerify: true}},
		"old version":     {client: &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS11}},
	} {
		state, serverErr, clientErr := meet(server.Server(true), c.client)
		if c.role == "" {
			if serverErr == nil && clientErr == nil {
				t.Errorf("%s: accepted", name)
			}
			continue
		}
		if p := PeerOf(&state); serverErr != nil || !p.Has(c.role, c.region) || len(p.Members) != 1 {
			t.Errorf("%s: %v %v %v", name, p, serverErr, clientErr)
		}
	}
	if p := PeerOf(nil); p.Has(RoleServer, "") {
		t.Error("a connection in clear proves something")
	}
	if state, _, _ := meet(server.Server(false), a.load(RoleServer, "global").Client("global")); PeerOf(&state).Names != nil {
		t.Error("a certificate that nobody asked for proves something")
	}
	for role, why := range map[Role]string{RoleClient: "not for server.global.nomad", RoleCLI: "incompatible key usage"} {
		if _, _, err := meet(a.load(role, "global").Server(true), server.Client("global")); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("dialed a %s: %v", role, err)
		}
	}
}

func TestReload(t *testing.T) {
	a, b := newAuthority(t), newAuthority(t)
	s := a.load(RoleServer, "global")
	server, old := s.Server(true), a.load(RoleServer, "global")
	if _, err, _ := meet(server, old.Client("global")); err != nil {
		t.Fatal(err)
	}
	missing := a.settings(RoleServer, "global")
	missing.KeyFile = "/nope"
	check := func(n *Source) error { return n.CheckRole(RoleServer, "global") }
	for _, bad := range []Settings{missing, a.settings(RoleServer, "eu"), a.settings(RoleClient, "global")} {
		if err := s.Reload(bad, check); err == nil {
			t.Errorf("%+v: loaded", bad)
		}
	}
	if _, err, _ := meet(server, old.Client("global")); err != nil {
		t.Fatalf("after files that could not be used: %v", err)
	}
	if err := s.Reload(b.settings(RoleServer, "global"), check); err != nil {
		t.Fatal(err)
	}
	if _, err, _ := meet(server, b.load(RoleServer, "global").Client("global")); err != nil {
		t.Errorf("the new authority: %v", err)
	}
	if _, err, _ := meet(server, old.Client("global")); err == nil {
		t.Error("the old authority is still trusted")
	}
}

func TestCheckRoleExplains(t *testing.T) {
	a := newAuthority(t)
	for text, s := range map[string]Settings{
		"cairn tls cert create -server -region global": a.settings(RoleServer, "eu"),
		"ca_file must be set":                          {CertFile: a.settings(RoleServer, "global").CertFile, KeyFile: a.settings(RoleServer, "global").KeyFile},
		"signed by unknown authority": {CAFile: newAuthority(t).settings(RoleServer, "x").CAFile, CertFile: a.dir + "/server-global.pem",
			KeyFile: a.dir + "/server-global-key.pem"},
	} {
		src, err := Load(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := src.CheckRole(RoleServer, "global"); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("want %q, got %v", text, err)
		}
	}
}

func TestExpiries(t *testing.T) {
	a := newAuthority(t)
	all := a.load(RoleServer, "global").Expiries()
	if len(all) != 2 || all[0].Name != "server.global.nomad" || !all[0].NotAfter.Before(all[1].NotAfter) {
		t.Errorf("%+v", all)
	}
	a.lifetime = 1000 * time.Hour
	if all = a.load(RoleServer, "global").Expiries(); !all[0].NotAfter.Equal(all[1].NotAfter) {
		t.Errorf("a certificate outlives its authority: %+v", all)
	}
}

func TestNameConstraint(t *testing.T) {
	a := newAuthority(t, Domain)
	if err := a.load(RoleServer, "global").CheckRole(RoleServer, "global"); err != nil {
		t.Error(err)
	}
	spec := RoleCert(RoleServer, "global", time.Hour)
	spec.Names = append(spec.Names, "www.example.com")
	if _, _, err := Issue(a.ca, a.key, spec); err == nil {
		t.Error("the authority vouches for any name")
	}
	cert, key, err := Issue(a.ca, a.key, RoleCert(RoleServer, "global", time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Issue(cert, key, RoleCert(RoleServer, "global", time.Hour)); err == nil {
		t.Error("a server's certificate signs another")
	}
	if _, _, err := Issue(a.ca, key, RoleCert(RoleServer, "global", time.Hour)); err == nil {
		t.Error("signed with a key that is not the authority's")
	}
}
