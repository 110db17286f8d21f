package mux

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"
)

// certificates returns the configurations of a server and of a client that
// trust one authority and show each other a certificate of it.
func certificates(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	caKey, ca := newCertificate(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}, nil, nil)
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	leaf := func(name string) tls.Certificate {
		key, cert := newCertificate(t, &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}, ca, caKey)
		return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
	}
	server = &tls.Config{Certificates: []tls.Certificate{leaf("server.global.nomad")}, ClientCAs: pool,
		ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12}
	client = &tls.Config{Certificates: []tls.Certificate{leaf("client.global.nomad")}, RootCAs: pool,
		ServerName: "server.global.nomad", MinVersion: tls.VersionTLS12}
	return server, client
}

func newCertificate(t testing.TB, template, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

func dialTLS(t *testing.T, addr string, cfg *tls.Config, first ...byte) net.Conn {
	t.Helper()
	conn := tls.Client(dial(t, addr, byte(ProtoTLS)), cfg)
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(first); err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestTLS(t *testing.T) {
	serverTLS, clientTLS := certificates(t)
	m := New(Config{TLS: serverTLS})
	names := make(chan string, 1)
	m.Handle(ProtoStreaming, func(_ context.Context, conn net.Conn, info Info) {
		names <- info.TLS.PeerCertificates[0].Subject.CommonName
		conn.Close()
	})
	addr := serve(t, m)

	mustAnswer(t, dialTLS(t, addr, clientTLS, 1), "rpc", "secure")
	mustAnswer(t, dialTLS(t, addr, clientTLS, 2), "raft", "secure")
	s := newClient(t, dialTLS(t, addr, clientTLS, 6))
	mustAnswer(t, open(t, s, 1), "rpc", "secure stream")
	open(t, s, 5)
	if name := <-names; name != "client.global.nomad" {
		t.Errorf("a stream's handler sees the certificate of %q", name)
	}
	mustAnswer(t, dial(t, addr, 1), "rpc", "in clear")

	mustClose(t, dialTLS(t, addr, clientTLS, byte(ProtoTLS)))
	mustClose(t, dial(t, addr, 4, 0, 1, 2, 3, 4, 5, 6, 7, 8))
	stranger := clientTLS.Clone()
	stranger.Certificates = nil
	refused := tls.Client(dial(t, addr, byte(ProtoTLS)), stranger)
	refused.Handshake() // TLS 1.3 reports the refusal only when something is read
	mustClose(t, refused)
	refused.Close()
	for m.Stats().Refused[RefusedTLS] < 3 { // the alert arrives before the count
		time.Sleep(time.Millisecond)
	}
}

func TestTLSHandshakeHasADeadline(t *testing.T) {
	serverTLS, clientTLS := certificates(t)
	m := New(Config{TLS: serverTLS, HandshakeTimeout: 200 * time.Millisecond})
	addr := serve(t, m)
	mustClose(t, dial(t, addr, 4))
	for range 100 {
		raw, err := tcp(addr, byte(ProtoTLS))()
		if err != nil {
			continue
		}
		defer raw.Close()
		raw.SetDeadline(time.Now().Add(20 * time.Second))
		conn := tls.Client(raw, clientTLS)
		if conn.Handshake() == nil { // a busy machine may be late
			mustClose(t, conn) // no byte within
			return
		}
	}
	t.Error("no handshake was in time")
}

func TestRequireTLS(t *testing.T) {
	serverTLS, clientTLS := certificates(t)
	m := New(Config{TLS: serverTLS, RequireTLS: true})
	addr := serve(t, m)
	for _, b := range []byte{1, 2, 3, 5, 6} {
		mustClose(t, dial(t, addr, b))
	}
	mustAnswer(t, dialTLS(t, addr, clientTLS, 1), "rpc", "secure")
	if n := m.Stats().Refused[RefusedPlain]; n != 5 {
		t.Errorf("%d refused, want 5", n)
	}
}
