package command

import (
	"os"
	"strings"
	"testing"

	"github.com/cairn-project/cairn/internal/tlsconf"
)

func TestTLSFilesAreUsable(t *testing.T) {
	t.Chdir(t.TempDir())
	run := func(args ...string) result { return invocation{}.run(append([]string{"tls"}, args...)...) }
	run("cert", "create", "-server").expect(t, 1, nil, []string{"nomad-agent-ca.pem", "cairn tls ca create"})
	run("ca", "create", "-name-constraint", "-additional-domain=example.com").expect(t, 0, []string{"wrote nomad-agent-ca.pem", "wrote nomad-agent-ca-key.pem"}, []string{"cairn tls cert create"})
	run("cert", "create", "-server", "-additional-dnsname=cairn.example.com", "-additional-ipaddress=10.0.0.1").expect(t, 0, []string{"wrote global-server-nomad.pem"}, nil)
	run("cert", "create", "-client", "-region", "eu", "-days=10").expect(t, 0, []string{"wrote eu-client-nomad.pem"}, nil)
	run("cert", "create", "-cli", "-cluster-region", "eu").expect(t, 0, []string{"wrote eu-cli-nomad-key.pem"}, nil)

	source, err := tlsconf.Load(tlsconf.Settings{CAFile: "nomad-agent-ca.pem", CertFile: "global-server-nomad.pem", KeyFile: "global-server-nomad-key.pem"})
	if err != nil {
		t.Fatal(err)
	}
	if err := source.CheckRole(tlsconf.RoleServer, "global"); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"nomad-agent-ca-key.pem", "global-server-nomad-key.pem"} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	run("cert", "info", "global-server-nomad.pem").expect(t, 0, []string{"= server of global", "server.global.nomad, cairn.example.com, localhost", "127.0.0.1, 10.0.0.1", "Authority     = no"}, nil)
	run("cert", "info", "-t", "{{.Roles}}", "eu-cli-nomad.pem").expect(t, 0, []string{"[cli of eu]"}, nil)
	run("ca", "info", "nomad-agent-ca.pem").expect(t, 0, []string{"Allowed Domains = nomad, example.com, localhost", "Authority       = yes"}, nil)
	run("ca", "info", "-json", "nomad-agent-ca.pem").expect(t, 0, []string{`"Expired": false`}, nil)
	run("ca", "info", "eu-cli-nomad.pem").expect(t, 1, nil, []string{"cairn tls cert info"})
	run("cert", "info", "eu-cli-nomad-key.pem").expect(t, 1, nil, []string{"holds no certificate"})
}

// What is there stays as it is, whichever of the two files it is.
func TestTLSOverwritesNothing(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, name := range []string{"nomad-agent-ca.pem", "nomad-agent-ca-key.pem"} {
		if err := os.WriteFile(name, []byte("mine"), 0o644); err != nil {
			t.Fatal(err)
		}
		invocation{}.run("tls", "ca", "create").expect(t, 1, nil, []string{name, "not overwritten"})
		if text, err := os.ReadFile(name); err != nil || string(text) != "mine" {
			t.Errorf("%s: %q %v", name, text, err)
		}
		if entries, _ := os.ReadDir("."); len(entries) != 1 {
			t.Errorf("files beside %s: %v", name, entries)
		}
		os.Remove(name)
	}
}

func TestTLSBadOptionsAreExplained(t *testing.T) {
	t.Chdir(t.TempDir())
	invocation{}.run("tls", "ca", "create").expect(t, 0, []string{"wrote"}, []string{"cairn tls cert create"})
	for args, want := range map[string]string{
		"cert create":                                         "one of -server, -client and -cli",
		"cert create -server -cli":                            "one of -server, -client and -cli",
		"cert create -server -days=0":                         "-days must be",
		"cert create -server -region=a/b":                     "part of a DNS name",
		"cert create -server -additional-ipaddress=nope":      "is no address",
		"cert create -cli -additional-dnsname=server.g.nomad": "a server of region g",
		"cert create -server -ca=nope":                        "cairn tls ca create",
		"ca create -days=99999":                               "-days must be",
		"ca create -additional-domain=x":                      "-name-constraint",
		"ca create -domain=":                                  "-domain must not be empty",
		"cert info nope.pem":                                  "nope.pem",
	} {
		invocation{}.run(append([]string{"tls"}, strings.Fields(args)...)...).expect(t, 1, nil, []string{want})
	}
}
