package jsonrpc

import "fmt"

// scanner follows one JSON value (RFC 8259) byte by byte, so that its end is
// known without a length in front of it, and the first byte that cannot belong
// to it is refused at once. It also checks that text is UTF-8.
type scanner struct {
	state    scanState
	maxDepth int
	stack    []byte // the open '{' and '['
	offset   int    // bytes followed so far
	literal  string // what is left of true, false or null
	key      bool   // the string is the name of a member
	hex      int    // hexadecimal digits that are due
	cont     int    // bytes due of a character
	lo, hi   byte   // bounds of the next one of them
}

type scanState uint8

const (
	scanValue scanState = iota
	scanArrayFirst
	scanObjectFirst
	scanKey
	scanColon
	scanAfter
	scanString
	scanEscape
	scanLiteral
	scanMinus
	scanZero
	scanInt
	scanDot
	scanFraction
	scanE
	scanESign
	scanExponent
	scanDone
)

// syntaxError says where a message stopped being JSON.
type syntaxError struct {
	offset int
	msg    string
	utf8   bool // it is text that is not UTF-8
}

func (e *syntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.msg, e.offset) }

// depthError says that a message is nested too deep.
type depthError struct{ limit int }

func (e *depthError) Error() string { return fmt.Sprintf("nested deeper than %d levels", e.limit) }

func (s *scanner) reset(maxDepth int) {
	*s = scanner{maxDepth: maxDepth, stack: s.stack[:0]}
}

// feed follows b and returns how many bytes belong to the value. done means that
// the value is complete; a number at the top is complete only when something
// else follows.
func (s *scanner) feed(b []byte) (n int, done bool, err error) {
	for i := 0; i < len(b); i++ {
		if s.state == scanString && s.cont == 0 && s.hex == 0 {
			i += plainText(b[i:])
			if i == len(b) {
				break
			}
		}
		more, err := s.step(b[i])
		if err != nil {
			s.offset += i
			return i, false, s.at(err)
		}
		if !more {
			s.offset += i
			return i, true, nil
		}
		if s.state == scanDone {
			s.offset += i + 1
			return i + 1, true, nil
		}
	}
	s.offset += len(b)
	return len(b), false, nil
}

// at puts the place into an error of syntax.
func (s *scanner) at(err error) error {
	if e, ok := err.(*syntaxError); ok {
		e.offset = s.offset
	}
	return err
}

// plainText returns how many bytes at the start of b are text that needs no look.
func plainText(b []byte) int {
	for i, c := range b {
		if c < 0x20 || c >= 0x80 || c == '"' || c == '\\' {
			return i
		}
	}
	return len(b)
}

// finish says whether the value may end here.
func (s *scanner) finish() error {
	if s.state == scanDone || (len(s.stack) == 0 && s.numberMayEnd()) {
		return nil
	}
	return &syntaxError{offset: s.offset, msg: "message ends early"}
}

func (s *scanner) numberMayEnd() bool {
	return s.state == scanZero || s.state == scanInt || s.state == scanFraction || s.state == scanExponent
}

func (s *scanner) fail(c byte, want string) error {
	if c >= 0x80 {
		return &syntaxError{msg: fmt.Sprintf("found byte 0x%02x where %s is due,", c, want)}
	}
	return &syntaxError{msg: fmt.Sprintf("found %q where %s is due,", c, want)}
}

func (s *scanner) failUTF8(c byte, want string) error {
	return &syntaxError{msg: fmt.Sprintf("found byte 0x%02x where %s is due,", c, want), utf8: true}
}

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// step takes one byte. more is false when c does not belong to the value, which
// is complete without it.
func (s *scanner) step(c byte) (more bool, err error) {
	switch s.state {
	case scanString:
		return true, s.text(c)
	case scanEscape:
		return true, s.escape(c)
	case scanLiteral:
		return true, s.word(c)
	case scanMinus, scanZero, scanInt, scanDot, scanFraction, scanE, scanESign, scanExponent:
		return s.number(c)
	}
	if isSpace(c) {
		return true, nil
	}
	switch s.state {
	case scanValue, scanArrayFirst:
		if c == ']' && s.state == scanArrayFirst {
			return true, s.close('[', c)
		}
		return true, s.begin(c)
	case scanObjectFirst, scanKey:
		if c == '}' && s.state == scanObjectFirst {
			return true, s.close('{', c)
		}
		if c != '"' {
			return true, s.fail(c, "the name of a member")
		}
		s.state, s.key = scanString, true
		return true, nil
	case scanColon:
		if c != ':' {
			return true, s.fail(c, "a colon")
		}
		s.state = scanValue
		return true, nil
	}
	return true, s.after(c)
}

// begin takes the first byte of a value.
func (s *scanner) begin(c byte) error {
	switch {
	case c == '{' || c == '[':
		if len(s.stack) >= s.maxDepth {
			return &depthError{limit: s.maxDepth}
		}
		s.stack = append(s.stack, c)
		s.state = scanObjectFirst
		if c == '[' {
			s.state = scanArrayFirst
		}
	case c == '"':
		s.state, s.key = scanString, false
	case c == '-':
		s.state = scanMinus
	case c == '0':
		s.state = scanZero
	case isDigit(c):
		s.state = scanInt
	case c == 't':
		s.state, s.literal = scanLiteral, "rue"
	case c == 'f':
		s.state, s.literal = scanLiteral, "alse"
	case c == 'n':
		s.state, s.literal = scanLiteral, "ull"
	default:
		return s.fail(c, "a value")
	}
	return nil
}

// after takes what follows a value within an array or object.
func (s *scanner) after(c byte) error {
	top := s.stack[len(s.stack)-1]
	switch {
	case c == ',' && top == '{':
		s.state = scanKey
	case c == ',':
		s.state = scanValue
	case c == '}' || c == ']':
		return s.close(c-2, c)
	default:
		return s.fail(c, "a comma or the end")
	}
	return nil
}

// close takes the end of an array or object that began with open.
func (s *scanner) close(open, c byte) error {
	if s.stack[len(s.stack)-1] != open {
		return s.fail(c, "another closing bracket")
	}
	s.stack = s.stack[:len(s.stack)-1]
	s.ended()
	return nil
}

// ended sets what may follow a complete value.
func (s *scanner) ended() {
	s.state = scanAfter
	if len(s.stack) == 0 {
		s.state = scanDone
	}
}

// text takes a byte of a string.
func (s *scanner) text(c byte) error {
	switch {
	case s.cont > 0:
		if c < s.lo || c > s.hi {
			return s.failUTF8(c, "the rest of a UTF-8 character")
		}
		s.cont, s.lo, s.hi = s.cont-1, 0x80, 0xbf
	case c == '"' && s.key:
		s.state = scanColon
	case c == '"':
		s.ended()
	case c == '\\':
		s.state = scanEscape
	case c < 0x20:
		return s.fail(c, "an escaped control character")
	case c >= 0x80:
		return s.lead(c)
	}
	return nil
}

// lead takes the first byte of a character outside ASCII (RFC 3629).
func (s *scanner) lead(c byte) error {
	s.lo, s.hi = 0x80, 0xbf
	switch {
	case c >= 0xc2 && c <= 0xdf:
		s.cont = 1
	case c >= 0xe0 && c <= 0xef:
		s.cont = 2
	case c >= 0xf0 && c <= 0xf4:
		s.cont = 3
	default:
		return s.failUTF8(c, "UTF-8")
	}
	switch c {
	case 0xe0:
		s.lo = 0xa0
	case 0xed:
		s.hi = 0x9f
	case 0xf0:
		s.lo = 0x90
	case 0xf4:
		s.hi = 0x8f
	}
	return nil
}

// escape takes what follows a backslash.
func (s *scanner) escape(c byte) error {
	if s.hex > 0 {
		if !isDigit(c) && (c|0x20 < 'a' || c|0x20 > 'f') {
			return s.fail(c, "a hexadecimal digit")
		}
		if s.hex--; s.hex == 0 {
			s.state = scanString
		}
		return nil
	}
	switch c {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.state = scanString
	case 'u':
		s.hex = 4
	default:
		return s.fail(c, "an escape")
	}
	return nil
}

// word takes a byte of true, false or null.
func (s *scanner) word(c byte) error {
	if c != s.literal[0] {
		return s.fail(c, "true, false or null")
	}
	if s.literal = s.literal[1:]; s.literal == "" {
		s.ended()
	}
	return nil
}

// number takes a byte of a number or the one behind it.
func (s *scanner) number(c byte) (more bool, err error) {
	switch s.state {
	case scanMinus:
		return true, s.digit(c, scanInt, c == '0')
	case scanDot:
		return true, s.digit(c, scanFraction, false)
	case scanE:
		if c == '+' || c == '-' {
			s.state = scanESign
			return true, nil
		}
		return true, s.digit(c, scanExponent, false)
	case scanESign:
		return true, s.digit(c, scanExponent, false)
	}
	switch {
	case isDigit(c) && s.state != scanZero:
	case c == '.' && (s.state == scanZero || s.state == scanInt):
		s.state = scanDot
	case (c == 'e' || c == 'E') && s.state != scanExponent:
		s.state = scanE
	default:
		return s.numberEnds(c)
	}
	return true, nil
}

// digit takes a digit that is due.
func (s *scanner) digit(c byte, next scanState, zero bool) error {
	if !isDigit(c) {
		return s.fail(c, "a digit")
	}
	s.state = next
	if zero {
		s.state = scanZero
	}
	return nil
}

// numberEnds takes the byte behind a number.
func (s *scanner) numberEnds(c byte) (more bool, err error) {
	s.ended()
	if s.state == scanDone {
		if isSpace(c) {
			return false, nil
		}
		return true, s.fail(c, "the end of a number")
	}
	if isSpace(c) {
		return true, nil
	}
	return true, s.after(c)
}

// checkMessage says whether msg is exactly one JSON value with white space around it.
func checkMessage(msg []byte, maxDepth int) error {
	var s scanner
	s.reset(maxDepth)
	n, done, err := s.feed(msg)
	if err != nil {
		return err
	}
	if !done {
		return s.finish()
	}
	for i, c := range msg[n:] {
		if !isSpace(c) {
			return &syntaxError{offset: n + i, msg: fmt.Sprintf("found %q after the message", c)}
		}
	}
	return nil
}
