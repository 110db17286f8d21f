package nomad

import (
	"context"
	"strings"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Search answers the RPCs that find objects of all kinds.
type Search struct{ srv *Server }

// prefixHits is how many matches of a prefix are told of each context.
const prefixHits = 20

var searchPrefix = newRead("Search.PrefixSearch", state.SearchedTables(),
	func(a *acl.ACL, r *structs.SearchRequest) bool { return maySearch(a, r.Context, r.RequestNamespace()) },
	func(v *view, r *structs.SearchRequest, reply *structs.SearchResponse) error {
		contexts, err := searchContexts(v.acl, r.Context, r.RequestNamespace())
		if err != nil {
			return err
		}
		reply.Matches, reply.Truncations = map[structs.SearchContext][]string{}, map[structs.SearchContext]bool{}
		for _, c := range contexts {
			q := state.SearchQuery{ACL: v.acl, Context: c, Namespace: r.RequestNamespace(), Prefix: r.Prefix}
			reply.Matches[c], reply.Truncations[c] = v.prefixMatches(&q)
		}
		return nil
	}).atOnce()

var searchFuzzy = newRead("Search.FuzzySearch", state.SearchedTables(),
	func(a *acl.ACL, r *structs.FuzzySearchRequest) bool {
		return maySearch(a, r.Context, r.RequestNamespace())
	},
	func(v *view, r *structs.FuzzySearchRequest, reply *structs.FuzzySearchResponse) error {
		contexts, err := searchContexts(v.acl, r.Context, r.RequestNamespace())
		if err == nil {
			err = v.srv.config.Search.check(r.Text)
		}
		if err != nil {
			return err
		}
		reply.Matches, reply.Truncations = map[structs.SearchContext][]structs.FuzzyMatch{}, map[structs.SearchContext]bool{}
		for _, c := range contexts {
			q := state.SearchQuery{ACL: v.acl, Context: c, Namespace: r.RequestNamespace()}
			reply.Matches[c], reply.Truncations[c] = v.fuzzyMatches(&q, strings.ToLower(r.Text))
		}
		return nil
	}).atOnce()

// prefixMatches returns the IDs of a query; more says that there are others.
func (v *view) prefixMatches(q *state.SearchQuery) (ids []string, more bool) {
	ids = []string{}
	for f := range v.Search(q) {
		if len(ids) == prefixHits {
			return ids, true
		}
		ids = append(ids, f.ID)
	}
	return ids, false
}

// PrefixSearch finds objects by what their ID or name begins with.
func (e *Search) PrefixSearch(ctx context.Context, args *structs.SearchRequest, reply *structs.SearchResponse) error {
	return searchPrefix.serve(ctx, e.srv, args, reply)
}

// FuzzySearch finds objects that have a text in their name.
func (e *Search) FuzzySearch(ctx context.Context, args *structs.FuzzySearchRequest, reply *structs.FuzzySearchResponse) error {
	return searchFuzzy.serve(ctx, e.srv, args, reply)
}
