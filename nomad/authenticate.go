package nomad

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/auth"
)

// The texts that clients of the public API match on.
var (
	errPermissionDenied = errs.New(errs.PermissionDenied, "Permission denied")
	errACLDisabled      = errs.New(errs.Invalid, "ACL support disabled")
)

// refuseWhileOff refuses the management of access control while that is off. Who
// one is can be asked anyway, and nodes are introduced whether it is on or not.
func (s *Server) refuseWhileOff(m *methodInfo) error {
	if s.auth.Enabled() || !strings.HasPrefix(m.name, "ACL.") || m.name == aclWhoAmI.name || m.name == aclIntroduceNode.name {
		return nil
	}
	return errACLDisabled
}

// admit authenticates the caller before the call is routed. A token that this
// server does not know may be known where the call goes, to another region or to
// a leader that made it just now: then nobody is returned, and the caller is
// authenticated there. Nobody is returned for a known caller of such a call too:
// should it be answered here after all, this server has become the leader and
// may have learnt meanwhile that the token is revoked.
func (s *Server) admit(ctx context.Context, c *call) (*auth.Identity, error) {
	elsewhere := c.region != "" && c.region != s.config.Region
	toLeader := c.kind != localKind && !(c.kind == readKind && c.stale) && !s.IsLeader()
	if !elsewhere && !toLeader {
		return s.authenticateFor(ctx, c.methodInfo, c.token)
	}
	if _, err := s.identify(ctx, c.token); err != nil && !unknown(err) && !c.proves {
		return nil, denied(err)
	}
	return nil, nil
}

// unknown reports whether a server that is behind the others may know them no better.
func unknown(err error) bool {
	return errors.Is(err, auth.ErrTokenNotFound) || errors.Is(err, auth.ErrBadIdentity)
}

// unknownWait bounds how long a caller that this server does not know waits for
// it to catch up.
const unknownWait = 2 * time.Second

// identifySurely is identify for a call that is answered here. A caller is refused
// as unknown only by what the leader knows, so that a token works on every server
// as soon as it has been made.
func (s *Server) identifySurely(ctx context.Context, secret string) (*auth.Identity, error) {
	id, err := s.identify(ctx, secret)
	if !unknown(err) || !auth.WellFormed(secret) {
		return id, err
	}
	wait, cancel := context.WithTimeout(ctx, unknownWait)
	defer cancel()
	if s.catchUpWith(wait) != nil {
		return nil, errNoLeader
	}
	return s.identify(ctx, secret)
}

// authenticate finds out who calls. Whoever is not known is refused without a reason.
func (s *Server) authenticate(ctx context.Context, secret string) (*auth.Identity, error) {
	id, err := s.identifySurely(ctx, secret)
	return id, denied(err)
}

// authenticateFor is authenticate for a method, which may take callers whose token
// is not known for nobody.
func (s *Server) authenticateFor(ctx context.Context, m *methodInfo, secret string) (*auth.Identity, error) {
	id, err := s.authenticate(ctx, secret)
	if m.proves && errors.Is(err, errs.PermissionDenied) {
		return s.auth.Nobody(), nil
	}
	return id, err
}

// identify is authenticate with the reason. The peer is known for calls over the wire.
func (s *Server) identify(ctx context.Context, secret string) (*auth.Identity, error) {
	var peer *auth.Peer
	if s.auth.Enabled() {
		if c, ok := wire.CallFrom(ctx); ok && c.Identity != nil {
			peer = &auth.Peer{Remote: c.Identity.Remote, Server: c.Identity.Server, TLSNames: c.Identity.TLSNames}
		}
	}
	return s.auth.Resolve(ctx, secret, peer)
}

// denied hides why a caller is refused.
func denied(err error) error {
	if errors.Is(err, errs.PermissionDenied) {
		return errPermissionDenied
	}
	return err
}

// deny refuses a caller that is known, and tells the operator who it was.
func (s *Server) deny(m *methodInfo, id *auth.Identity) error {
	if id.Token != nil {
		s.logger.Debug("permission denied", "method", m.name, "accessor_id", id.Token.AccessorID)
	}
	return errPermissionDenied
}

// Authorize returns the rights of the holder of secret, for what an agent
// answers itself.
func (s *Server) Authorize(ctx context.Context, secret string) (*acl.ACL, error) {
	id, err := s.identifySurely(ctx, secret)
	switch {
	case errors.Is(err, auth.ErrBadIdentity): // clients of the public API know no text for it
		return nil, errPermissionDenied
	case err != nil:
		return nil, err
	}
	return id.ACL, nil
}

// AgentSecret returns the secret by which the agent of this process is known to
// this server alone. It gives the right to have identities signed and no other.
func (s *Server) AgentSecret() string { return s.agentSecret }

// delegated is the rule of methods that need all rights, or the one that was made
// to delegate them.
func delegated[Req any](one ...acl.OperatorCapability) func(*acl.ACL, *Req) bool {
	return func(a *acl.ACL, _ *Req) bool { return allowsOne(a, one...) }
}

// allowsOne reports whether the caller has one of the capabilities, or all rights.
func allowsOne(a *acl.ACL, one ...acl.OperatorCapability) bool {
	if a.IsManagement() {
		return true
	}
	for _, c := range one {
		if a.AllowOperatorCapability(c) {
			return true
		}
	}
	return false
}
