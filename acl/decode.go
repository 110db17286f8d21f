package acl

import (
	"fmt"
	"slices"
	"strings"
)

// decoder turns a tree into rules. Not strict, it reports nothing and drops
// what it does not understand.
type decoder struct {
	strict   bool
	policy   *Policy
	rules    int
	problems []problem
}

func (d *decoder) fail(pos Position, format string, args ...any) {
	if d.strict && len(d.problems) < maxProblems {
		d.problems = append(d.problems, problem{pos, fmt.Sprintf(format, args...)})
	}
}

// full reports, in any mode, that the policy has all rules it may have.
func (d *decoder) full(pos Position) bool {
	if d.rules++; d.rules == MaxRules+1 {
		d.problems = append(d.problems, problem{pos, fmt.Sprintf("the policy has more than %d rules: split it", MaxRules)})
	}
	return d.rules > MaxRules
}

func (d *decoder) root(n *treeNode) {
	if n.kind != objectNode {
		d.fail(n.pos, "a policy must be an object, not %s", n.kind)
		return
	}
	plain := map[Kind]bool{}
	for _, f := range n.fields {
		v := vocabularyOf(Kind(f.key))
		switch {
		case v == nil || v == variableWords:
			d.fail(f.pos, "unknown block %q: must be one of %s", clip(f.key), blockNames())
			continue
		case f.again:
			d.fail(f.pos, "%q is repeated", f.key)
		}
		for _, body := range d.blocks(f) {
			if v.label != nil {
				d.labelled(v, body)
				continue
			}
			if plain[v.kind] {
				d.fail(body.pos, "the block %q is repeated: a policy has one", f.key)
			}
			plain[v.kind] = true
			d.rule(v, "", f.pos, body)
		}
	}
	if len(d.policy.Rules) == 0 && len(d.problems) == 0 && !n.broken {
		d.fail(Position{1, 1}, "the policy has no rules")
	}
}

func blockNames() string {
	var out []string
	for _, v := range vocabularies {
		if v != variableWords {
			out = append(out, string(v.kind))
		}
	}
	return oneOf(out)
}

// blocks returns the objects of a field: one, or a list of them.
func (d *decoder) blocks(f field) []*treeNode {
	items := []*treeNode{f.value}
	if f.value.kind == listNode {
		items = f.value.items
	}
	var out []*treeNode
	for _, n := range items {
		if n.kind == objectNode {
			out = append(out, n)
		} else {
			d.fail(n.pos, "%q must be a block, not %s", clip(f.key), n.kind)
		}
	}
	return out
}

// labelled reads an object whose keys are labels.
func (d *decoder) labelled(v *vocabulary, n *treeNode) {
	for _, f := range n.fields {
		if f.value.kind != objectNode && f.value.kind != listNode {
			d.fail(f.pos, `%[1]q needs a name: write %[1]s "name" { … }`, string(v.kind))
			return
		}
		if f.again {
			d.fail(f.pos, "%s %q is repeated", v.kind, clip(f.key))
		}
		d.label(v, f)
		for _, body := range d.blocks(f) {
			d.rule(v, f.key, f.pos, body)
		}
	}
	if len(n.fields) == 0 && !n.broken {
		d.fail(n.pos, `%[1]q needs a name: write %[1]s "name" { … }`, string(v.kind))
	}
}

func (d *decoder) label(v *vocabulary, f field) {
	switch trimmed := strings.TrimLeft(f.key, "/"); {
	case v == variableWords && trimmed != f.key && v.label.form.MatchString(trimmed):
		d.fail(f.pos, "path %q matches nothing, as no path begins with a slash: write %q", clip(f.key), trimmed)
	case !v.label.form.MatchString(f.key):
		d.fail(f.pos, "invalid name %q: must be %s", clip(f.key), v.label.text)
	case strings.Count(f.key, "*") > maxStars:
		d.fail(f.pos, "the pattern %q has more than %d stars", clip(f.key), maxStars)
	}
}

func (d *decoder) rule(v *vocabulary, name string, pos Position, body *treeNode) {
	if d.full(pos) {
		return
	}
	r := &Rule{Kind: v.kind, Name: name, Pos: pos}
	empty := true
	for _, f := range body.fields {
		known := f.key == "policy" || f.key == "capabilities" && v.listed || f.key == "variables" && v == namespaceWords
		if !known {
			d.unknown(v, f)
			continue
		}
		empty = false
		if f.again {
			d.fail(f.pos, "%q is repeated", f.key)
		}
		switch f.key {
		case "policy":
			r.Level = d.level(v, f)
		case "capabilities":
			r.Capabilities = d.capabilities(v, f)
		case "variables":
			r.Paths = append(r.Paths, d.variables(f)...)
		}
	}
	if empty && v.label == nil && !body.broken {
		d.fail(pos, "the block %q needs a policy: one of %s", string(v.kind), oneOf(v.order))
	}
	d.policy.Rules = append(d.policy.Rules, r)
}

func (d *decoder) unknown(v *vocabulary, f field) {
	keys := []string{"policy"}
	if v.listed {
		keys = append(keys, "capabilities")
	}
	if v == namespaceWords {
		keys = append(keys, "variables")
	}
	d.fail(f.pos, "unknown key %q in the block %q: must be one of %s", clip(f.key), string(v.kind), oneOf(keys))
}

func (d *decoder) level(v *vocabulary, f field) string {
	if f.value.kind != stringNode {
		d.fail(f.value.pos, "policy must be text, not %s", f.value.kind)
		return ""
	}
	if _, ok := v.levels[f.value.text]; !ok {
		d.fail(f.value.pos, "unknown policy %q in the block %q: must be one of %s", clip(f.value.text), string(v.kind), oneOf(v.order))
		return ""
	}
	return f.value.text
}

// capabilities reads a list of words; words known by none are dropped.
func (d *decoder) capabilities(v *vocabulary, f field) []string {
	if f.value.kind != listNode {
		d.fail(f.value.pos, "capabilities must be a list of text, not %s", f.value.kind)
		return nil
	}
	if len(f.value.items) == 0 {
		d.fail(f.value.pos, "capabilities must not be empty")
	}
	var out []string
	for _, n := range f.value.items {
		switch {
		case n.kind != stringNode:
			d.fail(n.pos, "a capability must be text, not %s", n.kind)
		case v == operatorWords && slices.Contains(withdrawn, n.text):
			d.fail(n.pos, "the capability %q gives no right, as nothing of this cluster asks for it: leave it out", n.text)
		case v.expanded[n.text] == 0:
			d.fail(n.pos, "unknown capability %q in the block %q: %s", clip(n.text), string(v.kind), instead(n.text, v.words))
		case !slices.Contains(out, n.text):
			out = append(out, n.text)
		}
	}
	return out
}

// variables reads the paths of a block variables.
func (d *decoder) variables(f field) []*PathRule {
	var out []*PathRule
	for _, body := range d.blocks(f) {
		for _, f := range body.fields {
			if f.key != "path" {
				d.fail(f.pos, `unknown key %q in the block "variables": must be path`, clip(f.key))
				continue
			}
			if f.again {
				d.fail(f.pos, `"path" is repeated`)
			}
			for _, labels := range d.blocks(f) {
				out = append(out, d.paths(labels)...)
			}
		}
		if len(body.fields) == 0 && !body.broken {
			d.fail(f.pos, `the block "variables" is empty: write path "name" { capabilities = […] } into it`)
		}
	}
	return out
}

func (d *decoder) paths(n *treeNode) []*PathRule {
	var out []*PathRule
	for _, f := range n.fields {
		if f.value.kind != objectNode && f.value.kind != listNode {
			d.fail(f.pos, `"path" needs a name: write path "name" { … }`)
			return out
		}
		if f.again {
			d.fail(f.pos, "path %q is repeated", clip(f.key))
		}
		d.label(variableWords, f)
		for _, body := range d.blocks(f) {
			if d.full(f.pos) {
				return out
			}
			out = append(out, d.path(f, body))
		}
	}
	if len(n.fields) == 0 && !n.broken {
		d.fail(n.pos, `"path" needs a name: write path "name" { … }`)
	}
	return out
}

func (d *decoder) path(label field, body *treeNode) *PathRule {
	p := &PathRule{Pattern: label.key, Pos: label.pos}
	empty := true
	for _, f := range body.fields {
		if f.key != "capabilities" {
			d.fail(f.pos, `unknown key %q in the block "path": must be capabilities`, clip(f.key))
			continue
		}
		empty = false
		if f.again {
			d.fail(f.pos, `"capabilities" is repeated`)
		}
		p.Capabilities = d.capabilities(variableWords, f)
	}
	if empty && !body.broken {
		d.fail(label.pos, "path %q needs capabilities: some of %s", clip(label.key), oneOf(variableWords.words))
	}
	return p
}
