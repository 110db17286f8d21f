package acl

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// glob is a pattern in which * stands for any text, cut into its literal parts.
type glob struct {
	pattern string
	prefix  string
	middle  []string
	suffix  string
	// literals counts the bytes that are not stars: of two patterns that match a
	// name, the one with more of them differs less from it in length.
	literals int
	exact    bool
}

func isGlob(pattern string) bool { return strings.Contains(pattern, "*") }

func newGlob(pattern string) glob {
	parts := strings.Split(pattern, "*")
	g := glob{pattern: pattern, prefix: parts[0], literals: len(pattern) - len(parts) + 1}
	if len(parts) == 1 {
		g.exact = true
		return g
	}
	for _, p := range parts[1 : len(parts)-1] {
		if p != "" {
			g.middle = append(g.middle, p)
		}
	}
	g.suffix = parts[len(parts)-1]
	return g
}

// match reports whether g matches all of name. Each part is taken at its first
// place, so the time grows with the length of name only.
func (g *glob) match(name string) bool {
	if g.exact {
		return name == g.pattern
	}
	return strings.HasPrefix(name, g.prefix) && g.matchRest(name)
}

// matchRest is match for a name that is known to begin with the prefix.
func (g *glob) matchRest(name string) bool {
	if len(name) < g.literals || !strings.HasSuffix(name, g.suffix) {
		return false
	}
	name = name[len(g.prefix) : len(name)-len(g.suffix)]
	for _, part := range g.middle {
		i := strings.Index(name, part)
		if i < 0 {
			return false
		}
		name = name[i+len(part):]
	}
	return true
}

// entry is a glob and what it leads to.
type entry[V any] struct {
	glob
	value V
}

// index finds the globs whose literal prefix a name begins with. It is
// immutable once built.
type index[V any] struct {
	groups []group[V] // in order of prefix
}

// group holds the globs that share a prefix, those with more literals first. parent is the group of the longest
// other prefix that this one begins with, -1 for none.
type group[V any] struct {
	prefix  string
	parent  int
	entries []entry[V]
	hints   []hint // beside entries, closer together in memory
}

// hint rules most globs out at a glance: by the least length of a name and by
// the last bytes of the suffix, mask covering those that it has.
type hint struct {
	literals   int32
	tail, mask uint32
}

func (g *glob) hint() hint {
	tail, mask := tailOf(g.suffix)
	return hint{int32(min(g.literals, math.MaxInt32)), tail, mask}
}

// tailOf packs the last four bytes of s, the last one lowest.
func tailOf(s string) (tail, mask uint32) {
	for i := range min(len(s), 4) {
		tail |= uint32(s[len(s)-1-i]) << (8 * i)
		mask |= 0xff << (8 * i)
	}
	return tail, mask
}

// fits reports whether a name of n bytes with this tail may match.
func (h hint) fits(n int, tail uint32) bool { return n >= int(h.literals) && tail&h.mask == h.tail }

func newIndex[V any](patterns map[string]V) index[V] {
	byPrefix := map[string][]entry[V]{}
	for p, v := range patterns {
		g := newGlob(p)
		byPrefix[g.prefix] = append(byPrefix[g.prefix], entry[V]{g, v})
	}
	var x index[V]
	for prefix, entries := range byPrefix {
		slices.SortFunc(entries, func(a, b entry[V]) int {
			return cmp.Or(cmp.Compare(b.literals, a.literals), cmp.Compare(a.pattern, b.pattern))
		})
		g := group[V]{prefix: prefix, parent: -1, entries: entries}
		for i := range entries {
			g.hints = append(g.hints, entries[i].hint())
		}
		x.groups = append(x.groups, g)
	}
	slices.SortFunc(x.groups, func(a, b group[V]) int { return strings.Compare(a.prefix, b.prefix) })
	for i := range x.groups {
		p := i - 1
		for p >= 0 && !strings.HasPrefix(x.groups[i].prefix, x.groups[p].prefix) {
			p = x.groups[p].parent
		}
		x.groups[i].parent = p
	}
	return x
}

// seek returns the first group to look at for name, -1 for none; the others
// follow by parent. The prefixes of name sort before it, and whatever sorts
// between such a prefix and name begins with the prefix too. So all of them are
// found from the last group that does not sort behind name.
func (x *index[V]) seek(name string) int {
	lo, hi := 0, len(x.groups)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if x.groups[mid].prefix <= name {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}
