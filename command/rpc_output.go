package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// answer prints what a message was answered with and returns the failure that the
// errors in it stand for.
func (c *rpcCall) answer(s *session, m *rpcMessage, out []byte) error {
	if c.format == "rpc" {
		if m != nil {
			s.say("--> %s", m.shown())
		}
		for line := range bytes.Lines(out) {
			s.say("<-- %s", bytes.TrimSpace(line))
		}
	} else if c.format == "json" && len(out) > 0 {
		s.say("%s", out)
	}
	answers, err := parseAnswers(out)
	if err != nil {
		return &failure{code: exitRPCError, err: failed("the answer is no answer of JSON-RPC", err)}
	}
	var failures []*failure
	for i, a := range answers {
		if len(answers) > 1 && c.format == "table" {
			s.title("answer " + string(a.ID))
		}
		if a.Error != nil {
			failures = append(failures, c.failed(a.Error))
			continue
		}
		if c.format == "table" {
			s.value(a.Result)
			if i+1 < len(answers) {
				s.say("")
			}
		}
	}
	return joinFailures(failures)
}

// joinFailures makes one failure of all: with their code if it is the same, and
// else with that of an error.
func joinFailures(all []*failure) error {
	switch len(all) {
	case 0:
		return nil
	case 1:
		return all[0]
	}
	out := &failure{code: all[0].code, hint: all[0].hint}
	var texts []error
	for _, f := range all {
		texts = append(texts, f.err)
		if f.code != out.code {
			out.code = exitRPCError
		}
	}
	out.err = errors.Join(texts...)
	return out
}

// value prints any JSON value for people: objects as names and values, lists of
// objects as tables.
func (s *session) value(raw json.RawMessage) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		s.say("%s", clean(string(raw)))
		return
	}
	s.section("", v)
}

// section prints v under a heading, "" for none.
func (s *session) section(name string, v any) {
	switch v := v.(type) {
	case map[string]any:
		s.object(name, v)
	case []any:
		if slices.ContainsFunc(v, hasParts) {
			s.list(name, v)
			return
		}
		if name != "" {
			s.title(name)
		}
		s.array(v)
	default:
		s.say("%s", clean(cell(v)))
	}
}

// object prints what fits on a line as pairs, then the rest in sections.
func (s *session) object(name string, v map[string]any) {
	var pairs [][2]string
	var rest []string
	for _, key := range slices.Sorted(maps.Keys(v)) {
		if isFlat(v[key]) {
			pairs = append(pairs, [2]string{key, cell(v[key])})
		} else {
			rest = append(rest, key)
		}
	}
	if len(pairs) > 0 {
		if name != "" {
			s.title(name)
		}
		s.pairs(pairs...)
	}
	for i, key := range rest {
		if i > 0 || len(pairs) > 0 {
			s.say("")
		}
		s.section(strings.TrimPrefix(name+"."+key, "."), v[key])
	}
}

// hasParts reports whether a value is an object that does not fit on a row of a table.
func hasParts(v any) bool {
	row, ok := v.(map[string]any)
	if !ok {
		return false
	}
	for _, part := range row {
		if !isFlat(part) {
			return true
		}
	}
	return false
}

// list prints the elements one after another, each under its number.
func (s *session) list(name string, list []any) {
	for i, e := range list {
		if i > 0 {
			s.say("")
		}
		s.section(strings.TrimSpace(fmt.Sprintf("%s %d", name, i+1)), e)
	}
}

// array prints objects as a table; its columns are what fits on a line of any of them.
func (s *session) array(list []any) {
	columns := map[string]bool{}
	for _, e := range list {
		row, ok := e.(map[string]any)
		if !ok {
			for _, e := range list {
				s.say("%s", clean(cell(e)))
			}
			return
		}
		for key := range row {
			columns[key] = true
		}
	}
	head := slices.Sorted(maps.Keys(columns))
	t := newTable(head...)
	for _, e := range list {
		var cells []string
		for _, key := range head {
			cells = append(cells, orNone(cell(e.(map[string]any)[key])))
		}
		t.add(cells...)
	}
	s.print(t, "none")
}

// isFlat reports whether a value fits on a line.
func isFlat(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return len(v) == 0
	case []any:
		return !slices.ContainsFunc(v, func(e any) bool { _, nested := e.(map[string]any); return nested })
	}
	return true
}

// cell shows a value on one line: text as it is, the rest as JSON.
func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []any:
		var parts []string
		for _, e := range v {
			parts = append(parts, cell(e))
		}
		return strings.Join(parts, ", ")
	}
	text, err := compactJSON(v)
	if err != nil {
		return err.Error()
	}
	return text
}
