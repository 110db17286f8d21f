package nomad

import (
	"context"
	"time"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/nomad/structs"
)

var nodeUpdateDrain = newLeader("Node.UpdateDrain",
	func(a *acl.ACL, _ *structs.NodeUpdateDrainRequest) bool {
		return a.AllowNodeWrite() || a.AllowClientOp()
	},
	func(ctx context.Context, c *leaderCall, r *structs.NodeUpdateDrainRequest, reply *structs.NodeDrainUpdateResponse) error {
		own := c.id.Node != nil && c.id.Node.ID == r.NodeID // a node may drain itself before it stops
		if !c.acl.AllowNodeWrite() && !own {
			return errPermissionDenied
		}
		n := c.srv.state.Snapshot().Node(nil, r.NodeID)
		if n == nil {
			return errNodeNotFound
		}
		now := time.Now()
		entry := &structs.NodeUpdateDrainRequest{NodeID: n.ID, MarkEligible: r.MarkEligible, Meta: r.Meta, UpdatedAt: now.Unix()}
		message := "Node drain disabled"
		switch {
		case r.DrainStrategy != nil:
			entry.DrainStrategy = r.DrainStrategy.Begin(now)
			message = "Node drain strategy set"
			if n.Draining() {
				message = "Node drain strategy updated"
			}
		case !n.Draining() && !r.MarkEligible:
			message = ""
		}
		if message != "" {
			entry.NodeEvent = structs.NewNodeEvent(structs.NodeEventSubsystemDrain, message, now)
		}
		entry.AccessorID = c.accessor()
		defer c.srv.drains.begin(n.ID)()
		index, err := c.commit(ctx, structs.NodeUpdateDrainRequestType, entry)
		if err != nil {
			return err
		}
		return tellDrain(ctx, c, r, reply, applied{index: index})
	})

// tellDrain answers who changed a drain, and sees to one that has begun.
func tellDrain(ctx context.Context, c *leaderCall, r *structs.NodeUpdateDrainRequest, reply *structs.NodeDrainUpdateResponse, res applied) (err error) {
	reply.Index, reply.NodeModifyIndex, reply.EvalIDs = res.index, res.index, []string{}
	n := c.srv.state.Snapshot().Node(nil, r.NodeID)
	if r.DrainStrategy == nil || n == nil || !n.Draining() {
		return nil
	}
	by := &structs.NodeUpdateDrainRequest{Caller: r.Caller, AccessorID: c.accessor(), Meta: r.Meta}
	reply.OperationID, err = c.srv.beginDrain(ctx, n, by)
	return err
}

// accessor names the token of the caller, "" for none.
func (c *leaderCall) accessor() string {
	if c.id.Token == nil || !c.srv.auth.Enabled() {
		return ""
	}
	return c.id.Token.AccessorID
}

// completeDrains ends the drains of nodes that nothing is left on.
func (s *Server) completeDrains(ctx context.Context, ids ...string) error {
	if len(ids) == 0 {
		return nil
	}
	now := time.Now()
	req := &structs.BatchNodeUpdateDrainRequest{UpdatedAt: now.Unix(),
		Updates: map[string]*structs.DrainUpdate{}, NodeEvents: map[string]*structs.NodeEvent{}}
	for _, id := range ids {
		req.Updates[id] = &structs.DrainUpdate{}
		req.NodeEvents[id] = structs.NewNodeEvent(structs.NodeEventSubsystemDrain, "Node drain complete", now)
	}
	_, err := s.apply(ctx, structs.BatchNodeUpdateDrainRequestType, req)
	return err
}

// UpdateDrain begins, changes or ends the drain of a node.
func (n *Node) UpdateDrain(ctx context.Context, args *structs.NodeUpdateDrainRequest, reply *structs.NodeDrainUpdateResponse) error {
	return nodeUpdateDrain.serve(ctx, n.srv, args, reply)
}
