package nomad

import (
	"context"
	"errors"
	"reflect"
	"strings"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// federated reports whether this region shares what is global with others: then
// one region owns it, and the others copy. Without access control there is nobody
// to tell a region that may copy from one that may not.
func (s *Server) federated() bool {
	return s.config.AuthoritativeRegion != "" && s.auth.Enabled()
}

// copies reports whether this region copies what is global from another one.
func (s *Server) copies() bool {
	return s.federated() && s.config.AuthoritativeRegion != s.config.Region
}

// ownership says whether a write changes what all regions share, so that it
// belongs in the authoritative region.
type ownership[Req any] func(context.Context, *Server, *Req) (bool, error)

// shared makes the method's writes go to the authoritative region if owned holds.
func (m *writeMethod[Req, Resp]) shared(owned ownership[Req]) *writeMethod[Req, Resp] {
	m.owned, m.global = owned, true
	return m
}

// always is the ownership of writes that are global whatever they say.
func always[Req any](context.Context, *Server, *Req) (bool, error) { return true, nil }

// settleRegion returns the request with the region that it belongs in.
func (m *writeMethod[Req, Resp]) settleRegion(ctx context.Context, s *Server, args *Req) (*Req, error) {
	if m.owned == nil || !s.federated() || m.opts(args).Region == s.config.AuthoritativeRegion {
		return args, nil
	}
	if global, err := m.owned(ctx, s, args); err != nil || !global {
		return args, err
	}
	moved := *args
	m.opts(&moved).Region = s.config.AuthoritativeRegion
	return &moved, nil
}

// globalTokens tells tokens of all regions from those of one.
func globalTokens(_ context.Context, _ *Server, r *structs.ACLTokenUpsertRequest) (bool, error) {
	return len(r.Tokens) > 0 && r.Tokens[0] != nil && r.Tokens[0].Global, nil
}

// globalAccessors tells accessors of global tokens from those of local ones. One
// that is not known here may be that of a global token that is still to be copied.
func globalAccessors(ctx context.Context, s *Server, r *structs.ACLTokenDeleteRequest) (bool, error) {
	local, absent := localAccessors(s.state.Snapshot(), r.AccessorIDs)
	if absent > 0 && !s.IsLeader() {
		wait, cancel := context.WithTimeout(ctx, unknownWait)
		defer cancel()
		if err := s.catchUpWith(wait); err != nil {
			return false, err
		}
		local, _ = localAccessors(s.state.Snapshot(), r.AccessorIDs)
	}
	return local == 0, nil
}

func localAccessors(sn *state.Snapshot, accessors []string) (local, absent int) {
	for _, accessor := range accessors {
		switch t := sn.ACLToken(nil, accessor); {
		case t == nil:
			absent++
		case !t.Global:
			local++
		}
	}
	return local, absent
}

// errMixedTokens refuses what would have to be done in two regions.
var errMixedTokens = errs.New(errs.Invalid, "cannot mix global and local tokens in one request: send two")

// globalLogin tells logins that make global tokens from others.
func globalLogin(s *Server, method string) bool {
	m := s.state.Snapshot().ACLAuthMethod(nil, method)
	return m != nil && m.TokenLocality == structs.ACLAuthMethodTokenLocalityGlobal
}

// localToken reports whether the call carries a secret that is valid in this region
// only. One that this server does not know may have been made here just now: it does
// not leave before the server has caught up with its leader.
func (s *Server) localToken(ctx context.Context, secret string) (bool, error) {
	if secret == "" || !s.auth.Enabled() {
		return false, nil
	}
	local, known := s.knowsToken(ctx, secret)
	if known || s.IsLeader() || !auth.WellFormed(secret) {
		return local, nil
	}
	wait, cancel := context.WithTimeout(ctx, unknownWait)
	defer cancel()
	if s.catchUpWith(wait) != nil {
		return false, errNotLeader
	}
	local, _ = s.knowsToken(ctx, secret)
	return local, nil
}

// knowsToken reports whether a secret is known here, and whether it is of this region
// only: that of a local token, of a workload, of a node or of one to be introduced.
func (s *Server) knowsToken(ctx context.Context, secret string) (local, known bool) {
	if t := s.state.Snapshot().ACLTokenBySecret(nil, secret); t != nil {
		return !t.Global, true
	}
	id, err := s.identify(ctx, secret)
	return err == nil && (id.Workload != nil || id.Node != nil || id.Introduction != nil), err == nil
}

// leaveTokenHere passes a call on to another region without its token, whose
// secret is nobody's business there.
func (s *Server) leaveTokenHere(ctx context.Context, c *call) error {
	if _, raw := c.args.(wire.Raw); raw {
		return c.answer(ctx, s, c) // decodes it and comes back
	}
	bare := *c
	bare.token = ""
	bare.args = withoutToken(c.args)
	err := s.forwardRegion(ctx, &bare)
	if errors.Is(err, errs.PermissionDenied) {
		return errs.Newf(errs.PermissionDenied, "Permission denied: the token is local to region %q, so that region %q knows its holder as anonymous; use a global token",
			s.config.Region, c.region)
	}
	return err
}

// withoutToken returns a copy of a request that carries no token.
func withoutToken(args any) any {
	out := reflect.New(reflect.TypeOf(args).Elem())
	out.Elem().Set(reflect.ValueOf(args).Elem())
	switch r := out.Interface().(type) {
	case structs.Query:
		r.QueryOpts().AuthToken = ""
	case structs.Write:
		r.WriteOpts().AuthToken = ""
	}
	return out.Interface()
}

// noPath explains why a region cannot be reached.
func (s *Server) noPath(region string) error {
	known := s.router.Regions()
	for _, r := range known {
		if r == region {
			return errs.Newf(errNoPath.Code, "%s %q: none of its servers is alive; see `cairn server members`", errNoPath.Msg, region)
		}
	}
	return errs.Newf(errNoPath.Code, "%s %q: the regions known here are %s; join a server of that region with `cairn server join`",
		errNoPath.Msg, region, strings.Join(known, ", "))
}
