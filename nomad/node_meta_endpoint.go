package nomad

import (
	"context"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/structs"
)

// NodeMeta answers the RPCs on the metadata of nodes, which their agents keep.
type NodeMeta struct{ srv *Server }

var nodeMetaRead = newLocal("NodeMeta.Read", readsNodes[structs.NodeSpecificRequest],
	func(ctx context.Context, s *Server, r *structs.NodeSpecificRequest, reply *structs.NodeMetaResponse) error {
		return s.askNode(ctx, r.NodeID, "NodeMeta.Read", r, reply)
	})

var nodeMetaApply = newLocal("NodeMeta.Apply", writesNodes[structs.NodeMetaApplyRequest],
	func(ctx context.Context, s *Server, r *structs.NodeMetaApplyRequest, reply *structs.NodeMetaResponse) error {
		return s.askNode(ctx, r.NodeID, "NodeMeta.Apply", r, reply)
	})

// askNode has the agent of a node that exists answer a call over the session by which
// it calls servers, here or at the server that has it. A call that was passed on is
// not passed on again.
func (s *Server) askNode(ctx context.Context, id, method string, args, reply any) error {
	if id == "" {
		return errs.New(errs.Invalid, "missing node ID")
	}
	if _, err := s.knownNode(ctx, id); err != nil {
		return err
	}
	if s.nodeConns.session(id) != nil {
		return s.callNode(ctx, id, method, args, reply)
	}
	if hops(ctx) >= maxHops {
		return errNodeAway
	}
	addr := s.findNode(ctx, id, func(r *structs.NodeConnQueryResponse) bool { return r.Session })
	if addr == "" {
		return errNodeAway
	}
	return s.pool.Call(ctx, addr, method, args, reply, wire.CallOptions{Hops: maxHops})
}

// Read returns the metadata of a node.
func (n *NodeMeta) Read(ctx context.Context, args *structs.NodeSpecificRequest, reply *structs.NodeMetaResponse) error {
	return nodeMetaRead.serve(ctx, n.srv, args, reply)
}

// Apply changes the metadata of a node.
func (n *NodeMeta) Apply(ctx context.Context, args *structs.NodeMetaApplyRequest, reply *structs.NodeMetaResponse) error {
	return nodeMetaApply.serve(ctx, n.srv, args, reply)
}
