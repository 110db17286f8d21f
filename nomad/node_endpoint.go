package nomad

import (
	"context"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Node answers the RPCs on nodes.
type Node struct{ srv *Server }

// Alloc answers the RPCs on allocations.
type Alloc struct{ srv *Server }

var nodeTables = []string{state.Nodes.Name()}

// The texts that clients of the public API match on.
var (
	errNodeNotFound = errs.New(errs.NotFound, "node not found")
	errNodeSecret   = errs.New(errs.PermissionDenied, "node secret ID does not match")
)

func readsNodes[Req any](a *acl.ACL, _ *Req) bool  { return a.AllowNodeRead() }
func writesNodes[Req any](a *acl.ACL, _ *Req) bool { return a.AllowNodeWrite() }

// isNode reports whether the caller proved to be the node.
func (v *view) isNode(id string) bool { return v.id.Node != nil && v.id.Node.ID == id }

var nodeList = newRead("Node.List", nodeTables,
	readsNodes[structs.NodeListRequest],
	func(v *view, r *structs.NodeListRequest, reply *structs.NodeListResponse) (err error) {
		reply.Nodes, reply.NextToken, err = v.listNodes(&r.QueryOptions, "", r.Fields)
		return err
	})

var nodeGet = newRead("Node.GetNode", nodeTables,
	anyone[structs.NodeSpecificRequest],
	func(v *view, r *structs.NodeSpecificRequest, reply *structs.SingleNodeResponse) error {
		n := v.Node(v.ws, r.NodeID)
		if !v.acl.AllowNodeRead() && (n == nil || v.id.Node == nil || v.id.Node.NodePool != n.NodePool) {
			return errPermissionDenied
		}
		if n != nil {
			reply.Node, v.index = n.WithoutSecret(), n.ModifyIndex
		}
		return nil
	})

var nodeAllocs = newRead("Node.GetAllocs", nodeTables,
	readsNodes[structs.NodeSpecificRequest],
	func(v *view, r *structs.NodeSpecificRequest, reply *structs.NodeAllocsResponse) error {
		reply.Allocs = []*structs.Allocation{} // nothing places work on nodes
		if n := v.Node(v.ws, r.NodeID); n != nil {
			v.index = n.CreateIndex
		}
		return nil
	})

// A node asks again as soon as it is answered, so that it must wait here: the
// index only moves when the node is registered anew.
var nodeClientAllocs = newRead("Node.GetClientAllocs", nodeTables,
	anyone[structs.NodeSpecificRequest],
	func(v *view, r *structs.NodeSpecificRequest, reply *structs.NodeClientAllocsResponse) error {
		n := v.Node(v.ws, r.NodeID)
		switch {
		case n == nil && v.id.Node != nil:
			return errNodeNotFound
		case n == nil || !v.isNode(n.ID) && !sameSecret(n, r.SecretID):
			return errPermissionDenied
		case r.SecretID != "" && !sameSecret(n, r.SecretID):
			return errNodeSecret
		}
		reply.Allocs, reply.MigrateTokens = map[string]uint64{}, map[string]string{}
		v.index = n.CreateIndex
		return nil
	})

var allocGetAllocs = newRead("Alloc.GetAllocs", nodeTables,
	anyone[structs.AllocsGetRequest],
	func(v *view, r *structs.AllocsGetRequest, reply *structs.AllocsGetResponse) error {
		if v.id.Node == nil {
			return errPermissionDenied
		}
		reply.Allocs = []*structs.Allocation{} // no allocation exists that could be asked for
		return nil
	})

var nodeDeregister = newLeader("Node.Deregister", writesNodes[structs.NodeDeregisterRequest],
	func(ctx context.Context, c *leaderCall, r *structs.NodeDeregisterRequest, reply *structs.NodeUpdateResponse) error {
		return c.deregister(ctx, structs.NodeDeregisterRequestType, &structs.NodeDeregisterRequest{NodeID: r.NodeID}, []string{r.NodeID}, reply)
	})

var nodeBatchDeregister = newLeader("Node.BatchDeregister", writesNodes[structs.NodeBatchDeregisterRequest],
	func(ctx context.Context, c *leaderCall, r *structs.NodeBatchDeregisterRequest, reply *structs.NodeUpdateResponse) error {
		if err := r.Validate(); err != nil {
			return err
		}
		return c.deregister(ctx, structs.NodeBatchDeregisterRequestType, &structs.NodeBatchDeregisterRequest{NodeIDs: r.NodeIDs}, r.NodeIDs, reply)
	})

func (c *leaderCall) deregister(ctx context.Context, t structs.MessageType, entry any, ids []string, reply *structs.NodeUpdateResponse) error {
	index, err := c.commit(ctx, t, entry)
	if err != nil {
		return err
	}
	c.srv.heartbeats.forget(ids...)
	reply.Index, reply.NodeModifyIndex, reply.EvalIDs = index, index, []string{}
	return nil
}

// tellDeregistered and tellBatchDeregistered answer who deleted nodes in a first try.
func tellDeregistered(_ context.Context, c *leaderCall, r *structs.NodeDeregisterRequest, reply *structs.NodeUpdateResponse, res applied) error {
	c.srv.heartbeats.forget(r.NodeID)
	reply.Index, reply.NodeModifyIndex, reply.EvalIDs = res.index, res.index, []string{}
	return nil
}

func tellBatchDeregistered(_ context.Context, c *leaderCall, r *structs.NodeBatchDeregisterRequest, reply *structs.NodeUpdateResponse, res applied) error {
	c.srv.heartbeats.forget(r.NodeIDs...)
	reply.Index, reply.NodeModifyIndex, reply.EvalIDs = res.index, res.index, []string{}
	return nil
}

var nodeEvaluate = newLeader("Node.Evaluate", writesNodes[structs.NodeEvaluateRequest],
	func(_ context.Context, c *leaderCall, r *structs.NodeEvaluateRequest, reply *structs.NodeUpdateResponse) error {
		n := c.srv.state.Snapshot().Node(nil, r.NodeID)
		if n == nil {
			return errNodeNotFound
		}
		reply.EvalIDs = []string{} // there is no work that could be placed again
		reply.NodeModifyIndex, reply.Index = n.ModifyIndex, n.ModifyIndex
		return nil
	})

// List lists nodes.
func (n *Node) List(ctx context.Context, args *structs.NodeListRequest, reply *structs.NodeListResponse) error {
	return nodeList.serve(ctx, n.srv, args, reply)
}

// GetNode reads one node, for nodes of its pool too.
func (n *Node) GetNode(ctx context.Context, args *structs.NodeSpecificRequest, reply *structs.SingleNodeResponse) error {
	return nodeGet.serve(ctx, n.srv, args, reply)
}

// GetAllocs lists the allocations of a node.
func (n *Node) GetAllocs(ctx context.Context, args *structs.NodeSpecificRequest, reply *structs.NodeAllocsResponse) error {
	return nodeAllocs.serve(ctx, n.srv, args, reply)
}

// GetClientAllocs tells a node which allocations are its own.
func (n *Node) GetClientAllocs(ctx context.Context, args *structs.NodeSpecificRequest, reply *structs.NodeClientAllocsResponse) error {
	return nodeClientAllocs.serve(ctx, n.srv, args, reply)
}

// GetAllocs reads allocations for the nodes that run them.
func (a *Alloc) GetAllocs(ctx context.Context, args *structs.AllocsGetRequest, reply *structs.AllocsGetResponse) error {
	return allocGetAllocs.serve(ctx, a.srv, args, reply)
}

// Deregister deletes one node.
func (n *Node) Deregister(ctx context.Context, args *structs.NodeDeregisterRequest, reply *structs.NodeUpdateResponse) error {
	return nodeDeregister.serve(ctx, n.srv, args, reply)
}

// BatchDeregister deletes nodes, all or none.
func (n *Node) BatchDeregister(ctx context.Context, args *structs.NodeBatchDeregisterRequest, reply *structs.NodeUpdateResponse) error {
	return nodeBatchDeregister.serve(ctx, n.srv, args, reply)
}

// Evaluate places the work of a node again.
func (n *Node) Evaluate(ctx context.Context, args *structs.NodeEvaluateRequest, reply *structs.NodeUpdateResponse) error {
	return nodeEvaluate.serve(ctx, n.srv, args, reply)
}
