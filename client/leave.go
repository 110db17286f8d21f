package client

import (
	"context"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// drainTimeout bounds one call about the drain of a node that leaves.
	drainTimeout = 5 * time.Second
	// drainPoll bounds one wait for its end.
	drainPoll = 30 * time.Second
)

// drainToLeave moves work off the node, if it is to, and waits until that is done,
// no longer than the deadline of the drain.
func (c *Client) drainToLeave(ctx context.Context) error {
	spec := c.config.LeaveDrain
	if spec == nil {
		return nil
	}
	if spec.Deadline > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, spec.Deadline+drainTimeout)
		defer cancel()
	}
	index, err := c.beginDrain(ctx, spec)
	if err != nil {
		return err
	}
	for {
		q := &structs.NodeSpecificRequest{NodeID: c.identity.nodeID}
		q.Region, q.AuthToken, q.MinQueryIndex, q.MaxQueryTime = c.config.Region, c.identity.token(), index, drainPoll
		var reply structs.SingleNodeResponse
		if err := c.RPC(ctx, "Node.GetNode", q, &reply); err != nil {
			return err
		}
		if reply.Node == nil {
			return errs.New(errs.NotFound, "the node was purged while it drained")
		}
		if !reply.Node.Draining() {
			c.logger.Info("drained the node before it leaves")
			return nil
		}
		index = reply.Index
	}
}

// beginDrain returns the index before which the drain was not there.
func (c *Client) beginDrain(ctx context.Context, spec *structs.DrainSpec) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, drainTimeout)
	defer cancel()
	args, reply := &structs.NodeUpdateDrainRequest{NodeID: c.identity.nodeID, DrainStrategy: &structs.DrainStrategy{DrainSpec: *spec},
		Meta: map[string]string{"message": "the agent of the node stops"}}, &structs.NodeDrainUpdateResponse{}
	args.Region = c.config.Region
	err := c.prove(ctx, &args.WriteRequest, func() error { return c.once(ctx, "Node.UpdateDrain", args, reply) })
	return max(reply.NodeModifyIndex, 1) - 1, err
}
