package nomad

import (
	"context"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Identity signs who somebody is.
type Identity struct{ srv *Server }

// identitySign is answered by any server, with or without a leader: all of them
// hold the keys.
var identitySign = newLocal("Identity.Sign",
	func(a *acl.ACL, _ *structs.IdentitySignRequest) bool {
		return allowsOne(a, acl.IdentitySign) || a.AllowClientOp()
	},
	func(ctx context.Context, s *Server, r *structs.IdentitySignRequest, reply *structs.IdentitySignResponse) error {
		req := *r
		req.Canonicalize()
		if err := req.Validate(); err != nil {
			return err
		}
		if !s.maySignFor(ctx, req.Peer.NodeID) {
			return errPermissionDenied
		}
		if err := s.waitKeyring(ctx); err != nil {
			return err
		}
		now := time.Now()
		expires := now.Add(req.TTL)
		var err error
		reply.JWT, reply.KeyID, err = s.keyring.Sign(&auth.PeerClaims{
			Claims: jwt.Claims{
				Subject: auth.PeerSubject(s.config.Region, &req.Peer), Audience: req.Audience, ID: uuid.NewString(),
				IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(expires),
			},
			NodeID: req.Peer.NodeID, NodeName: req.Peer.NodeName, Region: s.config.Region,
			UID: req.Peer.UID, GID: req.Peer.GID, PID: req.Peer.PID,
		})
		reply.ExpiresAt = expires.Unix()
		return err
	})

// maySignFor reports whether the caller may have identities of a node's processes
// signed: who proved to be a node, by secret or certificate, for its own alone.
func (s *Server) maySignFor(ctx context.Context, node string) bool {
	if id, _ := ctx.Value(callerKey{}).(*auth.Identity); id != nil && id.Node != nil {
		return id.Node.ID == node
	}
	c, ok := wire.CallFrom(ctx)
	return !ok || s.auth.Enabled() || !isNodeAgent(c.Identity)
}

// Sign signs the identity of a process on a node.
func (i *Identity) Sign(ctx context.Context, args *structs.IdentitySignRequest, reply *structs.IdentitySignResponse) error {
	return identitySign.serve(ctx, i.srv, args, reply)
}
