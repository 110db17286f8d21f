package acl

import "strings"

// Shortfall is a rule that grants more than a caller has.
type Shortfall struct {
	// Policy and Rule say where, Rule as namespace "team-*".
	Policy, Rule string
	Pos          Position
	// Missing are the capabilities that the caller lacks somewhere under the rule.
	Missing []string
}

// Lacks compares what the policies grant together with what the caller may do, and
// returns the first rule that grants more, nil if there is none. It may find a rule
// where there is none, and never the reverse: a pattern counts as covered only by a rule of the
// caller that takes in all its names, and if nothing closer takes some of them away.
func (a *ACL) Lacks(policies ...*Policy) *Shortfall {
	if a.IsManagement() {
		return nil
	}
	if a == nil {
		a = DenyAll
	}
	own, given := a.grants(), grantsOf(policies)
	for _, g := range given {
		missing := g.set
		if v := vocabularyOf(g.kind); v.label == nil {
			if s := a.plain(g.kind); s&denied == 0 {
				missing = g.set &^ s
			}
		} else {
			missing = g.missing(own, given)
		}
		if g.kind == KindNamespace && a.AllowOperatorCapability(ManageNamespaces) {
			missing &^= namespaceBits[NamespaceManage]
		}
		if g.set&denied == 0 && missing != 0 {
			return &Shortfall{g.policy, g.text, g.pos, vocabularyOf(g.kind).names(missing)}
		}
	}
	return nil
}

// Released returns what may take effect for whoever holds others too when the
// policies old become new: a rule decides alone where it is closest, so that one which goes, or no
// longer denies, uncovers looser ones. The result is nil if nothing is uncovered.
func Released(old, new, others []*Policy) *Policy {
	kept := map[grantKey]set{}
	for _, g := range grantsOf(new) {
		kept[g.key()] = g.set
	}
	below := grantsOf(others)
	out := &Policy{}
	for _, g := range grantsOf(old) {
		s, ok := kept[g.key()]
		if ok && (s&denied != 0 || g.set&denied == 0) {
			continue
		}
		if vocabularyOf(g.kind).label == nil && g.set&denied == 0 {
			continue // rules without names add up, so that only a deny hides others
		}
		var uncovered set
		for _, o := range below {
			if o.set&denied == 0 && !g.yieldsTo(&o) && o.overlaps(&g) {
				uncovered |= o.set
			}
		}
		if uncovered &^= g.set; uncovered != 0 {
			out.Rules = append(out.Rules, g.rule(uncovered))
		}
	}
	if len(out.Rules) == 0 {
		return nil
	}
	return out
}

// grant is a rule on its own: one pattern and what it means, all policies taken together.
type grant struct {
	kind Kind
	// ns is the namespace of a rule on variables; the pattern "" otherwise.
	ns, name glob
	set      set
	policy   string
	text     string
	pos      Position
}

// grantKey tells grants apart.
type grantKey struct {
	kind     Kind
	ns, name string
}

func (g *grant) key() grantKey { return grantKey{g.kind, g.ns.pattern, g.name.pattern} }

// literals says how close a match is, as match.closer counts.
func (g *grant) literals() int { return g.ns.literals + g.name.literals }

// exact reports whether g is about one thing only.
func (g *grant) exact() bool { return g.ns.exact && g.name.exact }

// contains reports whether g matches whatever o matches: a star of o is matched by
// a star only.
func (g *grant) contains(o *grant) bool {
	return g.kind == o.kind && g.ns.match(o.ns.pattern) && g.name.match(o.name.pattern)
}

// overlaps reports whether something is matched by both.
func (g *grant) overlaps(o *grant) bool {
	return g.kind == o.kind && g.ns.overlaps(&o.ns) && g.name.overlaps(&o.name)
}

// overlaps reports whether some name matches both. Two patterns with stars share
// one as soon as their ends agree.
func (g *glob) overlaps(o *glob) bool {
	switch {
	case g.exact:
		return o.match(g.pattern)
	case o.exact:
		return g.match(o.pattern)
	}
	starts := strings.HasPrefix(g.prefix, o.prefix) || strings.HasPrefix(o.prefix, g.prefix)
	return starts && (strings.HasSuffix(g.suffix, o.suffix) || strings.HasSuffix(o.suffix, g.suffix))
}

// missing returns what of g the rules own do not grant everywhere. Rules of own are
// left aside where g never decides because given has the same pattern, which is closer.
func (g *grant) missing(own, given []grant) set {
	closest := -1
	for i := range own {
		if own[i].contains(g) {
			closest = max(closest, own[i].literals())
		}
	}
	if closest < 0 {
		return g.set
	}
	var missing set
	for i := range own {
		o := &own[i]
		if o.literals() < closest || !o.overlaps(g) || g.yields(o, given) {
			continue
		}
		if o.set&denied != 0 {
			return g.set
		}
		missing |= g.set &^ o.set
	}
	return missing
}

// yields reports whether given decides by a rule with the pattern of o, and not by g,
// wherever o matches.
func (g *grant) yields(o *grant, given []grant) bool {
	if !g.yieldsTo(o) {
		return false
	}
	for i := range given {
		if given[i].key() == o.key() {
			return true
		}
	}
	return false
}

// yieldsTo reports whether o decides wherever both match.
func (g *grant) yieldsTo(o *grant) bool {
	return o.literals() > g.literals() || o.exact() && !g.exact()
}

// rule returns g as a rule that grants s.
func (g *grant) rule(s set) *Rule {
	words := vocabularyOf(g.kind).names(s)
	if g.kind != KindVariables {
		return &Rule{Kind: g.kind, Name: g.name.pattern, Capabilities: words, Pos: g.pos}
	}
	return &Rule{Kind: KindNamespace, Name: g.ns.pattern, Pos: g.pos,
		Paths: []*PathRule{{Pattern: g.name.pattern, Capabilities: words, Pos: g.pos}}}
}

// grants returns the rules of the caller, with what a workload may do unasked.
func (a *ACL) grants() []grant {
	out := grantsOf(a.policies)
	if a.workload == nil {
		return out
	}
	named := map[grantKey]bool{}
	for i := range out {
		named[out[i].key()] = true
	}
	for _, path := range a.workload.paths {
		g := grant{kind: KindVariables, ns: newGlob(a.workload.namespace), name: newGlob(path), set: variableList | variableRead}
		if !named[g.key()] {
			out = append(out, g)
		}
	}
	return out
}

// grantsOf adds up the rules of policies by their patterns, in the order of the rules.
func grantsOf(policies []*Policy) []grant {
	var out []grant
	at := map[grantKey]int{}
	add := func(g grant) {
		i, ok := at[g.key()]
		if !ok {
			i = len(out)
			at[g.key()] = i
			out = append(out, g)
		}
		out[i].set = (out[i].set | g.set).normal()
	}
	for _, p := range policies {
		for _, r := range p.Rules {
			v := vocabularyOf(r.Kind)
			if v == nil {
				continue
			}
			text := header(r.Kind, r.Name)
			// A rule that grants nothing still decides where it is closest.
			add(grant{r.Kind, glob{exact: true}, newGlob(r.Name), r.set(v), p.Name, text, r.Pos})
			for _, path := range r.Paths {
				add(grant{KindVariables, newGlob(r.Name), newGlob(path.Pattern), path.set(), p.Name,
					text + " variables path " + quote(path.Pattern), path.Pos})
			}
		}
	}
	return out
}
