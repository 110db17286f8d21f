package auth

import (
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/google/uuid"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/nomad/structs"
)

// NodeClaims are the claims of a node's identity, by the names of the public API.
type NodeClaims struct {
	NodeID         string `json:"nomad_node_id"`
	NodePool       string `json:"nomad_node_pool"`
	NodeClass      string `json:"nomad_node_class"`
	NodeDatacenter string `json:"nomad_node_datacenter"`
	jwt.Claims
}

// IntroductionClaims are the claims of a token that introduces a new node.
type IntroductionClaims struct {
	NodePool string `json:"nomad_node_pool"`
	// NodeName is "" for a node of any name.
	NodeName string `json:"nomad_node_name,omitempty"`
	jwt.Claims
}

// introduction begins the subject of tokens that introduce nodes.
const introduction = "node-introduction"

// NewNodeClaims returns the claims of an identity of the node that begins now.
func NewNodeClaims(region string, n *structs.Node, ttl time.Duration, now time.Time) *NodeClaims {
	subject := strings.Join([]string{"node", region, n.NodePool, n.ID, "default"}, ":")
	return &NodeClaims{NodeID: n.ID, NodePool: n.NodePool, NodeClass: n.NodeClass, NodeDatacenter: n.Datacenter,
		Claims: registered(subject, ttl, now)}
}

// NewIntroductionClaims returns the claims of a token that introduces a node of
// the name, "" for any, to the pool.
func NewIntroductionClaims(region, pool, name string, ttl time.Duration, now time.Time) *IntroductionClaims {
	subject := strings.Join([]string{introduction, region, pool, name, "default"}, ":")
	return &IntroductionClaims{NodePool: pool, NodeName: name, Claims: registered(subject, ttl, now)}
}

func registered(subject string, ttl time.Duration, now time.Time) jwt.Claims {
	return jwt.Claims{
		Subject: subject, Audience: jwt.Audience{DefaultAudience}, ID: uuid.NewString(),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(ttl)),
	}
}

// Due reports whether an identity of the node is to be replaced: two thirds of
// its life are over, or it does not say any more what the node is.
func (c *NodeClaims) Due(n *structs.Node, now time.Time) bool {
	if c.NodePool != n.NodePool || c.NodeClass != n.NodeClass || c.NodeDatacenter != n.Datacenter {
		return true
	}
	if c.IssuedAt == nil || c.Expiry == nil {
		return true
	}
	issued, expiry := c.IssuedAt.Time(), c.Expiry.Time()
	return expiry.Sub(now) <= expiry.Sub(issued)/3
}

// signedClaims are the claims of any token that the cluster signs.
type signedClaims struct {
	WorkloadClaims
	NodeID         string           `json:"nomad_node_id"`
	NodePool       string           `json:"nomad_node_pool"`
	NodeName       string           `json:"nomad_node_name"`
	NodeClass      string           `json:"nomad_node_class"`
	NodeDatacenter string           `json:"nomad_node_datacenter"`
	IssuedAt       *jwt.NumericDate `json:"iat"`
	Expiry         *jwt.NumericDate `json:"exp"`
}

// machine returns the caller with the identity of a node, or with an introduction
// of one; nil for other claims.
func (r *Resolver) machine(store Store, c *signedClaims) (*Identity, error) {
	rest := jwt.Claims{Subject: c.Subject, Audience: c.Audience, IssuedAt: c.IssuedAt, Expiry: c.Expiry}
	switch {
	case c.NodeID != "":
		n := store.Node(nil, c.NodeID)
		if n == nil {
			return nil, ErrBadIdentity
		}
		return r.node(n, &NodeClaims{c.NodeID, c.NodePool, c.NodeClass, c.NodeDatacenter, rest}), nil
	case strings.HasPrefix(c.Subject, introduction+":"):
		return &Identity{ACL: r.unprivileged(), Introduction: &IntroductionClaims{c.NodePool, c.NodeName, rest}}, nil
	}
	return nil, nil
}

// node returns the caller that proved to be the node, nil claims for one that
// did by its secret.
func (r *Resolver) node(n *structs.Node, claims *NodeClaims) *Identity {
	rights := acl.Client(n.NodePool)
	if !r.config.Enabled {
		rights = acl.Disabled
	}
	return &Identity{ACL: rights, Node: n, NodeClaims: claims}
}

// unprivileged is the ACL of callers that have no right of their own.
func (r *Resolver) unprivileged() *acl.ACL {
	if !r.config.Enabled {
		return acl.Disabled
	}
	return acl.DenyAll
}

// Nobody is a caller that could not say who it is, for methods that take another
// proof.
func (r *Resolver) Nobody() *Identity { return &Identity{ACL: r.unprivileged()} }

// whileOff returns the caller while access control is off. Nodes still prove
// themselves, as their RPCs are for them alone.
func (r *Resolver) whileOff(secret string) *Identity {
	if secret == "" || r.config.Store == nil {
		return disabled
	}
	store := r.config.Store()
	if isJWT(secret) {
		claims := new(signedClaims)
		if r.config.Verify(secret, claims) == nil {
			if id, err := r.machine(store, claims); err == nil && id != nil {
				return id
			}
		}
		return disabled
	}
	if n := store.NodeBySecret(nil, secret); n != nil {
		return r.node(n, nil)
	}
	return disabled
}
