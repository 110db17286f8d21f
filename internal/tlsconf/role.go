// Package tlsconf holds what the agent's ports need of TLS: certificates that
// can be replaced while they are in use, the roles that names in them stand
// for, and a small authority that makes such certificates.
package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
)

// Domain ends the names that stand for roles. It is that of HashiCorp Nomad, so
// that certificates made for its agents keep working.
const Domain = "nomad"

// Role is what the holder of a certificate is in its region.
type Role string

// The roles. A DNS name such as server.global.nomad gives one.
const (
	RoleServer Role = "server"
	RoleClient Role = "client"
	RoleCLI    Role = "cli"
)

// Name returns the DNS name that stands for the role in a region.
func (r Role) Name(region string) string { return string(r) + "." + region + "." + Domain }

// Member is a role in a region.
type Member struct {
	Role   Role
	Region string
}

// ParseName returns what a DNS name stands for. It reports false for names that
// stand for nothing, such as wildcards.
func ParseName(name string) (Member, bool) {
	name, ok := strings.CutSuffix(name, "."+Domain)
	if !ok {
		return Member{}, false
	}
	role, region, _ := strings.Cut(name, ".")
	if region == "" || strings.Contains(region, "*") {
		return Member{}, false
	}
	switch r := Role(role); r {
	case RoleServer, RoleClient, RoleCLI:
		return Member{r, region}, true
	}
	return Member{}, false
}

// Peer is what the certificate of the other end of a connection proves.
type Peer struct {
	// Names are the certificate's DNS names, nil without a verified one.
	Names []string
	// Members are the roles they stand for.
	Members []Member
}

// PeerOf reads the peer of a connection. Only a certificate that the handshake
// verified counts; nil stands for a connection in clear.
func PeerOf(state *tls.ConnectionState) Peer {
	if state == nil || len(state.PeerCertificates) == 0 || len(state.VerifiedChains) == 0 {
		return Peer{}
	}
	return peerOf(state.PeerCertificates[0])
}

func peerOf(leaf *x509.Certificate) Peer {
	p := Peer{Names: leaf.DNSNames}
	for _, name := range leaf.DNSNames {
		if m, ok := ParseName(name); ok {
			p.Members = append(p.Members, m)
		}
	}
	return p
}

// Has reports whether the peer has a role in a region, in any for "".
func (p Peer) Has(role Role, region string) bool {
	return slices.ContainsFunc(p.Members, func(m Member) bool {
		return m.Role == role && (region == "" || m.Region == region)
	})
}
