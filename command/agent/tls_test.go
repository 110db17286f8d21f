package agent

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/nomad"
)

// selfSigned writes a certificate for 127.0.0.1 and its key.
func selfSigned(t *testing.T) (certFile, keyFile string, pair tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cairn"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER})
	for name, b := range map[string][]byte{certFile: certPEM, keyFile: keyPEM} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if pair, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	return certFile, keyFile, pair
}

func TestHTTPOverTLS(t *testing.T) {
	cert, key, pair := selfSigned(t)
	c := DefaultDevConfig()
	c.Client.Enabled = false // the node of this agent is not what is looked at
	c.NodeName, c.Ports = "n", PortsConfig{}
	c.Limits.HTTPMaxConnsPerClient = 50
	c.TLSConfig = TLSConfig{EnableHTTP: true, CertFile: cert, KeyFile: key, CAFile: cert, VerifyHTTPSClient: true, TLSMinVersion: "tls13"}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	a, err := start(c, hclog.NewNullLogger(), func(*nomad.Config) (server, error) { return newFake().fill(), nil })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = a.Stop(false) }()
	pool := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(leaf)
	get := func(conf *tls.Config) (int, error) {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: conf, DisableKeepAlives: true}}
		resp, err := client.Get("https://" + a.HTTPAddr() + "/v1/regions")
		if err != nil {
			return 0, err
		}
		return resp.StatusCode, resp.Body.Close()
	}
	if code, err := get(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}); code != 200 || err != nil {
		t.Errorf("with a certificate: %d %v", code, err)
	}
	if code, err := get(&tls.Config{RootCAs: pool}); err == nil {
		t.Errorf("without a certificate: %d", code)
	}
	if code, err := get(&tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12}); err == nil {
		t.Errorf("TLS 1.2: %d", code)
	}
}

func TestTLSProblemsStopTheStart(t *testing.T) {
	cert, key, _ := selfSigned(t)
	for _, conf := range []TLSConfig{
		{EnableHTTP: true, CertFile: "/nope", KeyFile: key},
		{EnableHTTP: true, CertFile: cert, KeyFile: key, VerifyHTTPSClient: true, CAFile: "/nope"},
		{EnableHTTP: true, CertFile: cert, KeyFile: key, VerifyHTTPSClient: true, CAFile: key},
	} {
		c := DefaultDevConfig()
		c.Client.Enabled = false // the node of this agent is not what is looked at
		c.NodeName, c.Ports, c.TLSConfig = "n", PortsConfig{}, conf
		if _, err := start(c, hclog.NewNullLogger(), func(*nomad.Config) (server, error) { return newFake(), nil }); err == nil {
			t.Errorf("%+v: started", conf)
		}
	}
}
