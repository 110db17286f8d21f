package agent

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/cairn-project/cairn/drpc/agentpb"
	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/structs"
)

// identityModule is module 1.
func (s *agentSockets) identityModule() socketModule {
	return socketModule{id: 1, name: "identity", peers: knownPeer, methods: []socketMethod{
		socketCall(101, "request credentials", "Returns a short-lived identity of the caller, signed by the cluster.",
			func(ctx context.Context, req *drpc.Request, in *agentpb.CredentialsRequest) (*agentpb.Credentials, error) {
				return s.credentials.get(ctx, req.Peer, in, false)
			}),
		socketCall(102, "who am i", "Tells the caller what the kernel says of it.", s.whoAmI),
		socketCall(103, "rotate", "Returns a new identity, also where the last one is still good.",
			func(ctx context.Context, req *drpc.Request, in *agentpb.CredentialsRequest) (*agentpb.Credentials, error) {
				return s.credentials.get(ctx, req.Peer, in, true)
			}),
	}}
}

func (s *agentSockets) whoAmI(_ context.Context, req *drpc.Request, _ *agentpb.WhoAmIRequest) (*agentpb.WhoAmI, error) {
	p := req.Peer
	out := &agentpb.WhoAmI{
		Known: p.Known, Uid: uint32(p.UID), Gid: uint32(p.GID), Pid: int32(p.PID), Privileged: drpc.PrivilegedPeers(p),
		Socket: p.Socket, Session: req.Session.ID(),
		NodeId: s.server.NodeID(), NodeName: s.config.NodeName, Region: s.config.Region,
	}
	if p.Known {
		id := s.identityOf(p)
		out.Subject = auth.PeerSubject(s.config.Region, &id)
	}
	return out, nil
}

func (s *agentSockets) identityOf(p drpc.Peer) structs.PeerIdentity {
	return structs.PeerIdentity{NodeID: s.server.NodeID(), NodeName: s.config.NodeName, UID: p.UID, GID: p.GID, PID: p.PID}
}

const (
	// maxCredentials is how many credentials are kept, of the processes that asked last.
	maxCredentials = 1024
	// signRate and signBurst bound what one local user may have signed, per second
	// and at once: a signature costs a server a millisecond of work.
	signRate, signBurst = 5, 50
)

// credentialKey is what a credential was made for.
type credentialKey struct {
	uid, gid, pid int
	audience      string
	ttl           time.Duration
}

// credential is one that was made.
type credential struct {
	jwt, keyID     string
	renew, expires time.Time
	// silent is until when no newer one is asked for, since no server answered.
	silent time.Time
}

// credentialCache keeps credentials for two thirds of their life, and beyond it
// while no new one can be had.
type credentialCache struct {
	sockets *agentSockets
	made    *lru.Cache[credentialKey, credential]
	limits  *userLimits
}

func newCredentialCache(s *agentSockets) *credentialCache {
	made, err := lru.New[credentialKey, credential](maxCredentials)
	if err != nil {
		panic(err) // the size is not positive
	}
	return &credentialCache{sockets: s, made: made, limits: newUserLimits(signRate, signBurst)}
}

// get returns a credential of the peer, a new one if rotate says so.
func (c *credentialCache) get(ctx context.Context, peer drpc.Peer, in *agentpb.CredentialsRequest, rotate bool) (*agentpb.Credentials, error) {
	req := structs.IdentitySignRequest{Peer: c.sockets.identityOf(peer), Audience: slices.Clone(in.Audience),
		TTL: time.Duration(in.TtlSeconds) * time.Second}
	slices.Sort(req.Audience)
	req.Audience = slices.Compact(req.Audience)
	req.Canonicalize()
	if err := req.Validate(); err != nil {
		return nil, err
	}
	key := credentialKey{peer.UID, peer.GID, peer.PID, strings.Join(req.Audience, "\x00"), req.TTL}
	old, ok := c.made.Get(key)
	now := time.Now()
	ok = ok && !rotate && now.Before(old.expires)
	if ok && (now.Before(old.renew) || now.Before(old.silent)) {
		return old.reply(true), nil
	}
	if !ok {
		fresh, err := c.sign(ctx, key, &req)
		if err != nil {
			return nil, err
		}
		return fresh.reply(false), nil
	}
	return c.newer(ctx, key, &req, old)
}

// newer returns a new credential in place of one that is still good, or that one where
// no new one can be had soon.
func (c *credentialCache) newer(ctx context.Context, key credentialKey, req *structs.IdentitySignRequest, old credential) (*agentpb.Credentials, error) {
	wait, cancel := briefly(ctx)
	defer cancel()
	fresh, err := c.sign(wait, key, req)
	switch {
	case err == nil:
		return fresh.reply(false), nil
	case errsLocal(err):
		return nil, err
	case wait.Err() != nil:
		old.silent = time.Now().Add(silentPause)
		c.made.Add(key, old)
	}
	c.sockets.logger.Debug("credential from the cache, the servers sign none now", "uid", key.uid, "pid", key.pid, "error", err)
	return old.reply(true), nil
}

// errsLocal reports an error for which an old credential is no cure.
func errsLocal(err error) bool {
	code := errs.CodeOf(err)
	return code == errs.Invalid || code == errs.PermissionDenied
}

// sign has a credential made and keeps it.
func (c *credentialCache) sign(ctx context.Context, key credentialKey, req *structs.IdentitySignRequest) (*credential, error) {
	now := time.Now()
	if err := c.limits.take(req.Peer.UID, "credentials"); err != nil {
		return nil, err
	}
	req.AuthToken = c.sockets.server.AgentSecret()
	var reply structs.IdentitySignResponse
	if err := c.sockets.call(ctx, "Identity.Sign", req, &reply); err != nil {
		return nil, err
	}
	expires := time.Unix(reply.ExpiresAt, 0)
	fresh := credential{jwt: reply.JWT, keyID: reply.KeyID, expires: expires, renew: now.Add(expires.Sub(now) * 2 / 3)}
	c.made.Add(key, fresh)
	return &fresh, nil
}

func (c *credential) reply(cached bool) *agentpb.Credentials {
	return &agentpb.Credentials{Jwt: c.jwt, KeyId: c.keyID, ExpiresAt: c.expires.Unix(), RenewAt: c.renew.Unix(), Cached: cached}
}

// userLimits bounds how often each local user may do something.
type userLimits struct {
	perSecond rate.Limit
	burst     int
	mu        sync.Mutex
	byUID     *lru.Cache[int, *rate.Limiter] // guarded by mu, so that a user has one limiter
}

// maxLimited is for how many users rates are remembered; the one heard of
// longest ago is forgotten first.
const maxLimited = 4096

func newUserLimits(perSecond, burst int) *userLimits {
	byUID, err := lru.New[int, *rate.Limiter](maxLimited)
	if err != nil {
		panic(err) // the size is not positive
	}
	return &userLimits{perSecond: rate.Limit(perSecond), burst: burst, byUID: byUID}
}

// take counts one, or says that the user had too many.
func (l *userLimits) take(uid int, what string) error {
	l.mu.Lock()
	limiter, ok := l.byUID.Get(uid)
	if !ok {
		limiter = rate.NewLimiter(l.perSecond, l.burst)
		l.byUID.Add(uid, limiter)
	}
	l.mu.Unlock()
	if limiter.Allow() {
		return nil
	}
	return errs.Newf(errs.RateLimited, "uid %d asks for too many %s, at most %g per second: ask again in a moment", uid, what, float64(l.perSecond)).
		WithRetryAfter(time.Second)
}
