package nomad

import (
	"strconv"
	"strings"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

var aclListTokens = newRead("ACL.ListTokens", aclTokenTables,
	delegated[structs.ACLTokenListRequest](acl.ACLTokenRead),
	func(v *view, r *structs.ACLTokenListRequest, reply *structs.ACLTokenListResponse) error {
		query, err := tokenQuery(r)
		if err != nil {
			return err
		}
		reply.Tokens = []*structs.ACLTokenListStub{}
		reply.NextToken, err = paginate(v.ACLTokens(v.ws, query), &r.QueryOptions, page[structs.ACLToken]{
			visible: func(t *structs.ACLToken) bool { return state.ACLTokens.Visible(v.acl, t) },
			object:  func(t *structs.ACLToken) any { return t.Stub() }, // a filter must not find secrets
			key:     func(t *structs.ACLToken) string { return tokenCursor(r.Prefix, t) },
			emit: func(t *structs.ACLToken) {
				stub := v.NameACLRoles(nil, t).Stub()
				stub.LastUsedTime = v.srv.usage.Last(t.AccessorID)
				reply.Tokens = append(reply.Tokens, stub)
			},
		})
		return err
	})

// tokenQuery selects the tokens of a list, from its cursor on.
func tokenQuery(r *structs.ACLTokenListRequest) (state.ACLTokenQuery, error) {
	query := state.ACLTokenQuery{Prefix: r.Prefix, Reverse: r.Reverse}
	if r.GlobalOnly {
		query.Global = &r.GlobalOnly
	}
	switch {
	case r.NextToken == "":
	case r.Prefix != "":
		query.From = state.Key{ID: r.NextToken}
	default:
		number, accessor, _ := strings.Cut(r.NextToken, ".")
		index, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return query, errs.Newf(errs.Invalid, "next_token %q is not one of this list", r.NextToken)
		}
		query.From = state.ACLTokenPosition(index, accessor)
	}
	return query, nil
}

// tokenCursor is the reverse of tokenQuery.
func tokenCursor(prefix string, t *structs.ACLToken) string {
	if prefix != "" {
		return t.AccessorID
	}
	return strconv.FormatUint(t.CreateIndex, 10) + "." + t.AccessorID
}
