package agent

import (
	"context"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/nomad/structs"
)

// right says whether a caller with these rights may call a method.
type right func(*acl.ACL) bool

// byServer is the right of methods that pass an RPC on: over HTTP the server that
// answers decides.
func byServer(*acl.ACL) bool { return true }

// Authorize implements jsonrpc.Authorizer. What is not registered with a right is
// open if it is not privileged, and else for those who have all rights.
func (n *rpcNode) Authorize(ctx context.Context, caller jsonrpc.Caller, m *jsonrpc.Method) error {
	need := n.rights[m.Name]
	switch {
	case need == nil && !m.Privileged:
		return nil
	case need == nil:
		need = (*acl.ACL).IsManagement
	}
	if caller.Transport == jsonrpc.TransportSocket {
		return n.authorizeLocal(ctx, caller, m, need)
	}
	rights, err := n.server.Authorize(ctx, caller.Token)
	if err != nil {
		return err
	}
	if !need(rights) {
		n.server.Refused(rights, need)
		return errs.New(errs.PermissionDenied, "the token does not grant this")
	}
	return nil
}

// authorizeLocal decides about a caller on the socket. Whoever may connect may
// read; the rest is for root and the agent's user, for those whom the
// configuration names, and for the holders of a token.
func (n *rpcNode) authorizeLocal(ctx context.Context, caller jsonrpc.Caller, m *jsonrpc.Method, need right) error {
	peer := caller.Peer
	if !m.Privileged || (peer != nil && (peer.UID == 0 || int(peer.UID) == os.Geteuid())) {
		return nil
	}
	if peer != nil {
		for _, p := range n.principals {
			if ok, err := n.grants(p, peer, need); err != nil || ok {
				return err
			}
		}
	}
	if caller.Token != "" {
		rights, err := n.server.Authorize(ctx, caller.Token)
		if err != nil {
			return err
		}
		// While access control is off no token says anything about its holder.
		if rights != acl.Disabled && need(rights) {
			return nil
		}
	}
	if peer == nil {
		return errs.New(errs.Unauthenticated, "credentials of the caller are not known: send a token")
	}
	return errs.Newf(errs.PermissionDenied, "denied for uid %d and gid %d: send a token, or name them in rpc.socket.users", peer.UID, peer.GID)
}

// grants reports whether p is the peer and has the right.
func (n *rpcNode) grants(p principal, peer *jsonrpc.PeerCred, need right) (bool, error) {
	if (p.group && p.id != peer.GID) || (!p.group && p.id != peer.UID) {
		return false, nil
	}
	if p.management {
		return true, nil
	}
	rights, err := n.server.RightsOf(p.policies, p.roles)
	if err != nil {
		return false, err
	}
	// While access control is off policies mean nothing; they must not mean everything here.
	return rights != acl.Disabled && need(rights), nil
}

// accessorTimeout bounds the search for the owner of a token; an audit line waits for it.
const accessorTimeout = time.Second

// Audit implements jsonrpc.Auditor. The token is replaced by its accessor. A log
// level above info does not hide the line; only a log that is off does.
func (n *rpcNode) Audit(ctx context.Context, r jsonrpc.AuditRecord) {
	level := min(max(hclog.Info, n.audit.GetLevel()), hclog.Error)
	n.audit.Log(level, "privileged call", "method", r.Method, "provider", r.Provider, "caller", r.Caller.String(),
		"accessor_id", n.accessor(ctx, r.Caller.Token), "params", r.Params, "code", r.Code, "ran", r.Ran, "duration", r.Duration)
}

// accessor returns the public name of a token, "" for callers without one.
func (n *rpcNode) accessor(ctx context.Context, token string) string {
	if token == "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(ctx, accessorTimeout)
	defer cancel()
	args, reply := &structs.GenericRequest{}, &structs.ACLWhoAmIResponse{}
	args.AuthToken, args.AllowStale = token, true
	if err := n.server.RPC(ctx, "ACL.WhoAmI", args, reply); err != nil {
		return "unknown"
	}
	if reply.Identity == nil || reply.Identity.ACLToken == nil {
		return "workload identity"
	}
	return reply.Identity.ACLToken.AccessorID
}
