package state

import (
	"strings"
	"sync"
)

// Key names a row of a table. Rows are in order of Namespace, then ID, both
// bytewise. Namespace is "" in tables outside of namespaces, and never holds a
// NUL. As the start of a range, the zero Key means the beginning.
type Key struct {
	Namespace string
	ID        string
}

func (k Key) compare(o Key) int {
	if k.Namespace != o.Namespace { // mostly the same text in the same place
		return strings.Compare(k.Namespace, o.Namespace)
	}
	return strings.Compare(k.ID, o.ID)
}

// appendTo appends the form of k that indexes are ordered by.
func (k Key) appendTo(b []byte) []byte {
	b = append(b, k.Namespace...)
	b = append(b, 0)
	return append(b, k.ID...)
}

// encode returns what an index keeps for a row of the key.
func (k Key) encode() []byte {
	return k.appendTo(make([]byte, 0, len(k.Namespace)+1+len(k.ID)))
}

// span is a range of keys: those of a namespace whose ID has a prefix, or all.
type span struct {
	all   bool
	start Key
}

var everything = span{all: true}

func within(namespace, prefix string) span { return span{start: Key{namespace, prefix}} }

func (s span) holds(k Key) bool {
	return s.all || k.Namespace == s.start.Namespace && strings.HasPrefix(k.ID, s.start.ID)
}

// lookup is the one argument of a query. Queries borrow it, so that they make no
// garbage.
type lookup struct {
	key  []byte
	args []any // the lookup itself
}

var lookups = sync.Pool{New: func() any {
	l := &lookup{}
	l.args = []any{l}
	return l
}}

// lookFor returns the argument for a key, to be given back with done.
func lookFor(k Key) *lookup {
	l := lookups.Get().(*lookup)
	l.key = k.appendTo(l.key[:0])
	return l
}

// lookIn returns the argument for a range, to be given back with done.
func lookIn(s span) *lookup {
	l := lookFor(s.start)
	if s.all {
		l.key = l.key[:0]
	}
	return l
}

func (l *lookup) done() { lookups.Put(l) }
