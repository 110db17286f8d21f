package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/cairn-project/cairn/drpc/agentpb"
	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/keyring"
	"github.com/cairn-project/cairn/nomad/structs"
)

// securityModule is module 4.
func (s *agentSockets) securityModule() socketModule {
	return socketModule{id: 4, name: "security", peers: knownPeer, methods: []socketMethod{
		socketCall(401, "validate credentials", "Tells whether the cluster signed a credential, without asking a server.", s.validate),
	}}
}

// maxJWT bounds a credential, in bytes.
const maxJWT = 16 << 10

// validate answers 401.
func (s *agentSockets) validate(ctx context.Context, _ *drpc.Request, in *agentpb.ValidateRequest) (*agentpb.Validation, error) {
	if in.Jwt == "" {
		return nil, errs.New(errs.Invalid, "jwt: give the credential to validate")
	}
	if len(in.Jwt) > maxJWT {
		return nil, errs.Newf(errs.TooLarge, "jwt: has %d bytes, at most %d are taken", len(in.Jwt), maxJWT)
	}
	parsed, err := jwt.ParseSigned(in.Jwt, []jose.SignatureAlgorithm{jose.RS256, jose.EdDSA})
	if err != nil || len(parsed.Headers) != 1 {
		return &agentpb.Validation{Reason: "it is no JWT with one signature of RS256 or EdDSA"}, nil
	}
	out := &agentpb.Validation{KeyId: parsed.Headers[0].KeyID}
	key, age, err := s.keys.find(ctx, out.KeyId)
	if err != nil {
		return nil, err
	}
	out.KeysAgeMs = age.Milliseconds()
	if key == nil || key.Algorithm != parsed.Headers[0].Algorithm {
		out.Reason = "it is signed by a key that this cluster does not have"
		return out, nil
	}
	fillValidation(out, parsed, key.Key, cmp.Or(in.Audience, structs.DefaultIdentityAudience))
	return out, nil
}

// clockLeeway is how far the clock of the server that signed may be off.
const clockLeeway = 10 * time.Second

// fillValidation checks signature, time and audience.
func fillValidation(out *agentpb.Validation, parsed *jwt.JSONWebToken, key any, audience string) {
	var claims auth.PeerClaims
	var all map[string]any
	if err := parsed.Claims(key, &claims, &all); err != nil {
		out.Reason = "its signature is wrong, or its claims cannot be read"
		return
	}
	text, err := json.Marshal(all)
	if err != nil {
		out.Reason = "its claims cannot be read"
		return
	}
	out.ClaimsJson, out.Subject = string(text), claims.Subject
	if claims.Expiry != nil {
		out.ExpiresAt = claims.Expiry.Time().Unix()
	}
	out.NodeId, out.NodeName = claims.NodeID, claims.NodeName
	out.Uid, out.Gid, out.Pid = uint32(claims.UID), uint32(claims.GID), int32(claims.PID)
	switch err := claims.ValidateWithLeeway(jwt.Expected{Time: time.Now(), AnyAudience: jwt.Audience{audience}}, clockLeeway); {
	case err != nil:
		out.Reason = "it has expired, is not valid yet, or was made for another audience than " + audience
	default:
		out.Valid = true
	}
}

const (
	// keysRetry is how often an unknown key makes the agent ask for newer ones.
	keysRetry = 5 * time.Second
	// keysTimeout bounds that question.
	keysTimeout = 2 * time.Second
)

// keyCache remembers the cluster's public keys.
type keyCache struct {
	sockets *agentSockets
	// latest asks for them.
	latest question

	mu    sync.Mutex
	tried time.Time // when the last question ended, answered or not; guarded by mu
	asked time.Time // when set was true, zero for never; guarded by mu, and so are the below
	fresh time.Duration
	set   jose.JSONWebKeySet
}

func newKeyCache(s *agentSockets) *keyCache {
	c := &keyCache{sockets: s}
	c.latest = question{sockets: s, ask: c.ask, limit: keysTimeout}
	return c
}

// find returns the key, nil if the cluster has none of that ID, and how long ago
// that was so.
func (c *keyCache) find(ctx context.Context, id string) (*jose.JSONWebKey, time.Duration, error) {
	c.mu.Lock()
	known, found := !c.asked.IsZero(), len(c.set.Key(id)) > 0
	due := (!found || time.Since(c.asked) > c.fresh) && time.Since(c.tried) > keysRetry
	c.mu.Unlock()
	switch {
	case !known:
		if err := c.latest.answered(ctx); err != nil {
			return nil, 0, err
		}
	case due:
		wait, cancel := briefly(ctx)
		_ = c.latest.answered(wait) // the keys in memory will do
		cancel()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	age := time.Since(c.asked)
	keys := c.set.Key(id)
	if len(keys) != 1 {
		return nil, age, nil
	}
	return &keys[0], age, nil
}

// ask asks for the keys.
func (c *keyCache) ask(ctx context.Context) error {
	set, fresh, err := c.fetch(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tried = time.Now()
	if err == nil {
		c.set, c.asked, c.fresh = set, time.Now(), fresh
	}
	return err
}

// fetch returns the keys of now, and how long they are fresh.
func (c *keyCache) fetch(ctx context.Context) (set jose.JSONWebKeySet, fresh time.Duration, err error) {
	var args structs.GenericRequest
	args.AllowStale = true
	var reply structs.KeyringListPublicResponse
	if err := c.sockets.call(ctx, "Keyring.ListPublic", &args, &reply); err != nil {
		return set, 0, err
	}
	set, err = keyring.JWKS(reply.PublicKeys)
	return set, keyring.MaxAge(reply.PublicKeys, reply.RotationThreshold, time.Now()), err
}
