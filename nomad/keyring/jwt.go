package keyring

import (
	"crypto/x509"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// clockLeeway is how far the clocks of two servers may be apart when exp,
	// nbf and iat (RFC 7519, 4.1) are checked.
	clockLeeway = 10 * time.Second

	// minMaxAge is the shortest time that a key set may be cached, as the public API has it.
	minMaxAge = 15 * time.Minute

	useSignature = "sig" // RFC 7517, 4.2
)

// Sign returns claims as a JWT (RFC 7519) signed by the active key, and the ID
// of that key, which is also the kid of the header. claims is anything that
// encodes as a JSON object.
func (k *Keyring) Sign(claims any) (token, keyID string, err error) {
	key := k.set.Load().active
	if key == nil {
		return "", "", errNoActiveKey
	}
	if key.secret.signer == nil {
		return "", "", errs.Newf(errs.PreconditionFailed, "root key %s cannot sign: rotate it", key.meta.KeyID)
	}
	opts := (&jose.SignerOptions{}).WithType("JWT").WithHeader("kid", key.meta.KeyID)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: key.secret.algorithm, Key: key.secret.signer}, opts)
	if err != nil {
		return "", "", errs.Wrap(errs.Internal, "root key "+key.meta.KeyID+" cannot sign", err)
	}
	token, err = jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		return "", "", errs.Wrap(errs.Invalid, "claims cannot be signed: they must be a JSON object", err)
	}
	return token, key.meta.KeyID, nil
}

// Verify checks that a key of the ring signed token and that it is in force
// now, and decodes its claims into claims, a pointer. Who it was made for is
// the caller's to check. Every failure is errs.Unauthenticated.
func (k *Keyring) Verify(token string, claims any) error {
	parsed, err := jwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256, jose.EdDSA})
	if err != nil {
		return errs.Wrap(errs.Unauthenticated, "token is not a JWT signed with RS256 or EdDSA", err)
	}
	if len(parsed.Headers) != 1 {
		return errs.New(errs.Unauthenticated, "token must have exactly one signature")
	}
	header := parsed.Headers[0]
	key := k.set.Load().byID[header.KeyID]
	if key == nil || key.secret.signer == nil || header.Algorithm != string(key.secret.algorithm) {
		return errs.New(errs.Unauthenticated, "token is signed by a key that this cluster does not have")
	}
	var registered jwt.Claims
	if err := parsed.Claims(key.secret.signer.Public(), &registered); err != nil {
		return errs.Wrap(errs.Unauthenticated, "token has a bad signature or unreadable claims", err)
	}
	if err := registered.ValidateWithLeeway(jwt.Expected{Time: time.Now()}, clockLeeway); err != nil {
		return errs.Wrap(errs.Unauthenticated, "token has expired or is not valid yet", err)
	}
	// The signature is verified above; claims stay untouched until then.
	if err := parsed.UnsafeClaimsWithoutVerification(claims); err != nil {
		return errs.Wrap(errs.Unauthenticated, "token has unreadable claims", err)
	}
	return nil
}

// PublicKeys returns the keys that verify what Sign returns and returned, the
// newest first. Keys that are published ahead of their use are among them.
func (k *Keyring) PublicKeys() []*structs.KeyringPublicKey {
	set := k.set.Load()
	sorted := make([]*rootKey, 0, len(set.byID))
	for _, key := range set.byID {
		if key.secret.signer != nil {
			sorted = append(sorted, key)
		}
	}
	slices.SortFunc(sorted, func(a, b *rootKey) int {
		if newer(a, b) {
			return -1
		}
		return 1
	})
	out := make([]*structs.KeyringPublicKey, len(sorted))
	for i, key := range sorted {
		out[i] = &structs.KeyringPublicKey{
			KeyID:      key.meta.KeyID,
			PublicKey:  slices.Clone(key.secret.public),
			Algorithm:  string(key.secret.algorithm),
			Use:        useSignature,
			CreateTime: key.meta.CreateTime,
		}
	}
	return out
}

// JWKS returns keys as a JSON Web Key Set (RFC 7517), in the same order. It is
// never null in JSON.
func JWKS(keys []*structs.KeyringPublicKey) (jose.JSONWebKeySet, error) {
	set := jose.JSONWebKeySet{Keys: make([]jose.JSONWebKey, 0, len(keys))}
	for _, key := range keys {
		public, err := x509.ParsePKIXPublicKey(key.PublicKey)
		if err != nil {
			return jose.JSONWebKeySet{}, errs.Wrap(errs.Internal, "public key "+key.KeyID+" is damaged", err)
		}
		jwk := jose.JSONWebKey{Key: public, KeyID: key.KeyID, Algorithm: key.Algorithm, Use: key.Use}
		if !jwk.Valid() {
			return jose.JSONWebKeySet{}, errs.New(errs.Internal, "public key "+key.KeyID+" is of an unknown kind")
		}
		set.Keys = append(set.Keys, jwk)
	}
	return set, nil
}

// MaxAge returns how long a set of keys may be cached. The next key is
// published when the newest reaches half of the rotation threshold and is used
// from the whole of it on, so a set that is dropped at the half is never too old.
func MaxAge(keys []*structs.KeyringPublicKey, rotationThreshold time.Duration, now time.Time) time.Duration {
	if len(keys) == 0 {
		return minMaxAge
	}
	newest := keys[0].CreateTime
	for _, key := range keys {
		newest = max(newest, key.CreateTime)
	}
	age := max(0, now.Sub(time.Unix(0, newest)))
	return max(minMaxAge, rotationThreshold/2-age).Truncate(time.Second)
}
