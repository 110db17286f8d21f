package structs

import (
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// ACLTokenUpsertRequest creates or updates tokens, all or none, all of them
// global or all local.
type ACLTokenUpsertRequest struct {
	Tokens []*ACLToken
	// AllowMissingRoles is set by replication, which may see tokens first.
	AllowMissingRoles bool
	WriteRequest
}

// Validate checks what needs no stored token; see ACLToken.Validate for the rest.
func (r *ACLTokenUpsertRequest) Validate() error {
	if err := batchError(len(r.Tokens), "token"); err != nil {
		return err
	}
	for _, t := range r.Tokens {
		if t == nil {
			return invalidf("a token is null")
		}
		if t.Global != r.Tokens[0].Global {
			return invalidf("cannot mix global and local tokens in one request: send two")
		}
	}
	return nil
}

// ACLTokenUpsertResponse answers ACLTokenUpsertRequest with the tokens as stored.
type ACLTokenUpsertResponse struct {
	Tokens []*ACLToken
	WriteMeta
}

// ACLTokenDeleteRequest deletes tokens by accessor, all or none.
type ACLTokenDeleteRequest struct {
	AccessorIDs []string
	WriteRequest
}

// Validate returns every problem of the request at once.
func (r *ACLTokenDeleteRequest) Validate() error {
	if err := batchError(len(r.AccessorIDs), "token"); err != nil {
		return err
	}
	return errataError("invalid accessor", uuidErrors("AccessorIDs", r.AccessorIDs))
}

// ACLTokenBootstrapRequest makes the first management token.
type ACLTokenBootstrapRequest struct {
	// Token is filled in by the leader before the request enters the log.
	Token *ACLToken
	// ResetIndex must be that of the last bootstrap to make another, 0 for the first.
	ResetIndex uint64
	// BootstrapSecret becomes the SecretID, a UUID; "" for a random one.
	BootstrapSecret string
	WriteRequest
}

// Validate returns every problem of the request at once.
func (r *ACLTokenBootstrapRequest) Validate() error {
	var l []errs.Erratum
	if r.BootstrapSecret != "" && !isUUID(r.BootstrapSecret) {
		l = append(l, errs.Erratum{Field: "BootstrapSecret", Msg: "the bootstrap secret must be a UUID"})
	}
	return errataError("invalid request", l)
}

// ACLTokenListRequest lists tokens.
type ACLTokenListRequest struct {
	// GlobalOnly leaves local tokens out.
	GlobalOnly bool
	QueryOptions
}

// ACLTokenListResponse answers ACLTokenListRequest.
type ACLTokenListResponse struct {
	Tokens []*ACLTokenListStub
	QueryMeta
}

// ACLTokenUsageRequest asks a server when tokens were last used.
type ACLTokenUsageRequest struct {
	// AfterMinute leaves out earlier uses, in minutes since the epoch.
	AfterMinute int64
	QueryOptions
}

// ACLTokenUsageResponse answers ACLTokenUsageRequest.
type ACLTokenUsageResponse struct {
	// Since is from when on no use is missing, as long as nobody is silent.
	Since time.Time
	// LastUsed holds minutes since the epoch by accessor. A token that was not used
	// since Since is absent.
	LastUsed map[string]int64
	// NotHeard names the servers of the region that have not told what they know lately.
	NotHeard []string
	QueryMeta
}

// ACLTokenSpecificRequest reads one token.
type ACLTokenSpecificRequest struct {
	AccessorID string
	QueryOptions
}

// SingleACLTokenResponse answers ACLTokenSpecificRequest; nil means absent.
type SingleACLTokenResponse struct {
	Token *ACLToken
	// LastUsedTime is as in ACLTokenListStub.
	LastUsedTime *time.Time
	QueryMeta
}

// ACLTokenSetRequest reads several tokens, for the leaders of other regions.
type ACLTokenSetRequest struct {
	AccessorIDS []string
	QueryOptions
}

// ACLTokenSetResponse answers ACLTokenSetRequest; absent accessors are left out.
type ACLTokenSetResponse struct {
	Tokens map[string]*ACLToken
	QueryMeta
}

// ResolveACLTokenRequest reads a token by its secret, for older node agents.
type ResolveACLTokenRequest struct {
	SecretID string
	QueryOptions
}

// ResolveACLTokenResponse answers ResolveACLTokenRequest; nil means absent.
type ResolveACLTokenResponse struct {
	Token *ACLToken
	QueryMeta
}

// ACLOneTimeTokenTTL is how long a one-time token may be exchanged.
const ACLOneTimeTokenTTL = 10 * time.Minute

// OneTimeToken is a secret that is exchanged once for the token of its accessor.
type OneTimeToken struct {
	OneTimeSecretID string
	AccessorID      string
	ExpiresAt       time.Time

	CreateIndex uint64
	ModifyIndex uint64
}

// Copy returns a copy; nil gives nil.
func (o *OneTimeToken) Copy() *OneTimeToken {
	if o == nil {
		return nil
	}
	c := *o
	return &c
}

// String names the token without its secret.
func (o OneTimeToken) String() string { return "one-time token of " + o.AccessorID }

// GoString keeps the secret out of %#v.
func (o OneTimeToken) GoString() string { return o.String() }

// OneTimeTokenUpsertRequest makes a one-time token for the caller.
type OneTimeTokenUpsertRequest struct {
	// OneTimeToken is filled in by the leader before the request enters the log.
	OneTimeToken *OneTimeToken
	WriteRequest
}

// OneTimeTokenUpsertResponse answers OneTimeTokenUpsertRequest.
type OneTimeTokenUpsertResponse struct {
	OneTimeToken *OneTimeToken
	WriteMeta
}

// OneTimeTokenExchangeRequest uses a one-time token up.
type OneTimeTokenExchangeRequest struct {
	OneTimeSecretID string
	WriteRequest
}

// OneTimeTokenExchangeResponse answers OneTimeTokenExchangeRequest.
type OneTimeTokenExchangeResponse struct {
	Token *ACLToken
	WriteMeta
}

// OneTimeTokenDeleteRequest deletes one-time tokens by accessor.
type OneTimeTokenDeleteRequest struct {
	AccessorIDs []string
	// Seen are the ModifyIndexes of the tokens that are meant, in the order of AccessorIDs:
	// one that took their place stays. Empty means whatever is there.
	Seen []uint64
	WriteRequest
}

// OneTimeTokenExpireRequest deletes the one-time tokens that expired before Timestamp.
type OneTimeTokenExpireRequest struct {
	Timestamp time.Time
	WriteRequest
}
