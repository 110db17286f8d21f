package client

import (
	"time"

	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Workloads are the programs of the node that look after themselves. They leave
// when it drains.
type Workloads interface {
	// Drain has them told to leave until the deadline, zero for whenever they can.
	// begun is when the drain was, by the clock of a server. It returns at once, and
	// changes nothing if that was asked for before.
	Drain(reason string, begun, deadline time.Time)
	// Stay takes that back.
	Stay()
	// Leaving says how far they are.
	Leaving() nodelink.DrainProgress
}

// follow has the programs of the node do what the servers say of it.
func (c *Client) follow(n *structs.Node) {
	w := c.config.Workloads
	switch {
	case w == nil:
	case n.Draining():
		reason := "the node drains"
		if n.LastDrain != nil && n.LastDrain.Meta["reason"] != "" {
			reason = n.LastDrain.Meta["reason"]
		}
		deadline := n.DrainStrategy.ForceDeadline
		if n.DrainStrategy.Deadline < 0 {
			deadline = n.DrainStrategy.StartedAt
		}
		w.Drain(reason, n.DrainStrategy.StartedAt, deadline)
	case n.SchedulingEligibility == structs.NodeSchedulingEligible:
		w.Stay()
	}
}

// leaving says how far the programs of the node are, nil where nobody knows.
func (c *Client) leaving() *nodelink.DrainProgress {
	w := c.config.Workloads
	if w == nil {
		return nil
	}
	p := w.Leaving()
	return &p
}
