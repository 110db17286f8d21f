package agent

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"path"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/agext/levenshtein"
)

// configDecoder moves trees into a Config and collects everything wrong on the way.
type configDecoder struct {
	problems []problem
	// unused lists the keys that were given and that this build does not act on.
	unused []problem
}

// maxProblems is how many problems are collected: more help nobody.
const maxProblems = 100

func (d *configDecoder) fail(pos position, format string, args ...any) {
	if len(d.problems) >= maxProblems {
		return
	}
	d.problems = append(d.problems, problem{pos, fmt.Sprintf(format, args...)})
}

func (d *configDecoder) unknown(e entry, full string, known []string) {
	if len(d.problems) < maxProblems { // a suggestion costs time
		d.fail(e.pos, "unknown key %q%s", full, suggestion(e.key, known))
	}
}

// block moves the entries of n into the struct v. name is the dotted path of
// the block, "" for the file.
func (d *configDecoder) block(n *node, v reflect.Value, name string) {
	seen := map[string]int{}
	for _, e := range n.entries {
		full := joinKey(name, e.key)
		field, ok := fieldByKey(v, e.key)
		switch {
		case ok && len(e.labels) > 0:
			d.fail(e.pos, "%s takes no label", full)
		case ok:
			if line, dup := seen[e.key]; dup && field.Kind() != reflect.Struct {
				d.fail(e.pos, "%s is given twice, first on line %d", full, line)
			}
			seen[e.key] = e.pos.line
			d.value(e.value, field, full)
		case isIgnored(name, e.key):
			d.ignore(e, full, true)
		default:
			d.unknown(e, full, append(ignoredKeys(name), keysOf(v)...))
		}
	}
}

// ignore checks the keys below an entry that this build does not act on, and
// notes the outermost one.
func (d *configDecoder) ignore(e entry, full string, outermost bool) {
	if reason := refusedBlock(full, e.labels, e.value); reason != "" {
		d.fail(e.pos, "%s", reason)
		return
	}
	if outermost && !harmless(full, e.value) {
		d.unused = append(d.unused, problem{e.pos, full})
	}
	known := ignoredKeys(full)
	if len(known) == 0 {
		return
	}
	for _, n := range objects(e.value) {
		if len(e.labels) == 0 && len(blockLabels[full]) > 0 && n == e.value && labelled(n) {
			continue // JSON writes labels as keys
		}
		for _, sub := range n.entries {
			if isIgnored(full, sub.key) {
				d.ignore(sub, joinKey(full, sub.key), false)
				continue
			}
			d.unknown(sub, joinKey(full, sub.key), known)
		}
	}
}

// labelled reports whether all entries of n are blocks.
func labelled(n *node) bool {
	for _, e := range n.entries {
		if len(objects(e.value)) == 0 {
			return false
		}
	}
	return true
}

// objects returns the blocks that n stands for: itself, or the elements of a list.
func objects(n *node) []*node {
	if n.kind == objectNode {
		return []*node{n}
	}
	if n.kind != listNode || len(n.list) == 0 {
		return nil
	}
	for _, e := range n.list {
		if e.kind != objectNode {
			return nil
		}
	}
	return n.list
}

func (d *configDecoder) value(n *node, v reflect.Value, name string) {
	if n.kind == nullNode {
		return
	}
	switch {
	case v.Kind() == reflect.Struct:
		if n.kind == listNode && len(n.list) == 0 {
			return
		}
		blocks := objects(n)
		if blocks == nil {
			d.fail(n.pos, "%s must be a block, not %s", name, n.kind)
		}
		for _, b := range blocks {
			d.block(b, v, name)
			if given := v.FieldByName("Given"); given.IsValid() {
				given.SetBool(true)
			}
		}
	case v.Type() == reflect.TypeFor[time.Duration]():
		d.duration(n, v, name)
	case v.Kind() == reflect.Map:
		d.stringMap(n, v, name)
	case v.Kind() == reflect.Slice:
		d.stringList(n, v, name)
	default:
		d.scalar(n, v, name)
	}
}

func (d *configDecoder) scalar(n *node, v reflect.Value, name string) {
	switch v.Kind() {
	case reflect.String:
		if n.kind == stringNode || n.kind == numberNode {
			v.SetString(n.text)
			return
		}
		d.fail(n.pos, "%s must be text, not %s", name, n.kind)
	case reflect.Bool:
		if on, err := strconv.ParseBool(n.text); err == nil && (n.kind == boolNode || n.kind == stringNode) {
			v.SetBool(on)
			return
		}
		d.fail(n.pos, "%s must be true or false, not %s", name, n.kind)
	case reflect.Int:
		if i, err := strconv.ParseInt(n.text, 10, 32); err == nil && (n.kind == numberNode || n.kind == stringNode) {
			v.SetInt(i)
			return
		}
		d.fail(n.pos, "%s must be a whole number of 32 bits, not %s", name, describeNode(n))
	case reflect.Float64:
		f, err := strconv.ParseFloat(n.text, 64)
		if err == nil && !math.IsNaN(f) && !math.IsInf(f, 0) && (n.kind == numberNode || n.kind == stringNode) {
			v.SetFloat(f)
			return
		}
		d.fail(n.pos, "%s must be a number, not %s", name, describeNode(n))
	}
}

func (d *configDecoder) duration(n *node, v reflect.Value, name string) {
	if n.kind == numberNode {
		if ns, err := strconv.ParseInt(n.text, 10, 64); err == nil {
			v.SetInt(ns)
			return
		}
	}
	if n.kind == stringNode {
		if dur, err := time.ParseDuration(n.text); err == nil {
			v.SetInt(int64(dur))
			return
		}
	}
	d.fail(n.pos, `%s must be a duration such as "30s", or nanoseconds, not %s`, name, describeNode(n))
}

func (d *configDecoder) stringList(n *node, v reflect.Value, name string) {
	items := n.list
	if n.kind == stringNode {
		items = []*node{n}
	} else if n.kind != listNode {
		d.fail(n.pos, "%s must be a list of text, not %s", name, n.kind)
		return
	}
	out := make([]string, 0, len(items))
	for _, e := range items {
		if e.kind != stringNode {
			d.fail(e.pos, "%s must be a list of text, it holds %s", name, e.kind)
			continue
		}
		out = append(out, e.text)
	}
	v.Set(reflect.ValueOf(out))
}

func (d *configDecoder) stringMap(n *node, v reflect.Value, name string) {
	blocks := objects(n)
	if blocks == nil {
		d.fail(n.pos, "%s must be a block, not %s", name, n.kind)
		return
	}
	out := map[string]string{}
	maps.Copy(out, v.Interface().(map[string]string))
	for _, b := range blocks {
		for _, e := range b.entries {
			if e.value.kind == listNode || e.value.kind == objectNode || e.value.kind == nullNode {
				d.fail(e.pos, "%s must be text, not %s", joinKey(name, e.key), e.value.kind)
				continue
			}
			out[e.key] = e.value.text
		}
	}
	v.Set(reflect.ValueOf(out))
}

func describeNode(n *node) string {
	if n.text != "" {
		return strconv.Quote(n.text)
	}
	return n.kind.String()
}

func joinKey(block, key string) string {
	if block == "" {
		return key
	}
	return block + "." + key
}

// fieldByKey returns the field of v that holds key.
func fieldByKey(v reflect.Value, key string) (reflect.Value, bool) {
	t := v.Type()
	for i := range t.NumField() {
		if tag := t.Field(i).Tag.Get("hcl"); tag != "" && tag == key {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

func keysOf(v reflect.Value) []string {
	var out []string
	t := v.Type()
	for i := range t.NumField() {
		if tag := t.Field(i).Tag.Get("hcl"); tag != "" {
			out = append(out, tag)
		}
	}
	return out
}

// isIgnored reports whether key is known in block without having an effect.
func isIgnored(block, key string) bool {
	return slices.ContainsFunc(ignoredKeys(block), func(pattern string) bool {
		ok, err := path.Match(pattern, key)
		return ok && err == nil
	})
}

// suggestion returns which of the known keys may have been meant.
func suggestion(key string, known []string) string {
	if len(key) > 64 || len(known) == 0 {
		return ""
	}
	best := slices.MinFunc(known, func(a, b string) int {
		return cmp.Compare(levenshtein.Distance(key, a, nil), levenshtein.Distance(key, b, nil))
	})
	if levenshtein.Distance(key, best, nil) > 1+len(best)/4 || strings.Contains(best, "*") {
		return ""
	}
	return fmt.Sprintf(", did you mean %q?", best)
}
