package nomad

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jointoken"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// JoinToken answers the RPCs on join tokens.
type JoinToken struct{ srv *Server }

var joinTokenCreate = newLeader("JoinToken.Create",
	delegated[structs.JoinTokenCreateRequest](acl.JoinTokenWrite),
	func(ctx context.Context, c *leaderCall, r *structs.JoinTokenCreateRequest, reply *structs.JoinTokenCreateResponse) error {
		if err := r.Fill(); err != nil {
			return err
		}
		if r.Role == structs.JoinRoleServer && !allowsOne(c.acl, acl.JoinTokenServer) {
			return errs.New(errs.PermissionDenied, errPermissionDenied.Msg+": a server may do everything, so that a token to join as one takes a management token or the capability join-token-server")
		}
		secret, now := c.joinSecret(c.srv.keyring.ActiveID()), time.Now().UTC()
		token := &structs.JoinToken{
			ID: uuid.NewString(), Name: r.Name, Role: r.Role, SecretHash: jointoken.Hash(secret), MaxUses: r.MaxUses,
			CreateTime: now, ExpirationTime: now.Add(r.TTL),
		}
		if _, err := c.srv.joinText(token, secret); err != nil {
			return err
		}
		res, err := c.apply(ctx, structs.JoinTokenUpsertRequestType, &structs.JoinTokenUpsertRequest{JoinToken: token})
		if err != nil {
			return err
		}
		c.srv.logger.Info("created a join token", "token", res.rows(), "name", token.Name, "role", token.Role,
			"uses", token.MaxUses, "expires", token.ExpirationTime, "by", caller(c))
		if slices.Equal(res.rows(), []string{token.ID}) {
			return c.tellJoinToken(reply, res, secret)
		}
		return tellJoinToken(ctx, c, r, reply, res)
	})

// joinSecret returns the secret of a new join token. With a request ID it follows from
// that and from a root key, so that a second try can tell it again: the state has its
// hash alone. It is random without one.
func (c *leaderCall) joinSecret(keyID string) string {
	if !c.request.id.IsZero() {
		if b := c.srv.keyring.Derive(keyID, "join token", c.request.id[:]); b != nil {
			return jointoken.SecretOf(b)
		}
	}
	return jointoken.NewSecret()
}

// tellJoinToken answers who made a join token in a first try.
func tellJoinToken(_ context.Context, c *leaderCall, _ *structs.JoinTokenCreateRequest, reply *structs.JoinTokenCreateResponse, res applied) error {
	sn := c.srv.state.Snapshot()
	made, err := storedRows(res, func(id string) *structs.JoinToken { return sn.JoinToken(nil, id) })
	if err != nil {
		return err
	}
	for k := range sn.RootKeys(nil) {
		if secret := c.joinSecret(k.KeyID); bytes.Equal(jointoken.Hash(secret), made[0].SecretHash) {
			return c.tellJoinToken(reply, res, secret)
		}
	}
	return errs.Newf(errs.Conflict, "the leader was lost before it answered, and the secret of the join token %s cannot be told again: revoke it and make another one", made[0].ID)
}

func (c *leaderCall) tellJoinToken(reply *structs.JoinTokenCreateResponse, res applied, secret string) error {
	sn := c.srv.state.Snapshot()
	made, err := storedRows(res, func(id string) *structs.JoinToken { return sn.JoinToken(nil, id) })
	if err != nil {
		return err
	}
	reply.Index, reply.JoinToken = res.index, made[0].Stub()
	reply.Text, err = c.srv.joinText(made[0], secret)
	return err
}

// caller names who calls, for the log.
func caller(c *leaderCall) string {
	if c.id == nil || c.id.Token == nil {
		return "anonymous"
	}
	return c.id.Token.AccessorID
}

// joinText returns the text that the joiner is given.
func (s *Server) joinText(token *structs.JoinToken, secret string) (string, error) {
	t := jointoken.Token{ID: token.ID, Secret: secret, Role: string(token.Role), Region: s.config.Region}
	_, t.Servers = s.addressesToJoin(true)
	for a := range s.state.Snapshot().Authorities(nil) {
		t.Authorities = append(t.Authorities, a.ID)
	}
	if len(t.Authorities) == 0 {
		return "", s.noAuthority()
	}
	return t.Encode()
}

var joinTokenDelete = newLeader("JoinToken.Delete",
	delegated[structs.JoinTokenDeleteRequest](acl.JoinTokenWrite),
	func(ctx context.Context, c *leaderCall, r *structs.JoinTokenDeleteRequest, reply *structs.GenericResponse) (err error) {
		if err := r.Validate(); err != nil {
			return err
		}
		reply.Index, err = c.commit(ctx, structs.JoinTokenDeleteRequestType, &structs.JoinTokenDeleteRequest{IDs: r.IDs})
		if err == nil {
			c.srv.logger.Info("revoked join tokens", "tokens", r.IDs, "by", caller(c))
		}
		return err
	})

var joinTokenList = newRead("JoinToken.List", []string{state.JoinTokens.Name()},
	delegated[structs.JoinTokenListRequest](acl.JoinTokenRead),
	func(v *view, _ *structs.JoinTokenListRequest, reply *structs.JoinTokenListResponse) error {
		reply.JoinTokens = []*structs.JoinTokenStub{}
		for t := range v.JoinTokens(v.ws) {
			reply.JoinTokens = append(reply.JoinTokens, t.Stub())
		}
		return nil
	})

var _ = operatorsOnly(joinTokenCreate.methodInfo, joinTokenDelete.methodInfo, authorityRotate.methodInfo)

// Create makes a join token.
func (j *JoinToken) Create(ctx context.Context, args *structs.JoinTokenCreateRequest, reply *structs.JoinTokenCreateResponse) error {
	return joinTokenCreate.serve(ctx, j.srv, args, reply)
}

// Delete revokes join tokens.
func (j *JoinToken) Delete(ctx context.Context, args *structs.JoinTokenDeleteRequest, reply *structs.GenericResponse) error {
	return joinTokenDelete.serve(ctx, j.srv, args, reply)
}

// List lists the join tokens.
func (j *JoinToken) List(ctx context.Context, args *structs.JoinTokenListRequest, reply *structs.JoinTokenListResponse) error {
	return joinTokenList.serve(ctx, j.srv, args, reply)
}
