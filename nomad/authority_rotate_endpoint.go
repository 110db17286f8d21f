package nomad

import (
	"context"
	"slices"
	"strings"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/tlsconf"
	"github.com/cairn-project/cairn/nomad/enroll"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// authorityRotate makes the next authority. What follows is the leader's, see
// rotateAuthority: it signs when every certificate was renewed, and the one before is
// dropped when its last certificate has expired.
var authorityRotate = newLeader("Authority.Rotate",
	delegated[structs.AuthorityRotateRequest](acl.AuthorityRotate),
	func(ctx context.Context, c *leaderCall, r *structs.AuthorityRotateRequest, reply *structs.AuthorityRotateResponse) error {
		active, next := enroll.Current(slices.Collect(c.srv.state.Snapshot().Authorities(nil)))
		switch {
		case active == nil || c.srv.config.TLS.auto() == nil:
			return c.srv.noAuthority()
		case next != nil:
			return errs.Newf(errs.Conflict, "another authority (%s) is about to take over already: see `cairn operator authority status`", next.ID)
		}
		row, err := c.srv.newAuthority(false)
		if err != nil {
			return err
		}
		row.Requested = true
		res, err := c.apply(ctx, structs.AuthorityUpsertRequestType, &structs.AuthorityUpsertRequest{Authority: row})
		if err != nil {
			return err
		}
		c.srv.logger.Warn("created the next certificate authority on request", "fingerprint", res.rows(), "by", caller(c))
		return tellRotated(ctx, c, r, reply, res)
	})

// tellRotated answers with the authority that was made.
func tellRotated(_ context.Context, c *leaderCall, _ *structs.AuthorityRotateRequest, reply *structs.AuthorityRotateResponse, res applied) error {
	all := c.srv.describeAuthorities(slices.Collect(c.srv.state.Snapshot().Authorities(nil)))
	made, err := storedRows(res, func(id string) *structs.AuthorityStub {
		if i := slices.IndexFunc(all, func(a *structs.AuthorityStub) bool { return a.ID == id }); i >= 0 {
			return all[i]
		}
		return nil
	})
	if err != nil {
		return err
	}
	reply.Index, reply.Authority = res.index, made[0]
	return nil
}

var authorityList = newRead("Authority.List", []string{state.Authorities.Name()},
	delegated[structs.AuthorityListRequest](acl.JoinTokenRead),
	func(v *view, _ *structs.AuthorityListRequest, reply *structs.AuthorityListResponse) error {
		reply.Authorities = v.srv.describeAuthorities(slices.Collect(v.Authorities(v.ws)))
		return nil
	})

// describeAuthorities tells of authorities what may be told, the oldest first. Times
// that depend on the life of certificates are those that this server counts on.
func (s *Server) describeAuthorities(all []*structs.Authority) []*structs.AuthorityStub {
	lifetime := enroll.DefaultLifetime
	if auto := s.config.TLS.auto(); auto != nil && auto.Lifetime > 0 {
		lifetime = auto.Lifetime
	}
	active, _ := enroll.Current(all)
	out := make([]*structs.AuthorityStub, 0, len(all))
	for _, a := range all {
		stub := &structs.AuthorityStub{ID: a.ID, Requested: a.Requested, CreateTime: a.CreateTime, CreateIndex: a.CreateIndex, ModifyIndex: a.ModifyIndex}
		stub.NotBefore, stub.NotAfter, _ = tlsconf.Lifetime(a.Certificate) // zero for one that nobody can read
		switch {
		case a.Active:
			stub.Phase = structs.AuthoritySigns
		case active != nil && a.CreateTime.After(active.CreateTime):
			stub.Phase, stub.Until = structs.AuthorityNext, enroll.SignsFrom(a, lifetime)
		default:
			stub.Phase, stub.Until = structs.AuthorityTrusted, enroll.TrustedUntil(a, active, lifetime)
		}
		out = append(out, stub)
	}
	slices.SortFunc(out, func(a, b *structs.AuthorityStub) int {
		if d := a.CreateTime.Compare(b.CreateTime); d != 0 {
			return d
		}
		return strings.Compare(a.ID, b.ID)
	})
	return out
}

// Rotate makes an authority that takes the place of the one that signs.
func (a *Authority) Rotate(ctx context.Context, args *structs.AuthorityRotateRequest, reply *structs.AuthorityRotateResponse) error {
	return authorityRotate.serve(ctx, a.srv, args, reply)
}

// List lists the authorities.
func (a *Authority) List(ctx context.Context, args *structs.AuthorityListRequest, reply *structs.AuthorityListResponse) error {
	return authorityList.serve(ctx, a.srv, args, reply)
}
