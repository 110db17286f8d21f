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
	out.Uid, out.Gid, out.Pid = int32(claims.UID), int32(claims.GID), int32(claims.PID)
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

	mu    sync.Mutex // held while asking, so that one call asks for all
	tried time.Time  // of the last question, answered or not; guarded by mu
	asked time.Time  // when set was true, zero for never
	fresh time.Duration
	set   jose.JSONWebKeySet
}

// find returns the key, nil if the cluster has none of that ID, and how long ago
// that was so.
func (c *keyCache) find(ctx context.Context, id string) (*jose.JSONWebKey, time.Duration, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := c.set.Key(id)
	now := time.Now()
	wanted := len(found) == 0 || now.Sub(c.asked) > c.fresh
	if c.asked.IsZero() || wanted && now.Sub(c.tried) > keysRetry {
		if err := c.askLocked(ctx); err != nil && c.asked.IsZero() {
			return nil, 0, err
		}
		found = c.set.Key(id)
	}
	age := time.Since(c.asked)
	if len(found) != 1 {
		return nil, age, nil
	}
	return &found[0], age, nil
}

// askLocked asks for the keys; c.mu is held.
func (c *keyCache) askLocked(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, keysTimeout)
	defer cancel()
	c.tried = time.Now()
	var args structs.GenericRequest
	args.AllowStale = true
	var reply structs.KeyringListPublicResponse
	if err := c.sockets.call(ctx, "Keyring.ListPublic", &args, &reply); err != nil {
		return err
	}
	set, err := keyring.JWKS(reply.PublicKeys)
	if err != nil {
		return err
	}
	c.set, c.asked, c.fresh = set, time.Now(), keyring.MaxAge(reply.PublicKeys, reply.RotationThreshold, time.Now())
	return nil
}
