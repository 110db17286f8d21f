package acl

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

type tokenKind uint8

const (
	endToken tokenKind = iota
	newlineToken
	wordToken   // a bare identifier, number, true, false or null
	stringToken // its text is decoded
	markToken   // one of {}[]=:,
	badToken    // its text says what is wrong
)

type token struct {
	kind tokenKind
	text string
	pos  Position
}

// is reports whether t is the mark.
func (t token) is(mark string) bool { return t.kind == markToken && t.text == mark }

func (t token) describe() string {
	switch t.kind {
	case endToken:
		return "the end of the policy"
	case newlineToken:
		return "the end of the line"
	case badToken:
		return t.text
	}
	return strconv.Quote(clip(t.text))
}

// clip shortens text that is quoted in an error.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// lexer cuts a source into tokens, one at a time.
type lexer struct {
	src string
	off int
	pos Position
	// json bars comments and the escapes that only HCL knows.
	json bool
}

func newLexer(src string, json bool) *lexer { return &lexer{src: src, pos: Position{1, 1}, json: json} }

// skip moves on by n bytes and keeps count of lines and characters.
func (l *lexer) skip(n int) {
	for _, r := range l.src[l.off : l.off+n] {
		if r == '\n' {
			l.pos.Line++
			l.pos.Column = 0
		}
		l.pos.Column++
	}
	l.off += n
}

func (l *lexer) rest() string { return l.src[l.off:] }

func (l *lexer) next() token {
	l.blanks()
	t := token{pos: l.pos}
	rest := l.rest()
	if rest == "" {
		return t
	}
	switch c := rest[0]; {
	case c == '\n':
		l.skip(1)
		t.kind = newlineToken
	case strings.IndexByte("{}[]=:,", c) >= 0:
		l.skip(1)
		t.kind, t.text = markToken, string(c)
	case c == '"':
		l.quoted(&t)
	case isWord(c):
		n := 1
		for n < len(rest) && isWord(rest[n]) {
			n++
		}
		t.kind, t.text = wordToken, rest[:n]
		l.skip(n)
	default:
		_, n := utf8.DecodeRuneInString(rest)
		t.kind, t.text = badToken, "the character "+strconv.Quote(rest[:n])
		l.skip(n)
	}
	return t
}

func isWord(c byte) bool {
	return c == '_' || c == '-' || c == '.' || c == '+' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// blanks skips spaces and comments, which end before the end of the line, or
// at */. A comment that is not closed runs to the end.
func (l *lexer) blanks() {
	for {
		rest := l.rest()
		n := len(rest) - len(strings.TrimLeft(rest, " \t\r"))
		if l.json {
			l.skip(n)
			return
		}
		switch after := rest[n:]; {
		case strings.HasPrefix(after, "#"), strings.HasPrefix(after, "//"):
			if end := strings.IndexByte(after, '\n'); end < 0 {
				n = len(rest)
			} else {
				n += end
			}
		case strings.HasPrefix(after, "/*"):
			end := strings.Index(after[2:], "*/")
			if end < 0 {
				n = len(rest)
			} else {
				n += end + 4
			}
		}
		l.skip(n)
		if n == 0 {
			return
		}
	}
}

// quoted reads a string, which ends on its line.
func (l *lexer) quoted(t *token) {
	rest := l.rest()
	n := 1
	for n < len(rest) && rest[n] != '"' && rest[n] != '\n' {
		if rest[n] == '\\' && n+1 < len(rest) && rest[n+1] != '\n' {
			n++
		}
		n++
	}
	if n >= len(rest) || rest[n] == '\n' {
		t.kind, t.text = badToken, "a string without closing quote"
		l.skip(min(n, len(rest)))
		return
	}
	raw := rest[:n+1]
	l.skip(n + 1)
	text, ok := unquote(raw, l.json)
	if !ok {
		t.kind, t.text = badToken, "a string with a bad escape, "+clip(raw)
		return
	}
	t.kind, t.text = stringToken, text
}
