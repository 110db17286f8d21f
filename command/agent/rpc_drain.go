package agent

import (
	"context"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Codes of details of calls about nodes, frozen once released. Scripts may take
// both for done.
const (
	errataDraining    = 3001
	errataNotDraining = 3002
)

var drainErrata = []jsonrpc.ErrataRange{{From: 3001, To: 3002, Meaning: "3001 the node drains already, 3002 it does not drain"}}

// drainParams begin the drain of a node.
type drainParams struct {
	Node string `json:"node"`
	// Deadline is a duration such as 10m: "" for none, "0s" to stop work at once.
	Deadline         string `json:"deadline,omitempty"`
	IgnoreSystemJobs bool   `json:"ignore_system_jobs,omitempty"`
	// Reason is kept with the drain.
	Reason string `json:"reason,omitempty"`
}

type stopDrainParams struct {
	Node string `json:"node"`
	// Eligible lets work be placed on the node again.
	Eligible bool `json:"eligible"`
}

type nodeStatusParams struct {
	Node     string `json:"node"`
	Eligible bool   `json:"eligible"`
	// Reason is kept while the node is ineligible, and with the event.
	Reason string `json:"reason,omitempty"`
	// Until is when an ineligible node becomes eligible by itself: a time such as
	// 2030-01-02T15:04:05Z, or a duration from now such as 2h.
	Until string `json:"until,omitempty"`
}

type nodeParams struct {
	Node string `json:"node"`
}

// nodeChange is the result of what changes a node.
type nodeChange struct {
	Index uint64 `json:"index"`
	// Operation is what get_operations shows of a drain that has begun, Token its token.
	Operation string `json:"operation,omitempty"`
	Token     string `json:"token,omitempty"`
}

// drainStatus is the result of get_drain_status.
type drainStatus struct {
	Node        string `json:"node"`
	Name        string `json:"name"`
	Status      string `json:"status"`
	Eligibility string `json:"eligibility"`
	// Reason and Until are of a node that is ineligible: why, and when it becomes
	// eligible by itself, absent for not.
	Reason   string     `json:"reason,omitempty"`
	Until    *time.Time `json:"until,omitempty"`
	Draining bool       `json:"draining"`
	Started  *time.Time `json:"started,omitempty"`
	// Deadline is when what is left is stopped, absent for never.
	Deadline *time.Time `json:"deadline,omitempty"`
	Index    uint64     `json:"index"`
}

// nodeMethods look after nodes; the servers decide by the caller's token.
func (n *rpcNode) nodeMethods() []operatorMethod {
	start := newOperatorMethod("admin_node_start_drain", "move the work of a node elsewhere, until the deadline if there is one", byServer, n.startDrain)
	stop := newOperatorMethod("admin_node_stop_drain", "end the drain of a node, and say whether it may take work again", byServer, n.stopDrain)
	set := newOperatorMethod("admin_node_set_status", "say whether a node may take work, why and until when not", byServer, n.setNodeStatus)
	status := newOperatorMethod("get_drain_status", "whether a node drains, since when and until when", byServer, n.drainStatus)
	start.Privileged, stop.Privileged, set.Privileged, status.Parallel = true, true, true, true
	start.Errata, stop.Errata = drainErrata, drainErrata
	return []operatorMethod{start, stop, set, status}
}

// readNode asks for a node in the name of the caller.
func (n *rpcNode) readNode(ctx context.Context, id string) (*structs.Node, uint64, error) {
	args, reply := &structs.NodeSpecificRequest{NodeID: id}, &structs.SingleNodeResponse{}
	args.AuthToken = jsonrpc.CallerOf(ctx).Token
	if err := n.server.RPC(ctx, "Node.GetNode", args, reply); err != nil {
		return nil, 0, err
	}
	if reply.Node == nil {
		return nil, 0, errs.Newf(errs.NotFound, "node %q not found: get_nodes lists them", id)
	}
	return reply.Node, reply.Index, nil
}

func (n *rpcNode) startDrain(ctx context.Context, p drainParams) (nodeChange, error) {
	spec := structs.DrainSpec{IgnoreSystemJobs: p.IgnoreSystemJobs}
	if p.Deadline != "" {
		d, err := time.ParseDuration(p.Deadline)
		if err != nil || d < 0 {
			return nodeChange{}, jsonrpc.InvalidParams("/deadline", "must be a duration such as 10m")
		}
		if spec.Deadline = d; d == 0 {
			spec.Deadline = -1 // at once
		}
	}
	node, _, err := n.readNode(ctx, p.Node)
	if err != nil {
		return nodeChange{}, err
	}
	if node.Draining() {
		return nodeChange{}, jsonrpc.Failed(jsonrpc.Detail{Code: errataDraining, Field: "/node", Message: "the node drains already", Kind: errs.Conflict})
	}
	args := &structs.NodeUpdateDrainRequest{NodeID: p.Node, DrainStrategy: &structs.DrainStrategy{DrainSpec: spec}}
	if p.Reason != "" {
		args.Meta = map[string]string{"reason": p.Reason}
	}
	return n.updateDrain(ctx, args)
}

func (n *rpcNode) stopDrain(ctx context.Context, p stopDrainParams) (nodeChange, error) {
	node, _, err := n.readNode(ctx, p.Node)
	if err != nil {
		return nodeChange{}, err
	}
	if !node.Draining() {
		return nodeChange{}, jsonrpc.Failed(jsonrpc.Detail{Code: errataNotDraining, Field: "/node", Message: "the node does not drain", Kind: errs.Conflict})
	}
	return n.updateDrain(ctx, &structs.NodeUpdateDrainRequest{NodeID: p.Node, MarkEligible: p.Eligible})
}

func (n *rpcNode) updateDrain(ctx context.Context, args *structs.NodeUpdateDrainRequest) (nodeChange, error) {
	caller := jsonrpc.CallerOf(ctx)
	args.AuthToken, args.Caller = caller.Token, n.config.NodeName+" "+caller.String()
	reply := &structs.NodeDrainUpdateResponse{}
	err := n.server.RPC(ctx, "Node.UpdateDrain", args, reply)
	return nodeChange{reply.Index, reply.OperationID, reply.OperationID}, err
}

func (n *rpcNode) setNodeStatus(ctx context.Context, p nodeStatusParams) (nodeChange, error) {
	args, reply := &structs.NodeUpdateEligibilityRequest{NodeID: p.Node, Eligibility: structs.NodeSchedulingIneligible}, &structs.NodeEligibilityUpdateResponse{}
	if p.Eligible {
		args.Eligibility = structs.NodeSchedulingEligible
	}
	if p.Until != "" {
		until, err := structs.ParseUntil(p.Until, time.Now())
		switch {
		case err != nil:
			return nodeChange{}, jsonrpc.InvalidParams("/until", err.Error())
		case p.Eligible:
			return nodeChange{}, jsonrpc.InvalidParams("/until", "only a node that is made ineligible can be so until a time")
		}
		args.Until = until
	}
	args.Reason = p.Reason
	args.AuthToken = jsonrpc.CallerOf(ctx).Token
	err := n.server.RPC(ctx, "Node.UpdateEligibility", args, reply)
	return nodeChange{Index: reply.Index}, err
}

func (n *rpcNode) drainStatus(ctx context.Context, p nodeParams) (drainStatus, error) {
	node, index, err := n.readNode(ctx, p.Node)
	if err != nil {
		return drainStatus{}, err
	}
	out := drainStatus{Node: node.ID, Name: node.Name, Status: node.Status, Eligibility: node.SchedulingEligibility,
		Draining: node.Draining(), Index: index}
	if i := node.Ineligibility; i != nil {
		out.Reason = i.Reason
		if i.Ends() {
			out.Until = &i.Until
		}
	}
	if s := node.DrainStrategy; s != nil {
		out.Started = &s.StartedAt
		if !s.ForceDeadline.IsZero() {
			out.Deadline = &s.ForceDeadline
		}
	}
	return out, nil
}
