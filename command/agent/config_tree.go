package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// position is a line of a configuration file.
type position struct {
	file string
	line int
}

// problem is one thing wrong with the configuration.
type problem struct {
	// pos is zero for problems that no line causes.
	pos position
	msg string
}

func (p problem) String() string {
	switch {
	case p.pos.file == "":
		return p.msg
	case p.pos.line == 0:
		return p.pos.file + ": " + p.msg
	}
	return fmt.Sprintf("%s:%d: %s", p.pos.file, p.pos.line, p.msg)
}

// problemsError returns nil for no problems, else an error with one line for each.
func problemsError(problems []problem) error {
	if len(problems) == 0 {
		return nil
	}
	lines := make([]string, len(problems))
	for i, p := range problems {
		lines[i] = p.String()
	}
	return errors.New(strings.Join(lines, "\n"))
}

type nodeKind int

const (
	nullNode nodeKind = iota
	stringNode
	numberNode
	boolNode
	listNode
	objectNode
)

func (k nodeKind) String() string {
	return [...]string{"null", "text", "a number", "a boolean", "a list", "a block"}[k]
}

// node is a value of a configuration file, the same for HCL and JSON.
type node struct {
	pos  position
	kind nodeKind
	// text is that of strings, numbers and booleans.
	text    string
	list    []*node
	entries []entry
}

// entry is a key of a block. labels are those of HCL blocks.
type entry struct {
	pos    position
	key    string
	labels []string
	value  *node
}

// parseConfig returns the tree of a file, which is JSON if it begins with a brace.
func parseConfig(file string, src []byte) (*node, []problem) {
	src = bytes.TrimPrefix(src, []byte("\xef\xbb\xbf"))
	if t := bytes.TrimSpace(src); len(t) > 0 && t[0] == '{' {
		return parseJSON(file, src)
	}
	return parseHCL(file, src)
}

// jsonParser builds a tree from JSON tokens, for the sake of line numbers.
type jsonParser struct {
	file  string
	src   []byte
	dec   *json.Decoder
	depth int
	// line is the one at offset.
	line, offset int
}

func parseJSON(file string, src []byte) (*node, []problem) {
	p := &jsonParser{file: file, src: src, dec: json.NewDecoder(bytes.NewReader(src)), line: 1}
	p.dec.UseNumber()
	n, err := p.value()
	if err == nil {
		if _, more := p.dec.Token(); more != io.EOF {
			err = errors.New("text after the end of the JSON object")
		}
	}
	if err != nil {
		return nil, []problem{{p.failedAt(err), "invalid JSON: " + jsonText(err)}}
	}
	return n, nil
}

func jsonText(err error) string {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return "the file ends early"
	}
	return err.Error()
}

func (p *jsonParser) failedAt(err error) position {
	at := len(p.src)
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &syntax):
		at = int(syntax.Offset)
	case !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		at = int(p.dec.InputOffset())
	}
	return position{p.file, 1 + bytes.Count(p.src[:min(at, len(p.src))], []byte{'\n'})}
}

// here returns the position of the token read last.
func (p *jsonParser) here() position {
	at := min(int(p.dec.InputOffset()), len(p.src))
	p.line += bytes.Count(p.src[p.offset:at], []byte{'\n'})
	p.offset = at
	return position{p.file, p.line}
}

func (p *jsonParser) value() (*node, error) {
	t, err := p.dec.Token()
	if err != nil {
		return nil, err
	}
	n := &node{pos: p.here()}
	switch t := t.(type) {
	case nil:
		n.kind = nullNode
	case string:
		n.kind, n.text = stringNode, t
	case json.Number:
		n.kind, n.text = numberNode, t.String()
	case bool:
		n.kind, n.text = boolNode, fmt.Sprint(t)
	case json.Delim:
		if p.depth++; p.depth > maxDepth {
			return nil, fmt.Errorf("objects nest deeper than %d", maxDepth)
		}
		defer func() { p.depth-- }()
		if t == '[' {
			n.kind = listNode
			err = p.elements(n)
		} else {
			n.kind = objectNode
			err = p.members(n)
		}
	}
	return n, err
}

func (p *jsonParser) elements(n *node) error {
	for p.dec.More() {
		v, err := p.value()
		if err != nil {
			return err
		}
		n.list = append(n.list, v)
	}
	_, err := p.dec.Token()
	return err
}

func (p *jsonParser) members(n *node) error {
	for p.dec.More() {
		key, err := p.dec.Token()
		if err != nil {
			return err
		}
		e := entry{pos: p.here()}
		e.key, _ = key.(string)
		if e.value, err = p.value(); err != nil {
			return err
		}
		n.entries = append(n.entries, e)
	}
	_, err := p.dec.Token()
	return err
}
