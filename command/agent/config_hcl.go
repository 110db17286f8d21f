package agent

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
)

// maxDepth bounds how deep blocks may nest.
const maxDepth = 32

// hclParser builds a tree from the tokens of HCL 2. It reads the older dialect
// that agent files are written in: quoted keys, commas between entries, and
// strings whose ${…} means nothing.
type hclParser struct {
	file   string
	src    []byte
	tokens hclsyntax.Tokens
	pos    int
	depth  int
	// key is the one whose value is read, or was read last.
	key      string
	problems []problem
}

// parseHCL returns the tree of an HCL file and everything wrong with its form.
func parseHCL(file string, src []byte) (*node, []problem) {
	tokens, _ := hclsyntax.LexConfig(src, file, hcl.InitialPos)
	p := &hclParser{file: file, src: src}
	for _, t := range tokens {
		if t.Type != hclsyntax.TokenComment {
			p.tokens = append(p.tokens, t)
		} else if strings.HasSuffix(string(t.Bytes), "\n") {
			t.Type = hclsyntax.TokenNewline // a comment to the end of the line
			p.tokens = append(p.tokens, t)
		}
	}
	root := p.body(hclsyntax.TokenEOF)
	return root, p.problems
}

func (p *hclParser) peek() hclsyntax.Token {
	if p.pos < len(p.tokens) {
		return p.tokens[p.pos]
	}
	return hclsyntax.Token{Type: hclsyntax.TokenEOF, Range: hcl.Range{
		Start: hcl.Pos{Line: 1, Byte: len(p.src)}, End: hcl.Pos{Line: 1, Byte: len(p.src)}}}
}

func (p *hclParser) next() hclsyntax.Token {
	t := p.peek()
	p.pos++
	return t
}

func (p *hclParser) fail(t hclsyntax.Token, format string, args ...any) {
	if len(p.problems) < maxProblems {
		p.problems = append(p.problems, problem{p.at(t), fmt.Sprintf(format, args...)})
	}
}

func (p *hclParser) at(t hclsyntax.Token) position {
	return position{p.file, t.Range.Start.Line}
}

// body reads entries until end, which it takes.
func (p *hclParser) body(end hclsyntax.TokenType) *node {
	n := &node{pos: p.at(p.peek()), kind: objectNode}
	if p.depth++; p.depth > maxDepth {
		p.fail(p.peek(), "blocks nest deeper than %d", maxDepth)
		p.pos = len(p.tokens)
		return n
	}
	defer func() { p.depth-- }()
	for {
		t := p.peek()
		switch {
		case t.Type == hclsyntax.TokenNewline || t.Type == hclsyntax.TokenComma:
			p.pos++
		case t.Type == end:
			p.pos++
			return n
		case t.Type == hclsyntax.TokenEOF:
			p.fail(t, "a block is not closed, its { is on line %d", n.pos.line)
			return n
		default:
			if e, ok := p.entry(); ok {
				n.entries = append(n.entries, e)
			} else {
				p.skipLine()
			}
		}
	}
}

// skipLine goes on behind an error, at the next line.
func (p *hclParser) skipLine() {
	for t := p.peek(); t.Type != hclsyntax.TokenNewline && t.Type != hclsyntax.TokenEOF; t = p.peek() {
		p.pos++
	}
}

// entry reads key = value, or key "label" { … }.
func (p *hclParser) entry() (entry, bool) {
	first := p.peek()
	e := entry{pos: p.at(first)}
	var ok bool
	if e.key, ok = p.name(); !ok {
		p.fail(first, "expected a key, found %s", p.shown(first))
		return e, false
	}
	for {
		t := p.peek()
		switch t.Type {
		case hclsyntax.TokenEqual:
			p.pos++
			p.key = e.key
			if e.value, ok = p.value(); !ok {
				return e, false
			}
			return e, p.endOfEntry(e.key)
		case hclsyntax.TokenOBrace:
			p.pos++
			e.value = p.body(hclsyntax.TokenCBrace)
			return e, true
		}
		label, ok := p.name()
		if !ok {
			p.fail(t, "expected = or { after %s, found %s", p.shownKey(e.key), p.shown(t))
			return e, false
		}
		e.labels = append(e.labels, label)
	}
}

// endOfEntry checks what follows a value. The older dialect lets the next entry
// begin on the same line.
func (p *hclParser) endOfEntry(key string) bool {
	t := p.peek()
	switch t.Type {
	case hclsyntax.TokenNewline, hclsyntax.TokenComma, hclsyntax.TokenCBrace, hclsyntax.TokenEOF:
		return true
	case hclsyntax.TokenOQuote:
		return true
	case hclsyntax.TokenIdent:
		if p.tokens[p.pos-1].Range.End.Byte < t.Range.Start.Byte && p.beginsEntry(p.pos) {
			return true
		}
	}
	p.fail(t, "expected the end of the line after the value of %q, found %s: text must be quoted", key, p.shown(t))
	return false
}

// beginsEntry reports whether the word at i is a key and not a stray value.
func (p *hclParser) beginsEntry(i int) bool {
	if i++; i >= len(p.tokens) {
		return false
	}
	switch p.tokens[i].Type {
	case hclsyntax.TokenEqual, hclsyntax.TokenOBrace, hclsyntax.TokenOQuote, hclsyntax.TokenDot:
		return true
	}
	return false
}

// name reads a bare or quoted key; dots may join bare ones.
func (p *hclParser) name() (string, bool) {
	switch t := p.peek(); t.Type {
	case hclsyntax.TokenOQuote:
		return p.quoted()
	case hclsyntax.TokenIdent:
		p.pos++
		name := string(t.Bytes)
		for p.peek().Type == hclsyntax.TokenDot && p.pos+1 < len(p.tokens) &&
			p.tokens[p.pos+1].Type == hclsyntax.TokenIdent {
			p.pos++
			name += "." + string(p.next().Bytes)
		}
		return name, true
	}
	return "", false
}

func (p *hclParser) value() (*node, bool) {
	t := p.peek()
	n := &node{pos: p.at(t)}
	var ok bool
	switch t.Type {
	case hclsyntax.TokenOQuote:
		n.kind = stringNode
		n.text, ok = p.quoted()
		return n, ok
	case hclsyntax.TokenOHeredoc:
		n.kind = stringNode
		n.text, ok = p.heredoc()
		return n, ok
	case hclsyntax.TokenOBrace:
		p.pos++
		return p.body(hclsyntax.TokenCBrace), true
	case hclsyntax.TokenOBrack:
		p.pos++
		return n, p.list(n)
	case hclsyntax.TokenMinus, hclsyntax.TokenNumberLit:
		n.kind, n.text = numberNode, string(p.next().Bytes)
		if t.Type == hclsyntax.TokenMinus {
			n.text += string(p.next().Bytes)
		}
		return n, true
	case hclsyntax.TokenIdent:
		if s := string(t.Bytes); s == "true" || s == "false" {
			p.pos++
			n.kind, n.text = boolNode, s
			return n, true
		}
		p.fail(t, "%s must be quoted", p.shown(t))
		return nil, false
	}
	p.fail(t, "expected a value, found %s", p.shown(t))
	return nil, false
}

func (p *hclParser) list(n *node) bool {
	n.kind = listNode
	if p.depth++; p.depth > maxDepth {
		p.fail(p.peek(), "lists nest deeper than %d", maxDepth)
		p.pos = len(p.tokens)
		return false
	}
	defer func() { p.depth-- }()
	for {
		switch t := p.peek(); t.Type {
		case hclsyntax.TokenNewline, hclsyntax.TokenComma:
			p.pos++
		case hclsyntax.TokenCBrack:
			p.pos++
			return true
		case hclsyntax.TokenEOF:
			p.fail(t, "a list is not closed, its [ is on line %d", n.pos.line)
			return false
		default:
			v, ok := p.value()
			if !ok {
				return false
			}
			n.list = append(n.list, v)
		}
	}
}

// quoted reads a string. Templates inside are kept as they are written.
func (p *hclParser) quoted() (string, bool) {
	open := p.next()
	depth := 1
	for {
		t := p.next()
		switch t.Type {
		case hclsyntax.TokenOQuote:
			depth++
		case hclsyntax.TokenCQuote:
			depth--
		case hclsyntax.TokenEOF, hclsyntax.TokenNewline, hclsyntax.TokenQuotedNewline:
			p.pos--
			p.fail(open, "a string is not closed")
			return "", false
		}
		if depth == 0 {
			return p.unescape(open, string(p.src[open.Range.End.Byte:t.Range.Start.Byte]))
		}
	}
}

// unescape resolves the escapes of a quoted string.
func (p *hclParser) unescape(at hclsyntax.Token, s string) (string, bool) {
	if !utf8.ValidString(s) {
		p.fail(at, "a string is not valid UTF-8")
		return "", false
	}
	if !strings.Contains(s, `\`) {
		return s, true
	}
	var b strings.Builder
	for len(s) > 0 {
		if s[0] != '\\' {
			r, size := utf8.DecodeRuneInString(s)
			b.WriteRune(r)
			s = s[size:]
			continue
		}
		r, _, rest, err := strconv.UnquoteChar(s, '"')
		if err != nil {
			p.fail(at, "a string has an unknown escape")
			return "", false
		}
		b.WriteRune(r)
		s = rest
	}
	return b.String(), true
}

// heredoc reads <<WORD … WORD. With <<- the indentation is cut off.
func (p *hclParser) heredoc() (string, bool) {
	open := p.next()
	for {
		t := p.next()
		if t.Type == hclsyntax.TokenEOF {
			p.fail(open, "a heredoc is not closed")
			return "", false
		}
		if t.Type != hclsyntax.TokenCHeredoc {
			continue
		}
		s := string(p.src[open.Range.End.Byte:t.Range.Start.Byte])
		if strings.HasPrefix(string(open.Bytes), "<<-") {
			lines := strings.SplitAfter(s, "\n")
			for i, l := range lines {
				lines[i] = strings.TrimLeft(l, " \t")
			}
			s = strings.Join(lines, "")
		}
		return s, true
	}
}

// knownKeys are the keys that there are, true for those whose values are in no log and no
// answer.
var knownKeys = sync.OnceValue(func() map[string]bool {
	out := map[string]bool{}
	for _, r := range records(&Config{}) {
		parts := strings.Split(r.Name, ".")
		for i, part := range parts {
			out[part] = out[part] || r.Secret && i == len(parts)-1
		}
	}
	return out
})

// inSecret reports whether what comes now may be a part of a value that is secret.
func (p *hclParser) inSecret() bool { return knownKeys()[p.key[strings.LastIndexByte(p.key, '.')+1:]] }

// shown is what is said of a token in the value of a key: of a secret one, that may have
// lost its quotes, no letter.
func (p *hclParser) shown(t hclsyntax.Token) string {
	switch t.Type {
	case hclsyntax.TokenEOF, hclsyntax.TokenNewline, hclsyntax.TokenOBrace, hclsyntax.TokenCBrace:
		return describe(t)
	}
	if p.inSecret() {
		return "a part of the value of " + strconv.Quote(p.key)
	}
	return describe(t)
}

// shownKey is what is said of a word that stands where a key should.
func (p *hclParser) shownKey(word string) string {
	if _, known := knownKeys()[word]; !known && p.inSecret() {
		return "a word that is no key"
	}
	return strconv.Quote(word)
}

func describe(t hclsyntax.Token) string {
	switch t.Type {
	case hclsyntax.TokenEOF:
		return "the end of the file"
	case hclsyntax.TokenNewline:
		return "the end of the line"
	}
	return strconv.Quote(string(t.Bytes))
}
