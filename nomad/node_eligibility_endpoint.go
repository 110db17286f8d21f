package nomad

import (
	"context"
	"time"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

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
		now := time.Now()
		if !r.Until.IsZero() && !r.Until.After(now) {
			return errs.Newf(errs.Invalid, "the time until which the node is ineligible is past: by the leader's clock it is %s", now.UTC().Format(time.RFC3339))
		}
		n := c.srv.state.Snapshot().Node(nil, r.NodeID)
		if n == nil {
			return errNodeNotFound
		}
		reply.EvalIDs = []string{}
		entry := &structs.NodeUpdateEligibilityRequest{NodeID: n.ID, Eligibility: r.Eligibility, Reason: r.Reason, Until: r.Until,
			UpdatedAt: now.Unix(), AccessorID: c.accessor()}
		if n.SchedulingEligibility == r.Eligibility && n.Ineligibility.Same(entry.Ineligibility()) {
			reply.Index, reply.NodeModifyIndex = n.ModifyIndex, n.ModifyIndex
			return nil
		}
		entry.NodeEvent = eligibilityEvent(entry, now)
		index, err := c.commit(ctx, structs.NodeUpdateEligibilityRequestType, entry)
		reply.Index, reply.NodeModifyIndex = index, index
		return err
	})

// eligibilityEvent returns the event of a change, with what was said of it.
func eligibilityEvent(r *structs.NodeUpdateEligibilityRequest, now time.Time) *structs.NodeEvent {
	e := structs.NewNodeEvent(structs.NodeEventSubsystemCluster, "Node marked as "+r.Eligibility+" for scheduling", now)
	e.Details = map[string]string{}
	if r.Reason != "" {
		e.Details["reason"] = r.Reason
	}
	if i := r.Ineligibility(); i.Ends() {
		e.Details["until"] = i.Until.Format(time.RFC3339)
	}
	if len(e.Details) == 0 {
		e.Details = nil
	}
	return e
}

// tellEligibility answers who changed the eligibility of a node in a first try.
func tellEligibility(_ context.Context, _ *leaderCall, _ *structs.NodeUpdateEligibilityRequest, reply *structs.NodeEligibilityUpdateResponse, res applied) error {
	reply.Index, reply.NodeModifyIndex, reply.EvalIDs = res.index, res.index, []string{}
	return nil
}

// UpdateEligibility says whether work may be placed on a node.
func (n *Node) UpdateEligibility(ctx context.Context, args *structs.NodeUpdateEligibilityRequest, reply *structs.NodeEligibilityUpdateResponse) error {
	return nodeUpdateEligibility.serve(ctx, n.srv, args, reply)
}
