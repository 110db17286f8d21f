package structs

import (
	"slices"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// Bounds on the life of the identity of a local process, and what it is without
// a wish.
const (
	MinIdentityTTL     = time.Minute
	MaxIdentityTTL     = time.Hour
	DefaultIdentityTTL = 15 * time.Minute
)

// DefaultIdentityAudience is for whom an identity is made that names nobody.
const DefaultIdentityAudience = "cairn"

// workloadAudience is that of the identities of placed workloads. It is never
// given to a process that an agent vouches for.
const workloadAudience = "nomadproject.io"

// PeerIdentity is a process on a node, as the node's kernel saw it.
type PeerIdentity struct {
	NodeID   string
	NodeName string
	UID      int
	GID      int
	PID      int
}

// IdentitySignRequest asks for a signed identity of a process on a node.
type IdentitySignRequest struct {
	Peer     PeerIdentity
	Audience []string
	TTL      time.Duration
	QueryOptions
}

// IdentitySignResponse holds a signed identity.
type IdentitySignResponse struct {
	// JWT holds the claims of auth.PeerClaims.
	JWT string
	// KeyID is the root key that signed it.
	KeyID string
	// ExpiresAt is in Unix seconds.
	ExpiresAt int64
	QueryMeta
}

// Canonicalize sets what the request leaves open.
func (r *IdentitySignRequest) Canonicalize() {
	if r.TTL == 0 {
		r.TTL = DefaultIdentityTTL
	}
	if len(r.Audience) == 0 {
		r.Audience = []string{DefaultIdentityAudience}
	}
}

// Validate returns every problem at once.
func (r *IdentitySignRequest) Validate() error {
	var wrong []errs.Erratum
	bad := func(when bool, field, msg string) {
		if when {
			wrong = append(wrong, errs.Erratum{Field: field, Msg: msg})
		}
	}
	bad(r.Peer.NodeID == "", "Peer.NodeID", "the node must be named")
	bad(r.Peer.UID < 0 || r.Peer.GID < 0 || r.Peer.PID < 0, "Peer", "the process is not known to the kernel of its node")
	bad(r.TTL < MinIdentityTTL || r.TTL > MaxIdentityTTL, "TTL", "must be between "+MinIdentityTTL.String()+" and "+MaxIdentityTTL.String())
	bad(len(r.Audience) > 8, "Audience", "must not list more than 8")
	for _, a := range r.Audience {
		bad(a == "" || len(a) > 256, "Audience", "must hold texts of 1 to 256 bytes")
	}
	bad(slices.Contains(r.Audience, workloadAudience), "Audience", workloadAudience+" is for workloads that the cluster placed: name another")
	if len(wrong) == 0 {
		return nil
	}
	return errs.Newf(errs.Invalid, "the identity cannot be signed: %s %s", wrong[0].Field, wrong[0].Msg).WithErrata(wrong...)
}
