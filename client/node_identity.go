package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// IdentityRequest is the argument of Node.Identity.
type IdentityRequest struct {
	// Rotate asks the servers for a new identity first.
	Rotate bool
}

// IdentityReply answers it with the claims of the node's signed identity, not with
// the identity itself. Claims is nil before the first one.
type IdentityReply struct {
	Claims  map[string]any
	Rotated bool
}

func (c *Client) nodeIdentity(ctx context.Context, _ *nodelink.Call, r *IdentityRequest) (*IdentityReply, error) {
	out := &IdentityReply{}
	if r.Rotate {
		if err := c.renewIdentity(ctx); err != nil {
			return nil, err
		}
		out.Rotated = true
	}
	out.Claims = claimsOf(c.identity.claims())
	return out, nil
}

// renewIdentity has the servers sign a new identity of the node.
func (c *Client) renewIdentity(ctx context.Context) error {
	args, reply := &structs.NodeUpdateStatusRequest{NodeID: c.identity.nodeID, Status: structs.NodeStatusReady, ForceIdentityRenewal: true}, &structs.NodeUpdateResponse{}
	args.Region = c.config.Region
	if err := c.prove(ctx, &args.WriteRequest, func() error { return c.once(ctx, "Node.UpdateStatus", args, reply) }); err != nil {
		return err
	}
	if reply.SignedIdentity == nil {
		return errs.New(errs.PreconditionFailed, "the servers signed no identity: they have no key yet")
	}
	return c.identity.take(*reply.SignedIdentity)
}

// claimsOf decodes the claims of a JWT, nil for none. The servers sign and check it;
// the agent only shows what it says.
func claimsOf(token string) (claims map[string]any) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(b, &claims) != nil {
		return nil
	}
	return claims
}
