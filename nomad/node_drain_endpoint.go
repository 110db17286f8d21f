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
		if c.id.Token != nil && c.srv.auth.Enabled() {
			entry.AccessorID = c.id.Token.AccessorID
		}
		index, err := c.commit(ctx, structs.NodeUpdateDrainRequestType, entry)
		if err != nil {
			return err
		}
		return tellDrain(ctx, c, r, reply, applied{index: index})
	})

// tellDrain answers who changed a drain, and ends the drain of a node without work.
func tellDrain(ctx context.Context, c *leaderCall, r *structs.NodeUpdateDrainRequest, reply *structs.NodeDrainUpdateResponse, res applied) error {
	reply.Index, reply.NodeModifyIndex, reply.EvalIDs = res.index, res.index, []string{}
	if n := c.srv.state.Snapshot().Node(nil, r.NodeID); n == nil || !n.Draining() {
		return nil
	}
	return c.srv.completeDrains(ctx, r.NodeID)
}

// completeDrains ends the drains of nodes without work, which is all of them.
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

// startDrains ends the drains that the leader before did not come to end.
func (s *Server) startDrains(t *term) error {
	var ids []string
	for n := range s.state.Snapshot().AllNodes() {
		if n.Draining() {
			ids = append(ids, n.ID)
		}
	}
	return s.completeDrains(t.ctx, ids...)
}

var nodeUpdateEligibility = newLeader("Node.UpdateEligibility",
	func(a *acl.ACL, _ *structs.NodeUpdateEligibilityRequest) bool {
		return a.AllowNodeWrite() || a.AllowClientOp()
	},
	func(ctx context.Context, c *leaderCall, r *structs.NodeUpdateEligibilityRequest, reply *structs.NodeEligibilityUpdateResponse) error {
		own := c.id.Node != nil && c.id.Node.ID == r.NodeID // a node may be told to do it over its link
		if !c.acl.AllowNodeWrite() && !own {
			return errPermissionDenied
		}
		if err := r.Validate(); err != nil {
			return err
		}
		n := c.srv.state.Snapshot().Node(nil, r.NodeID)
		if n == nil {
			return errNodeNotFound
		}
		reply.EvalIDs = []string{}
		if n.SchedulingEligibility == r.Eligibility {
			reply.Index, reply.NodeModifyIndex = n.ModifyIndex, n.ModifyIndex
			return nil
		}
		now := time.Now()
		entry := &structs.NodeUpdateEligibilityRequest{NodeID: n.ID, Eligibility: r.Eligibility, UpdatedAt: now.Unix(),
			NodeEvent: structs.NewNodeEvent(structs.NodeEventSubsystemCluster, "Node marked as "+r.Eligibility+" for scheduling", now)}
		index, err := c.commit(ctx, structs.NodeUpdateEligibilityRequestType, entry)
		reply.Index, reply.NodeModifyIndex = index, index
		return err
	})

// tellEligibility answers who changed the eligibility of a node in a first try.
func tellEligibility(_ context.Context, _ *leaderCall, _ *structs.NodeUpdateEligibilityRequest, reply *structs.NodeEligibilityUpdateResponse, res applied) error {
	reply.Index, reply.NodeModifyIndex, reply.EvalIDs = res.index, res.index, []string{}
	return nil
}

// UpdateDrain begins, changes or ends the drain of a node.
func (n *Node) UpdateDrain(ctx context.Context, args *structs.NodeUpdateDrainRequest, reply *structs.NodeDrainUpdateResponse) error {
	return nodeUpdateDrain.serve(ctx, n.srv, args, reply)
}

// UpdateEligibility says whether work may be placed on a node.
func (n *Node) UpdateEligibility(ctx context.Context, args *structs.NodeUpdateEligibilityRequest, reply *structs.NodeEligibilityUpdateResponse) error {
	return nodeUpdateEligibility.serve(ctx, n.srv, args, reply)
}
