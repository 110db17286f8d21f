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
	func(ctx context.Context, c *leaderCall, _ *structs.OneTimeTokenUpsertRequest, reply *structs.OneTimeTokenUpsertResponse) (err error) {
		if c.id.Token == nil || c.srv.state.Snapshot().ACLToken(nil, c.id.Token.AccessorID) == nil {
			return errPermissionDenied
		}
		made := &structs.OneTimeToken{
			OneTimeSecretID: uuid.NewString(), AccessorID: c.id.Token.AccessorID,
			ExpiresAt: time.Now().UTC().Add(structs.ACLOneTimeTokenTTL),
		}
		reply.Index, err = c.commit(ctx, structs.OneTimeTokenUpsertRequestType, &structs.OneTimeTokenUpsertRequest{OneTimeToken: made})
		if err != nil {
			return err
		}
		made.CreateIndex, made.ModifyIndex = reply.Index, reply.Index
		reply.OneTimeToken = made
		return nil
	})

var aclExchangeOneTimeToken = newLeader("ACL.ExchangeOneTimeToken",
	anyone[structs.OneTimeTokenExchangeRequest],
	func(ctx context.Context, c *leaderCall, r *structs.OneTimeTokenExchangeRequest, reply *structs.OneTimeTokenExchangeResponse) error {
		return c.srv.exchangeOneTimeToken(ctx, r.OneTimeSecretID, reply)
	})

// exchangeOneTimeToken uses a one-time token up. Two exchanges at once run one
// after the other, so that only the first gets the token.
func (s *Server) exchangeOneTimeToken(ctx context.Context, secret string, reply *structs.OneTimeTokenExchangeResponse) error {
	s.oneTimeMu.Lock()
	defer s.oneTimeMu.Unlock()
	sn, now := s.state.Snapshot(), time.Now()
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
	res, err := s.apply(ctx, structs.OneTimeTokenDeleteRequestType, &structs.OneTimeTokenDeleteRequest{AccessorIDs: []string{one.AccessorID}})
	if errors.Is(err, errs.NotFound) {
		return errPermissionDenied
	}
	if err != nil {
		return err
	}
	reply.Index, reply.Token = res.index, sn.NameACLRoles(nil, token)
	return nil
}

var aclExpireOneTimeTokens = newLeader("ACL.ExpireOneTimeTokens",
	delegated[structs.OneTimeTokenExpireRequest](acl.ACLOneTimeExpire),
	func(ctx context.Context, c *leaderCall, r *structs.OneTimeTokenExpireRequest, reply *structs.GenericResponse) (err error) {
		at := r.Timestamp
		if now := time.Now(); at.IsZero() || at.After(now) {
			at = now
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
