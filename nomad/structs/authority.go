package structs

import (
	"slices"
	"time"
)

// Authority is a certificate authority of the region, as it is stored and
// replicated: its key is sealed.
type Authority struct {
	// ID is the SHA-256 of the certificate in hex.
	ID string
	// Certificate is PEM.
	Certificate []byte
	// SealedKey is the PEM of the key, sealed by the root key KeyID.
	SealedKey []byte
	KeyID     string
	// Active marks the one that signs. The others are trusted until they expire.
	Active     bool
	CreateTime time.Time
	// Requested says that an operator asked for it, so that it signs as soon as every
	// certificate was renewed once. ActivateTime is when it began to sign, zero before.
	Requested    bool
	ActivateTime time.Time

	CreateIndex uint64
	ModifyIndex uint64
}

// Copy returns a deep copy; nil gives nil.
func (a *Authority) Copy() *Authority {
	if a == nil {
		return nil
	}
	c := *a
	c.Certificate, c.SealedKey = slices.Clone(a.Certificate), slices.Clone(a.SealedKey)
	return &c
}

// AuthorityUpsertRequest stores an authority. An active one takes the place of
// the one that was active before, which stays trusted.
type AuthorityUpsertRequest struct {
	Authority *Authority
	WriteRequest
}

// AuthorityDeleteRequest drops an authority that is not the one that signs.
type AuthorityDeleteRequest struct {
	ID string
	WriteRequest
}

// AuthorityStub is what may be told about an authority.
type AuthorityStub struct {
	// ID is the SHA-256 of the certificate in hex.
	ID string
	// Phase is next for one that is trusted and will sign, signs, or trusted for one
	// that signed before.
	Phase     AuthorityPhase
	Requested bool
	// NotBefore and NotAfter are of the certificate.
	NotBefore, NotAfter time.Time
	CreateTime          time.Time
	// Until is when the phase ends, zero where that is not decided.
	Until time.Time

	CreateIndex uint64
	ModifyIndex uint64
}

// AuthorityPhase is where in its life an authority is.
type AuthorityPhase string

// The phases, in their order.
const (
	AuthorityNext    AuthorityPhase = "next"
	AuthoritySigns   AuthorityPhase = "signs"
	AuthorityTrusted AuthorityPhase = "trusted"
)

// AuthorityListRequest asks for the authorities of the region.
type AuthorityListRequest struct {
	QueryOptions
}

// AuthorityListResponse lists them, the oldest first.
type AuthorityListResponse struct {
	Authorities []*AuthorityStub
	QueryMeta
}

// AuthorityRotateRequest asks for an authority in the place of the one that signs.
type AuthorityRotateRequest struct {
	WriteRequest
}

// AuthorityRotateResponse tells of the new one.
type AuthorityRotateResponse struct {
	Authority *AuthorityStub
	WriteMeta
}

// AuthorityJoinRequest asks for the first certificate with a join token. The
// region of the WriteRequest is the joiner's.
type AuthorityJoinRequest struct {
	// TokenID and Secret are those of the token.
	TokenID string
	Secret  string
	Role    JoinRole
	// CSR is a PKCS #10 request in DER (RFC 2986); only its key and addresses count.
	CSR []byte
	// Node is the name of the joiner, for the operator.
	Node string
	// Time is the joiner's clock.
	Time time.Time
	// Address is where the joiner called from, set by the server that took the call.
	Address string
	WriteRequest
}

// AuthorityJoinResponse is what a joiner needs from then on.
type AuthorityJoinResponse struct {
	Issued
	// GossipKey is the key of the gossip pool, nil for node agents and where
	// gossip is in clear.
	GossipKey []byte
	// GossipServers are the gossip addresses of the servers of the region, for servers.
	GossipServers []string
	// Servers are the server ports of the region, host:port.
	Servers []string
	WriteMeta
}

// AuthorityRenewRequest asks for a new certificate with the one that the
// connection shows.
type AuthorityRenewRequest struct {
	// CSR is as in AuthorityJoinRequest.
	CSR []byte
	QueryOptions
}

// AuthorityRenewResponse holds the new certificate.
type AuthorityRenewResponse struct {
	Issued
	QueryMeta
}

// Issued is a certificate and whom its holder may trust, both PEM.
type Issued struct {
	// Certificate begins with the holder's and ends with that of its authority.
	Certificate []byte
	// Authorities are all that are trusted.
	Authorities []byte
}
