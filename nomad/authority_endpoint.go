package nomad

import (
	"cmp"
	"context"
	"crypto/subtle"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/hashicorp/serf/serf"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jointoken"
	"github.com/cairn-project/cairn/internal/tlsconf"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/enroll"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Authority answers the RPCs on certificates.
type Authority struct{ srv *Server }

// maxNodeName and maxTokenID bound what a joiner says of itself, in bytes: it may
// be anybody, and all of it is logged.
const (
	maxNodeName = 256
	maxTokenID  = 64
)

// maxJoinServers bounds the addresses that a joiner is told.
const maxJoinServers = 16

var (
	errJoinToken   = errs.New(errs.PermissionDenied, "the join token is unknown or was revoked: ask for a new one")
	errNoAuthority = errs.New(errs.PreconditionFailed, "the region has no certificate authority: set auto = true in the tls block of its servers")
	errNoRenewal   = errs.New(errs.PermissionDenied, "a certificate is renewed over a connection that shows it: a server or client certificate of this region, at the server that is asked")
)

var authorityJoin = newLeader("Authority.Join",
	anyone[structs.AuthorityJoinRequest],
	func(ctx context.Context, c *leaderCall, r *structs.AuthorityJoinRequest, reply *structs.AuthorityJoinResponse) error {
		r.Node, r.TokenID = r.Node[:min(len(r.Node), maxNodeName)], r.TokenID[:min(len(r.TokenID), maxTokenID)]
		err := c.letJoin(ctx, r, reply)
		log := c.srv.logger.With("token", r.TokenID, "node", r.Node, "address", r.Address)
		if err != nil {
			log.Warn("refused to let an agent join", "error", err)
			return err
		}
		log.Info("an agent joined with a token", "role", r.Role)
		return nil
	})

var _ = serversOnly(authorityJoin.methodInfo)

// noAuthority says why there is no authority. One that is still being made is waited
// for: that takes a leader that is new a moment.
func (s *Server) noAuthority() error {
	if s.config.TLS.auto() == nil {
		return errNoAuthority
	}
	return &errs.Error{Code: errs.Unavailable, Msg: "the leader is still making the certificate authority: try again in a moment", Executed: errs.ExecutedNo}
}

// letJoin checks the token, signs, and counts the use before anything is answered.
func (c *leaderCall) letJoin(ctx context.Context, r *structs.AuthorityJoinRequest, reply *structs.AuthorityJoinResponse) error {
	s := c.srv
	sn, now := s.state.Snapshot(), time.Now()
	token := sn.JoinToken(nil, r.TokenID)
	if token == nil || subtle.ConstantTimeCompare(jointoken.Hash(r.Secret), token.SecretHash) != 1 {
		return errJoinToken
	}
	if r.Role != token.Role {
		return errs.Newf(errs.PermissionDenied, "the join token is for a %s", token.Role)
	}
	if off := r.Time.Sub(now); off > tlsconf.Skew() || off < -tlsconf.Skew() {
		return errs.Newf(errs.PreconditionFailed, "the joiner's clock is off by %s: set it to the servers' time, %s", off.Round(time.Second), now.UTC().Format(time.RFC3339))
	}
	csr, err := tlsconf.ParseRequest(r.CSR)
	if err != nil {
		return errs.Newf(errs.Invalid, "%w", err)
	}
	if err := state.CheckJoinToken(token, csr.KeyHash, now); err != nil {
		return err
	}
	if reply.Issued, err = s.issue(sn, tlsconf.Role(token.Role), csr); err != nil {
		return err
	}
	use := &structs.JoinTokenUse{KeyHash: csr.KeyHash, Node: r.Node, Address: r.Address, Time: now.UTC()}
	res, err := c.apply(ctx, structs.JoinTokenUseRequestType, &structs.JoinTokenUseRequest{ID: token.ID, Use: use})
	if err != nil {
		reply.Issued = structs.Issued{}
		return err
	}
	reply.Index = res.index
	gossip, servers := s.addressesToJoin(true)
	reply.Servers = servers
	if token.Role == structs.JoinRoleServer {
		reply.GossipServers = gossip
		if s.gossipRing != nil {
			reply.GossipKey = s.gossipRing.GetPrimaryKey()
		}
	}
	return nil
}

// issue signs a request by the active authority.
func (s *Server) issue(sn *state.Snapshot, role tlsconf.Role, r *tlsconf.Request) (out structs.Issued, err error) {
	active, auto := sn.ActiveAuthority(), s.config.TLS.auto()
	if active == nil || auto == nil {
		return out, s.noAuthority()
	}
	h := enroll.Holder{Role: role, Region: s.config.Region, Lifetime: cmp.Or(auto.Lifetime, enroll.DefaultLifetime)}
	if out.Certificate, err = enroll.Issue(s.keyring, active, r, h); err == nil {
		out.Authorities = enroll.Bundle(slices.Collect(sn.Authorities(nil)))
	}
	return out, err
}

// addressesToJoin returns the gossip addresses and the server ports of the
// servers of this region that are alive, this one among them or not.
func (s *Server) addressesToJoin(self bool) (gossip, servers []string) {
	for _, m := range s.serf.Members() {
		if m.Status != serf.StatusAlive || m.Tags["region"] != s.config.Region || len(gossip) == maxJoinServers {
			continue
		}
		if !self && m.Tags["id"] == s.nodeID {
			continue
		}
		gossip = append(gossip, net.JoinHostPort(m.Addr.String(), strconv.Itoa(int(m.Port))))
		servers = append(servers, net.JoinHostPort(m.Tags["rpc_addr"], m.Tags["port"]))
	}
	slices.Sort(gossip)
	slices.Sort(servers)
	return gossip, servers
}

var authorityRenew = newLocal("Authority.Renew",
	anyone[structs.AuthorityRenewRequest],
	func(ctx context.Context, s *Server, r *structs.AuthorityRenewRequest, reply *structs.AuthorityRenewResponse) error {
		role, ok := s.renewable(ctx)
		if !ok {
			return errNoRenewal
		}
		csr, err := tlsconf.ParseRequest(r.CSR)
		if err != nil {
			return errs.Newf(errs.Invalid, "%w", err)
		}
		reply.Issued, err = s.issue(s.state.Snapshot(), role, csr)
		return err
	})

// renewable returns the role in this region that the caller's own certificate
// proves. A call that was passed on shows that of another.
func (s *Server) renewable(ctx context.Context) (tlsconf.Role, bool) {
	c, ok := wire.CallFrom(ctx)
	if !ok || c.Hops > 0 || c.Identity == nil {
		return "", false
	}
	for _, role := range []tlsconf.Role{tlsconf.RoleServer, tlsconf.RoleClient} {
		if slices.Contains(c.Identity.TLSNames, role.Name(s.config.Region)) {
			return role, true
		}
	}
	return "", false
}

// Join gives an agent that shows a join token its first certificate.
func (a *Authority) Join(ctx context.Context, args *structs.AuthorityJoinRequest, reply *structs.AuthorityJoinResponse) error {
	return authorityJoin.serve(ctx, a.srv, args, reply)
}

// Renew gives the holder of a certificate a new one.
func (a *Authority) Renew(ctx context.Context, args *structs.AuthorityRenewRequest, reply *structs.AuthorityRenewResponse) error {
	return authorityRenew.serve(ctx, a.srv, args, reply)
}
