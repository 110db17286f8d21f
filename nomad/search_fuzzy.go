package nomad

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// SearchConfig bounds searches for a text within names.
type SearchConfig struct {
	// FuzzyEnabled allows them.
	FuzzyEnabled bool
	// LimitQuery is how many objects of each context are looked at, of those that the
	// caller may see; LimitResults how many matches of each are told.
	LimitQuery   int
	LimitResults int
	// MinTermLength is how many characters the text must have.
	MinTermLength int
}

// DefaultSearchConfig returns the defaults.
func DefaultSearchConfig() SearchConfig {
	return SearchConfig{FuzzyEnabled: true, LimitQuery: 20, LimitResults: 100, MinTermLength: 2}
}

// Problems returns what is wrong with the bounds, each as a field and a sentence, by
// the names that configuration files have.
func (c *SearchConfig) Problems() []string {
	var out []string
	if c.LimitQuery < 1 {
		out = append(out, "limit_query: must be at least 1")
	}
	if c.LimitResults < 1 {
		out = append(out, "limit_results: must be at least 1")
	}
	if c.MinTermLength < 0 {
		out = append(out, "min_term_length: must not be negative")
	}
	return out
}

// check refuses a text that must not be searched for.
func (c *SearchConfig) check(text string) error {
	if !c.FuzzyEnabled {
		return errs.New(errs.Unsupported, "fuzzy search is not enabled: search by prefix, or set server.search.fuzzy_enabled on every server")
	}
	if n := utf8.RuneCountInString(text); n < c.MinTermLength {
		return errs.Newf(errs.Invalid, "the text of a fuzzy search must have at least %d characters, it has %d", c.MinTermLength, n)
	}
	return nil
}

// fuzzyHit is a match and where in the name the text is, in bytes.
type fuzzyHit struct {
	at int
	structs.FuzzyMatch
}

// fuzzyMatches returns the objects of a query with text, which is in lower case, in
// their name: the best first, those where it comes early and then the short ones.
// more says that there may be others.
func (v *view) fuzzyMatches(q *state.SearchQuery, text string) (out []structs.FuzzyMatch, more bool) {
	limits := &v.srv.config.Search
	var hits []fuzzyHit
	looked := 0
	for f := range v.Search(q) {
		if looked == limits.LimitQuery {
			more = true
			break
		}
		looked++
		if at := strings.Index(strings.ToLower(f.Name), text); at >= 0 {
			hits = append(hits, fuzzyHit{at, structs.FuzzyMatch{ID: f.Name, Scope: f.Scope}})
		}
	}
	slices.SortStableFunc(hits, func(a, b fuzzyHit) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(len(a.ID), len(b.ID)), strings.Compare(a.ID, b.ID))
	})
	if len(hits) > limits.LimitResults {
		hits, more = hits[:limits.LimitResults], true
	}
	out = make([]structs.FuzzyMatch, len(hits))
	for i := range hits {
		out[i] = hits[i].FuzzyMatch
	}
	return out, more
}
