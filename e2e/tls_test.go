package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/tlsconf"
)

// certs is a directory of files that the CLI made.
type certs struct {
	t   *testing.T
	dir string
}

// newCerts makes an authority and certificates for servers, clients and users.
func newCerts(t *testing.T) *certs {
	t.Helper()
	c := &certs{t: t, dir: t.TempDir()}
	c.run("tls", "ca", "create")
	for _, role := range []string{"-server", "-client", "-cli"} {
		c.run("tls", "cert", "create", role)
	}
	return c
}

func (c *certs) run(args ...string) {
	c.t.Helper()
	if out, code := cairn(c.t, c.dir, args...); code != 0 {
		c.t.Fatalf("cairn %s: exit code %d:\n%s", strings.Join(args, " "), code, out)
	}
}

func (c *certs) path(name string) string { return filepath.Join(c.dir, name) }

// settings is the tls block of a server, with more in it.
func (c *certs) settings(more ...string) settings {
	block := settings{"rpc": true, "verify_server_hostname": true, "ca_file": c.path("nomad-agent-ca.pem"),
		"cert_file": c.path("global-server-nomad.pem"), "key_file": c.path("global-server-nomad-key.pem")}
	for _, key := range more {
		block[key] = true
	}
	return settings{"tls": block}
}

func (c *certs) source(role tlsconf.Role) *tlsconf.Source {
	c.t.Helper()
	name := c.path("global-" + string(role) + "-nomad")
	s, err := tlsconf.Load(tlsconf.Settings{CAFile: c.path("nomad-agent-ca.pem"), CertFile: name + ".pem", KeyFile: name + "-key.pem"})
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// admitted reports whether a server leaves a connection for a protocol open.
func admitted(t *testing.T, a *agent, p mux.Protocol, conf *tls.Config) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callLimit)
	defer cancel()
	raw, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", a.rpc))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := mux.Select(ctx, raw, p, conf)
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(2 * time.Second)) // less than silence is allowed for
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err == nil || os.IsTimeout(err)
}

// serial returns the serial number of the certificate that a server shows.
func serial(t *testing.T, a *agent) string {
	t.Helper()
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", a.rpc), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"cairn/rpc"}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
}

// Three servers within TLS: writes, a failover, roles on the port, new certificates
// under a query that waits.
func TestClusterWithTLS(t *testing.T) {
	files := newCerts(t)
	c := prepareCluster(t, nil, files.settings())
	c.startAll()
	lead := c.leader()
	follower := c.others(lead)[0]
	follower.mustPut("app/db", "1")
	lead.mustRead("app/db", "1")

	for role, protocols := range map[tlsconf.Role]map[mux.Protocol]bool{
		tlsconf.RoleServer: {mux.ProtoRPC: true, mux.ProtoRaft: true, mux.ProtoSnapshot: true},
		tlsconf.RoleClient: {mux.ProtoRPC: true, mux.ProtoRaft: false, mux.ProtoSnapshot: false},
		tlsconf.RoleCLI:    {mux.ProtoRPC: false, mux.ProtoRaft: false, mux.ProtoMultiplexV2: false},
	} {
		for p, want := range protocols {
			if got := admitted(t, lead, p, files.source(role).Client("global")); got != want {
				t.Errorf("%s with the certificate of a %s: admitted %v, want %v", p, role, got, want)
			}
		}
	}
	for _, p := range []mux.Protocol{mux.ProtoRPC, mux.ProtoRaft} {
		if admitted(t, lead, p, nil) {
			t.Errorf("%s in clear is admitted", p)
		}
	}
	grpcHealth(t, lead, files.source(tlsconf.RoleCLI))
	reloadUnderAQuery(t, c, files, follower)

	lead.kill()
	c.leader(lead)
	follower.mustPut("app/db", "3")
	follower.mustRead("app/db", "3")
}

// grpcHealth asks as the usual tools do.
func grpcHealth(t *testing.T, a *agent, source *tlsconf.Source) {
	t.Helper()
	client, err := grpc.NewClient(fmt.Sprintf("127.0.0.1:%d", a.rpc), grpc.WithTransportCredentials(credentials.NewTLS(source.Client("global"))))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), callLimit)
	defer cancel()
	if r, err := healthpb.NewHealthClient(client).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil || r.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("gRPC health: %v %v", r, err)
	}
}

// reloadUnderAQuery gives all servers a new certificate while a query waits at a
// follower, and the leader has yet to answer it.
func reloadUnderAQuery(t *testing.T, c *cluster, files *certs, at *agent) {
	t.Helper()
	v, _, err := at.api.Variables().Peek("app/db", nil)
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		v   *api.Variable
		err error
	}
	got := make(chan answer, 1)
	go func() {
		v, _, err := at.client(hang).Variables().Peek("app/db", &api.QueryOptions{WaitIndex: v.ModifyIndex, WaitTime: hang})
		got <- answer{v, err}
	}()
	before := serial(t, at)
	for _, suffix := range []string{".pem", "-key.pem"} {
		if err := os.Remove(files.path("global-server-nomad" + suffix)); err != nil {
			t.Fatal(err)
		}
	}
	files.run("tls", "cert", "create", "-server")
	for _, a := range c.servers {
		a.signal(syscall.SIGHUP)
	}
	for _, a := range c.servers {
		eventually(t, a.name+" shows the new certificate", func() bool { return serial(t, a) != before })
	}
	select {
	case a := <-got:
		t.Fatalf("the query ended at the reload: %v %v", a.v, a.err)
	default:
	}
	at.mustPut("app/db", "2")
	select {
	case a := <-got:
		if a.err != nil || a.v.Items["v"] != "2" {
			t.Errorf("the query that waited: %v %v", a.v, a.err)
		}
	case <-time.After(hang):
		t.Error("the query that waited is not answered")
	}
}

// From clear text to TLS one server at a time, with reads and writes all the while.
func TestRollingToTLS(t *testing.T) {
	files := newCerts(t)
	c := newCluster(t, nil)
	stop := make(chan struct{})
	var load sync.WaitGroup
	var written int
	load.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
			for _, a := range c.servers { // whoever is up
				if a.quickPut("app/load", fmt.Sprint(written+1)) == nil {
					written++
					break
				}
			}
		}
	})
	for _, step := range []settings{files.settings("rpc_upgrade_mode"), files.settings()} {
		for _, a := range c.servers {
			a.interrupt()
			c.configure(a, step)
			a.start()
			a.ready()
			a.mustPut("app/db", a.name)
			for _, other := range c.servers {
				other.mustRead("app/db", a.name)
			}
		}
	}
	close(stop)
	load.Wait()
	if written == 0 {
		t.Error("no write got through")
	}
	t.Logf("%d writes during the change", written)
	for _, a := range c.servers {
		if admitted(t, a, mux.ProtoRPC, nil) {
			t.Errorf("%s still speaks clear text", a.name)
		}
	}
}
