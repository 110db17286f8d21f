package auth

import (
	"cmp"
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/cap/jwt"
	"golang.org/x/oauth2"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// maxMethods bounds the auth methods whose keys are kept.
const maxMethods = 128

// Logins checks the proofs that people and programs log in with. It keeps the keys
// of remote providers. It is safe for concurrent use; the zero value is ready.
type Logins struct {
	// Sign signs claims with a key of the cluster. It must be set before the first
	// use; nil refuses methods that need it.
	Sign func(claims any) (token, keyID string, err error)
	// Seal and Open keep what goes through the browser of a user in an OIDC login from
	// being read or made by others; Open takes the ID of the key. They must be set
	// before the first OIDC login.
	Seal func(dst, plaintext []byte) (sealed []byte, keyID string, err error)
	Open func(dst, sealed []byte, keyID string) ([]byte, error)
	// Timeout bounds one request to a provider, 0 for half a minute. It must be set
	// before the first use.
	Timeout time.Duration

	mu      sync.Mutex
	methods map[string]*knownMethod // by name, under mu
	// ended has when OIDC logins that have ended expire, by their sealed tickets, under mu.
	ended map[string]time.Time
}

// knownMethod is one version of an auth method with what asks its provider.
type knownMethod struct {
	hash   string
	client *http.Client
	// waiting are the logins in AwaitKeys.
	waiting atomic.Int64
	// validator checks JWTs; nil until the first one comes. Guarded by Logins.mu.
	validator *jwt.Validator
}

// VerifyJWT checks a JWT against the keys, audiences and issuers of a method and
// returns its claims. It may ask the provider and ends with ctx. Every failure is
// errs.Unauthenticated, except for a provider that cannot be reached.
func (l *Logins) VerifyJWT(ctx context.Context, m *structs.ACLAuthMethod, token string) (map[string]any, error) {
	validator, err := l.validator(ctx, m)
	if err != nil {
		return nil, err
	}
	c := m.Config
	want := jwt.Expected{
		Audiences: c.BoundAudiences, NotBeforeLeeway: c.NotBeforeLeeway,
		ExpirationLeeway: c.ExpirationLeeway, ClockSkewLeeway: c.ClockSkewLeeway,
	}
	for _, alg := range c.SigningAlgs {
		want.SigningAlgorithms = append(want.SigningAlgorithms, jwt.Alg(alg))
	}
	claims, err := validator.Validate(ctx, token, want)
	switch {
	case ctx.Err() != nil:
		return nil, unreachable(m, ctx.Err())
	case noKeys(err):
		return nil, unreachable(m, err)
	case err != nil:
		return nil, errs.New(errs.Unauthenticated, "the login token is not valid: "+oneLine(err))
	}
	if issuer, _ := claims["iss"].(string); len(c.BoundIssuer) > 0 && !slices.Contains(c.BoundIssuer, issuer) {
		return nil, errs.New(errs.Unauthenticated, "the login token is not valid: its issuer (iss) is none of BoundIssuer")
	}
	return claims, nil
}

func (l *Logins) timeout() time.Duration { return cmp.Or(l.Timeout, providerTimeout) }

// noKeys reports whether a token was refused because the keys to check it with
// could not be had, which says nothing about the token.
func noKeys(err error) bool {
	return err != nil && (noAnswer(err) || strings.Contains(err.Error(), "fetching keys"))
}

// noAnswer reports whether a request to a provider came to nothing.
func noAnswer(err error) bool {
	var failed *url.Error
	return errors.As(err, &failed) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

func unreachable(m *structs.ACLAuthMethod, err error) error {
	return errs.Wrap(errs.Invalid, "the provider of auth method "+m.Name+" does not answer: "+oneLine(err), err)
}

// known returns what is kept of this version of the method.
func (l *Logins) known(m *structs.ACLAuthMethod) (*knownMethod, error) {
	hash := string(m.Hash)
	l.mu.Lock()
	defer l.mu.Unlock()
	if k := l.methods[m.Name]; k != nil && k.hash == hash {
		return k, nil
	}
	authorities := m.Config.DiscoveryCaPem
	if m.Type != structs.ACLAuthMethodTypeOIDC && m.Config.JWKSURL != "" {
		authorities = []string{m.Config.JWKSCACert}
	}
	client, err := providerClient(authorities, l.timeout())
	if err != nil {
		return nil, unreachable(m, err)
	}
	if l.methods == nil || len(l.methods) >= maxMethods {
		l.methods = map[string]*knownMethod{}
	}
	k := &knownMethod{hash: hash, client: client}
	l.methods[m.Name] = k
	return k, nil
}

// validator returns what checks the tokens of this version of the method.
func (l *Logins) validator(ctx context.Context, m *structs.ACLAuthMethod) (*jwt.Validator, error) {
	k, err := l.known(m)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	v := k.validator
	l.mu.Unlock()
	if v != nil {
		return v, nil
	}
	set, err := keySet(ctx, m.Config, k.client)
	if err != nil {
		return nil, unreachable(m, err)
	}
	if v, err = jwt.NewValidator(set); err != nil {
		return nil, errs.Wrap(errs.Invalid, "auth method "+m.Name+" has no keys", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	k.validator = v
	return v, nil
}

// keySet returns the keys that may sign the tokens of a method. They outlive the
// login that made them, so that of its context they keep the values only.
func keySet(ctx context.Context, c *structs.ACLAuthMethodConfig, client *http.Client) (jwt.KeySet, error) {
	if len(c.JWTValidationPubKeys) > 0 {
		var keys []crypto.PublicKey
		for _, text := range c.JWTValidationPubKeys {
			key, err := jwt.ParsePublicKeyPEM([]byte(text))
			if err != nil {
				return nil, err
			}
			keys = append(keys, key)
		}
		return jwt.NewStaticKeySet(keys)
	}
	kept, cancel := context.WithCancel(context.WithValue(context.WithoutCancel(ctx), oauth2.HTTPClient, client))
	stop := context.AfterFunc(ctx, cancel)
	var set jwt.KeySet
	var err error
	if c.JWKSURL != "" {
		set, err = jwt.NewJSONWebKeySet(kept, c.JWKSURL, "")
	} else {
		set, err = jwt.NewOIDCDiscoveryKeySet(kept, c.OIDCDiscoveryURL, "")
	}
	if !stop() || err != nil {
		cancel()
		return nil, cmp.Or(ctx.Err(), err)
	}
	return set, nil
}

// oneLine shortens the text of an error of the provider or of a library.
func oneLine(err error) string {
	const most = 200
	text := strings.Join(strings.Fields(err.Error()), " ")
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// Claims are the claims of a login by the names that the auth method gives them.
type Claims struct {
	Value map[string]string   `bexpr:"value"`
	List  map[string][]string `bexpr:"list"`
}

// MapClaims names the claims of a login as the method says. Claims that are absent
// are left out; one that has the wrong form is errs.Unauthenticated.
func MapClaims(c *structs.ACLAuthMethodConfig, claims map[string]any) (*Claims, error) {
	out := &Claims{Value: map[string]string{}, List: map[string][]string{}}
	for claim, name := range c.ClaimMappings {
		raw, ok := lookUp(claims, claim)
		if !ok {
			continue
		}
		text, ok := scalar(raw)
		if !ok {
			return nil, errs.Newf(errs.Unauthenticated, "the claim %q is neither text, number nor boolean", claim)
		}
		out.Value[name] = text
	}
	for claim, name := range c.ListClaimMappings {
		raw, ok := lookUp(claims, claim)
		if !ok {
			continue
		}
		list, ok := raw.([]any)
		if !ok {
			list = []any{raw}
		}
		for _, v := range list {
			text, ok := scalar(v)
			if !ok {
				return nil, errs.Newf(errs.Unauthenticated, "the claim %q is not a list of texts", claim)
			}
			out.List[name] = append(out.List[name], text)
		}
	}
	return out, nil
}

// lookUp finds a claim by its name, or by a JSON pointer (RFC 6901) for one inside another.
func lookUp(claims map[string]any, name string) (any, bool) {
	if !strings.HasPrefix(name, "/") {
		v, ok := claims[name]
		return v, ok && v != nil
	}
	var at any = claims
	for _, part := range strings.Split(name[1:], "/") {
		object, ok := at.(map[string]any)
		if !ok {
			return nil, false
		}
		at = object[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
	}
	return at, at != nil
}

// scalar returns a claim as text.
func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case bool:
		return fmt.Sprint(v), true
	case float64, json.Number:
		b, err := json.Marshal(v)
		return string(b), err == nil
	}
	return "", false
}
