package agent

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-project/cairn/internal/tlsconf"
	"github.com/cairn-project/cairn/nomad"
)

// issueTo writes an authority and a server's certificate into dir and returns
// what trusts them.
func issueTo(t *testing.T, dir string) *tls.Config {
	t.Helper()
	ca, caKey, err := tlsconf.NewAuthority(tlsconf.AuthoritySpec{Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := tlsconf.Issue(ca, caKey, tlsconf.RoleCert(tlsconf.RoleServer, "global", time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"ca.pem": ca, "cert.pem": cert, "key.pem": key} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &tls.Config{RootCAs: pool}
}

// New certificates serve new connections; old connections go on, and files that
// cannot be used change nothing.
func TestReloadOfCertificates(t *testing.T) {
	dir := t.TempDir()
	trust := issueTo(t, dir)
	c := DefaultDevConfig()
	c.Client.Enabled = false // the node of this agent is not what is looked at
	c.NodeName, c.Ports = "n", PortsConfig{}
	c.TLSConfig = TLSConfig{EnableHTTP: true, CAFile: filepath.Join(dir, "ca.pem"), CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	a, err := start(c, hclog.NewNullLogger(), func(*nomad.Config) (server, error) { return newFake().fill(), nil })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Stop(false) }()
	dials := 0
	get := func(client *http.Client) error {
		resp, err := client.Get("https://" + a.HTTPAddr() + "/v1/regions")
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil { // read to the end the connection is kept
			return err
		}
		return resp.Body.Close()
	}
	counted := trust.Clone()
	counted.VerifyConnection = func(tls.ConnectionState) error { dials++; return nil }
	kept := &http.Client{Transport: &http.Transport{TLSClientConfig: counted}}
	fresh := func(conf *tls.Config) error {
		return get(&http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}})
	}
	if err := get(kept); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(c.TLSConfig.KeyFile, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := a.reloadTLS(c); err == nil {
		t.Error("files that cannot be used were taken")
	}
	if err := fresh(trust); err != nil {
		t.Errorf("after files that cannot be used: %v", err)
	}
	next := issueTo(t, dir)
	if err := a.reloadTLS(c); err != nil {
		t.Error(err)
	}
	if err := fresh(next); err != nil {
		t.Errorf("the new authority: %v", err)
	}
	if err := fresh(trust); err == nil {
		t.Error("the old certificate is still shown")
	}
	if err := get(kept); err != nil || dials != 1 {
		t.Errorf("the open connection: %v, %d handshakes", err, dials)
	}
}

func TestExpiryIsMeasured(t *testing.T) {
	dir := t.TempDir()
	issueTo(t, dir)
	conf := TLSConfig{EnableRPC: true, CAFile: filepath.Join(dir, "ca.pem"), CertFile: filepath.Join(dir, "cert.pem"), KeyFile: filepath.Join(dir, "key.pem")}
	source, err := conf.load()
	if err != nil {
		t.Fatal(err)
	}
	tel := &telemetry{}
	a := &Agent{tls: source, server: newFake(), telemetry: tel, logger: hclog.NewNullLogger()}
	tel.own = prometheus.NewRegistry()
	a.addMetrics()
	found := 0
	for _, g := range tel.ownGauges() {
		if g.Name == "cairn_tls_certificate_expires_in_seconds" && g.Value > 0 && g.Value <= 3600 && strings.HasPrefix(g.DisplayLabels["file"], dir) {
			found++
		}
	}
	if found != 2 {
		t.Errorf("%d certificates are measured, want the server's and the authority's", found)
	}
	var out strings.Builder
	(&TLSConfig{Auto: true}).warnExpiry(source, hclog.New(&hclog.LoggerOptions{Output: &out}))
	if out.Len() > 0 {
		t.Errorf("the log tells of what the agent renews itself:\n%s", &out)
	}
	(&TLSConfig{}).warnExpiry(source, hclog.New(&hclog.LoggerOptions{Output: &out}))
	if strings.Count(out.String(), "certificate expires soon") != 2 {
		t.Errorf("the log does not tell of certificates that last an hour:\n%s", out.String())
	}
}
