package acl

import (
	"fmt"
	"slices"
)

// Warning is something in a valid policy that probably is not meant.
type Warning struct {
	Line, Column int
	Text         string
}

// Lint returns what looks like a mistake in a policy that parses, in the order
// of the source.
func (p *Policy) Lint() []Warning {
	var out []Warning
	warn := func(pos Position, format string, args ...any) {
		out = append(out, Warning{pos.Line, pos.Column, fmt.Sprintf(format, args...)})
	}
	seen := map[[3]string]Position{}
	twice := func(pos Position, text string, key [3]string) {
		if first, ok := seen[key]; ok {
			warn(pos, "%s is there since line %d: the rules are added up", text, first.Line)
			return
		}
		seen[key] = pos
	}
	for _, r := range p.Rules {
		twice(r.Pos, header(r.Kind, r.Name), [3]string{string(r.Kind), r.Name})
		deny := r.Level == Deny || slices.Contains(r.Capabilities, Deny)
		switch {
		case deny && (r.Level != Deny && r.Level != "" || len(r.Capabilities) > 1 || r.Level == Deny && len(r.Capabilities) > 0):
			warn(r.Pos, "%s denies everything: what else it grants has no effect", header(r.Kind, r.Name))
		case r.Level == "" && len(r.Capabilities) == 0 && len(r.Paths) == 0:
			warn(r.Pos, "%s grants nothing, and hides less close rules", header(r.Kind, r.Name))
		}
		if deny && len(r.Paths) > 0 {
			warn(r.Pos, "%s denies everything except its variables, which have rules of their own", header(r.Kind, r.Name))
		}
		if r.Kind == KindOperator && !deny {
			for _, c := range r.Capabilities {
				if slices.Contains(sovereign, c) {
					warn(r.Pos, "%s: whoever has it can become management", c)
				}
			}
		}
		for _, path := range r.Paths {
			text := "path " + quote(path.Pattern) + " of " + header(r.Kind, r.Name)
			twice(path.Pos, text, [3]string{string(KindVariables), r.Name, path.Pattern})
			if slices.Contains(path.Capabilities, Deny) && len(path.Capabilities) > 1 {
				warn(path.Pos, "%s denies everything: what else it grants has no effect", text)
			}
		}
	}
	return out
}
