package nomad

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// errTokenNotFound is worded as clients of the public API match on it.
var errTokenNotFound = errs.New(errs.NotFound, "ACL token not found")

var aclUpsertTokens = newLeader("ACL.UpsertTokens",
	delegated[structs.ACLTokenUpsertRequest](acl.ACLTokenWrite),
	func(ctx context.Context, c *leaderCall, r *structs.ACLTokenUpsertRequest, reply *structs.ACLTokenUpsertResponse) error {
		if err := r.Validate(); err != nil {
			return err
		}
		sn, now := c.srv.state.Snapshot(), time.Now()
		entry := &structs.ACLTokenUpsertRequest{}
		for _, t := range r.Tokens {
			row, err := c.prepareToken(sn, t.Copy(), now)
			if err != nil {
				return err
			}
			entry.Tokens = append(entry.Tokens, row)
		}
		res, err := c.apply(ctx, structs.ACLTokenUpsertRequestType, entry)
		if err != nil {
			return err
		}
		return tellTokens(ctx, c, r, reply, res)
	}).shared(globalTokens)

// tellTokens answers with the tokens that were written. The secret of somebody else's
// token that was changed is told to whoever may read it only.
func tellTokens(_ context.Context, c *leaderCall, _ *structs.ACLTokenUpsertRequest, reply *structs.ACLTokenUpsertResponse, res applied) (err error) {
	reply.Index = res.index
	if reply.Tokens, err = c.storedTokens(res); err != nil || allowsOne(c.acl, acl.ACLTokenSecrets) {
		return err
	}
	for i, t := range reply.Tokens {
		if t.CreateIndex < res.index && !c.isOwn(t.AccessorID) {
			reply.Tokens[i] = t.Redacted()
		}
	}
	return nil
}

// isOwn reports whether the caller's token has the accessor.
func (c *leaderCall) isOwn(accessor string) bool {
	return c.id.Token != nil && c.id.Token.AccessorID == accessor
}

// mayOutlive refuses a delegate a new token that is valid when its own is no more: it
// would keep its rights for ever.
func (c *leaderCall) mayOutlive(t *structs.ACLToken) error {
	if c.unbounded() || c.id.Expires.IsZero() || t.ExpirationTime != nil && !t.ExpirationTime.After(c.id.Expires) {
		return nil
	}
	return refuse("the token must expire when yours does, %s, or sooner: give it an ExpirationTime or ExpirationTTL", c.id.Expires.UTC().Format(time.RFC3339))
}

// mayRaise refuses a delegate to give a stored token more than it has, if that is valid
// when the delegate's own is no more: mayOutlive would be for nothing otherwise.
func (c *leaderCall) mayRaise(sn *state.Snapshot, existing, t *structs.ACLToken) error {
	if c.mayOutlive(existing) == nil {
		return nil
	}
	if t.IsManagement() && !existing.IsManagement() {
		return refuse("a token that is valid longer than yours cannot become a management token: make another token")
	}
	policies, err := storedPolicies(sn, tokenPolicies(sn, t))
	if err != nil {
		return err
	}
	before, err := c.srv.auth.Holder(sn, existing)
	if err != nil {
		return denied(err)
	}
	if gap := before.ACL.Lacks(policies...); gap != nil {
		return refuse("the policy %q grants more than the token has, which is valid longer than yours: make another token", gap.Policy)
	}
	return nil
}

// storedTokens returns the tokens that a write stored.
func (c *leaderCall) storedTokens(res applied) ([]*structs.ACLToken, error) {
	sn := c.srv.state.Snapshot()
	return storedRows(res, func(accessor string) *structs.ACLToken {
		if t := sn.ACLToken(nil, accessor); t != nil {
			return sn.NameACLRoles(nil, t)
		}
		return nil
	})
}

// prepareToken turns what a caller sent into a row: checked, with IDs, times and
// links to roles by ID. It changes t.
func (c *leaderCall) prepareToken(sn *state.Snapshot, t *structs.ACLToken, now time.Time) (*structs.ACLToken, error) {
	existing := sn.ACLToken(nil, t.AccessorID)
	if t.AccessorID != "" && existing == nil && t.SecretID == "" {
		return nil, errTokenNotFound
	}
	if existing == nil {
		t.CreateTime = time.Time{}
	}
	if err := t.Validate(c.srv.config.ACL.limits(), existing, now); err != nil {
		return nil, err
	}
	if err := linkRoles(sn, t); err != nil {
		return nil, err
	}
	for _, granted := range []*structs.ACLToken{existing, t} {
		if err := c.mayGrantToken(sn, granted); err != nil {
			return nil, err
		}
	}
	if existing == nil {
		if err := c.newToken(sn, t, now); err != nil {
			return nil, err
		}
	} else if err := c.mayRaise(sn, existing, t); err != nil {
		return nil, err
	} else {
		keepOfToken(t, existing)
	}
	t.SetHash()
	return t, nil
}

// keepOfToken fills in what an update cannot change.
func keepOfToken(t, existing *structs.ACLToken) {
	stored := existing.Copy()
	t.SecretID, t.CreateTime = stored.SecretID, stored.CreateTime
	t.ExpirationTime, t.ExpirationTTL = stored.ExpirationTime, stored.ExpirationTTL
}

// newToken gives a token its IDs, unless the caller chose them, and its times.
func (c *leaderCall) newToken(sn *state.Snapshot, t *structs.ACLToken, now time.Time) error {
	if t.AccessorID == "" {
		t.AccessorID, t.SecretID = uuid.NewString(), uuid.NewString()
	}
	if sn.ACLTokenBySecret(nil, t.SecretID) != nil {
		return errs.New(errs.Conflict, "the SecretID is already in use: choose another one, or leave it out")
	}
	t.SetExpiration(now)
	return c.mayOutlive(t)
}

// linkRoles replaces links by name with links by ID, each once.
func linkRoles(sn *state.Snapshot, t *structs.ACLToken) error {
	seen := map[string]bool{}
	var links []*structs.ACLTokenRoleLink
	for _, link := range t.Roles {
		var role *structs.ACLRole
		if link.ID != "" {
			role = sn.ACLRole(nil, link.ID)
		} else {
			role = sn.ACLRoleByName(nil, link.Name)
		}
		if role == nil {
			return errs.Newf(errs.Invalid, "cannot find role %s%s", link.ID, link.Name)
		}
		if !seen[role.ID] {
			seen[role.ID] = true
			links = append(links, &structs.ACLTokenRoleLink{ID: role.ID})
		}
	}
	t.Roles = links
	return nil
}

var aclDeleteTokens = newLeader("ACL.DeleteTokens",
	delegated[structs.ACLTokenDeleteRequest](acl.ACLTokenWrite),
	func(ctx context.Context, c *leaderCall, r *structs.ACLTokenDeleteRequest, reply *structs.GenericResponse) (err error) {
		if err := r.Validate(); err != nil {
			return err
		}
		sn := c.srv.state.Snapshot()
		for _, accessor := range r.AccessorIDs {
			t := sn.ACLToken(nil, accessor)
			if t == nil {
				return errTokenNotFound
			}
			if t.Global && c.srv.copies() {
				return errMixedTokens
			}
			if err := c.mayGrantToken(sn, t); err != nil {
				return err
			}
		}
		reply.Index, err = c.commit(ctx, structs.ACLTokenDeleteRequestType, &structs.ACLTokenDeleteRequest{AccessorIDs: r.AccessorIDs})
		return err
	}).shared(globalAccessors)
