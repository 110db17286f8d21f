package structs

import (
	"bytes"
	"slices"
	"time"
)

// JoinRole is what a joiner becomes.
type JoinRole string

// The roles.
const (
	JoinRoleServer JoinRole = "server"
	JoinRoleClient JoinRole = "client"
)

// Bounds of join tokens.
const (
	DefaultJoinTokenTTL = time.Hour
	MinJoinTokenTTL     = time.Second
	MaxJoinTokenTTL     = 30 * 24 * time.Hour
	MaxJoinTokenUses    = 1000
	MaxJoinTokens       = 10000
	maxJoinTokenName    = 256
)

// JoinToken lets agents join the cluster that have no certificate yet.
type JoinToken struct {
	// ID is a UUID that names the token in public.
	ID   string
	Name string
	Role JoinRole
	// SecretHash is the SHA-256 of the secret, which is not kept.
	SecretHash     []byte
	CreateTime     time.Time
	ExpirationTime time.Time
	// MaxUses is how many agents may join.
	MaxUses int
	// Joined are those who have.
	Joined []*JoinTokenUse

	CreateIndex uint64
	ModifyIndex uint64
}

// JoinTokenUse is one agent that joined.
type JoinTokenUse struct {
	// KeyHash is the SHA-256 of its public key: whoever asks again with the same
	// key, because an answer was lost, is no other agent.
	KeyHash []byte
	// Node is the name it gave, Address where it called from.
	Node    string
	Address string
	Time    time.Time
}

// JoinTokenStub is what may be told about a join token.
type JoinTokenStub struct {
	ID             string
	Name           string
	Role           JoinRole
	CreateTime     time.Time
	ExpirationTime time.Time
	MaxUses        int
	Uses           int
	// Joined are the agents that used it.
	Joined []*JoinTokenNode

	CreateIndex uint64
	ModifyIndex uint64
}

// JoinTokenNode tells who joined with a token.
type JoinTokenNode struct {
	Node    string
	Address string
	Time    time.Time
}

// Copy returns a deep copy; nil gives nil.
func (t *JoinToken) Copy() *JoinToken {
	if t == nil {
		return nil
	}
	c := *t
	c.SecretHash, c.Joined = slices.Clone(t.SecretHash), nil
	for _, u := range t.Joined {
		uc := *u
		uc.KeyHash = slices.Clone(u.KeyHash)
		c.Joined = append(c.Joined, &uc)
	}
	return &c
}

// Stub returns what may be told about the token.
func (t *JoinToken) Stub() *JoinTokenStub {
	out := &JoinTokenStub{
		ID: t.ID, Name: t.Name, Role: t.Role, CreateTime: t.CreateTime, ExpirationTime: t.ExpirationTime,
		MaxUses: t.MaxUses, Uses: len(t.Joined), Joined: []*JoinTokenNode{},
		CreateIndex: t.CreateIndex, ModifyIndex: t.ModifyIndex,
	}
	for _, u := range t.Joined {
		out.Joined = append(out.Joined, &JoinTokenNode{Node: u.Node, Address: u.Address, Time: u.Time})
	}
	return out
}

// Known reports whether the holder of a key has joined with the token.
func (t *JoinToken) Known(keyHash []byte) bool {
	return slices.ContainsFunc(t.Joined, func(u *JoinTokenUse) bool { return bytes.Equal(u.KeyHash, keyHash) })
}

// JoinTokenCreateRequest makes a join token.
type JoinTokenCreateRequest struct {
	Name string
	Role JoinRole
	// TTL is how long it is valid, 0 for DefaultJoinTokenTTL.
	TTL time.Duration
	// MaxUses is how many agents may join, 0 for one.
	MaxUses int
	WriteRequest
}

// Fill sets what was left open and refuses what cannot be.
func (r *JoinTokenCreateRequest) Fill() error {
	if r.TTL == 0 {
		r.TTL = DefaultJoinTokenTTL
	}
	if r.MaxUses == 0 {
		r.MaxUses = 1
	}
	switch {
	case r.Role != JoinRoleServer && r.Role != JoinRoleClient:
		return invalidf("role %q of a join token must be server or client", r.Role)
	case r.TTL < MinJoinTokenTTL || r.TTL > MaxJoinTokenTTL:
		return invalidf("a join token must live from %s to %s, not %s", MinJoinTokenTTL, MaxJoinTokenTTL, r.TTL)
	case r.MaxUses < 1 || r.MaxUses > MaxJoinTokenUses:
		return invalidf("a join token must have from 1 to %d uses, not %d", MaxJoinTokenUses, r.MaxUses)
	case len(r.Name) > maxJoinTokenName:
		return invalidf("the name of a join token must have at most %d bytes", maxJoinTokenName)
	}
	return nil
}

// JoinTokenCreateResponse holds the token, and its text for the only time.
type JoinTokenCreateResponse struct {
	JoinToken *JoinTokenStub
	// Text is what the joiner is given. Whoever has it can join.
	Text string
	WriteMeta
}

// JoinTokenUpsertRequest stores a new join token.
type JoinTokenUpsertRequest struct {
	JoinToken *JoinToken
	WriteRequest
}

// JoinTokenDeleteRequest revokes join tokens by ID, all or none.
type JoinTokenDeleteRequest struct {
	IDs []string
	WriteRequest
}

// Validate returns every problem of the request.
func (r *JoinTokenDeleteRequest) Validate() error { return batchError(len(r.IDs), "join token ID") }

// JoinTokenUseRequest counts one agent that joins.
type JoinTokenUseRequest struct {
	ID  string
	Use *JoinTokenUse
	WriteRequest
}

// JoinTokenListRequest lists join tokens.
type JoinTokenListRequest struct {
	QueryOptions
}

// JoinTokenListResponse answers JoinTokenListRequest.
type JoinTokenListResponse struct {
	JoinTokens []*JoinTokenStub
	QueryMeta
}
