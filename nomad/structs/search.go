package structs

import "cmp"

// SearchContext is what searches of the public API call a kind of objects.
type SearchContext string

// The kinds of objects that can be found, and SearchAll for all of them.
const (
	SearchAll        SearchContext = "all"
	SearchNodes      SearchContext = "nodes"
	SearchNodePools  SearchContext = "node_pools"
	SearchNamespaces SearchContext = "namespaces"
	SearchVariables  SearchContext = "vars"
)

// SearchRequest finds objects by what their ID or name begins with. It never blocks.
type SearchRequest struct {
	// Prefix is "" for anything. It hides that of the options on every wire, so that who
	// takes options from users takes SearchPrefix.
	Prefix string
	// Context is "" for SearchAll.
	Context SearchContext
	QueryOptions
}

// SearchPrefix returns the prefix asked for: that of the options where there is no other.
func (r *SearchRequest) SearchPrefix() string { return cmp.Or(r.Prefix, r.QueryOptions.Prefix) }

// SearchResponse answers SearchRequest. Both maps have each context that was searched.
type SearchResponse struct {
	// Matches are IDs, in order.
	Matches map[SearchContext][]string
	// Truncations says where there are more than Matches tells.
	Truncations map[SearchContext]bool
	QueryMeta
}

// FuzzySearchRequest finds objects that have a text somewhere in their name. It never blocks.
type FuzzySearchRequest struct {
	// Text is looked for without regard to case.
	Text string
	// Context is "" for SearchAll.
	Context SearchContext
	QueryOptions
}

// FuzzyMatch is one object that has the text in its name.
type FuzzyMatch struct {
	// ID is the name.
	ID string
	// Scope tells where the object lies and what identifies it, from the outside in;
	// nil where the name is all.
	Scope []string `json:",omitempty"`
}

// FuzzySearchResponse answers FuzzySearchRequest. Both maps have each context that was
// searched.
type FuzzySearchResponse struct {
	// Matches has the names first in which the text comes early.
	Matches map[SearchContext][]FuzzyMatch
	// Truncations says where not all objects were looked at, or not all matches are told.
	Truncations map[SearchContext]bool
	QueryMeta
}
