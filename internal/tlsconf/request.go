package tlsconf

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// maxRequestIPs bounds the addresses that a request may ask for.
const maxRequestIPs = 16

// NewKey makes a key (ECDSA P-256) and returns it as PEM.
func NewKey() ([]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

// NewRequest returns a request (PKCS #10, DER) for a certificate of a key that
// NewKey made, good for addresses beside the loopback.
func NewRequest(keyPEM []byte, ips []net.IP) ([]byte, error) {
	block, _ := pem.Decode(keyPEM)
	if block == nil {
		return nil, errors.New("the key is damaged")
	}
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("the key is damaged: %w", err)
	}
	return x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{IPAddresses: ips}, key)
}

// Request is what counts of a request for a certificate: the names are up to
// whoever signs.
type Request struct {
	IPs []net.IP
	key any
	// KeyHash is the SHA-256 of the public key.
	KeyHash []byte
}

// ParseRequest reads a request and checks that its sender holds the key.
func ParseRequest(der []byte) (*Request, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("the certificate request cannot be read: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the certificate request is not signed by its key: %w", err)
	}
	switch key := csr.PublicKey.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
	case *rsa.PublicKey:
		if n := key.N.BitLen(); n < 2048 || n > 8192 {
			return nil, fmt.Errorf("the certificate request has an RSA key of %d bits: it must have from 2048 to 8192", n)
		}
	default:
		return nil, errors.New("the certificate request has a key of an unknown kind: use ECDSA, Ed25519 or RSA")
	}
	if len(csr.IPAddresses) > maxRequestIPs {
		return nil, fmt.Errorf("the certificate request names %d addresses: at most %d", len(csr.IPAddresses), maxRequestIPs)
	}
	sum := sha256.Sum256(csr.RawSubjectPublicKeyInfo)
	return &Request{IPs: csr.IPAddresses, key: csr.PublicKey, KeyHash: sum[:]}, nil
}

// Sign makes the certificate of a request. What it returns ends with the
// certificate of the authority, by which a peer may know it that trusts nobody yet.
func Sign(caPEM, caKeyPEM []byte, r *Request, spec CertSpec) (certPEM []byte, err error) {
	pair, ca, err := authorityPair(caPEM, caKeyPEM)
	if err != nil {
		return nil, err
	}
	if time.Now().After(ca.NotAfter) {
		return nil, fmt.Errorf("the authority expired at %s", ca.NotAfter.Format(time.RFC3339))
	}
	template, err := certTemplate(ca, spec)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, r.key, pair.PrivateKey)
	if err != nil {
		return nil, err
	}
	certPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return append(certPEM, caPEM...), checkIssued(certPEM, ca)
}

// Fingerprint returns the SHA-256 of the first certificate of a PEM text, in hex.
func Fingerprint(certPEM []byte) (string, error) {
	certs, err := parseCertificates(certPEM)
	if err != nil {
		return "", err
	}
	return fingerprint(certs[0]), nil
}

// IssuerFingerprint returns the SHA-256, in hex, of the certificate that a PEM
// text ends with: that of the authority in what Sign made.
func IssuerFingerprint(certPEM []byte) (string, error) {
	certs, err := parseCertificates(certPEM)
	if err != nil {
		return "", err
	}
	return fingerprint(certs[len(certs)-1]), nil
}

func fingerprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// Lifetime returns when the first certificate of a PEM text begins and stops to
// be accepted. What it begins with is earlier than when it was made, by what
// clocks may differ.
func Lifetime(certPEM []byte) (from, until time.Time, err error) {
	certs, err := parseCertificates(certPEM)
	if err != nil {
		return from, until, err
	}
	return certs[0].NotBefore, certs[0].NotAfter, nil
}

// RenewAt returns when two thirds of the life of the first certificate of a PEM
// text are over.
func RenewAt(certPEM []byte) (time.Time, error) {
	from, until, err := Lifetime(certPEM)
	if err != nil {
		return from, err
	}
	from = from.Add(skew)
	return from.Add(until.Sub(from) * 2 / 3), nil
}

// Skew is how far a clock may be off for certificates to be of use.
func Skew() time.Duration { return skew }

// Pinned returns the configuration of a dialing side without a certificate and
// without authorities: it wants a server of the region whose chain ends with one
// of the certificates that the fingerprints are of.
func Pinned(fingerprints []string, region string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, SessionTicketsDisabled: true, ServerName: RoleServer.Name(region),
		// VerifyConnection does all of it, as in Client.
		InsecureSkipVerify: true,
		VerifyConnection:   func(state tls.ConnectionState) error { return verifyPinned(state, fingerprints, region) },
	}
}

func verifyPinned(state tls.ConnectionState, fingerprints []string, region string) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("the server showed no certificate")
	}
	m := &material{pool: x509.NewCertPool()}
	known := false
	for _, c := range state.PeerCertificates[1:] {
		for _, f := range fingerprints {
			if f == fingerprint(c) && c.IsCA {
				m.pool.AddCert(c)
				known = true
			}
		}
	}
	if !known {
		return errs.New(errs.PermissionDenied, "the server is not of the cluster that the join token is for: none of its certificates has the fingerprint in the token")
	}
	err := m.verifyServer(state, region)
	var invalid x509.CertificateInvalidError
	if errors.As(err, &invalid) && invalid.Reason == x509.Expired {
		return errs.Newf(errs.PreconditionFailed, "the server's certificate is not valid at %s, which is the time here: set the clock (%w)", time.Now().Format(time.RFC3339), err)
	}
	if err != nil {
		return errs.Newf(errs.PermissionDenied, "%w", err)
	}
	return nil
}

// Bundle joins certificates in PEM into one text, each of them once.
func Bundle(texts ...[]byte) []byte {
	var out bytes.Buffer
	seen := map[string]bool{}
	for _, text := range texts {
		certs, err := parseCertificates(text)
		if err != nil {
			continue // an empty text
		}
		for _, c := range certs {
			if f := fingerprint(c); !seen[f] {
				seen[f] = true
				_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}) // a buffer takes everything
			}
		}
	}
	return out.Bytes()
}
