package nomad

import (
	"context"

	"github.com/cairn-project/cairn/nomad/structs"
)

// NodeIdentity answers the RPCs on the signed identities of nodes, which their agents
// hold.
type NodeIdentity struct{ srv *Server }

var nodeIdentityGet = newLocal("NodeIdentity.Get", readsNodes[structs.NodeSpecificRequest],
	func(ctx context.Context, s *Server, r *structs.NodeSpecificRequest, reply *structs.NodeIdentityResponse) error {
		return s.askNode(ctx, r.NodeID, "NodeIdentity.Get", r, reply)
	})

var nodeIdentityRenew = newLocal("NodeIdentity.Renew", writesNodes[structs.NodeSpecificRequest],
	func(ctx context.Context, s *Server, r *structs.NodeSpecificRequest, reply *structs.NodeIdentityRenewResponse) error {
		return s.askNode(ctx, r.NodeID, "NodeIdentity.Renew", r, reply)
	})

// Get returns the claims of a node's identity.
func (n *NodeIdentity) Get(ctx context.Context, args *structs.NodeSpecificRequest, reply *structs.NodeIdentityResponse) error {
	return nodeIdentityGet.serve(ctx, n.srv, args, reply)
}

// Renew has a node ask for a new identity.
func (n *NodeIdentity) Renew(ctx context.Context, args *structs.NodeSpecificRequest, reply *structs.NodeIdentityRenewResponse) error {
	return nodeIdentityRenew.serve(ctx, n.srv, args, reply)
}
