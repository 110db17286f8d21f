package agent

import (
	"cmp"
	"reflect"

	"github.com/cairn-project/cairn/nomad/structs"
)

// searchBody is what to search for. Namespace and Region stand where the query
// parameters of these names are missing.
type searchBody struct {
	Prefix    string                `json:",omitempty"`
	Context   structs.SearchContext `json:",omitempty"`
	Namespace string                `json:",omitempty"`
	Region    string                `json:",omitempty"`
}

// fuzzySearchBody is searchBody with a text in place of the prefix.
type fuzzySearchBody struct {
	Text      string
	Context   structs.SearchContext `json:",omitempty"`
	Namespace string                `json:",omitempty"`
	Region    string                `json:",omitempty"`
}

func searchRoutes() []route {
	return []route{
		read(doc{methods: "PUT POST", pattern: "/v1/search", rpc: "Search.PrefixSearch",
			summary: "Find objects whose ID or name begins with a prefix, of one kind or of all that the caller may see.",
			body:    reflect.TypeFor[searchBody]()},
			bindSearch,
			func(_ *request, p *structs.SearchResponse) (*structs.SearchResponse, error) { return p, nil }),
		read(doc{methods: "PUT POST", pattern: "/v1/search/fuzzy", rpc: "Search.FuzzySearch",
			summary: "Find objects that have a text in their name, of one kind or of all that the caller may see.",
			body:    reflect.TypeFor[fuzzySearchBody](), status: []int{501}},
			bindFuzzySearch,
			func(_ *request, p *structs.FuzzySearchResponse) (*structs.FuzzySearchResponse, error) { return p, nil }),
	}
}

func bindSearch(r *request, q *structs.SearchRequest) error {
	var b searchBody
	if err := r.decodeBody(&b); err != nil {
		return err
	}
	q.Prefix, q.Context = b.Prefix, b.Context
	q.Prefix = q.SearchPrefix()
	inBody(&q.QueryOptions, b.Namespace, b.Region)
	return nil
}

func bindFuzzySearch(r *request, q *structs.FuzzySearchRequest) error {
	var b fuzzySearchBody
	if err := r.decodeBody(&b); err != nil {
		return err
	}
	q.Text, q.Context = b.Text, b.Context
	inBody(&q.QueryOptions, b.Namespace, b.Region)
	return nil
}

// inBody takes the options that a body gives and the query does not.
func inBody(q *structs.QueryOptions, namespace, region string) {
	q.Namespace, q.Region = cmp.Or(q.Namespace, namespace), cmp.Or(q.Region, region)
}
