package agent

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/nomad/structs"
)

func TestSearchRoutes(t *testing.T) {
	f := newFake()
	on(f, "Search.PrefixSearch", func(_ *structs.SearchRequest, r *structs.SearchResponse) error {
		r.Matches, r.Truncations, r.Index = map[structs.SearchContext][]string{"vars": {"a"}}, map[structs.SearchContext]bool{"vars": true}, 7
		return nil
	})
	on(f, "Search.FuzzySearch", func(_ *structs.FuzzySearchRequest, r *structs.FuzzySearchResponse) error {
		r.Matches = map[structs.SearchContext][]structs.FuzzyMatch{"vars": {{ID: "a", Scope: []string{"ns", "a"}}}, "namespaces": {{ID: "a"}}}
		return nil
	})
	h := testAPI(t, f)
	options := func(o structs.QueryOptions) structs.QueryOptions { o.AuthToken = "t"; return o }
	for _, tc := range []struct {
		target, body string
		want         any
	}{
		{"/v1/search", `{"Prefix":"a","Context":"vars","Namespace":"ns","Region":"eu","AuthToken":"other","Forwarded":true}`,
			&structs.SearchRequest{Prefix: "a", Context: "vars", QueryOptions: options(structs.QueryOptions{Namespace: "ns", Region: "eu"})}},
		{"/v1/search?namespace=*&region=us&stale&prefix=b", `{"Namespace":"ns","Region":"eu"}`,
			&structs.SearchRequest{Prefix: "b", QueryOptions: options(structs.QueryOptions{Namespace: "*", Region: "us", AllowStale: true, Prefix: "b"})}},
		{"/v1/search/fuzzy?namespace=*", `{"Text":"a","Context":"all","Prefix":""}`,
			&structs.FuzzySearchRequest{Text: "a", Context: "all", QueryOptions: options(structs.QueryOptions{Namespace: "*"})}},
	} {
		for _, method := range []string{"PUT", "POST"} {
			w := call(h, method, tc.target, tc.body, "X-Nomad-Token", "t")
			if diff := cmp.Diff(tc.want, f.last); w.Code != 200 || diff != "" {
				t.Errorf("%s %s: %d %s", method, tc.target, w.Code, diff)
			}
		}
	}
	w := call(h, "PUT", "/v1/search", `{}`)
	want := `{"Matches":{"vars":["a"]},"Truncations":{"vars":true},"Index":7,"LastContact":0,"KnownLeader":false,"NextToken":""}`
	if got := w.Body.String(); got != want || w.Header().Get("X-Nomad-Index") != "7" {
		t.Errorf("%s", got)
	}
	w = call(h, "PUT", "/v1/search/fuzzy", `{}`)
	want = `{"Matches":{"namespaces":[{"ID":"a"}],"vars":[{"ID":"a","Scope":["ns","a"]}]},"Truncations":null,"Index":0,"LastContact":0,"KnownLeader":false,"NextToken":""}`
	if got := w.Body.String(); got != want {
		t.Errorf("%s", got)
	}
	for _, params := range []string{`{"prefix":"a","Context":"vars"}`, `{"Prefix":"a","Context":"vars"}`, `{"Prefix":"a","prefix":"b","Context":"vars"}`} {
		if _, err := invoke(t, h, "search_prefix_search", params); err != nil {
			t.Fatal(err)
		}
		if q := f.last.(*structs.SearchRequest); q.Prefix != "a" || q.Context != "vars" {
			t.Errorf("%s: %+v", params, q)
		}
	}
	for _, tc := range []struct {
		method, target, body string
		code                 int
	}{
		{"GET", "/v1/search", "", 405}, {"DELETE", "/v1/search/fuzzy", "", 405}, {"PUT", "/v1/search", "", 400}, {"PUT", "/v1/search/fuzzy", `{"Text":1}`, 400},
		{"PUT", "/v1/search/other", `{}`, 404},
	} {
		if w := call(h, tc.method, tc.target, tc.body); w.Code != tc.code {
			t.Errorf("%s %s %s: %d %s", tc.method, tc.target, tc.body, w.Code, w.Body)
		}
	}
}
