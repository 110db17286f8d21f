package nomad

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// loginTimeout bounds a login, what its provider takes included.
const loginTimeout = 60 * time.Second

var aclLogin = newLeader("ACL.Login",
	anyone[structs.ACLLoginRequest],
	func(ctx context.Context, c *leaderCall, r *structs.ACLLoginRequest, reply *structs.ACLLoginResponse) (err error) {
		defer func() { c.tellRefused(r.AuthMethodName, err) }()
		if err := r.Validate(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, loginTimeout)
		defer cancel()
		method, err := loginMethod(c.srv.state.Snapshot(), r.AuthMethodName, structs.ACLAuthMethodTypeJWT)
		if err != nil {
			return err
		}
		var claims map[string]any
		began := time.Now()
		verify := func() error {
			claims, err = c.srv.logins.VerifyJWT(ctx, method, r.LoginToken)
			return err
		}
		if len(method.Config.JWTValidationPubKeys) > 0 {
			err = verify()
		} else {
			err = c.asking(ctx, method.Name, verify)
			if errors.Is(err, errs.Unauthenticated) && c.awaitKeys(ctx, method, r.LoginToken, began) {
				err = c.asking(ctx, method.Name, verify)
			}
		}
		if err != nil {
			return err
		}
		return c.finishLogin(ctx, method, claims, reply)
	}).shared(func(_ context.Context, s *Server, r *structs.ACLLoginRequest) (bool, error) {
	return globalLogin(s, r.AuthMethodName), nil
})

var aclOIDCAuthURL = newLeader("ACL.OIDCAuthURL",
	anyone[structs.ACLOIDCAuthURLRequest],
	func(ctx context.Context, c *leaderCall, r *structs.ACLOIDCAuthURLRequest, reply *structs.ACLOIDCAuthURLResponse) (err error) {
		defer func() { c.tellRefused(r.AuthMethodName, err) }()
		if err := r.Validate(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, loginTimeout)
		defer cancel()
		method, err := loginMethod(c.srv.state.Snapshot(), r.AuthMethodName, structs.ACLAuthMethodTypeOIDC)
		if err != nil {
			return err
		}
		return c.asking(ctx, method.Name, func() (err error) {
			if err := c.srv.waitKeyring(ctx); err != nil {
				return err
			}
			reply.AuthURL, err = c.srv.logins.AuthURL(ctx, method, r.RedirectURI, r.ClientNonce)
			return err
		})
	}).shared(func(_ context.Context, s *Server, r *structs.ACLOIDCAuthURLRequest) (bool, error) {
	return globalLogin(s, r.AuthMethodName), nil
})

var aclOIDCCompleteAuth = newLeader("ACL.OIDCCompleteAuth",
	anyone[structs.ACLOIDCCompleteAuthRequest],
	func(ctx context.Context, c *leaderCall, r *structs.ACLOIDCCompleteAuthRequest, reply *structs.ACLLoginResponse) (err error) {
		defer func() { c.tellRefused(r.AuthMethodName, err) }()
		if err := r.Validate(); err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, loginTimeout)
		defer cancel()
		method, err := loginMethod(c.srv.state.Snapshot(), r.AuthMethodName, structs.ACLAuthMethodTypeOIDC)
		if err != nil {
			return err
		}
		var claims map[string]any
		err = c.asking(ctx, method.Name, func() (err error) {
			if err := c.srv.waitKeyring(ctx); err != nil {
				return err
			}
			claims, err = c.srv.logins.CompleteAuth(ctx, method, r)
			return err
		})
		if err != nil {
			return err
		}
		return c.finishLogin(ctx, method, claims, reply)
	}).shared(func(_ context.Context, s *Server, r *structs.ACLOIDCCompleteAuthRequest) (bool, error) {
	return globalLogin(s, r.AuthMethodName), nil
})

// asking runs what may ask a provider, which may be slow, and anybody may have it asked: for
// that time the login leaves its place among the writes to others.
func (c *leaderCall) asking(ctx context.Context, method string, ask func() error) error {
	c.srv.gate.Park(limit.Write)
	defer c.srv.gate.Resume(limit.Write)
	leave, err := c.srv.loginGate.enter(ctx, method)
	if err := entered(err, "logins"); err != nil {
		return err
	}
	defer leave()
	return ask()
}

// awaitKeys waits, in nobody's place, until the provider may be asked for its keys again,
// and reports whether the token may be valid then.
func (c *leaderCall) awaitKeys(ctx context.Context, m *structs.ACLAuthMethod, token string, began time.Time) bool {
	c.srv.gate.Park(limit.Write)
	defer c.srv.gate.Resume(limit.Write)
	return c.srv.logins.AwaitKeys(ctx, m, token, began)
}

// maxToldBytes bounds what the log tells of a login, whose words may be anybody's.
const maxToldBytes = 512

// maxClaimBytes bounds what the log tells of the claims of a login, where its method has that told.
const maxClaimBytes = 8 << 10

// tellRefused tells the operator why a login came to nothing; nil is for one that did not.
func (c *leaderCall) tellRefused(method string, err error) {
	if err == nil {
		return
	}
	text := err.Error()
	c.srv.logger.Debug("login refused", "auth_method", method[:min(len(method), maxToldBytes)], "error", text[:min(len(text), maxToldBytes)])
}

// tellClaims tells whoever sets an auth method up what its provider says of people.
func (c *leaderCall) tellClaims(method string, claims map[string]any) {
	text, err := json.Marshal(claims)
	if err != nil {
		return
	}
	c.srv.logger.Debug("claims of a login", "auth_method", method, "claims", string(text[:min(len(text), maxClaimBytes)]))
}

// loginMethod returns the auth method of a login.
func loginMethod(sn *state.Snapshot, name, kind string) (*structs.ACLAuthMethod, error) {
	method := sn.ACLAuthMethod(nil, name)
	switch {
	case method == nil:
		return nil, errs.Newf(errs.Invalid, "auth-method %q not found", name)
	case method.Type != kind:
		return nil, errs.Newf(errs.Invalid, "auth-method %q is of type %s: log in by another way than %s", name, method.Type, kind)
	}
	return method, nil
}

// finishLogin makes the token of a login whose claims are proven.
func (c *leaderCall) finishLogin(ctx context.Context, m *structs.ACLAuthMethod, claims map[string]any, reply *structs.ACLLoginResponse) error {
	if m.Config.VerboseLogging {
		c.tellClaims(m.Name, claims)
	}
	mapped, err := auth.MapClaims(m.Config, claims)
	if err != nil {
		return err
	}
	now := time.Now()
	res, err := c.storeLogin(ctx, func(sn *state.Snapshot) (*structs.ACLToken, error) { return loginToken(sn, m, mapped, now) })
	if err != nil {
		return err
	}
	c.srv.logger.Info("logged in", "auth_method", m.Name, "accessor_ids", res.rows())
	return tellLogin(ctx, c, (*structs.ACLLoginRequest)(nil), reply, res)
}

// loginToken makes the token of a login by the method m, as the rules bind it now.
func loginToken(sn *state.Snapshot, m *structs.ACLAuthMethod, claims *auth.Claims, now time.Time) (*structs.ACLToken, error) {
	// The method may have gone or changed while its provider was asked.
	if current := sn.ACLAuthMethod(nil, m.Name); current == nil || current.ModifyIndex != m.ModifyIndex {
		return nil, errs.Newf(errs.Conflict, "auth-method %q changed meanwhile: log in again", m.Name)
	}
	bound, err := auth.Bind(sn, m.Name, claims)
	if err != nil {
		return nil, err
	}
	token := &structs.ACLToken{
		AccessorID: uuid.NewString(), SecretID: uuid.NewString(), Name: auth.TokenName(m, claims),
		Type: structs.ACLClientToken, Policies: bound.Policies, Roles: bound.Roles,
		Global: m.TokenLocality == structs.ACLAuthMethodTokenLocalityGlobal, ExpirationTTL: m.MaxTokenTTL,
	}
	if bound.Management {
		token.Type = structs.ACLManagementToken
	}
	token.SetExpiration(now)
	token.SetHash()
	return token, nil
}

// tellLogin answers with the token that a login made.
func tellLogin[Req any](_ context.Context, c *leaderCall, _ *Req, reply *structs.ACLLoginResponse, res applied) error {
	made, err := c.storedTokens(res)
	if err != nil {
		return err
	}
	reply.Index, reply.ACLToken = res.index, made[0]
	return nil
}

// Login makes a token for the holder of a JWT that an auth method trusts.
func (a *ACL) Login(ctx context.Context, args *structs.ACLLoginRequest, reply *structs.ACLLoginResponse) error {
	return aclLogin.serve(ctx, a.srv, args, reply)
}

// OIDCAuthURL begins a login at an OIDC provider. A login that the leader does not
// live to see the end of must begin again.
func (a *ACL) OIDCAuthURL(ctx context.Context, args *structs.ACLOIDCAuthURLRequest, reply *structs.ACLOIDCAuthURLResponse) error {
	return aclOIDCAuthURL.serve(ctx, a.srv, args, reply)
}

// OIDCCompleteAuth makes a token for a user that the provider sent back.
func (a *ACL) OIDCCompleteAuth(ctx context.Context, args *structs.ACLOIDCCompleteAuthRequest, reply *structs.ACLLoginResponse) error {
	return aclOIDCCompleteAuth.serve(ctx, a.srv, args, reply)
}
