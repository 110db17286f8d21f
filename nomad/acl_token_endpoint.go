package nomad

import (
	"context"
	"net"
	"time"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

var aclTokenTables = []string{state.ACLTokens.Name()}

// shownToken returns what the caller may see of a token: its own and, with the right
// to, every other one with its secret. Roles carry their names.
func (v *view) shownToken(t *structs.ACLToken) *structs.ACLToken {
	t = v.NameACLRoles(nil, t)
	if !allowsOne(v.acl, acl.ACLTokenSecrets) && !v.isOwn(t.AccessorID) {
		return t.Redacted()
	}
	return t
}

// isOwn reports whether the caller's token has the accessor.
func (v *view) isOwn(accessor string) bool {
	return v.id.Token != nil && v.id.Token.AccessorID == accessor
}

var aclGetToken = newRead("ACL.GetToken", aclTokenTables,
	anyone[structs.ACLTokenSpecificRequest],
	func(v *view, r *structs.ACLTokenSpecificRequest, reply *structs.SingleACLTokenResponse) error {
		if r.AccessorID == "" && allowsOne(v.acl, acl.ACLTokenRead) {
			return errs.New(errs.Invalid, "an accessor ID is needed")
		}
		if !allowsOne(v.acl, acl.ACLTokenRead) && !v.isOwn(r.AccessorID) {
			return errPermissionDenied
		}
		if t := v.ACLToken(v.ws, r.AccessorID); t != nil {
			reply.Token, v.index = v.shownToken(t), t.ModifyIndex
			reply.LastUsedTime = v.srv.usage.Last(t.AccessorID)
		}
		return nil
	})

var aclGetTokens = newRead("ACL.GetTokens", aclTokenTables,
	delegated[structs.ACLTokenSetRequest](acl.ACLTokenRead),
	func(v *view, r *structs.ACLTokenSetRequest, reply *structs.ACLTokenSetResponse) error {
		reply.Tokens = make(map[string]*structs.ACLToken, len(r.AccessorIDS))
		for _, accessor := range r.AccessorIDS {
			if t := v.ACLToken(v.ws, accessor); t != nil {
				reply.Tokens[accessor] = v.shownToken(t)
			}
		}
		return nil
	})

var aclResolveToken = newRead("ACL.ResolveToken", aclTokenTables,
	anyone[structs.ResolveACLTokenRequest],
	func(v *view, r *structs.ResolveACLTokenRequest, reply *structs.ResolveACLTokenResponse) error {
		if t := v.ACLTokenBySecret(v.ws, r.SecretID); t != nil && !t.IsExpired(time.Now()) {
			reply.Token, v.index = v.NameACLRoles(nil, t), t.ModifyIndex
		}
		return nil
	})

var aclWhoAmI = newRead("ACL.WhoAmI", aclTokenTables,
	anyone[structs.GenericRequest],
	func(v *view, _ *structs.GenericRequest, reply *structs.ACLWhoAmIResponse) error {
		reply.Identity = &structs.AuthenticatedIdentity{}
		if t := v.id.Token; t != nil {
			reply.Identity.ACLToken = v.NameACLRoles(nil, t)
		}
		if n := v.id.Node; n != nil {
			reply.Identity.ClientID = n.ID
		}
		if p := v.id.Peer; p != nil {
			if len(p.TLSNames) > 0 {
				reply.Identity.TLSName = p.TLSNames[0]
			}
			if tcp, ok := p.Remote.(*net.TCPAddr); ok {
				reply.Identity.RemoteIP = tcp.IP.String()
			}
		}
		return nil
	})

// ListTokens lists tokens without their secrets.
func (a *ACL) ListTokens(ctx context.Context, args *structs.ACLTokenListRequest, reply *structs.ACLTokenListResponse) error {
	return aclListTokens.serve(ctx, a.srv, args, reply)
}

// GetToken reads one token; its holder may, too.
func (a *ACL) GetToken(ctx context.Context, args *structs.ACLTokenSpecificRequest, reply *structs.SingleACLTokenResponse) error {
	return aclGetToken.serve(ctx, a.srv, args, reply)
}

// GetTokens reads several tokens by accessor.
func (a *ACL) GetTokens(ctx context.Context, args *structs.ACLTokenSetRequest, reply *structs.ACLTokenSetResponse) error {
	return aclGetTokens.serve(ctx, a.srv, args, reply)
}

// ResolveToken reads a token by its secret; knowing that is enough.
func (a *ACL) ResolveToken(ctx context.Context, args *structs.ResolveACLTokenRequest, reply *structs.ResolveACLTokenResponse) error {
	return aclResolveToken.serve(ctx, a.srv, args, reply)
}

// WhoAmI tells callers who they are. It answers while access control is off, too.
func (a *ACL) WhoAmI(ctx context.Context, args *structs.GenericRequest, reply *structs.ACLWhoAmIResponse) error {
	return aclWhoAmI.serve(ctx, a.srv, args, reply)
}

// UpsertTokens creates or updates tokens, all or none.
func (a *ACL) UpsertTokens(ctx context.Context, args *structs.ACLTokenUpsertRequest, reply *structs.ACLTokenUpsertResponse) error {
	return aclUpsertTokens.serve(ctx, a.srv, args, reply)
}

// DeleteTokens deletes tokens, all or none.
func (a *ACL) DeleteTokens(ctx context.Context, args *structs.ACLTokenDeleteRequest, reply *structs.GenericResponse) error {
	return aclDeleteTokens.serve(ctx, a.srv, args, reply)
}

// Bootstrap makes the first management token.
func (a *ACL) Bootstrap(ctx context.Context, args *structs.ACLTokenBootstrapRequest, reply *structs.ACLTokenUpsertResponse) error {
	return aclBootstrap.serve(ctx, a.srv, args, reply)
}
