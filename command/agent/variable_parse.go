package agent

import (
	"math"
	"unicode/utf8"

	"github.com/cairn-project/cairn/nomad/structs"
)

// parseVariable reads a variable in the plain form that clients send, without
// reflection: known fields once each, no escapes, no lock, no null. It reports
// false for anything else, valid or not, and leaves v alone then. What it reads
// equals what encoding/json would.
func parseVariable(b []byte, v *structs.VariableDecrypted) bool {
	s := scanner{b: b}
	var out structs.VariableDecrypted
	seen := uint8(0)
	ok := s.object(func(key []byte) bool {
		bit, ok := s.variableField(key, &out)
		twice := seen&bit != 0
		seen |= bit
		return ok && !twice
	})
	if !ok || !s.end() {
		return false
	}
	*v = out
	return true
}

// variableField reads the value of one field. bit tells the fields apart.
func (s *scanner) variableField(key []byte, v *structs.VariableDecrypted) (bit uint8, ok bool) {
	switch string(key) {
	case "Namespace":
		bit = 1 << 0
		v.Namespace, ok = s.text()
	case "Path":
		bit = 1 << 1
		v.Path, ok = s.text()
	case "CreateIndex":
		bit = 1 << 2
		v.CreateIndex, ok = s.number()
	case "ModifyIndex":
		bit = 1 << 3
		v.ModifyIndex, ok = s.number()
	case "CreateTime":
		bit = 1 << 4
		v.CreateTime, ok = s.signed()
	case "ModifyTime":
		bit = 1 << 5
		v.ModifyTime, ok = s.signed()
	case "Items":
		bit = 1 << 6
		v.Items = structs.VariableItems{}
		ok = s.object(func(key []byte) bool {
			k := string(key)
			val, ok := s.text()
			v.Items[k] = val
			return ok
		})
	}
	return bit, ok
}

// scanner reads the plain part of JSON (RFC 8259). Its methods report false
// where encoding/json has to look.
type scanner struct {
	b []byte
	i int
}

func (s *scanner) space() {
	for s.i < len(s.b) && (s.b[s.i] == ' ' || s.b[s.i] == '\n' || s.b[s.i] == '\t' || s.b[s.i] == '\r') {
		s.i++
	}
}

// take skips space and then c.
func (s *scanner) take(c byte) bool {
	s.space()
	if s.i < len(s.b) && s.b[s.i] == c {
		s.i++
		return true
	}
	return false
}

func (s *scanner) end() bool {
	s.space()
	return s.i == len(s.b)
}

// object calls member at the value of each key.
func (s *scanner) object(member func(key []byte) bool) bool {
	if !s.take('{') {
		return false
	}
	if s.take('}') {
		return true
	}
	for {
		key, ok := s.raw()
		if !ok || !s.take(':') || !member(key) {
			return false
		}
		if s.take('}') {
			return true
		}
		if !s.take(',') {
			return false
		}
	}
}

// raw reads a string without escapes; the result aliases the input.
func (s *scanner) raw() ([]byte, bool) {
	if !s.take('"') {
		return nil, false
	}
	start, ascii := s.i, true
	for ; s.i < len(s.b); s.i++ {
		switch c := s.b[s.i]; {
		case c == '"':
			out := s.b[start:s.i]
			s.i++
			return out, ascii || utf8.Valid(out)
		case c < ' ' || c == '\\':
			return nil, false
		case c >= utf8.RuneSelf:
			ascii = false
		}
	}
	return nil, false
}

func (s *scanner) text() (string, bool) {
	b, ok := s.raw()
	return string(b), ok
}

// maxDigits is how many digits always fit an unsigned 64-bit number.
const maxDigits = 19

func (s *scanner) number() (n uint64, ok bool) {
	s.space()
	start := s.i
	for ; s.i < len(s.b) && s.b[s.i] >= '0' && s.b[s.i] <= '9'; s.i++ {
		if s.i-start >= maxDigits {
			return 0, false
		}
		n = n*10 + uint64(s.b[s.i]-'0')
	}
	digits := s.i - start
	return n, digits == 1 || digits > 1 && s.b[start] != '0'
}

func (s *scanner) signed() (int64, bool) {
	n, ok := s.number()
	return int64(n), ok && n <= math.MaxInt64
}
