package nomad

import (
	"cmp"
	"context"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// NodePool answers the RPCs on node pools.
type NodePool struct{ srv *Server }

var (
	nodePoolTables  = []string{state.NodePools.Name()}
	poolNodesTables = []string{state.NodePools.Name(), state.Nodes.Name()}
)

// onPools is the rule of methods that do c to every pool of a list.
func onPools(a *acl.ACL, c acl.NodePoolCapability, names []string) bool {
	return a.IsManagement() || every(names, func(name string) bool { return a.AllowNodePoolOperation(name, c) })
}

var nodePoolList = newRead("NodePool.List", nodePoolTables,
	anyone[structs.NodePoolListRequest],
	func(v *view, r *structs.NodePoolListRequest, reply *structs.NodePoolListResponse) (err error) {
		reply.NodePools = []*structs.NodePool{}
		query := state.NodePoolQuery{Prefix: r.Prefix, From: r.NextToken, Reverse: r.Reverse}
		reply.NextToken, err = paginate(v.NodePools(v.ws, query), &r.QueryOptions, page[structs.NodePool]{
			visible: func(p *structs.NodePool) bool { return state.NodePools.Visible(v.acl, p) },
			object:  func(p *structs.NodePool) any { return p },
			key:     func(p *structs.NodePool) string { return p.Name },
			emit:    func(p *structs.NodePool) { reply.NodePools = append(reply.NodePools, p) },
		})
		return err
	})

var nodePoolGet = newRead("NodePool.GetNodePool", nodePoolTables,
	func(a *acl.ACL, r *structs.NodePoolSpecificRequest) bool {
		return a.AllowNodePoolRead(r.Name)
	},
	func(v *view, r *structs.NodePoolSpecificRequest, reply *structs.SingleNodePoolResponse) error {
		if reply.NodePool = v.NodePool(v.ws, r.Name); reply.NodePool != nil {
			v.index = reply.NodePool.ModifyIndex
		}
		return nil
	})

var nodePoolNodes = newRead("NodePool.ListNodes", poolNodesTables,
	func(a *acl.ACL, r *structs.NodePoolNodesRequest) bool {
		return a.AllowNodeRead() && a.AllowNodePoolRead(r.Name)
	},
	func(v *view, r *structs.NodePoolNodesRequest, reply *structs.NodePoolNodesResponse) (err error) {
		if v.NodePool(v.ws, r.Name) == nil {
			return errs.New(errs.NotFound, "node pool not found")
		}
		reply.Nodes, reply.NextToken, err = v.listNodes(&r.QueryOptions, r.Name, r.Fields)
		return err
	})

var nodePoolJobs = newRead("NodePool.ListJobs", nodePoolTables,
	func(a *acl.ACL, r *structs.NodePoolJobsRequest) bool {
		return a.AllowNodePoolRead(r.Name)
	},
	func(v *view, r *structs.NodePoolJobsRequest, reply *structs.NodePoolJobsResponse) error {
		switch {
		case r.Namespace != structs.AllNamespacesSentinel && !v.acl.AllowNamespaceOperation(cmp.Or(r.Namespace, structs.DefaultNamespace), acl.ListJobs):
			return errPermissionDenied
		case v.NodePool(v.ws, r.Name) == nil:
			return errs.New(errs.NotFound, "node pool not found")
		}
		reply.Jobs = []*structs.JobListStub{} // nothing places work on nodes
		return nil
	})

var nodePoolUpsert = newWrite[structs.NodePoolUpsertRequest, structs.GenericResponse]("NodePool.UpsertNodePools", structs.NodePoolUpsertRequestType,
	func(a *acl.ACL, r *structs.NodePoolUpsertRequest) bool {
		names := make([]string, 0, len(r.NodePools))
		for _, p := range r.NodePools {
			if p == nil {
				return a.IsManagement()
			}
			names = append(names, p.Name)
		}
		return onPools(a, acl.NodePoolWrite, names)
	},
	func(_ *state.Snapshot, r *structs.NodePoolUpsertRequest) error { return r.Validate() }).shared(always[structs.NodePoolUpsertRequest])

var nodePoolDelete = newWrite[structs.NodePoolDeleteRequest, structs.GenericResponse]("NodePool.DeleteNodePools", structs.NodePoolDeleteRequestType,
	func(a *acl.ACL, r *structs.NodePoolDeleteRequest) bool {
		return onPools(a, acl.NodePoolDelete, r.Names)
	},
	func(_ *state.Snapshot, r *structs.NodePoolDeleteRequest) error { return r.Validate() }).shared(always[structs.NodePoolDeleteRequest]).unlessUsed(nodePoolsUsed)

// List lists the node pools that the caller may see.
func (n *NodePool) List(ctx context.Context, args *structs.NodePoolListRequest, reply *structs.NodePoolListResponse) error {
	return nodePoolList.serve(ctx, n.srv, args, reply)
}

// GetNodePool reads one node pool.
func (n *NodePool) GetNodePool(ctx context.Context, args *structs.NodePoolSpecificRequest, reply *structs.SingleNodePoolResponse) error {
	return nodePoolGet.serve(ctx, n.srv, args, reply)
}

// ListNodes lists the nodes of a pool.
func (n *NodePool) ListNodes(ctx context.Context, args *structs.NodePoolNodesRequest, reply *structs.NodePoolNodesResponse) error {
	return nodePoolNodes.serve(ctx, n.srv, args, reply)
}

// ListJobs lists the jobs of a pool, of which there are none.
func (n *NodePool) ListJobs(ctx context.Context, args *structs.NodePoolJobsRequest, reply *structs.NodePoolJobsResponse) error {
	return nodePoolJobs.serve(ctx, n.srv, args, reply)
}

// UpsertNodePools creates or updates node pools, all or none.
func (n *NodePool) UpsertNodePools(ctx context.Context, args *structs.NodePoolUpsertRequest, reply *structs.GenericResponse) error {
	return nodePoolUpsert.serve(ctx, n.srv, args, reply)
}

// DeleteNodePools deletes node pools that are not in use, all or none.
func (n *NodePool) DeleteNodePools(ctx context.Context, args *structs.NodePoolDeleteRequest, reply *structs.GenericResponse) error {
	return nodePoolDelete.serve(ctx, n.srv, args, reply)
}
