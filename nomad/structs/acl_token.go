package structs

import (
	"slices"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// The types of tokens. A client token has the rights of its policies and roles;
// a management token may do everything.
const (
	ACLClientToken     = "client"
	ACLManagementToken = "management"
)

// ACLToken is a caller that proves itself by a secret.
type ACLToken struct {
	// AccessorID names the token in public, a UUID.
	AccessorID string
	// SecretID is the proof, a UUID; it is never logged nor listed.
	SecretID string
	// Name is for people, at most 256 characters.
	Name string
	// Type is ACLClientToken or ACLManagementToken.
	Type string
	// Policies and Roles are what a client token may do; a management token has none.
	Policies []string
	Roles    []*ACLTokenRoleLink
	// Global tokens belong to the authoritative region and are valid in all.
	Global bool
	// Hash is a digest of the contents, see SetHash.
	Hash       []byte
	CreateTime time.Time
	// ExpirationTime is when the token stops to be valid, nil for never.
	ExpirationTime *time.Time `json:",omitempty"`
	// ExpirationTTL sets ExpirationTime at creation, 0 for not.
	ExpirationTTL time.Duration

	CreateIndex uint64
	ModifyIndex uint64
}

// ACLTokenRoleLink names a role. A writer may give either field; ID is stored,
// and Name is what the role is called when the token is read.
type ACLTokenRoleLink struct {
	ID   string
	Name string
}

// ACLTokenListStub is a token without its secret.
type ACLTokenListStub struct {
	AccessorID     string
	Name           string
	Type           string
	Policies       []string
	Roles          []*ACLTokenRoleLink
	Global         bool
	Hash           []byte
	CreateTime     time.Time
	ExpirationTime *time.Time `json:",omitempty"`
	// LastUsedTime is when the token was last used, to the minute and a minute or two
	// late, as far as the servers remember; nil for not. It is not stored.
	LastUsedTime *time.Time `json:",omitempty"`

	CreateIndex uint64
	ModifyIndex uint64
}

// Copy returns a deep copy; nil gives nil.
func (t *ACLToken) Copy() *ACLToken {
	if t == nil {
		return nil
	}
	c := *t
	c.Policies = slices.Clone(t.Policies)
	c.Hash = slices.Clone(t.Hash)
	c.Roles = slices.Clone(t.Roles)
	for i, r := range c.Roles {
		if r != nil {
			link := *r
			c.Roles[i] = &link
		}
	}
	if t.ExpirationTime != nil {
		at := *t.ExpirationTime
		c.ExpirationTime = &at
	}
	return &c
}

// Stub returns what lists show. It shares memory with t.
func (t *ACLToken) Stub() *ACLTokenListStub {
	return &ACLTokenListStub{t.AccessorID, t.Name, t.Type, t.Policies, t.Roles, t.Global, t.Hash, t.CreateTime, t.ExpirationTime, nil,
		t.CreateIndex, t.ModifyIndex}
}

// Redacted returns a shallow copy without the secret, for events and logs.
func (t *ACLToken) Redacted() *ACLToken {
	c := *t
	c.SecretID = ""
	return &c
}

// String names the token without its secret.
func (t ACLToken) String() string { return "token " + t.AccessorID }

// GoString keeps the secret out of %#v.
func (t ACLToken) GoString() string { return t.String() }

// IsManagement reports whether the token may do everything.
func (t *ACLToken) IsManagement() bool { return t.Type == ACLManagementToken }

// IsExpired reports whether the token is no longer valid at now.
func (t *ACLToken) IsExpired(now time.Time) bool {
	return t.ExpirationTime != nil && !now.Before(*t.ExpirationTime)
}

// SetHash sets Hash to the digest of everything that a writer sets, and returns it.
func (t *ACLToken) SetHash() []byte {
	h := newContentHash()
	h.text(t.AccessorID, t.SecretID, t.Name, t.Type)
	h.list(t.Policies)
	h.number(int64(len(t.Roles)))
	for _, r := range t.Roles {
		h.text(r.ID)
	}
	h.flag(t.Global)
	if h.flag(t.ExpirationTime != nil); t.ExpirationTime != nil {
		h.number(t.ExpirationTime.UnixNano())
	}
	t.Hash = h.sum()
	return t.Hash
}

// SetExpiration fills in CreateTime, and ExpirationTime from ExpirationTTL. Only
// the leader calls it, once, when the token is made.
func (t *ACLToken) SetExpiration(now time.Time) {
	if t.CreateTime.IsZero() {
		t.CreateTime = now.UTC()
	}
	if t.ExpirationTTL > 0 && t.ExpirationTime == nil {
		at := t.CreateTime.Add(t.ExpirationTTL)
		t.ExpirationTime = &at
	}
}

// ACLTokenLimits bounds the life of a token that expires.
type ACLTokenLimits struct {
	MinTTL, MaxTTL time.Duration
}

// DefaultACLTokenLimits are those of the public API.
func DefaultACLTokenLimits() ACLTokenLimits {
	return ACLTokenLimits{MinTTL: time.Minute, MaxTTL: 24 * time.Hour}
}

// Validate returns every problem of a token at once. existing is the stored
// token, nil for one that is new; now is when the write was received.
func (t *ACLToken) Validate(limits ACLTokenLimits, existing *ACLToken, now time.Time) error {
	l := problemList(t.problems())
	if existing == nil {
		l = append(l, t.createProblems(limits, now)...)
	} else {
		l = append(l, t.updateProblems(existing)...)
	}
	return errataError("invalid token", l)
}

func (t *ACLToken) problems() []errs.Erratum {
	var l problemList
	if n := len([]rune(t.Name)); n > maxACLTokenName {
		l.add("Name", "token name has %d characters, more than %d", n, maxACLTokenName)
	}
	links := len(t.Policies) + len(t.Roles)
	switch t.Type {
	case ACLClientToken:
		if links == 0 {
			l.add("Policies", "a client token needs at least one policy or role")
		}
	case ACLManagementToken:
		if links != 0 {
			l.add("Policies", "a management token may do everything: it takes no policies or roles")
		}
	default:
		l.add("Type", "token type %q must be %s or %s", clip(t.Type), ACLClientToken, ACLManagementToken)
	}
	if links > maxACLLinks {
		l.add("Policies", "%d policies and roles are more than %d: put policies together into a role", links, maxACLLinks)
	}
	for _, name := range t.Policies {
		l.name("Policies", name)
	}
	for _, r := range t.Roles {
		switch {
		case r == nil || r.ID == "" && r.Name == "":
			l.add("Roles", "a role needs an ID or a name")
		case r.ID != "" && !isUUID(r.ID):
			l.add("Roles", "role ID %q is not a UUID", clip(r.ID))
		}
	}
	return l
}

func (t *ACLToken) createProblems(limits ACLTokenLimits, now time.Time) []errs.Erratum {
	var l problemList
	if t.AccessorID != "" || t.SecretID != "" {
		switch {
		case t.Type != ACLClientToken:
			l.add("AccessorID", "only a client token may be created with an AccessorID and SecretID of one's own")
		case !isUUID(t.AccessorID) || !isUUID(t.SecretID):
			l.add("AccessorID", "a token that is created with an AccessorID and SecretID needs both, as UUIDs")
		case t.AccessorID == t.SecretID:
			l.add("SecretID", "the SecretID must differ from the AccessorID, which is no secret")
		}
	}
	life := t.ExpirationTTL
	switch {
	case life < 0:
		l.add("ExpirationTTL", "ExpirationTTL %s must not be negative", life)
		return l
	case life != 0 && t.ExpirationTime != nil:
		l.add("ExpirationTTL", "give ExpirationTTL or ExpirationTime, not both")
		return l
	case t.ExpirationTime != nil:
		life = t.ExpirationTime.Sub(now)
	case life == 0:
		return l
	}
	if life < limits.MinTTL {
		l.add("ExpirationTTL", "the token would expire in %s, sooner than acl.token_min_expiration_ttl of %s", life, limits.MinTTL)
	}
	if life > limits.MaxTTL {
		l.add("ExpirationTTL", "the token would expire in %s, later than acl.token_max_expiration_ttl of %s", life.Round(time.Second), limits.MaxTTL)
	}
	return l
}

func (t *ACLToken) updateProblems(existing *ACLToken) []errs.Erratum {
	var l problemList
	if t.AccessorID != existing.AccessorID {
		l.add("AccessorID", "the AccessorID of a token cannot change")
	}
	if t.SecretID != "" && t.SecretID != existing.SecretID {
		l.add("SecretID", "the SecretID of a token cannot change: create another token")
	}
	if t.Global != existing.Global {
		l.add("Global", "whether a token is global cannot change: create another token")
	}
	sameTime := t.ExpirationTime == nil || existing.ExpirationTime != nil && t.ExpirationTime.Equal(*existing.ExpirationTime)
	if !sameTime || t.ExpirationTTL != 0 && t.ExpirationTTL != existing.ExpirationTTL {
		l.add("ExpirationTime", "when a token expires cannot change: create another token")
	}
	return l
}
