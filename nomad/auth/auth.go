// Package auth finds out who a caller is and what it may do.
package auth

import (
	"context"
	"net"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
)

// Peer is what the transport knows about the other end of a connection.
type Peer struct {
	// Remote is the address the connection came from, nil for calls within the process.
	Remote net.Addr
	// Server is true when the transport proved that the peer is a server of the
	// cluster, or cannot tell servers from others because TLS is off.
	Server bool
	// TLSNames are the names of the verified certificate, nil without one.
	TLSNames []string
}

// Resolver turns a secret into rights. It is safe for concurrent use.
type Resolver struct {
	enabled bool
}

// New returns a resolver. With access control off every caller may do
// everything, servers and strangers alike, and secrets are not looked at.
func New(enabled bool) *Resolver { return &Resolver{enabled: enabled} }

// Enabled reports whether access control is on.
func (r *Resolver) Enabled() bool { return r.enabled }

// Resolve returns the rights of the caller with the secret, "" for a caller
// without one; peer may be nil. With access control on, a caller without a
// secret may do nothing and a secret that is not known is errs.PermissionDenied.
func (r *Resolver) Resolve(_ context.Context, secret string, _ *Peer) (*acl.ACL, error) {
	switch {
	case !r.enabled:
		return acl.AllowAll, nil
	case secret == "":
		return acl.DenyAll, nil
	}
	return nil, errs.New(errs.PermissionDenied, "permission denied: the token is not known")
}
