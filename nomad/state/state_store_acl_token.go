package state

import (
	"encoding/binary"
	"iter"
	"time"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// ACLTokens is the table of tokens, by accessor, and by secret as values. Events
// leave the secrets out.
var ACLTokens = newTable("acl_token", structs.ACLTokenSnapshot,
	func(t *structs.ACLToken) Key { return Key{ID: t.AccessorID} },
	func(a *acl.ACL, _ *structs.ACLToken) bool { return readsTokens(a) },
	events[structs.ACLToken]{
		topic:   structs.TopicACLToken,
		payload: func(t *structs.ACLToken) structs.EventPayload { return t.Redacted() },
		row:     sameRow[structs.ACLToken],
		follows: follower(readsTokens),
	}).withValue(func(t *structs.ACLToken) string { return t.SecretID }).
	withOrder(tokensByAge).withOrder(tokensByExpiration).notSearched()

func readsTokens(a *acl.ACL) bool { return a.AllowOperatorCapability(acl.ACLTokenRead) }

// tokensByAge has the tokens in the order that they were created in.
var tokensByAge = newIndex("create", func(t *structs.ACLToken) Key {
	return ACLTokenPosition(t.CreateIndex, t.AccessorID)
}, nil)

// tokensByExpiration has the tokens that expire, the global and the local ones
// apart, in the order that they do.
var tokensByExpiration = newIndex("expires", func(t *structs.ACLToken) Key {
	at := *t.ExpirationTime
	id := binary.BigEndian.AppendUint64(nil, uint64(at.Unix())^1<<63) // below 0 comes first
	id = binary.BigEndian.AppendUint32(id, uint32(at.Nanosecond()))
	return Key{locality(t.Global), string(id) + t.AccessorID}
}, func(t *structs.ACLToken) bool { return t.ExpirationTime != nil })

func locality(global bool) string {
	if global {
		return structs.ACLAuthMethodTokenLocalityGlobal
	}
	return structs.ACLAuthMethodTokenLocalityLocal
}

// ACLTokenPosition is where a list of tokens that asks for no prefix begins with
// the token of that create index and accessor, be it there or not.
func ACLTokenPosition(createIndex uint64, accessorID string) Key {
	return Key{ID: string(binary.BigEndian.AppendUint64(nil, createIndex)) + accessorID}
}

// UpsertACLTokens creates or updates tokens, all or none. Roles, given by ID or by
// name, must exist unless the request says otherwise; policies need not. What a token may not change is kept.
func (s *StateStore) UpsertACLTokens(index uint64, r *structs.ACLTokenUpsertRequest) error {
	return s.write(index, "ACLTokenUpserted", func(tx *Txn) error {
		for _, t := range r.Tokens {
			if err := upsertACLToken(tx, t.Copy(), r.AllowMissingRoles); err != nil {
				return err
			}
		}
		return nil
	})
}

func upsertACLToken(tx *Txn, row *structs.ACLToken, missingRoles bool) error {
	if row == nil || row.AccessorID == "" {
		return errs.New(errs.Invalid, "a token without an accessor cannot be stored")
	}
	before := ACLTokens.read(tx, ACLTokens.key(row))
	row.CreateIndex, row.ModifyIndex = tx.opIndex, tx.opIndex
	if before != nil {
		if err := keepACLToken(row, before); err != nil {
			return err
		}
	}
	if row.SecretID == "" {
		return errs.Newf(errs.Invalid, "the token %q has no secret: it cannot be stored", row.AccessorID)
	}
	if other := ACLTokens.readBy(tx, row.SecretID); other != nil && other.AccessorID != row.AccessorID {
		return errs.Newf(errs.Conflict, "the secret of the token %q is that of another: give another one", row.AccessorID)
	}
	if err := linkACLRoles(tx, row, before, missingRoles); err != nil {
		return err
	}
	if len(row.Hash) == 0 {
		row.SetHash()
	}
	ACLTokens.put(tx, row)
	return nil
}

// keepACLToken puts into row what never changes once a token exists.
func keepACLToken(row, before *structs.ACLToken) error {
	if row.SecretID != "" && row.SecretID != before.SecretID {
		return errs.Newf(errs.Conflict, "a token of the accessor %q exists, and a secret cannot change: create another token", row.AccessorID)
	}
	if row.Global != before.Global {
		return errs.Newf(errs.Conflict, "the token %q is %s, which cannot change: create another token", row.AccessorID, locality(before.Global))
	}
	row.SecretID, row.CreateIndex, row.CreateTime = before.SecretID, before.CreateIndex, before.CreateTime
	row.ExpirationTime, row.ExpirationTTL = before.ExpirationTime, before.ExpirationTTL
	return nil
}

// linkACLRoles stores links by ID alone, each once. A link to a deleted role that
// the token had before may stay, and with missing one to a role that may come.
func linkACLRoles(tx *Txn, row, before *structs.ACLToken, missing bool) error {
	known := make(map[string]bool)
	if before != nil {
		for _, link := range before.Roles {
			if link != nil { // a row of a snapshot may hold anything
				known[link.ID] = true
			}
		}
	}
	for _, link := range row.Roles {
		if missing && link != nil && link.ID != "" {
			known[link.ID] = true
		}
	}
	seen := make(map[string]bool, len(row.Roles))
	links := row.Roles[:0]
	for _, link := range row.Roles {
		id, err := linkACLRole(tx, link, known)
		if err != nil {
			return err
		}
		if !seen[id] {
			seen[id] = true
			links = append(links, &structs.ACLTokenRoleLink{ID: id})
		}
	}
	row.Roles = links
	return nil
}

func linkACLRole(tx *Txn, link *structs.ACLTokenRoleLink, known map[string]bool) (id string, err error) {
	switch {
	case link == nil || link.ID == "" && link.Name == "":
		return "", errs.New(errs.Invalid, "a role needs an ID or a name")
	case link.ID == "":
		if role := ACLRoles.readBy(tx, link.Name); role != nil {
			return role.ID, nil
		}
		return "", errs.Newf(errs.Invalid, "there is no role of the name %q: create it first", link.Name)
	case !known[link.ID] && ACLRoles.read(tx, Key{ID: link.ID}) == nil:
		return "", errs.Newf(errs.Invalid, "there is no role of the ID %q: create it first", link.ID)
	}
	return link.ID, nil
}

// DeleteACLTokens deletes tokens and their one-time tokens. Absent ones are passed over.
func (s *StateStore) DeleteACLTokens(index uint64, r *structs.ACLTokenDeleteRequest) error {
	return s.write(index, "ACLTokenDeleted", func(tx *Txn) error {
		for _, id := range r.AccessorIDs {
			ACLTokens.drop(tx, Key{ID: id})
			OneTimeTokens.drop(tx, Key{ID: id})
		}
		return nil
	})
}

// ACLToken returns a token, nil if there is none of the accessor. Its links to
// roles have no names; see NameACLRoles.
func (sn *Snapshot) ACLToken(ws memdb.WatchSet, accessorID string) *structs.ACLToken {
	return ACLTokens.get(sn, ws, Key{ID: accessorID})
}

// ACLTokenBySecret returns a token, nil if there is none of the secret.
func (sn *Snapshot) ACLTokenBySecret(ws memdb.WatchSet, secretID string) *structs.ACLToken {
	return ACLTokens.getBy(sn, ws, secretID)
}

// NameACLRoles returns the token as readers see it: with the names of its roles,
// and without the roles that were deleted. It is t itself if it has none.
func (sn *Snapshot) NameACLRoles(ws memdb.WatchSet, t *structs.ACLToken) *structs.ACLToken {
	if t == nil || len(t.Roles) == 0 {
		return t
	}
	out := *t
	out.Roles = make([]*structs.ACLTokenRoleLink, 0, len(t.Roles))
	for _, link := range t.Roles {
		if link == nil {
			continue
		}
		if role := sn.ACLRole(ws, link.ID); role != nil {
			out.Roles = append(out.Roles, &structs.ACLTokenRoleLink{ID: role.ID, Name: role.Name})
		}
	}
	return &out
}

// ACLTokenQuery selects tokens: in order of accessor with a prefix, else in the
// order that they were created in.
type ACLTokenQuery struct {
	// Prefix is what the accessor begins with, "" for anything.
	Prefix string
	// From is where to begin, itself included; zero for the beginning (with
	// Reverse, the end). With a prefix its ID is the accessor, else it is an
	// ACLTokenPosition.
	From Key
	// Reverse selects in descending order.
	Reverse bool
	// Global selects global or local tokens only, nil both.
	Global *bool
}

// ACLTokens yields the tokens that q selects.
func (sn *Snapshot) ACLTokens(ws memdb.WatchSet, q ACLTokenQuery) iter.Seq[*structs.ACLToken] {
	in, order := everything, tokensByAge
	if q.Prefix != "" {
		in, order = within("", q.Prefix), ACLTokens.primary
	}
	ACLTokens.watch(sn, ws, in)
	rows := ACLTokens.scanBy(sn, order, in, q.From, q.Reverse)
	if q.Global == nil {
		return rows
	}
	return func(yield func(*structs.ACLToken) bool) {
		for t := range rows {
			if t.Global == *q.Global && !yield(t) {
				return
			}
		}
	}
}

// ExpiredACLTokens yields the global or the local tokens that are no longer valid
// at now, those that expired first first.
func (sn *Snapshot) ExpiredACLTokens(global bool, now time.Time) iter.Seq[*structs.ACLToken] {
	return func(yield func(*structs.ACLToken) bool) {
		for t := range ACLTokens.scanBy(sn, tokensByExpiration, within(locality(global), ""), Key{}, false) {
			if !t.IsExpired(now) || !yield(t) {
				return
			}
		}
	}
}
