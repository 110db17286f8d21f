package jsonrpc

import (
	"encoding/json"
	"slices"
	"strings"
)

// unquote returns the text of a string that a scanner has checked.
func unquote(raw []byte) string {
	inner := raw[1 : len(raw)-1]
	if !slices.Contains(inner, '\\') {
		return string(inner)
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return string(inner)
	}
	return s
}

// walker goes through a value that a scanner has checked, and finds the members
// that an object has twice, on every level.
type walker struct {
	b          []byte
	i          int
	path       []string // names of the objects around the place
	duplicates []string // paths, joined by dots
	idTwice    bool     // the outermost object has two members called id
}

// What is said about duplicates of one request: how many, and how long a path.
const (
	maxDuplicates = 16
	maxPath       = 200
)

// object walks an object and gives every member to visit, which may be nil.
func (w *walker) object(visit func(name string, value []byte)) {
	names := names{}
	w.i++
	for w.space(); w.b[w.i] != '}'; w.space() {
		start := w.i
		w.text()
		name := unquote(w.b[start:w.i])
		if names.again(name) {
			w.duplicate(name)
		}
		w.space()
		w.i++ // the colon
		w.space()
		start = w.i
		w.path = append(w.path, name)
		w.value()
		w.path = w.path[:len(w.path)-1]
		if visit != nil {
			visit(name, w.b[start:w.i])
		}
		w.comma()
	}
	w.i++
}

func (w *walker) array() {
	w.i++
	for w.space(); w.b[w.i] != ']'; w.space() {
		w.value()
		w.comma()
	}
	w.i++
}

func (w *walker) value() {
	switch w.b[w.i] {
	case '{':
		w.object(nil)
	case '[':
		w.array()
	case '"':
		w.text()
	default:
		for !isSpace(w.b[w.i]) && strings.IndexByte(",]}", w.b[w.i]) < 0 {
			w.i++
		}
	}
}

func (w *walker) text() {
	for w.i++; w.b[w.i] != '"'; w.i++ {
		if w.b[w.i] == '\\' {
			w.i++
		}
	}
	w.i++
}

func (w *walker) space() {
	for isSpace(w.b[w.i]) {
		w.i++
	}
}

func (w *walker) comma() {
	if w.space(); w.b[w.i] == ',' {
		w.i++
	}
}

// duplicate notes a name that its object had before.
func (w *walker) duplicate(name string) {
	w.idTwice = w.idTwice || (len(w.path) == 0 && name == "id")
	if len(w.duplicates) == maxDuplicates {
		return
	}
	path := strings.Join(append(slices.Clone(w.path), name), ".")
	if len(path) > maxPath {
		path = strings.ToValidUTF8(path[:maxPath], "") + "..."
	}
	if !slices.Contains(w.duplicates, path) {
		w.duplicates = append(w.duplicates, path)
	}
}

// names are those of one object. Few of them are compared one by one.
type names struct {
	list []string
	set  map[string]struct{}
}

func (n *names) again(name string) bool {
	if n.set != nil {
		_, again := n.set[name]
		n.set[name] = struct{}{}
		return again
	}
	if slices.Contains(n.list, name) {
		return true
	}
	if n.list = append(n.list, name); len(n.list) > 16 {
		n.set = make(map[string]struct{}, 2*len(n.list))
		for _, have := range n.list {
			n.set[have] = struct{}{}
		}
	}
	return false
}

// elements cuts a batch into its elements, without looking into them. It stops
// when there are more than limit.
func elements(batch []byte, limit int) [][]byte {
	var out [][]byte
	depth, start := 0, -1
	for i := 0; i < len(batch) && len(out) <= limit; i++ {
		c := batch[i]
		if c == '"' {
			if start < 0 {
				start = i
			}
			i += stringLen(batch[i:]) - 1
			continue
		}
		switch {
		case c == '[' || c == '{':
			if depth == 1 && start < 0 {
				start = i
			}
			depth++
		case c == ']' || c == '}':
			depth--
		case isSpace(c):
			continue
		case start < 0 && c != ',':
			start = i
		}
		if (c == ',' && depth == 1) || depth == 0 {
			if start >= 0 {
				out = append(out, trimRight(batch[start:i]))
			}
			start = -1
		}
	}
	return out
}

// stringLen returns the length of the string that b begins with.
func stringLen(b []byte) int {
	w := walker{b: b}
	w.text()
	return w.i
}

func trimRight(b []byte) []byte {
	for len(b) > 0 && isSpace(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}
