package state

import (
	"iter"
	"slices"
	"strings"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/nomad/structs"
)

// search says how a table is searched. Callers find the rows that the table's
// visibility rule shows them; who may follow none of its events is refused.
type search[T any] struct {
	// context is what requests call the rows.
	context structs.SearchContext
	// name is what a fuzzy search looks into; scope may be nil, see structs.FuzzyMatch.
	name  func(*T) string
	scope func(*T) []string
	// uuids says that the IDs of keys are UUIDs in lower case: prefixes may be in any.
	uuids bool
	// namespaced says that the rows lie in namespaces: only those of the one that is
	// asked for are found.
	namespaced bool
}

// searchedBy says how the table is searched.
func (t *Table[T]) searchedBy(s search[T]) *Table[T] {
	t.search, t.info.searchSaid = &s, true
	t.info.context = s.context
	return t
}

// notSearched says that nobody finds the rows by searching.
func (t *Table[T]) notSearched() *Table[T] {
	t.info.searchSaid = true
	return t
}

// SearchQuery selects rows of one table.
type SearchQuery struct {
	// ACL is what the caller may do.
	ACL     *acl.ACL
	Context structs.SearchContext
	// Namespace is structs.AllNamespacesSentinel for all of them.
	Namespace string
	// Prefix is what the IDs begin with, "" for anything.
	Prefix string
}

// Found is a row that a search came by.
type Found struct {
	// ID names the row, Name is what people call it.
	ID, Name string
	Scope    []string
}

// searcher is a table that can be searched.
type searcher interface {
	look(sn *Snapshot, q *SearchQuery) iter.Seq[Found]
}

// SearchContexts returns what can be searched for, in order.
func SearchContexts() []structs.SearchContext {
	var out []structs.SearchContext
	for _, t := range registry {
		if c := t.describe().context; c != "" {
			out = append(out, c)
		}
	}
	slices.Sort(out)
	return out
}

// SearchedTables returns the names of the tables that can be searched.
func SearchedTables() []string {
	var out []string
	for _, t := range registry {
		if info := t.describe(); info.context != "" {
			out = append(out, info.Name)
		}
	}
	return out
}

// searchedTable returns the table of a context, nil for none.
func searchedTable(c structs.SearchContext) anyTable {
	for _, t := range registry {
		if c != "" && t.describe().context == c {
			return t
		}
	}
	return nil
}

// MaySearch reports whether some row of a context could be visible to a caller with the
// rights a who asks for a namespace, "*" for all; known is false for a context of no
// table.
func MaySearch(a *acl.ACL, c structs.SearchContext, namespace string) (may, known bool) {
	t := searchedTable(c)
	if t == nil {
		return false, false
	}
	return t.describe().follows(a, namespace), true
}

// Search yields the rows of the query that its caller may see, in order of their keys.
// It seeks to the prefix, and watches nothing.
func (sn *Snapshot) Search(q *SearchQuery) iter.Seq[Found] {
	if t, ok := searchedTable(q.Context).(searcher); ok {
		return t.look(sn, q)
	}
	return func(func(Found) bool) {}
}

// look implements searcher.
func (t *Table[T]) look(sn *Snapshot, q *SearchQuery) iter.Seq[Found] {
	return func(yield func(Found) bool) {
		for in := range t.searchSpans(sn, q) {
			for row := range t.scan(sn, in, Key{}, false) {
				if t.visible(q.ACL, row) && !yield(t.found(row)) {
					return
				}
			}
		}
	}
}

func (t *Table[T]) found(row *T) Found {
	out := Found{ID: t.key(row).ID, Name: t.search.name(row)}
	if t.search.scope != nil {
		out.Scope = t.search.scope(row)
	}
	return out
}

// searchSpans yields the ranges that hold what the query selects. It leaves out the
// namespaces of which the caller can see nothing.
func (t *Table[T]) searchSpans(sn *Snapshot, q *SearchQuery) iter.Seq[span] {
	return func(yield func(span) bool) {
		prefix := q.Prefix
		if t.search.uuids {
			prefix = strings.ToLower(prefix)
		}
		switch {
		case !t.search.namespaced:
			yield(within("", prefix))
		case q.Namespace != structs.AllNamespacesSentinel:
			yield(within(q.Namespace, prefix))
		default:
			for n := range Namespaces.scan(sn, everything, Key{}, false) {
				if t.events.follows(q.ACL, n.Name) && !yield(within(n.Name, prefix)) {
					return
				}
			}
		}
	}
}
