package nomad

import (
	"context"
	"time"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/structs"
)

// aclTokenUsage is asked by the other servers, which have no token, and by whoever may
// read tokens.
var aclTokenUsage = newLocal("ACL.TokenUsage", anyone[structs.ACLTokenUsageRequest],
	func(ctx context.Context, s *Server, r *structs.ACLTokenUsageRequest, reply *structs.ACLTokenUsageResponse) error {
		if !s.auth.Enabled() || !askedByServer(ctx) {
			id, err := s.authenticate(ctx, r.AuthToken)
			if err != nil {
				return s.countUnknown(err)
			}
			rule := delegated[structs.ACLTokenUsageRequest](acl.ACLTokenRead)
			if !rule(id.ACL, r) {
				return refuseCall(s, methods["ACL.TokenUsage"], id, rule, r)
			}
		}
		reply.Since, reply.LastUsed = s.usage.Since(), s.usage.Export(r.AfterMinute)
		reply.NotHeard = s.usageOf.silent(s.otherServers(), time.Now())
		return nil
	})

// askedByServer reports whether the call comes from another server itself, and not
// from somebody whose call that server passed on. Peers that cannot prove what they
// are, because the port has no TLS, count as servers: accessors are no secrets, and
// whoever reaches such a port can replicate the whole store.
func askedByServer(ctx context.Context) bool {
	c, ok := wire.CallFrom(ctx)
	return ok && c.Identity != nil && c.Hops == 0 && (c.Identity.Server || c.Identity.TLSNames == nil)
}

// TokenUsage tells when tokens were last used, as far as the server knows.
func (a *ACL) TokenUsage(ctx context.Context, args *structs.ACLTokenUsageRequest, reply *structs.ACLTokenUsageResponse) error {
	return aclTokenUsage.serve(ctx, a.srv, args, reply)
}
