package acl

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
)

// Policy is a parsed policy: rules in the order of the source.
type Policy struct {
	// Name is that of the stored policy, for Explain; the parser leaves it "".
	Name  string
	Rules []*Rule
}

// Rule is one block of a policy.
type Rule struct {
	Kind Kind
	// Name is the label: a name or a pattern, "" for kinds without label.
	Name string
	// Level is the word of the key policy, "" for none.
	Level string
	// Capabilities are those written down, without what they imply.
	Capabilities []string
	// Paths are the rules of the block variables; namespaces only.
	Paths []*PathRule
	// Pos is where the rule begins.
	Pos Position
}

// PathRule grants rights on the variables of a namespace.
type PathRule struct {
	// Pattern is a path, in which * stands for any text.
	Pattern      string
	Capabilities []string
	Pos          Position
}

// Position is a place in a source. Both count from 1, columns in characters;
// the zero value means unknown.
type Position struct {
	Line, Column int
}

func (r *Rule) set(v *vocabulary) set { return v.expand(r.Level, r.Capabilities) }

func (p *PathRule) set() set { return variableWords.expand("", p.Capabilities) }

// String returns the policy as HCL in its canonical form: kinds in a fixed
// order, rules by name, capabilities sorted. Parsing it gives an equal policy,
// positions and name aside.
func (p *Policy) String() string {
	var b strings.Builder
	for i, r := range p.canonical() {
		if i > 0 {
			b.WriteByte('\n')
		}
		r.write(&b)
	}
	return b.String()
}

func (p *Policy) canonical() []*Rule {
	order := func(r *Rule) int {
		return slices.IndexFunc(vocabularies, func(v *vocabulary) bool { return v.kind == r.Kind })
	}
	rules := slices.Clone(p.Rules)
	slices.SortStableFunc(rules, func(a, b *Rule) int {
		return cmp.Or(cmp.Compare(order(a), order(b)), cmp.Compare(a.Name, b.Name))
	})
	return rules
}

func (r *Rule) write(b *strings.Builder) {
	b.WriteString(header(r.Kind, r.Name) + " {\n")
	if r.Level != "" {
		b.WriteString("  policy = " + quote(r.Level) + "\n")
	}
	writeCapabilities(b, "  ", r.Capabilities)
	if len(r.Paths) > 0 {
		b.WriteString("  variables {\n")
		paths := slices.Clone(r.Paths)
		slices.SortStableFunc(paths, func(a, b *PathRule) int { return cmp.Compare(a.Pattern, b.Pattern) })
		for _, p := range paths {
			b.WriteString("    path " + quote(p.Pattern) + " {\n")
			writeCapabilities(b, "      ", p.Capabilities)
			b.WriteString("    }\n")
		}
		b.WriteString("  }\n")
	}
	b.WriteString("}\n")
}

func writeCapabilities(b *strings.Builder, indent string, caps []string) {
	if len(caps) == 0 {
		return
	}
	b.WriteString(indent + "capabilities = [" + strings.Join(quoteAll(caps), ", ") + "]\n")
}

func quoteAll(words []string) []string {
	sorted := slices.Clone(words)
	slices.Sort(sorted)
	sorted = slices.Compact(sorted)
	for i, w := range sorted {
		sorted[i] = quote(w)
	}
	return sorted
}

// quote writes text as both HCL and JSON read it.
func quote(s string) string {
	out, _ := json.Marshal(s) // text always marshals
	return string(out)
}

// header returns how a block begins.
func header(k Kind, name string) string {
	if name == "" {
		return string(k)
	}
	return string(k) + " " + quote(name)
}
