package nomad

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/tlsconf"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/enroll"
)

// TLSConfig secures the server port and the connections to those of others.
type TLSConfig struct {
	// Source holds the certificate and the authorities. It may be reloaded.
	Source *tlsconf.Source
	// VerifyServerHostname wants the servers that are dialed to be of the region
	// that is meant; without it a server of any region will do. What may come in
	// does not depend on it.
	VerifyServerHostname bool
	// UpgradeMode accepts connections in clear beside TLS, and dials in clear
	// whoever does not tell by gossip that it speaks TLS.
	UpgradeMode bool
	// Auto keeps the certificate fresh from the region's own authority, nil for
	// certificates that somebody else looks after.
	Auto *AutoTLS
}

// AutoTLS is how a server looks after its certificate itself.
type AutoTLS struct {
	// Dir is where Source reads it from.
	Dir enroll.Dir
	// Lifetime is that of the certificates this server signs.
	Lifetime time.Duration
	// IPs are the addresses of the server beside the loopback.
	IPs []net.IP
}

// auto returns the settings of the built-in authority, nil where it is not used.
func (t *TLSConfig) auto() *AutoTLS {
	if t == nil {
		return nil
	}
	return t.Auto
}

// check returns why a server of the region cannot run with t, nil for clear text.
func (t *TLSConfig) check(region string) error {
	if t == nil {
		return nil
	}
	if t.Source == nil {
		return errors.New("has no certificate")
	}
	return t.Source.CheckRole(tlsconf.RoleServer, region)
}

// secure adds what the port needs of TLS to its configuration.
func (t *TLSConfig) secure(c *mux.Config, region string) {
	if t == nil {
		return
	}
	c.TLS = t.Source.Server(true, mux.ALPN()...)
	if t.Auto != nil {
		c.TLS = t.Source.ServerOpenTo(mux.JoinALPN, mux.ALPN()...)
	}
	c.RequireTLS, c.Region = !t.UpgradeMode, region
}

// secureTo returns the TLS configuration of one connection to a server port,
// nil for one in clear.
func (s *Server) secureTo(addr string) *tls.Config {
	if s.config.TLS == nil {
		return nil
	}
	peer, _ := s.router.ByAddr(addr)
	return s.secureWith(cmp.Or(peer.Region, s.config.Region), peer.TLS)
}

// secureWith is secureTo for a server of the region that speaks TLS or may not.
func (s *Server) secureWith(region string, speaksTLS bool) *tls.Config {
	t := s.config.TLS
	switch {
	case t == nil, t.UpgradeMode && !speaksTLS:
		return nil
	case !t.VerifyServerHostname:
		region = ""
	}
	return t.Source.Client(region)
}

// dialPeer opens a connection to a Raft peer and asks for a protocol. Gossip has
// no say in what region a Raft peer is of.
func (s *Server) dialPeer(p mux.Protocol) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		conn, err := s.dial(ctx, addr)
		if err != nil {
			return nil, err
		}
		peer, _ := s.router.ByAddr(addr)
		return mux.Select(ctx, conn, p, s.secureWith(s.config.Region, peer.TLS))
	}
}

// identity is who is at the other end of a connection to our port.
func (s *Server) identity(info mux.Info) *wire.Identity {
	return &wire.Identity{
		Remote: info.Remote, Protocol: info.Protocol.String(),
		Server: info.Peer.Has(tlsconf.RoleServer, s.config.Region), TLSNames: info.Peer.Names,
	}
}

// serversOnly declares that a method is for servers of this region. Where peers
// prove who they are, nobody else may call it over the wire.
func serversOnly(methods ...*methodInfo) bool {
	for _, m := range methods {
		m.serversOnly = true
	}
	return true
}

// operatorsOnly declares that a method decides who belongs to the cluster. While
// access control is off there is no token that could say that an operator calls: then
// a node's certificate must not be enough, or every node could make itself a server.
func operatorsOnly(methods ...*methodInfo) bool {
	for _, m := range methods {
		m.operatorsOnly = true
	}
	return true
}

// isNodeAgent reports whether a peer proved to be a node agent and no server of any
// region.
func isNodeAgent(id *wire.Identity) bool {
	return id != nil && id.TLSNames != nil && !slices.ContainsFunc(id.TLSNames, func(name string) bool {
		m, ok := tlsconf.ParseName(name)
		return ok && m.Role == tlsconf.RoleServer
	})
}

// checkPeer refuses a caller over the wire whose certificate is not enough for
// the method. A connection in clear proves nothing and is asked for nothing:
// whether there may be any is up to the port.
func (s *Server) checkPeer(m *methodInfo, id *wire.Identity) error {
	if m.operatorsOnly && !s.auth.Enabled() && isNodeAgent(id) {
		return errs.New(errs.PermissionDenied, errPermissionDenied.Msg+": while access control is off, a node agent may not pass this on: ask the HTTP address of a server, or turn access control on")
	}
	if !m.serversOnly || id == nil || id.Server || id.TLSNames == nil {
		return nil
	}
	return errs.Newf(errs.PermissionDenied, "%s is for servers: it needs a certificate for %s, this one is for %q",
		m.name, tlsconf.RoleServer.Name(s.config.Region), id.TLSNames)
}
