package acl

import "strings"

// match is a rule that a name was matched to.
type match struct {
	// namespace is the pattern of the namespace, "" outside of variables; name that of the rule.
	namespace, name string
	// literals and nsLiterals say how close the match is.
	literals, nsLiterals int
	set                  set
}

// closer reports whether m decides where o matches too: the smallest
// difference in length, then a deny, then the closer namespace, then the order
// of the patterns, so that the answer never depends on the order of policies.
func (m *match) closer(o *match) bool {
	if m.literals != o.literals {
		return m.literals > o.literals
	}
	if (m.set^o.set)&denied != 0 {
		return m.set&denied != 0
	}
	if m.nsLiterals != o.nsLiterals {
		return m.nsLiterals > o.nsLiterals
	}
	if m.namespace != o.namespace {
		return m.namespace < o.namespace
	}
	return m.name < o.name
}

// matcher finds the rule for a name: the exact one, else the closest glob.
type matcher struct {
	exact map[string]set
	globs index[set]
}

func newMatcher(patterns map[string]set) *matcher {
	m := &matcher{exact: map[string]set{}}
	globs := map[string]set{}
	for p, s := range patterns {
		if isGlob(p) {
			globs[p] = s.normal()
		} else {
			m.exact[p] = s.normal()
		}
	}
	m.globs = newIndex(globs)
	return m
}

func (m *matcher) find(name string) (match, bool) {
	if s, ok := m.exact[name]; ok {
		return match{name: name, set: s}, true
	}
	return m.findGlob(name)
}

func (m *matcher) findGlob(name string) (best match, found bool) {
	tail, _ := tailOf(name)
	for i := m.globs.seek(name); i >= 0; i = m.globs.groups[i].parent {
		g := &m.globs.groups[i]
		if !strings.HasPrefix(name, g.prefix) {
			continue
		}
		for j, h := range g.hints {
			if found && int(h.literals) < best.literals {
				break
			}
			if !h.fits(len(name), tail) {
				continue
			}
			e := &g.entries[j]
			if !e.matchRest(name) {
				continue
			}
			c := match{name: e.pattern, literals: e.literals, set: e.value}
			if !found || c.closer(&best) {
				best, found = c, true
			}
		}
	}
	return best, found
}

// any reports whether some rule grants something of want.
func (m *matcher) any(want set) bool {
	for _, s := range m.exact {
		if s.grants(want) {
			return true
		}
	}
	for i := range m.globs.groups {
		for _, e := range m.globs.groups[i].entries {
			if e.value.grants(want) {
				return true
			}
		}
	}
	return false
}

// variables finds the rule for a variable.
type variables struct {
	exact map[string]*matcher // by name of the namespace
	globs index[*matcher]     // by pattern of the namespace
}

func newVariables(rules map[string]map[string]set) variables {
	v := variables{exact: map[string]*matcher{}}
	globs := map[string]*matcher{}
	for ns, paths := range rules {
		if isGlob(ns) {
			globs[ns] = newMatcher(paths)
		} else {
			v.exact[ns] = newMatcher(paths)
		}
	}
	v.globs = newIndex(globs)
	return v
}

// findExact returns the rule that names both namespace and path.
func (v *variables) findExact(ns, path string) (match, bool) {
	if m := v.exact[ns]; m != nil {
		if s, ok := m.exact[path]; ok {
			return match{namespace: ns, name: path, set: s}, true
		}
	}
	return match{}, false
}

// findGlob returns the closest of the other rules, by the length of namespace
// and path together.
func (v *variables) findGlob(ns, path string) (best match, found bool) {
	if m := v.exact[ns]; m != nil {
		if best, found = m.findGlob(path); found {
			best.namespace, best.nsLiterals = ns, len(ns)
			best.literals += len(ns)
		}
	}
	for i := v.globs.seek(ns); i >= 0; i = v.globs.groups[i].parent {
		g := &v.globs.groups[i]
		for j := range g.entries {
			e := &g.entries[j]
			if !e.match(ns) {
				continue
			}
			c, ok := e.value.closest(path)
			c.namespace, c.nsLiterals = e.pattern, e.literals
			c.literals += e.literals
			if ok && (!found || c.closer(&best)) {
				best, found = c, true
			}
		}
	}
	return best, found
}

// closest is find with the length of an exact match, to be weighed against others.
// An exact path is longer than what is literal in any glob that matches it,
// except one whose stars stand for nothing.
func (m *matcher) closest(path string) (match, bool) {
	best, found := m.findGlob(path)
	if s, ok := m.exact[path]; ok {
		c := match{name: path, literals: len(path), set: s}
		if !found || c.closer(&best) {
			return c, true
		}
	}
	return best, found
}

// search reports whether some variable of the namespace may be listed; "*" asks
// for any namespace.
func (v *variables) search(ns string) bool {
	if ns == allNamespaces {
		for _, m := range v.exact {
			if m.any(variableList) {
				return true
			}
		}
	} else if m := v.exact[ns]; m != nil && m.any(variableList) {
		return true
	}
	for i := range v.globs.groups {
		g := &v.globs.groups[i]
		for j := range g.entries {
			if e := &g.entries[j]; (ns == allNamespaces || e.match(ns)) && e.value.any(variableList) {
				return true
			}
		}
	}
	return false
}
