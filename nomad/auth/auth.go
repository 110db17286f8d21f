// Package auth finds out who a caller is and what it may do: the holder of a
// token, a workload with a signed identity, or nobody in particular.
package auth

import (
	"context"
	"iter"
	"net"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// The reasons why a caller is refused. Their texts are for what an agent answers
// itself; an RPC says no more than that the caller may not.
var (
	ErrTokenNotFound = errs.New(errs.PermissionDenied, "ACL token not found")
	ErrTokenExpired  = errs.New(errs.PermissionDenied, "ACL token expired")
	// ErrBadIdentity is a JWT that this cluster did not sign, or not for this use.
	ErrBadIdentity = errs.New(errs.PermissionDenied, "workload identity is not valid")
)

// Accessors of tokens that no table holds. They are no UUIDs, so none can be made.
const (
	AnonymousAccessor = "anonymous"
	DisabledAccessor  = "acls-disabled"
	AgentAccessor     = "agent"
)

// anonymous is the token of callers without a secret.
var anonymous = &structs.ACLToken{
	AccessorID: AnonymousAccessor, Name: "Anonymous Token", Type: structs.ACLClientToken,
	Policies: []string{structs.ACLAnonymousPolicy},
}

// disabled is every caller while access control is off.
var disabled = &Identity{ACL: acl.Disabled, Token: &structs.ACLToken{
	AccessorID: DisabledAccessor, Name: "ACLs disabled token", Type: structs.ACLManagementToken,
}}

// Peer is what the transport knows about the other end of a connection.
type Peer struct {
	// Remote is the address the connection came from, nil for calls within the process.
	Remote net.Addr
	// Server is true when the transport proved that the peer is a server of the
	// cluster, or cannot tell servers from others because TLS is off.
	Server bool
	// TLSNames are the names of the verified certificate, nil without one.
	TLSNames []string
}

// Identity is who a caller is. One of Token, Workload, Node and Introduction is
// set, none for nobody. It must not be mutated.
type Identity struct {
	ACL *acl.ACL
	// Token is the stored one, or a stand-in for callers without a secret and
	// while access control is off; it carries its secret.
	Token *structs.ACLToken
	// Workload is set for a caller with a workload identity.
	Workload *WorkloadClaims
	// Node is set for a caller that proved to be the node, while access control is
	// off too. NodeClaims are of its signed identity, nil where it gave its secret.
	Node       *structs.Node
	NodeClaims *NodeClaims
	// Introduction is set for a caller that was allowed to join a new node.
	Introduction *IntroductionClaims
	// Policies are the names of the policies that the caller holds, through roles
	// too and whether they exist or not; nil for management.
	Policies []string
	// Expires is when the token or the signed identity of the caller stops to be
	// valid, zero for never.
	Expires time.Time
	// Peer is nil for calls within the process and while access control is off.
	Peer *Peer
}

// Store is where tokens, policies and roles are read; a snapshot of the state is one.
type Store interface {
	ACLTokenBySecret(ws memdb.WatchSet, secret string) *structs.ACLToken
	ACLPolicy(ws memdb.WatchSet, name string) *structs.ACLPolicy
	WorkloadACLPolicies(ws memdb.WatchSet) iter.Seq[*structs.ACLPolicy]
	ACLRole(ws memdb.WatchSet, id string) *structs.ACLRole
	NodeStore
}

// NodeStore is where nodes are read.
type NodeStore interface {
	Node(ws memdb.WatchSet, id string) *structs.Node
	NodeBySecret(ws memdb.WatchSet, secret string) *structs.Node
}

// Config is what a Resolver works with.
type Config struct {
	// Enabled turns access control on. Without it the other fields may be nil: then
	// nodes cannot prove themselves.
	Enabled bool
	// Usage remembers which stored tokens call, nil for nobody.
	Usage *Usage
	// Store returns what is stored now.
	Store func() Store
	// Verify checks that the cluster signed a JWT that is in force, and decodes its claims.
	Verify func(token string, claims any) error
	// Agent is the secret of the agent in this process, "" for none.
	Agent string
}

// agent is the agent in this process. It may have identities signed and nothing else.
var agent = func() *Identity {
	policy, err := acl.Parse(`operator { capabilities = ["identity-sign"] }`)
	if err != nil {
		panic(err)
	}
	rights, err := acl.New(false, policy)
	if err != nil {
		panic(err)
	}
	return &Identity{ACL: rights, Token: &structs.ACLToken{
		AccessorID: AgentAccessor, Name: "Agent", Type: structs.ACLClientToken,
	}}
}()

// Resolver turns a secret into an identity. It is safe for concurrent use.
type Resolver struct {
	config Config
	cache  *acl.Cache
}

// New returns a resolver. With access control off every caller may do
// everything, servers and strangers alike, and secrets only tell nodes apart.
func New(c Config) *Resolver { return &Resolver{config: c, cache: acl.NewCache()} }

// Enabled reports whether access control is on.
func (r *Resolver) Enabled() bool { return r.config.Enabled }

// Resolve returns the caller with the secret, "" for a caller without one, who
// has the policy that is called anonymous; peer may be nil. A caller that is
// not known is refused with one of the errors above.
func (r *Resolver) Resolve(_ context.Context, secret string, peer *Peer) (*Identity, error) {
	if !r.config.Enabled {
		return r.whileOff(secret), nil
	}
	id, err := r.resolve(secret)
	if err != nil {
		return nil, err
	}
	if r.config.Usage != nil && secret != "" && id.Token != nil && id.Token != agent.Token {
		r.config.Usage.Note(id.Token.AccessorID, time.Now())
	}
	id.Peer = peer
	return id, nil
}

func (r *Resolver) resolve(secret string) (*Identity, error) {
	store := r.config.Store()
	switch {
	case secret == "":
		return r.Holder(store, anonymous)
	case isJWT(secret):
		return r.workload(store, secret)
	case secret == r.config.Agent:
		return &Identity{ACL: agent.ACL, Token: agent.Token}, nil
	}
	token := store.ACLTokenBySecret(nil, secret)
	if token == nil {
		if n := store.NodeBySecret(nil, secret); n != nil {
			return r.node(n, nil), nil
		}
		return nil, ErrTokenNotFound
	}
	return r.Holder(store, token)
}

// WellFormed reports whether a secret could be one that a cluster has made: any
// other is refused without asking further.
func WellFormed(secret string) bool { return uuid.Validate(secret) == nil || isJWT(secret) }

// isJWT tells signed claims by their three parts (RFC 7515).
func isJWT(secret string) bool { return strings.Count(secret, ".") == 2 }

// Holder returns the identity of whoever holds the token, which need not be stored.
func (r *Resolver) Holder(store Store, token *structs.ACLToken) (*Identity, error) {
	if token.IsExpired(time.Now()) {
		return nil, ErrTokenExpired
	}
	id := &Identity{ACL: acl.Management, Token: token}
	if token.ExpirationTime != nil {
		id.Expires = *token.ExpirationTime
	}
	if token.IsManagement() {
		return id, nil
	}
	id.Policies = policyNames(store, token)
	var err error
	if id.ACL, err = r.Compile(named(store, id.Policies)); err != nil {
		return nil, err
	}
	return id, nil
}
