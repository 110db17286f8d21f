package acl

import (
	"fmt"
	"slices"

	"github.com/cairn-project/cairn/internal/errs"
)

// Operation is something that a caller may or may not do.
type Operation struct {
	// Kind says which rules decide.
	Kind Kind
	// Namespace is set for KindVariables only.
	Namespace string `json:",omitempty"`
	// Name is the namespace, node pool, host volume or path; "" for kinds without names.
	Name string `json:",omitempty"`
	// Capability is one of Capabilities(Kind), deny aside.
	Capability string
}

// Explanation says whether an operation is allowed and why.
type Explanation struct {
	Allowed bool
	// Reason is one sentence for people.
	Reason string
	// Rules are those that decided, in the order of the policies: all with the
	// pattern that matched best. It is empty if no rule matched, and for management tokens.
	Rules []RuleRef `json:",omitempty"`
	// Overruled are rules that match the name too, but less closely, and would
	// have decided otherwise.
	Overruled []RuleRef `json:",omitempty"`
}

// RuleRef points to a rule of a policy.
type RuleRef struct {
	// Policy is the name of the policy.
	Policy string
	Line   int
	Column int
	// Rule is how the block begins, as namespace "team-*".
	Rule string
	// Effect is allow, deny, or none for a rule that does not name the capability.
	Effect string
}

// Effects of a rule on an operation.
const (
	effectAllow = "allow"
	effectDeny  = "deny"
	effectNone  = "none"
)

// Explain answers as the Allow methods do, and says why. It walks all rules, so
// it is for people, not for requests.
func (a *ACL) Explain(op Operation) (*Explanation, error) {
	v := vocabularyOf(op.Kind)
	if v == nil {
		return nil, errs.Newf(errs.Invalid, "unknown kind %q: must be one of %s", op.Kind, oneOf(kindNames()))
	}
	want := v.bit(op.Capability)
	if want&^denied == 0 {
		return nil, errs.Newf(errs.Invalid, "unknown capability %q of %s: %s", op.Capability, op.Kind, instead(op.Capability, v.words[1:]))
	}
	if v.label == nil && op.Name != "" || v != variableWords && op.Namespace != "" {
		return nil, errs.Newf(errs.Invalid, "%s takes no such name: drop it", op.Kind)
	}
	if v.label != nil && op.Name == "" || v == variableWords && op.Namespace == "" {
		return nil, errs.Newf(errs.Invalid, "%s needs the name of what is acted on", op.Kind)
	}
	if isGlob(op.Name) || isGlob(op.Namespace) {
		return nil, errs.Newf(errs.Invalid, "%s: ask about one name, not about a pattern", op.Kind)
	}
	return a.explain(v, op, want), nil
}

func kindNames() []string {
	var out []string
	for _, k := range Kinds() {
		out = append(out, string(k))
	}
	return out
}

func (a *ACL) explain(v *vocabulary, op Operation, want set) *Explanation {
	switch {
	case a == nil:
		a = DenyAll
	case a.off && op.Kind == KindSentinel:
		return &Explanation{Reason: "access control is off: Sentinel is not served"}
	case a.off:
		return &Explanation{Allowed: true, Reason: "access control is off"}
	case a.management:
		return &Explanation{Allowed: true, Reason: "a management token may do everything"}
	case a.client && op.Kind == KindNodePool && op.Name == a.pool && op.Capability == string(NodePoolRead):
		return &Explanation{Allowed: true, Reason: "a node agent may read its own node pool"}
	case a.client && op.Kind == KindAgent && op.Capability == "read":
		return &Explanation{Allowed: true, Reason: "a node agent may read agents"}
	}
	rule, found := a.decide(op)
	out := &Explanation{Allowed: found && rule.set.grants(want)}
	if found && a.implicit(op) {
		out.Reason = fmt.Sprintf("every workload may list and read the variable %q of its namespace, and no more", op.Name)
		return out
	}
	if found {
		a.cite(out, v, op, rule, want)
	}
	out.Reason = reason(out, op, rule, found)
	return out
}

// decide returns the rule that an operation is matched to.
func (a *ACL) decide(op Operation) (match, bool) {
	var m *matcher
	switch op.Kind {
	case KindVariables:
		return a.findVariable(op.Namespace, op.Name)
	case KindNamespace:
		m = a.namespaces
	case KindNodePool:
		m = a.nodePools
	case KindHostVolume:
		m = a.hostVolumes
	default:
		s := a.plain(op.Kind)
		return match{set: s}, s != 0
	}
	if m == nil {
		return match{}, false
	}
	return m.find(op.Name)
}

func (a *ACL) plain(k Kind) set {
	switch k {
	case KindAgent:
		return a.agent
	case KindNode:
		return a.node
	case KindQuota:
		return a.quota
	case KindOperator:
		return a.operator
	case KindPlugin:
		return a.plugin
	}
	return a.sentinel
}

// implicit reports whether the implicit grant of a workload decides.
func (a *ACL) implicit(op Operation) bool {
	if op.Kind != KindVariables || !a.workload.owns(op.Namespace, op.Name) {
		return false
	}
	if a.variables == nil {
		return true
	}
	_, named := a.variables.findExact(op.Namespace, op.Name)
	return !named
}

// cite fills in the rules behind a decision and those that it overrules.
func (a *ACL) cite(out *Explanation, v *vocabulary, op Operation, rule match, want set) {
	for _, p := range a.policies {
		for _, r := range p.about(op) {
			s := r.set
			ref := RuleRef{Policy: p.Name, Line: r.pos.Line, Column: r.pos.Column, Rule: r.text, Effect: effect(s, want)}
			switch {
			case r.namespace == rule.namespace && r.name == rule.name:
				out.Rules = append(out.Rules, ref)
			case s.grants(want) != out.Allowed && ref.Effect != effectNone:
				out.Overruled = append(out.Overruled, ref)
			}
		}
	}
	decisive := effectNone
	if out.Allowed {
		decisive = effectAllow
	} else if rule.set&denied != 0 {
		decisive = effectDeny
	}
	if decisive != effectNone {
		out.Rules = slices.DeleteFunc(out.Rules, func(r RuleRef) bool { return r.Effect != decisive })
	}
}

func effect(s, want set) string {
	switch {
	case s&denied != 0:
		return effectDeny
	case s.grants(want):
		return effectAllow
	}
	return effectNone
}

// candidate is a rule whose pattern matches an operation.
type candidate struct {
	match
	pos  Position
	text string
}

// about returns the rules of p that match op, however loosely.
func (p *Policy) about(op Operation) []candidate {
	var out []candidate
	for _, r := range p.Rules {
		v := vocabularyOf(r.Kind)
		if v == nil {
			continue
		}
		if op.Kind == KindVariables && r.Kind == KindNamespace && matches(r.Name, op.Namespace) {
			for _, path := range r.Paths {
				if matches(path.Pattern, op.Name) {
					text := header(KindNamespace, r.Name) + " variables path " + quote(path.Pattern)
					out = append(out, candidate{match{namespace: r.Name, name: path.Pattern, set: path.set()}, path.Pos, text})
				}
			}
		}
		if r.Kind == op.Kind && (v.label == nil || matches(r.Name, op.Name)) {
			out = append(out, candidate{match{name: r.Name, set: r.set(v)}, r.Pos, header(r.Kind, r.Name)})
		}
	}
	return out
}

func matches(pattern, name string) bool {
	g := newGlob(pattern)
	return g.match(name)
}

func reason(e *Explanation, op Operation, rule match, found bool) string {
	what := string(op.Kind)
	if op.Name != "" {
		what = header(op.Kind, op.Name)
	}
	switch {
	case !found:
		return fmt.Sprintf("denied: no rule matches %s", what)
	case e.Allowed && op.Kind == KindOperator && slices.Contains(sovereign, op.Capability):
		return fmt.Sprintf("allowed: %s grants %s on %s, and whoever has that can become management", e.Rules[0].cite(), op.Capability, what)
	case e.Allowed:
		return fmt.Sprintf("allowed: %s grants %s on %s", e.Rules[0].cite(), op.Capability, what)
	case rule.set&denied != 0:
		return fmt.Sprintf("denied: %s denies everything on %s", e.Rules[0].cite(), what)
	case len(e.Rules) > 0:
		return fmt.Sprintf("denied: %s matches %s best and does not grant %s", e.Rules[0].cite(), what, op.Capability)
	}
	return fmt.Sprintf("denied: nothing grants %s on %s", op.Capability, what)
}

func (r RuleRef) cite() string {
	return fmt.Sprintf("policy %q, line %d (%s)", r.Policy, r.Line, r.Rule)
}
