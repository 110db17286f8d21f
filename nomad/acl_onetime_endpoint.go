package nomad

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

var aclUpsertOneTimeToken = newLeader("ACL.UpsertOneTimeToken",
	anyone[structs.OneTimeTokenUpsertRequest],
	func(ctx context.Context, c *leaderCall, r *structs.OneTimeTokenUpsertRequest, reply *structs.OneTimeTokenUpsertResponse) error {
		if c.id.Token == nil || c.srv.state.Snapshot().ACLToken(nil, c.id.Token.AccessorID) == nil {
			return errPermissionDenied
		}
		made := &structs.OneTimeToken{
			OneTimeSecretID: uuid.NewString(), AccessorID: c.id.Token.AccessorID,
			ExpiresAt: time.Now().UTC().Add(structs.ACLOneTimeTokenTTL),
		}
		res, err := c.apply(ctx, structs.OneTimeTokenUpsertRequestType, &structs.OneTimeTokenUpsertRequest{OneTimeToken: made})
		if err != nil {
			return err
		}
		return tellOneTimeToken(ctx, c, r, reply, res)
	})

// tellOneTimeToken answers with the one-time token that was made, unless another has
// taken its place.
func tellOneTimeToken(_ context.Context, c *leaderCall, _ *structs.OneTimeTokenUpsertRequest, reply *structs.OneTimeTokenUpsertResponse, res applied) error {
	sn := c.srv.state.Snapshot()
	made, err := storedRows(res, func(accessor string) *structs.OneTimeToken {
		if one := sn.OneTimeTokenOf(accessor); one != nil && one.ModifyIndex == res.index {
			return one
		}
		return nil
	})
	if err != nil {
		return err
	}
	reply.Index, reply.OneTimeToken = res.index, made[0]
	return nil
}

var aclExchangeOneTimeToken = newLeader("ACL.ExchangeOneTimeToken",
	anyone[structs.OneTimeTokenExchangeRequest],
	func(ctx context.Context, c *leaderCall, r *structs.OneTimeTokenExchangeRequest, reply *structs.OneTimeTokenExchangeResponse) error {
		return c.exchangeOneTimeToken(ctx, r, reply)
	})

// exchangeOneTimeToken uses a one-time token up. Of two exchanges at once the store
// refuses the second.
func (c *leaderCall) exchangeOneTimeToken(ctx context.Context, r *structs.OneTimeTokenExchangeRequest, reply *structs.OneTimeTokenExchangeResponse) error {
	sn, now, secret := c.srv.state.Snapshot(), time.Now(), r.OneTimeSecretID
	if secret == "" {
		return errPermissionDenied
	}
	one := sn.OneTimeToken(nil, secret)
	if one == nil || !now.Before(one.ExpiresAt) {
		return errPermissionDenied
	}
	token := sn.ACLToken(nil, one.AccessorID)
	if token == nil || token.IsExpired(now) {
		return errPermissionDenied
	}
	res, err := c.apply(ctx, structs.OneTimeTokenDeleteRequestType, &structs.OneTimeTokenDeleteRequest{AccessorIDs: []string{one.AccessorID}, Seen: []uint64{one.ModifyIndex}})
	if errors.Is(err, errs.NotFound) {
		return errPermissionDenied
	}
	if err != nil {
		return err
	}
	return tellExchange(ctx, c, r, reply, res)
}

// tellExchange answers with the token that a one-time token stood for.
func tellExchange(_ context.Context, c *leaderCall, _ *structs.OneTimeTokenExchangeRequest, reply *structs.OneTimeTokenExchangeResponse, res applied) error {
	tokens, err := c.storedTokens(res)
	if err != nil {
		return err
	}
	reply.Index, reply.Token = res.index, tokens[0]
	return nil
}

var aclExpireOneTimeTokens = newLeader("ACL.ExpireOneTimeTokens",
	delegated[structs.OneTimeTokenExpireRequest](acl.ACLOneTimeExpire),
	func(ctx context.Context, c *leaderCall, r *structs.OneTimeTokenExpireRequest, reply *structs.GenericResponse) (err error) {
		at := r.Timestamp
		if now := time.Now(); at.IsZero() || at.After(now) {
			at = now
		}
		// The entry that answers has no bound of its own, so that it finds nothing left.
		if err := c.srv.deleteExpiredOneTime(ctx, at); err != nil {
			return err
		}
		reply.Index, err = c.commit(ctx, structs.OneTimeTokenExpireRequestType, &structs.OneTimeTokenExpireRequest{Timestamp: at.UTC()})
		return err
	})

// UpsertOneTimeToken makes a one-time token for the caller's own token.
func (a *ACL) UpsertOneTimeToken(ctx context.Context, args *structs.OneTimeTokenUpsertRequest, reply *structs.OneTimeTokenUpsertResponse) error {
	return aclUpsertOneTimeToken.serve(ctx, a.srv, args, reply)
}

// ExchangeOneTimeToken returns the token that a one-time token stands for, once.
func (a *ACL) ExchangeOneTimeToken(ctx context.Context, args *structs.OneTimeTokenExchangeRequest, reply *structs.OneTimeTokenExchangeResponse) error {
	return aclExchangeOneTimeToken.serve(ctx, a.srv, args, reply)
}

// ExpireOneTimeTokens deletes one-time tokens that nobody can exchange any more.
func (a *ACL) ExpireOneTimeTokens(ctx context.Context, args *structs.OneTimeTokenExpireRequest, reply *structs.GenericResponse) error {
	return aclExpireOneTimeTokens.serve(ctx, a.srv, args, reply)
}
