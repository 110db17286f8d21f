package agent

import (
	"reflect"
	"time"

	"github.com/cairn-project/cairn/nomad/structs"
)

// oneTimeTokenReply and exchangeReply are the bodies of the one-time token routes.
type (
	oneTimeTokenReply struct{ OneTimeToken *structs.OneTimeToken }
	exchangeReply     struct{ Token *structs.ACLToken }
)

// bootstrapBody and exchangeBody are what callers may say; the requests of the
// RPCs hold more, which is not theirs to set.
type (
	bootstrapBody struct {
		BootstrapSecret string `json:",omitempty"`
	}
	exchangeBody struct{ OneTimeSecretID string }
)

// tokenUsage is the body of /v1/acl/tokens/usage.
type tokenUsage struct {
	// Since is from when on no use is missing, unless servers are in NotHeard.
	Since time.Time
	// LastUsed holds when a token was last used by its accessor, to the minute.
	LastUsed map[string]time.Time
	// NotHeard names servers of the region that have not told what they know lately.
	NotHeard []string
}

func newTokenUsage(p *structs.ACLTokenUsageResponse) *tokenUsage {
	u := &tokenUsage{Since: p.Since, LastUsed: make(map[string]time.Time, len(p.LastUsed)), NotHeard: list(p.NotHeard)}
	for accessor, minute := range p.LastUsed {
		u.LastUsed[accessor] = time.Unix(minute*60, 0).UTC()
	}
	return u
}

func aclTokenRoutes() []route {
	body := reflect.TypeFor[structs.ACLToken]()
	return append(aclSpecialTokenRoutes(),
		read(doc{methods: "GET", pattern: "/v1/acl/tokens", rpc: "ACL.ListTokens",
			summary: "List the tokens, without their secrets.", lists: "prefix per_page next_token filter reverse",
			params: []param{{name: "global", kind: "boolean", summary: "list only tokens that are valid in all regions"}}},
			func(r *request, q *structs.ACLTokenListRequest) (err error) {
				q.GlobalOnly, err = r.flag("global")
				return err
			},
			func(_ *request, p *structs.ACLTokenListResponse) ([]*structs.ACLTokenListStub, error) {
				return list(p.Tokens), nil
			}),
		write(doc{methods: "PUT POST", pattern: "/v1/acl/token", rpc: "ACL.UpsertTokens",
			summary: "Create a token; the answer holds its secret.", body: body},
			bindToken, writtenToken),
		read(doc{methods: "GET", pattern: "/v1/acl/token/self", rpc: "ACL.WhoAmI",
			summary: "Read the caller's own token.", status: []int{404}},
			asIs[structs.GenericRequest],
			func(_ *request, p *structs.ACLWhoAmIResponse) (*structs.ACLToken, error) {
				if p.Identity == nil {
					return found[structs.ACLToken](nil, "ACL token")
				}
				return found(p.Identity.ACLToken, "ACL token")
			}),
		read(doc{methods: "GET", pattern: "/v1/acl/token/{accessor}", rpc: "ACL.GetToken",
			summary: "Read a token with its secret.", status: []int{404}},
			func(r *request, q *structs.ACLTokenSpecificRequest) error {
				q.AccessorID = r.rest
				return r.needRest("token accessor")
			},
			func(_ *request, p *structs.SingleACLTokenResponse) (*structs.ACLTokenInfo, error) {
				if p.Token == nil {
					return found[structs.ACLTokenInfo](nil, "ACL token")
				}
				return &structs.ACLTokenInfo{ACLToken: *p.Token, LastUsedTime: p.LastUsedTime}, nil
			}),
		read(doc{methods: "GET", pattern: "/v1/acl/tokens/usage", rpc: "ACL.TokenUsage",
			summary: "Tell when tokens were last used, as far as the servers remember."},
			asIs[structs.ACLTokenUsageRequest],
			func(_ *request, p *structs.ACLTokenUsageResponse) (*tokenUsage, error) {
				return newTokenUsage(p), nil
			}),
		write(doc{methods: "PUT POST", pattern: "/v1/acl/token/{accessor}", rpc: "ACL.UpsertTokens",
			summary: "Update a token; the body must name the same accessor.", body: body, status: []int{404}},
			bindToken, writtenToken),
		write(doc{methods: "DELETE", pattern: "/v1/acl/token/{accessor}", rpc: "ACL.DeleteTokens",
			summary: "Delete a token.", status: []int{404}},
			func(r *request, q *structs.ACLTokenDeleteRequest) error {
				q.AccessorIDs = []string{r.rest}
				return r.needRest("token accessor")
			}, done[structs.GenericResponse]),
	)
}

// aclSpecialTokenRoutes make tokens out of something else than a request for one.
func aclSpecialTokenRoutes() []route {
	return []route{
		write(doc{methods: "PUT POST", pattern: "/v1/acl/bootstrap", rpc: "ACL.Bootstrap",
			summary: "Create the first management token, once.", body: reflect.TypeFor[bootstrapBody](), optionalBody: true},
			func(r *request, q *structs.ACLTokenBootstrapRequest) error {
				q.AuthToken = "" // the call proves itself, and an old token must not spoil it
				var b bootstrapBody
				if err := r.decodeBody(&b); err != nil && err != errEmptyBody {
					return err
				}
				q.BootstrapSecret = b.BootstrapSecret
				return nil
			}, writtenToken),
		write(doc{methods: "PUT POST", pattern: "/v1/acl/token/onetime", rpc: "ACL.UpsertOneTimeToken",
			summary: "Make a secret that can be exchanged once for the caller's token."},
			asIs[structs.OneTimeTokenUpsertRequest],
			func(_ *request, p *structs.OneTimeTokenUpsertResponse) (oneTimeTokenReply, error) {
				return oneTimeTokenReply{p.OneTimeToken}, nil
			}),
		write(doc{methods: "PUT POST", pattern: "/v1/acl/token/onetime/exchange", rpc: "ACL.ExchangeOneTimeToken",
			summary: "Exchange a one-time secret for the token that it stands for.", body: reflect.TypeFor[exchangeBody]()},
			func(r *request, q *structs.OneTimeTokenExchangeRequest) error {
				q.AuthToken = ""
				var b exchangeBody
				err := r.decodeBody(&b)
				q.OneTimeSecretID = b.OneTimeSecretID
				return err
			},
			func(_ *request, p *structs.OneTimeTokenExchangeResponse) (exchangeReply, error) {
				return exchangeReply{p.Token}, nil
			}),
	}
}

func bindToken(r *request, q *structs.ACLTokenUpsertRequest) error {
	t := &structs.ACLToken{}
	if err := r.bodyNamed(t, &t.AccessorID, "token accessor"); err != nil {
		return err
	}
	q.Tokens = []*structs.ACLToken{t}
	return nil
}

func writtenToken(_ *request, p *structs.ACLTokenUpsertResponse) (*structs.ACLToken, error) {
	return only(p.Tokens)
}
