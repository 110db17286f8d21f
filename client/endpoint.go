package client

import (
	"context"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// endpoints binds what servers may call over the session that the agent dialled.
// The keys are the part of a method's name before the dot.
func endpoints(c *Client) map[string]any {
	return map[string]any{
		"ClientStats":  &ClientStats{c},
		"NodeIdentity": &NodeIdentity{c},
		"NodeMeta":     &NodeMeta{c},
	}
}

// ClientStats answers calls on the use of the machine.
type ClientStats struct{ c *Client }

// Stats tells how busy the machine is; servers let callers with node:read.
func (s *ClientStats) Stats(ctx context.Context, args *structs.NodeSpecificRequest, reply *structs.ClientStatsResponse) (err error) {
	if err := s.c.mine(args.NodeID); err != nil {
		return err
	}
	reply.HostStats, err = s.c.host.stats(ctx)
	return err
}

// NodeIdentity answers calls on the node's signed identity.
type NodeIdentity struct{ c *Client }

// Get returns the claims of the identity; servers let callers with node:read.
func (i *NodeIdentity) Get(_ context.Context, args *structs.NodeSpecificRequest, reply *structs.NodeIdentityResponse) error {
	if err := i.c.mine(args.NodeID); err != nil {
		return err
	}
	reply.Claims = claimsOf(i.c.identity.claims())
	return nil
}

// Renew asks the servers for a new identity; servers let callers with node:write.
func (i *NodeIdentity) Renew(ctx context.Context, args *structs.NodeSpecificRequest, _ *structs.NodeIdentityRenewResponse) error {
	if err := i.c.mine(args.NodeID); err != nil {
		return err
	}
	return i.c.renewIdentity(ctx)
}

// NodeMeta answers calls on the node's metadata.
type NodeMeta struct{ c *Client }

// Read returns the metadata; servers let callers with node:read.
func (m *NodeMeta) Read(_ context.Context, args *structs.NodeSpecificRequest, reply *structs.NodeMetaResponse) error {
	if err := m.c.mine(args.NodeID); err != nil {
		return err
	}
	m.c.fillMeta(reply)
	return nil
}

// Apply changes the metadata; servers let callers with node:write. The change is on
// disk when it returns, and with the servers soon after.
func (m *NodeMeta) Apply(_ context.Context, args *structs.NodeMetaApplyRequest, reply *structs.NodeMetaResponse) error {
	if err := m.c.mine(args.NodeID); err != nil {
		return err
	}
	if len(args.Meta) == 0 {
		return errs.New(errs.Invalid, "missing required Meta object")
	}
	if err := m.c.meta.apply(args.Meta); err != nil {
		return err
	}
	m.c.register()
	m.c.fillMeta(reply)
	return nil
}

func (c *Client) fillMeta(reply *structs.NodeMetaResponse) {
	reply.Meta = c.meta.merged()
	reply.Static, reply.Dynamic = c.meta.parts()
}

// mine refuses a call that is for another node.
func (c *Client) mine(id string) error {
	if id != "" && id != c.identity.nodeID {
		return errs.Newf(errs.NotFound, "this agent is of the node %s, not of %s", c.identity.nodeID, id)
	}
	return nil
}
