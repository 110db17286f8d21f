package agent

import (
	"net/http"
	"reflect"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// loginBody, authURLBody and completeAuthBody are what callers may say; the
// requests of the RPCs hold more, which is not theirs to set.
type (
	loginBody   struct{ AuthMethodName, LoginToken string }
	authURLBody struct{ AuthMethodName, RedirectURI, ClientNonce string }
	// completeAuthBody has the Iss of RFC 9207 where the provider sends one.
	completeAuthBody struct {
		AuthMethodName, ClientNonce, State, Code, RedirectURI string
		Iss                                                   string `json:",omitempty"`
	}
)

// aclLoginRoutes take no token: the claims or the code are the proof, and an
// expired token in the caller's environment must not keep it from a new one.
func aclLoginRoutes() []route {
	return []route{
		loginErrors(write(doc{methods: "PUT POST", pattern: "/v1/acl/login", rpc: "ACL.Login",
			summary: "Log in with a JWT; the answer is a new token.", body: reflect.TypeFor[loginBody](), status: []int{401, 404}},
			func(r *request, q *structs.ACLLoginRequest) error {
				q.AuthToken = ""
				var b loginBody
				err := r.decodeBody(&b)
				q.AuthMethodName, q.LoginToken = b.AuthMethodName, b.LoginToken
				return err
			}, loggedIn)),
		loginErrors(local[structs.ACLOIDCAuthURLResponse](doc{methods: "PUT POST", pattern: "/v1/acl/oidc/auth-url", rpc: "ACL.OIDCAuthURL",
			summary: "Begin an OIDC login: where to send the browser.", body: reflect.TypeFor[authURLBody](), status: []int{401, 404}, region: true},
			authURL)),
		loginErrors(write(doc{methods: "PUT POST", pattern: "/v1/acl/oidc/complete-auth", rpc: "ACL.OIDCCompleteAuth",
			summary: "End an OIDC login with what the provider sent; the answer is a new token.",
			body:    reflect.TypeFor[completeAuthBody](), status: []int{401, 404}},
			func(r *request, q *structs.ACLOIDCCompleteAuthRequest) error {
				q.AuthToken = ""
				var b completeAuthBody
				err := r.decodeBody(&b)
				q.AuthMethodName, q.ClientNonce, q.RedirectURI = b.AuthMethodName, b.ClientNonce, b.RedirectURI
				q.State, q.Code, q.Iss = b.State, b.Code, b.Iss
				return err
			}, loggedIn)),
	}
}

func authURL(r *request) error {
	var b authURLBody
	if err := r.decodeBody(&b); err != nil {
		return err
	}
	args := &structs.ACLOIDCAuthURLRequest{AuthMethodName: b.AuthMethodName, RedirectURI: b.RedirectURI, ClientNonce: b.ClientNonce}
	r.writeOptions(&args.WriteRequest)
	args.AuthToken = ""
	reply := &structs.ACLOIDCAuthURLResponse{}
	if err := r.api.server.RPC(r.Context(), "ACL.OIDCAuthURL", args, reply); err != nil {
		return err
	}
	return r.writeJSON(http.StatusOK, reply)
}

func loggedIn(_ *request, p *structs.ACLLoginResponse) (*structs.ACLToken, error) {
	return only([]*structs.ACLToken{p.ACLToken})
}

// loginErrors answers 401 where a login fails; elsewhere a caller who is not
// who it says is forbidden what it asks.
func loginErrors(rt route) route {
	serve := rt.serve
	rt.serve = func(r *request) error {
		err := serve(r)
		if errs.CodeOf(err) == errs.Unauthenticated {
			return &statusError{http.StatusUnauthorized, errs.From(err, requestID()).Error()}
		}
		return err
	}
	return rt
}
