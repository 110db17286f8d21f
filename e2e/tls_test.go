package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
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

func (c *certs) source(region string, role tlsconf.Role) *tlsconf.Source {
	c.t.Helper()
	name := c.path(region + "-" + string(role) + "-nomad")
	s, err := tlsconf.Load(tlsconf.Settings{CAFile: c.path("nomad-agent-ca.pem"), CertFile: name + ".pem", KeyFile: name + "-key.pem"})
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// refusalLimit is how long a refusal may take. It is less than silence is allowed for,
// which is five seconds where a header is due.
const refusalLimit = 3 * time.Second

// admitted reports whether a server leaves a connection for a protocol open.
func admitted(t *testing.T, a *agent, p mux.Protocol, conf *tls.Config) bool {
	t.Helper()
	return admittedBy(t, a, func(ctx context.Context, raw net.Conn) (net.Conn, error) { return mux.Select(ctx, raw, p, conf) })
}

// admittedBy is admitted for a way to ask for the protocol.
func admittedBy(t *testing.T, a *agent, ask func(context.Context, net.Conn) (net.Conn, error)) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), callLimit)
	defer cancel()
	raw, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", a.rpc))
	if err != nil {
		t.Error(err)
		return false
	}
	defer raw.Close()
	conn, err := ask(ctx, raw)
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(refusalLimit))
	_, err = io.ReadFull(conn, make([]byte, 1))
	return err == nil || os.IsTimeout(err)
}

// byByte asks within TLS for a protocol by its byte, as peers do that know no names
// of protocols.
func byByte(p mux.Protocol, conf *tls.Config) func(context.Context, net.Conn) (net.Conn, error) {
	return func(ctx context.Context, raw net.Conn) (net.Conn, error) {
		if _, err := raw.Write([]byte{byte(mux.ProtoTLS)}); err != nil {
			return nil, err
		}
		conn := tls.Client(raw, conf)
		if err := conn.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		_, err := conn.Write([]byte{byte(p)})
		return conn, err
	}
}

// mayUse lists who may use which protocol, by the role and region of the certificate.
var mayUse = map[string][]mux.Protocol{
	"global server": {mux.ProtoRPC, mux.ProtoRaft, mux.ProtoMultiplex, mux.ProtoStreaming, mux.ProtoMultiplexV2, mux.ProtoSnapshot, mux.ProtoNodeLink, mux.ProtoGRPC},
	"mars server":   {mux.ProtoRPC, mux.ProtoMultiplex, mux.ProtoStreaming, mux.ProtoMultiplexV2, mux.ProtoNodeLink, mux.ProtoGRPC},
	"global client": {mux.ProtoRPC, mux.ProtoMultiplex, mux.ProtoStreaming, mux.ProtoMultiplexV2, mux.ProtoNodeLink, mux.ProtoGRPC},
	"mars client":   nil,
	"global cli":    {mux.ProtoGRPC},
	"nobody":        nil,
}

// rolesOnEveryProtocol tries every protocol with every kind of certificate and
// without one, by name and by byte, and in clear.
func rolesOnEveryProtocol(t *testing.T, a *agent, files *certs) {
	t.Helper()
	files.run("tls", "cert", "create", "-server", "-region", "mars")
	files.run("tls", "cert", "create", "-client", "-region", "mars")
	var tries sync.WaitGroup
	for who, protocols := range mayUse {
		conf := &tls.Config{InsecureSkipVerify: true}
		if region, role, ok := strings.Cut(who, " "); ok {
			conf = files.source(region, tlsconf.Role(role)).Client("global")
		}
		for _, p := range mayUse["global server"] {
			want := slices.Contains(protocols, p)
			tries.Go(func() {
				if got := admitted(t, a, p, conf); got != want {
					t.Errorf("%s with the certificate of %s: admitted %v, want %v", p, who, got, want)
				}
			})
			if p == mux.ProtoGRPC { // it has a preface and no byte
				continue
			}
			tries.Go(func() {
				if got := admittedBy(t, a, byByte(p, conf)); got != want {
					t.Errorf("%s by its byte with the certificate of %s: admitted %v, want %v", p, who, got, want)
				}
			})
		}
	}
	for _, p := range mayUse["global server"] {
		tries.Go(func() {
			first := []byte{byte(p)}
			if p == mux.ProtoGRPC {
				first = []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
			}
			if admittedBy(t, a, func(_ context.Context, raw net.Conn) (net.Conn, error) {
				_, err := raw.Write(first)
				return raw, err
			}) {
				t.Errorf("%s in clear is admitted", p)
			}
		})
	}
	tries.Wait()
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

	rolesOnEveryProtocol(t, lead, files)
	grpcHealth(t, lead, files.source("global", tlsconf.RoleCLI))
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
	eventually(t, a.name+" is healthy", func() bool { // which it is not without a leader
		ctx, cancel := context.WithTimeout(t.Context(), callLimit)
		defer cancel()
		r, err := healthpb.NewHealthClient(client).Check(ctx, &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatalf("gRPC health: %v", err)
		}
		return r.GetStatus() == healthpb.HealthCheckResponse_SERVING
	})
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
				if _, err := putBy(a.quick(), "app/load", fmt.Sprint(written+1)); err == nil {
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
