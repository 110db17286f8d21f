package nomad

import (
	"cmp"
	"context"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Enforcement says what becomes of new nodes that nobody introduced.
type Enforcement string

// The degrees of enforcement.
const (
	IntroductionNone   Enforcement = "none"
	IntroductionWarn   Enforcement = "warn"
	IntroductionStrict Enforcement = "strict"
)

// IntroductionConfig says how new nodes are introduced.
type IntroductionConfig struct {
	Enforcement Enforcement
	// DefaultTTL is the life of introduction tokens unless more is asked for, MaxTTL
	// the longest.
	DefaultTTL time.Duration
	MaxTTL     time.Duration
}

// identityDue returns a new identity of the node and the key that signed it, nil
// if none is due. A node that called with its secret gets its first one; one that
// uses an identity gets the next in time.
func (c *leaderCall) identityDue(n *structs.Node, force bool, now time.Time) (*string, string) {
	due := force
	switch {
	case c.id.NodeClaims != nil:
		due = due || c.id.NodeClaims.Due(n, now)
	case c.id.Node != nil:
		due = due || n.IdentitySigningKeyID == ""
	}
	if !due {
		return nil, ""
	}
	ttl := structs.DefaultNodeIdentityTTL
	if pool := c.srv.state.Snapshot().NodePool(nil, n.NodePool); pool != nil {
		ttl = pool.NodeIdentityTTL
	}
	token, key, err := c.srv.keyring.Sign(auth.NewNodeClaims(c.srv.config.Region, n, ttl, now))
	if err != nil { // its secret serves the node until there is a key
		c.srv.logger.Debug("no identity for a node yet", "node_id", n.ID, "error", err)
		return nil, ""
	}
	return &token, key
}

var aclIntroduceNode = newLeader("ACL.CreateClientIntroductionToken",
	writesNodes[structs.ACLCreateClientIntroductionTokenRequest],
	func(_ context.Context, c *leaderCall, r *structs.ACLCreateClientIntroductionTokenRequest, reply *structs.ACLCreateClientIntroductionTokenResponse) (err error) {
		conf := &c.srv.config.Introduction
		pool := cmp.Or(r.NodePool, structs.NodePoolDefault)
		switch {
		case r.TTL < 0 || r.TTL > conf.MaxTTL:
			return errs.Newf(errs.Invalid, "introduction token TTL must be between 0 and %s", conf.MaxTTL)
		case pool == structs.NodePoolAll:
			return errs.Newf(errs.Invalid, "no node can register in the node pool %q", pool)
		}
		if err := structs.ValidateNodePoolName(pool); err != nil {
			return err
		}
		ttl := cmp.Or(r.TTL, conf.DefaultTTL)
		reply.JWT, _, err = c.srv.keyring.Sign(auth.NewIntroductionClaims(c.srv.config.Region, pool, r.NodeName, ttl, time.Now()))
		return err
	})

// CreateClientIntroductionToken makes a token with which a new node may register.
func (a *ACL) CreateClientIntroductionToken(ctx context.Context, args *structs.ACLCreateClientIntroductionTokenRequest, reply *structs.ACLCreateClientIntroductionTokenResponse) error {
	return aclIntroduceNode.serve(ctx, a.srv, args, reply)
}
