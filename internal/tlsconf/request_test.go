package tlsconf

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

func mustRequest(t testing.TB, ips ...net.IP) (keyPEM, der []byte) {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if der, err = NewRequest(key, ips); err != nil {
		t.Fatal(err)
	}
	return key, der
}

func TestRequestsAreSigned(t *testing.T) {
	ca, caKey, err := NewAuthority(AuthoritySpec{Lifetime: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	key, der := mustRequest(t, net.IPv4(10, 0, 0, 1))
	r, err := ParseRequest(der)
	if err != nil || len(r.IPs) != 1 || len(r.KeyHash) != 32 {
		t.Fatalf("%+v: %v", r, err)
	}
	cert, err := Sign(ca, caKey, r, RoleCert(RoleClient, "eu", 24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil || len(pair.Certificate) != 2 {
		t.Fatalf("%d certificates: %v", len(pair.Certificate), err)
	}
	if p := peerOf(pair.Leaf); !p.Has(RoleClient, "eu") || p.Has(RoleServer, "") {
		t.Errorf("the certificate is for %v", p.Names)
	}
	if ends, err := x509.ParseCertificate(pair.Certificate[1]); err != nil || pair.Leaf.NotAfter.After(ends.NotAfter) {
		t.Errorf("it outlives its authority: %v", err)
	}
	if _, err := Sign(ca, key, r, RoleCert(RoleClient, "eu", time.Hour)); err == nil {
		t.Error("signed with a key that is not the authority's")
	}
	if both := Bundle(ca, cert, ca); bytes.Count(both, []byte("BEGIN")) != 2 {
		t.Errorf("%d certificates in the bundle, want 2", bytes.Count(both, []byte("BEGIN")))
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	_, good := mustRequest(t)
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	ips := make([]net.IP, maxRequestIPs+1)
	for i := range ips {
		ips[i] = net.IPv4(10, 0, 0, byte(i))
	}
	_, many := mustRequest(t, ips...)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	short, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, weak)
	if err != nil {
		t.Fatal(err)
	}
	for want, der := range map[string][]byte{
		"cannot be read": []byte("no request"), "not signed by its key": forged, "17 addresses": many, "1024 bits": short,
	} {
		if _, err := ParseRequest(der); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, other)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseRequest(der); err != nil {
		t.Errorf("P-384: %v", err)
	}
}

func FuzzParseRequest(f *testing.F) {
	_, der := mustRequest(f, net.IPv4(10, 0, 0, 1))
	f.Add(der)
	f.Add([]byte{})
	ca, caKey, err := NewAuthority(AuthoritySpec{Lifetime: time.Hour})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		r, err := ParseRequest(der)
		if err != nil {
			return
		}
		cert, err := Sign(ca, caKey, r, RoleCert(RoleClient, "eu", time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		certs, err := parseCertificates(cert)
		if err != nil || peerOf(certs[0]).Has(RoleServer, "") {
			t.Fatalf("the names are the request's: %v", err)
		}
	})
}

// shown is what a server that showed these certificates looks like.
func shown(t *testing.T, texts ...[]byte) tls.ConnectionState {
	t.Helper()
	var state tls.ConnectionState
	for _, text := range texts {
		certs, err := parseCertificates(text)
		if err != nil {
			t.Fatal(err)
		}
		state.PeerCertificates = append(state.PeerCertificates, certs...)
	}
	return state
}

func TestPinnedPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		issue := func(role Role, region string) (cert, ca []byte, print string) {
			t.Helper()
			ca, caKey, err := NewAuthority(AuthoritySpec{Lifetime: 100 * time.Hour})
			if err != nil {
				t.Fatal(err)
			}
			_, der := mustRequest(t)
			r, err := ParseRequest(der)
			if err != nil {
				t.Fatal(err)
			}
			if cert, err = Sign(ca, caKey, r, RoleCert(role, region, time.Hour)); err != nil {
				t.Fatal(err)
			}
			if print, err = Fingerprint(ca); err != nil {
				t.Fatal(err)
			}
			return cert, ca, print
		}
		server, ca, print := issue(RoleServer, "eu")
		client, _, ofClient := issue(RoleClient, "eu")
		stranger, _, _ := issue(RoleServer, "eu")
		leaf := server[:bytes.Index(server[1:], []byte("-----BEGIN"))+1]
		check := func(what string, state tls.ConnectionState, print, region string, code errs.Code) {
			t.Helper()
			err := Pinned([]string{print}, region).VerifyConnection(state)
			if code == "" && err != nil || code != "" && !errors.Is(err, code) {
				t.Errorf("%s: %v, want %q", what, err, code)
			}
		}
		check("a server", shown(t, server), print, "eu", "")
		check("a server of another region", shown(t, server), print, "us", errs.PermissionDenied)
		check("a client", shown(t, client), ofClient, "eu", errs.PermissionDenied)
		check("a server of another cluster", shown(t, stranger), print, "eu", errs.PermissionDenied)
		check("a stranger that shows our authority", shown(t, stranger, ca), print, "eu", errs.PermissionDenied)
		check("a server that keeps its authority back", shown(t, leaf), print, "eu", errs.PermissionDenied)
		check("the authority alone", shown(t, ca), print, "eu", errs.PermissionDenied)
		time.Sleep(2 * time.Hour)
		check("a certificate that has ended", shown(t, server), print, "eu", errs.PreconditionFailed)
	})
}

func TestRenewAtTwoThirds(t *testing.T) {
	ca, _, err := NewAuthority(AuthoritySpec{Lifetime: 72 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	_, until, err := Lifetime(ca)
	if err != nil {
		t.Fatal(err)
	}
	at, err := RenewAt(ca)
	if err != nil || until.Sub(at) != 24*time.Hour {
		t.Errorf("renewed %s before its end: %v", until.Sub(at), err)
	}
}
