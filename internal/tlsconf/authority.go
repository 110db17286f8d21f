package tlsconf

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"
)

// skew is how far clocks may differ for a new certificate to be good at once.
const skew = 5 * time.Minute

// AuthoritySpec describes a new authority.
type AuthoritySpec struct {
	// Name is the common name, "" for one with the serial number.
	Name string
	// Lifetime must be positive.
	Lifetime time.Duration
	// Domains are the only ones it can vouch for, beside localhost; none for all.
	Domains []string
}

// NewAuthority makes a self-signed authority (ECDSA P-256) and returns its
// certificate and its key as PEM.
func NewAuthority(spec AuthoritySpec) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template, err := newTemplate(spec.Lifetime)
	if err != nil {
		return nil, nil, err
	}
	template.Subject.CommonName = spec.Name
	if spec.Name == "" {
		template.Subject.CommonName = "Cairn Agent CA " + template.SerialNumber.String()
	}
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature
	if len(spec.Domains) > 0 {
		template.PermittedDNSDomainsCritical = true
		template.PermittedDNSDomains = append(slices.Clone(spec.Domains), "localhost")
	}
	if template.SubjectKeyId, err = keyID(&key.PublicKey); err != nil {
		return nil, nil, err
	}
	return sign(template, template, key, key)
}

// CertSpec describes a new certificate.
type CertSpec struct {
	// Names are its DNS names, the first of which is the common name too.
	Names []string
	// IPs are its addresses.
	IPs []net.IP
	// Lifetime must be positive; it ends with the authority's at the latest.
	Lifetime time.Duration
	// Usages say what it is good for.
	Usages []x509.ExtKeyUsage
}

// Issue makes a key and a certificate for it that the authority signs; all of
// them are PEM.
func Issue(caPEM, caKeyPEM []byte, spec CertSpec) (certPEM, keyPEM []byte, err error) {
	pair, ca, err := authorityPair(caPEM, caKeyPEM)
	if err != nil {
		return nil, nil, err
	}
	template, err := certTemplate(ca, spec)
	if err != nil {
		return nil, nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	certPEM, keyPEM, err = sign(template, ca, key, pair.PrivateKey)
	if err != nil {
		return nil, nil, err
	}
	return certPEM, keyPEM, checkIssued(certPEM, ca)
}

// authorityPair reads an authority's certificate and key.
func authorityPair(caPEM, caKeyPEM []byte) (tls.Certificate, *x509.Certificate, error) {
	pair, err := tls.X509KeyPair(caPEM, caKeyPEM)
	if err != nil {
		return pair, nil, fmt.Errorf("the authority's certificate and key: %w", err)
	}
	ca, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return pair, nil, err
	}
	if !ca.IsCA {
		return pair, nil, errors.New("the certificate given as the authority's is not one")
	}
	return pair, ca, nil
}

// certTemplate returns what spec says of a certificate that ca signs.
func certTemplate(ca *x509.Certificate, spec CertSpec) (*x509.Certificate, error) {
	template, err := newTemplate(spec.Lifetime)
	if err != nil {
		return nil, err
	}
	if template.NotAfter.After(ca.NotAfter) {
		template.NotAfter = ca.NotAfter
	}
	template.Subject.CommonName = spec.Names[0]
	template.DNSNames, template.IPAddresses = spec.Names, spec.IPs
	template.ExtKeyUsage, template.KeyUsage = spec.Usages, x509.KeyUsageDigitalSignature
	template.BasicConstraintsValid = true
	return template, nil
}

// checkIssued refuses what peers would refuse, such as names outside of the
// authority's domains.
func checkIssued(certPEM []byte, ca *x509.Certificate) error {
	certs, err := parseCertificates(certPEM)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	_, err = certs[0].Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err
}

func newTemplate(lifetime time.Duration) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 126))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{"Cairn"}},
		NotBefore: now.Add(-skew), NotAfter: now.Add(lifetime),
	}, nil
}

// sign makes the certificate of key by parent and its key.
func sign(template, parent *x509.Certificate, key *ecdsa.PrivateKey, by crypto.PrivateKey) (certPEM, keyPEM []byte, err error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), nil
}

// keyID names a key by its hash.
func keyID(key *ecdsa.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	return sum[:20], nil
}

// RoleCert returns the description of a certificate for a role in a region, with
// further names and addresses.
func RoleCert(role Role, region string, lifetime time.Duration) CertSpec {
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	spec := CertSpec{Names: []string{role.Name(region), "localhost"}, IPs: []net.IP{net.IPv4(127, 0, 0, 1)}, Lifetime: lifetime, Usages: both}
	if role == RoleCLI {
		spec.Usages = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	}
	return spec
}
