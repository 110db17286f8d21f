package command

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"
	"unicode"
	"unicode/utf8"
)

// show prints v as -json or -t ask for, else what human writes.
func (s *session) show(v any, human func()) error {
	switch {
	case s.template != "":
		return s.printTemplate(v)
	case s.json:
		return s.printJSON(v)
	}
	human()
	return nil
}

func (s *session) printJSON(v any) error {
	enc := json.NewEncoder(s.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "    ")
	return enc.Encode(v)
}

// decoded returns a JSON value whose whole numbers are integers: a float64 keeps 53 bits of
// them, and a template prints a large one in powers of ten. Those of more than 64 bits stay
// texts.
func decoded(r io.Reader) (any, error) {
	dec := json.NewDecoder(r)
	dec.UseNumber()
	var v any
	err := dec.Decode(&v)
	return whole(v), err
}

func whole(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = whole(v[key])
		}
	case []any:
		for i := range v {
			v[i] = whole(v[i])
		}
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		if f, err := v.Float64(); err == nil && strings.ContainsAny(v.String(), ".eE") {
			return f
		}
	}
	return v
}

func (s *session) printTemplate(v any) error {
	t, err := template.New("-t").Funcs(template.FuncMap{"json": compactJSON}).Parse(s.template)
	if err != nil {
		return hinted(fmt.Errorf("bad template: %w", err), "see https://pkg.go.dev/text/template; -json shows the fields there are")
	}
	var b strings.Builder
	if err := t.Execute(&b, v); err != nil {
		return hinted(fmt.Errorf("template failed: %w", err), "-json shows the fields there are")
	}
	text := b.String()
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	_, err = io.WriteString(s.stdout, text)
	return err
}

func compactJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// table is a list with a heading, printed in aligned columns.
type table struct {
	head []string
	rows [][]string
}

func newTable(head ...string) *table { return &table{head: head} }

func (t *table) add(cells ...string) { t.rows = append(t.rows, cells) }

// print writes the table; empty is said instead when it has no rows.
func (s *session) print(t *table, empty string) {
	if len(t.rows) == 0 {
		s.say("%s", empty)
		return
	}
	width := make([]int, len(t.head))
	lines := append([][]string{t.head}, t.rows...)
	for _, line := range lines {
		for i, cell := range line {
			width[i] = max(width[i], utf8.RuneCountInString(clean(cell)))
		}
	}
	for n, line := range lines {
		var b strings.Builder
		for i, cell := range line {
			cell = clean(cell)
			b.WriteString(cell + strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2))
		}
		text := strings.TrimRight(b.String(), " ")
		if n == 0 {
			text = s.bold(text)
		}
		s.say("%s", text)
	}
}

// pairs prints names and values, the values aligned.
func (s *session) pairs(kv ...[2]string) {
	width := 0
	for _, p := range kv {
		width = max(width, utf8.RuneCountInString(clean(p[0])))
	}
	for _, p := range kv {
		name := clean(p[0])
		line := name + strings.Repeat(" ", width-utf8.RuneCountInString(name)) + " = " + clean(p[1])
		s.say("%s", strings.TrimRight(line, " "))
	}
}

// title prints the heading of a section.
// counted says how many there are of something.
func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

func (s *session) title(text string) { s.say("%s", s.bold(text)) }

func (s *session) bold(text string) string {
	if s.color(s.stdout) {
		return "\x1b[1m" + text + "\x1b[0m"
	}
	return text
}

// clean makes control characters visible, so that data cannot drive the terminal.
func clean(text string) string {
	if !strings.ContainsFunc(text, unicode.IsControl) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case unicode.IsControl(r):
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// cleanLines is clean for a text that may have several lines; empty ones go.
func cleanLines(text string) string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, clean(line))
		}
	}
	return strings.Join(out, "\n  ")
}

// sortedPairs turns a map into pairs in order of the keys.
func sortedPairs(m map[string]string) [][2]string {
	out := make([][2]string, 0, len(m))
	for k, v := range m {
		out = append(out, [2]string{k, v})
	}
	slices.SortFunc(out, func(a, b [2]string) int { return strings.Compare(a[0], b[0]) })
	return out
}

// nanoTime shows a time of the API, in Unix nanoseconds; 0 shows as "-".
func nanoTime(ns int64) string {
	if ns == 0 {
		return "-"
	}
	return time.Unix(0, ns).UTC().Format(time.RFC3339)
}

func yesNo(v bool) string {
	if v {
		return "yes"
	}
	return "no"
}

// orNone replaces an empty text by "-" in tables.
func orNone(text string) string {
	if text == "" {
		return "-"
	}
	return text
}
