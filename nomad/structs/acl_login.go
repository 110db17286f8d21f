package structs

import (
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// maxLoginText bounds a code, state, nonce or JWT that a login sends, in bytes.
const maxLoginText = 64 << 10

// required returns a problem for each text that is missing or too long. fields
// alternates names and texts.
func required(fields ...string) []errs.Erratum {
	var l problemList
	for i := 0; i+1 < len(fields); i += 2 {
		switch name, text := fields[i], fields[i+1]; {
		case text == "":
			l.add(name, "%s is missing", name)
		case len(text) > maxLoginText:
			l.add(name, "%s has %d bytes, more than %d", name, len(text), maxLoginText)
		}
	}
	return l
}

// ACLOIDCAuthURLRequest begins an OIDC login.
type ACLOIDCAuthURLRequest struct {
	AuthMethodName string
	// RedirectURI is one of the method's AllowedRedirectURIs.
	RedirectURI string
	// ClientNonce ties the end of the login to its beginning.
	ClientNonce string
	WriteRequest
}

// Validate returns every problem of the request at once.
func (r *ACLOIDCAuthURLRequest) Validate() error {
	return errataError("invalid login", required("AuthMethodName", r.AuthMethodName, "RedirectURI", r.RedirectURI, "ClientNonce", r.ClientNonce))
}

// ACLOIDCAuthURLResponse answers ACLOIDCAuthURLRequest.
type ACLOIDCAuthURLResponse struct {
	AuthURL string
}

// ACLOIDCCompleteAuthRequest ends an OIDC login. State and Code are what the
// provider sent to the redirect URI, Iss too where it sends one (RFC 9207).
type ACLOIDCCompleteAuthRequest struct {
	AuthMethodName string
	ClientNonce    string
	State          string
	Code           string
	Iss            string
	RedirectURI    string
	WriteRequest
}

// Validate returns every problem of the request at once.
func (r *ACLOIDCCompleteAuthRequest) Validate() error {
	return errataError("invalid login", required("AuthMethodName", r.AuthMethodName, "ClientNonce", r.ClientNonce,
		"State", r.State, "Code", r.Code, "RedirectURI", r.RedirectURI))
}

// ACLLoginRequest logs in with a JWT.
type ACLLoginRequest struct {
	AuthMethodName string
	LoginToken     string
	WriteRequest
}

// Validate returns every problem of the request at once.
func (r *ACLLoginRequest) Validate() error {
	return errataError("invalid login", required("AuthMethodName", r.AuthMethodName, "LoginToken", r.LoginToken))
}

// ACLLoginResponse answers ACLLoginRequest and ACLOIDCCompleteAuthRequest.
type ACLLoginResponse struct {
	ACLToken *ACLToken
	WriteMeta
}

// Bounds of the introduction tokens of node agents.
const (
	DefaultACLIntroductionTTL = 5 * time.Minute
	MaxACLIntroductionTTL     = 30 * time.Minute
)

// ACLCreateClientIntroductionTokenRequest makes a JWT that lets a new node join.
type ACLCreateClientIntroductionTokenRequest struct {
	// TTL is 0 for the server's default; in JSON it may be text.
	TTL time.Duration
	// NodeName restricts the token to one node, "" for any.
	NodeName string
	// NodePool is "" for default.
	NodePool string
	WriteRequest
}

// ACLCreateClientIntroductionTokenResponse answers ACLCreateClientIntroductionTokenRequest.
type ACLCreateClientIntroductionTokenResponse struct {
	JWT string
	WriteMeta
}

// AuthenticatedIdentity says who a caller is. One of the first two is set.
type AuthenticatedIdentity struct {
	ACLToken *ACLToken
	// ClientID is the node of a node agent.
	ClientID string
	// TLSName is the name in the caller's certificate, RemoteIP its address.
	TLSName  string
	RemoteIP string
}

// ACLWhoAmIResponse answers a GenericRequest about the caller itself.
type ACLWhoAmIResponse struct {
	Identity *AuthenticatedIdentity
	QueryMeta
}

// ACLExplainRequest asks whether an operation is allowed and why: for the token
// with the accessor, for policies, or for the caller if neither is given.
type ACLExplainRequest struct {
	AccessorID string
	// Policies are names of stored policies, Rules sources to be tried out.
	Policies []string
	Rules    []string
	// Kind, Name and Capability are as in package acl. The namespace of a
	// variable is that of the request.
	Kind       string
	Name       string
	Capability string
	QueryOptions
}

// Validate returns every problem of the request at once; package acl checks the operation.
func (r *ACLExplainRequest) Validate() error {
	l := problemList(required("Kind", r.Kind, "Capability", r.Capability))
	if r.AccessorID != "" && !isUUID(r.AccessorID) {
		l.add("AccessorID", "%q is not a UUID", clip(r.AccessorID))
	}
	if r.AccessorID != "" && len(r.Policies)+len(r.Rules) > 0 {
		l.add("AccessorID", "give a token or policies, not both")
	}
	if n := len(r.Policies) + len(r.Rules); n > maxACLLinks {
		l.add("Policies", "%d policies are more than %d", n, maxACLLinks)
	}
	for _, src := range r.Rules {
		if len(src) > maxACLRules {
			l.add("Rules", "the rules have %d bytes, more than %d", len(src), maxACLRules)
		}
	}
	return errataError("invalid question", l)
}

// ACLExplainResponse answers ACLExplainRequest.
type ACLExplainResponse struct {
	Allowed bool
	// Reason is one sentence for people.
	Reason string
	// Rules decided; Overruled would have decided otherwise but match less closely.
	Rules     []*ACLExplainRule
	Overruled []*ACLExplainRule
	// MissingPolicies and MissingRoles are those of the token, by name and by ID, that
	// do not exist and grant nothing.
	MissingPolicies []string
	MissingRoles    []string
	QueryMeta
}

// ACLExplainRule points to a rule of a policy.
type ACLExplainRule struct {
	Policy string
	Line   int
	Column int
	// Rule is how the block begins; Effect is allow, deny or none.
	Rule   string
	Effect string
}
