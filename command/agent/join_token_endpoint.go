package agent

import (
	"reflect"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// joinTokenOrder asks for a join token.
type joinTokenOrder struct {
	Name string `json:",omitempty"`
	// Role is server or client.
	Role string
	// TTL is a duration such as 1h, "" for the default.
	TTL string `json:",omitempty"`
	// MaxUses is how many agents may join, 0 for one.
	MaxUses int `json:",omitempty"`
}

// joinTokenMade is a new join token with its text.
type joinTokenMade struct {
	JoinToken *structs.JoinTokenStub
	// Text is what the joiner is given. It is shown this once.
	Text string
}

func joinTokenRoutes() []route {
	return []route{
		read(doc{methods: "GET", pattern: "/v1/operator/join-tokens", rpc: "JoinToken.List",
			summary: "List the join tokens, without their secrets, and who joined with them."},
			asIs[structs.JoinTokenListRequest],
			func(_ *request, p *structs.JoinTokenListResponse) ([]*structs.JoinTokenStub, error) {
				return list(p.JoinTokens), nil
			}),
		write(doc{methods: "PUT POST", pattern: "/v1/operator/join-token", rpc: "JoinToken.Create",
			summary: "Create a token that lets agents join which have no certificate yet.", body: reflect.TypeFor[joinTokenOrder]()},
			bindJoinToken,
			func(_ *request, p *structs.JoinTokenCreateResponse) (joinTokenMade, error) {
				return joinTokenMade{JoinToken: p.JoinToken, Text: p.Text}, nil
			}),
		write(doc{methods: "DELETE", pattern: "/v1/operator/join-token/{id}", rpc: "JoinToken.Delete",
			summary: "Revoke a join token. Who has joined stays.", status: []int{404}},
			func(r *request, q *structs.JoinTokenDeleteRequest) error {
				q.IDs = []string{r.rest}
				return r.needRest("join token ID")
			}, done[structs.GenericResponse]),
	}
}

func bindJoinToken(r *request, q *structs.JoinTokenCreateRequest) error {
	order := joinTokenOrder{}
	if err := r.decodeBody(&order); err != nil {
		return err
	}
	q.Name, q.Role, q.MaxUses = order.Name, structs.JoinRole(order.Role), order.MaxUses
	if order.TTL == "" {
		return nil
	}
	ttl, err := time.ParseDuration(order.TTL)
	if err != nil || ttl <= 0 {
		return errs.Newf(errs.Invalid, "TTL %q: must be a duration such as 1h", order.TTL)
	}
	q.TTL = ttl
	return nil
}
