package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Settings say which files to use and what to accept.
type Settings struct {
	// CAFile holds the authorities that peers are verified by, "" for none.
	CAFile string
	// CertFile holds our certificate and those between it and the authority,
	// KeyFile its key.
	CertFile, KeyFile string
	// MinVersion is the least TLS version, 0 for TLS 1.2.
	MinVersion uint16
	// CipherSuites are those allowed with TLS 1.2, nil for Go's choice.
	CipherSuites []uint16
}

// material is what was read from the files. It is immutable.
type material struct {
	Settings
	cert        tls.Certificate
	authorities []*x509.Certificate
	pool        *x509.CertPool // nil without a CAFile
}

// Source holds a certificate and authorities that may be replaced while
// connections use them. It is safe for concurrent use.
type Source struct {
	now       atomic.Pointer[material]
	reloading sync.Mutex // held from the first file read to the new certificate in use
}

// Load reads the files.
func Load(s Settings) (*Source, error) {
	m, err := load(s)
	if err != nil {
		return nil, err
	}
	out := &Source{}
	out.now.Store(m)
	return out, nil
}

// Settings returns where the files are that are in use.
func (s *Source) Settings() Settings { return s.now.Load().Settings }

// Reload reads the files of other settings and uses what they hold from the
// next handshake on. check may refuse them, nil for no check; after an error
// the old ones stay. Of two that run at once the later one wins with what it has read.
func (s *Source) Reload(to Settings, check func(*Source) error) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	next, err := Load(to)
	if err == nil && check != nil {
		err = check(next)
	}
	if err != nil {
		return err
	}
	s.now.Store(next.now.Load())
	return nil
}

func load(s Settings) (*material, error) {
	m := &material{Settings: s}
	if m.MinVersion == 0 {
		m.MinVersion = tls.VersionTLS12
	}
	var err error
	if m.cert, err = tls.LoadX509KeyPair(s.CertFile, s.KeyFile); err == nil {
		m.cert.Leaf, err = x509.ParseCertificate(m.cert.Certificate[0])
	}
	if err != nil {
		return nil, fmt.Errorf("tls: loading the certificate in %s with the key in %s: %w", s.CertFile, s.KeyFile, err)
	}
	if s.CAFile == "" {
		return m, nil
	}
	text, err := os.ReadFile(s.CAFile)
	if err != nil {
		return nil, fmt.Errorf("tls: reading ca_file: %w", err)
	}
	if m.authorities, err = parseCertificates(text); err != nil {
		return nil, fmt.Errorf("tls: ca_file %s: %w", s.CAFile, err)
	}
	m.pool = x509.NewCertPool()
	for _, ca := range m.authorities {
		m.pool.AddCert(ca)
	}
	return m, nil
}

// parseCertificates reads the certificates of a PEM file; there is at least one.
func parseCertificates(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, cert)
	}
	if len(out) == 0 {
		return nil, errors.New("holds no certificate")
	}
	return out, nil
}

// CheckRole returns an error unless our own certificate has the role in the
// region and peers that share our authorities will accept it.
func (s *Source) CheckRole(role Role, region string) error {
	m := s.now.Load()
	if m.pool == nil {
		return errors.New("tls: ca_file must be set: servers verify each other by it")
	}
	if !peerOf(m.cert.Leaf).Has(role, region) {
		return fmt.Errorf("tls: the certificate in %s is not for %s: make one with `cairn tls cert create -%s -region %s`",
			m.CertFile, role.Name(region), role, region)
	}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if err := m.verify(m.cert.Leaf, m.between(), usage); err != nil {
			return fmt.Errorf("tls: peers will refuse the certificate in %s: %w", m.CertFile, err)
		}
	}
	return nil
}

// between returns our certificates that link ours to the authority.
func (m *material) between() []*x509.Certificate {
	var out []*x509.Certificate
	for _, der := range m.cert.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			out = append(out, c)
		}
	}
	return out
}

func (m *material) verify(leaf *x509.Certificate, between []*x509.Certificate, usage x509.ExtKeyUsage) error {
	opts := x509.VerifyOptions{Roots: m.pool, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{usage}}
	for _, c := range between {
		opts.Intermediates.AddCert(c)
	}
	_, err := leaf.Verify(opts)
	return err
}

// Expiry is when a certificate in use stops being accepted.
type Expiry struct {
	// File is where it was read from, Name its subject.
	File, Name string
	NotAfter   time.Time
	// Life is how long it was made for, give or take what clocks may differ.
	Life time.Duration
}

// Expiries returns when our certificate and each authority expire.
func (s *Source) Expiries() []Expiry {
	m := s.now.Load()
	out := []Expiry{expiry(m.CertFile, m.cert.Leaf)}
	for _, ca := range m.authorities {
		out = append(out, expiry(m.CAFile, ca))
	}
	return out
}

func expiry(file string, c *x509.Certificate) Expiry {
	return Expiry{file, c.Subject.CommonName, c.NotAfter, c.NotAfter.Sub(c.NotBefore) - skew}
}
