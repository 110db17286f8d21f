package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// Server returns the configuration of an accepting side that offers protocols.
// With verify it asks for a certificate of our authorities. Each handshake uses
// what the source holds then; sessions are never resumed, so that a certificate
// that is no longer accepted does not live on in a ticket.
func (s *Source) Server(verify bool, protocols ...string) *tls.Config {
	config := func() *tls.Config {
		m := s.now.Load()
		c := &tls.Config{
			Certificates: []tls.Certificate{m.cert}, MinVersion: m.MinVersion, CipherSuites: m.CipherSuites,
			NextProtos: protocols, SessionTicketsDisabled: true,
		}
		if verify {
			c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, m.pool
			if m.pool == nil {
				c.ClientCAs = x509.NewCertPool() // nil would mean the system's
			}
		}
		return c
	}
	outer := config()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return config(), nil }
	return outer
}

// ServerOpenTo is Server with verify, and lets everybody in who offers nothing
// but the protocol open: within such a connection nothing else can be spoken.
func (s *Source) ServerOpenTo(open string, protocols ...string) *tls.Config {
	outer := s.Server(true, protocols...)
	verified := outer.GetConfigForClient
	outer.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c, err := verified(hello)
		if err == nil && len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == open {
			c.ClientAuth, c.ClientCAs, c.NextProtos = tls.NoClientCert, nil, []string{open}
		}
		return c, err
	}
	return outer
}

// Client returns the configuration of a dialing side that wants a server of the
// region, of any region for "", and offers protocols. It is for one handshake
// that begins now.
func (s *Source) Client(region string, protocols ...string) *tls.Config {
	m := s.now.Load()
	c := &tls.Config{
		Certificates: []tls.Certificate{m.cert}, MinVersion: m.MinVersion, CipherSuites: m.CipherSuites,
		NextProtos: protocols, SessionTicketsDisabled: true,
		// The name to verify has a role in it, and maybe no fixed region: VerifyConnection does it all.
		InsecureSkipVerify: true,
		VerifyConnection:   func(state tls.ConnectionState) error { return m.verifyServer(state, region) },
	}
	if region != "" {
		c.ServerName = RoleServer.Name(region)
	}
	return c
}

// Web returns the configuration of a side that dials HTTPS servers by their host
// names, whose authorities are the system's or ours. It is for one handshake that
// begins now.
func (s *Source) Web() *tls.Config {
	m := s.now.Load()
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	for _, ca := range m.authorities {
		roots.AddCert(ca)
	}
	return &tls.Config{Certificates: []tls.Certificate{m.cert}, MinVersion: m.MinVersion, CipherSuites: m.CipherSuites, RootCAs: roots}
}

// verifyServer refuses a peer that is no server of the region.
func (m *material) verifyServer(state tls.ConnectionState, region string) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("tls: the server showed no certificate")
	}
	if m.pool == nil {
		return errors.New("tls: ca_file must be set to verify servers")
	}
	leaf := state.PeerCertificates[0]
	if err := m.verify(leaf, state.PeerCertificates[1:], x509.ExtKeyUsageServerAuth); err != nil {
		return err
	}
	if !peerOf(leaf).Has(RoleServer, region) {
		want := region
		if want == "" {
			want = "<region>"
		}
		return fmt.Errorf("tls: the server's certificate is for %v, not for %s", leaf.DNSNames, RoleServer.Name(want))
	}
	return nil
}
