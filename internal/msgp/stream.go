package msgp

import (
	"bufio"
	"io"
	"slices"
)

// growStep bounds how much ReadValue allocates ahead of the bytes that arrived.
const growStep = 64 << 10

// ReadValue reads exactly one value from br and appends its bytes to dst. It
// blocks until the value is complete. A value above max bytes is refused with
// ErrTooLarge before anything is allocated for it; skipped then says whether
// its rest was read and dropped, so that the next value can be read. A value of
// more than twice max is not read to its end. io.EOF means that no byte came.
func ReadValue(br *bufio.Reader, dst []byte, max int) (out []byte, skipped bool, err error) {
	return ReadValueWithin(br, dst, max, nil)
}

// Budget is memory that values share with others.
type Budget interface {
	// Grow reserves n bytes more, and reports whether there was room for them.
	Grow(n int) bool
}

// ReadValueWithin is ReadValue for values that share their memory with others: room
// is asked for each part of a value that is not in br yet, before it is allocated, and
// for what is there when it is known how much. Where it has none the value is treated as
// one that is too large, and err is ErrNoRoom. A nil room has it always.
func ReadValueWithin(br *bufio.Reader, dst []byte, max int, room Budget) (out []byte, skipped bool, err error) {
	if ahead, _ := br.Peek(br.Buffered()); len(ahead) > 0 {
		n, err := Scan(ahead)
		if err == nil && n <= max {
			fits := room == nil || room.Grow(n)
			if fits {
				dst = append(dst, ahead[:n]...)
			}
			_, _ = br.Discard(n) // cannot fail: n bytes are buffered
			if !fits {
				return dst, true, ErrNoRoom
			}
			return dst, false, nil
		}
		if err != nil && err != ErrShort {
			return dst, false, err
		}
	}
	s := stream{br: br, dst: dst, start: len(dst), max: max, room: room}
	err = s.value()
	if err != nil {
		return s.dst, false, err
	}
	switch {
	case s.over && s.noRoom:
		return s.dst[:s.start], true, ErrNoRoom
	case s.over:
		return s.dst[:s.start], true, ErrTooLarge
	}
	return s.dst, false, nil
}

// stream follows one value through a reader, token by token.
type stream struct {
	br    *bufio.Reader
	dst   []byte
	start int
	max   int
	size  int  // bytes of the value so far
	over  bool // the value passed max, or there is no room, and it is only counted
	// room is asked, nil for always; held of it was granted so far.
	room   Budget
	held   int
	noRoom bool
}

// value reads tokens until the value is complete.
func (s *stream) value() error {
	var open [MaxDepth]int // values still due in each open container
	depth := 0
	for {
		t, err := s.token()
		if err != nil {
			return err
		}
		if t.values > 0 {
			if depth == MaxDepth {
				return ErrDepth
			}
			open[depth] = t.values
			depth++
			continue
		}
		for depth > 0 {
			if open[depth-1]--; open[depth-1] > 0 {
				break
			}
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// token reads one leading byte with its length and payload.
func (s *stream) token() (token, error) {
	b, err := s.br.Peek(1)
	if err != nil {
		return token{}, s.cut(err)
	}
	n := 1
	if b[0] >= codeNil && b[0] < codeNegFix {
		n += kinds[b[0]-codeNil].length
	}
	if b, err = s.br.Peek(n); err != nil {
		return token{}, s.cut(err)
	}
	t, n, err := header(b)
	if err != nil {
		return token{}, err
	}
	// what is announced counts at once: a value takes a byte at least
	if s.size+n+t.payload+t.values > 2*s.max {
		return token{}, ErrTooLarge
	}
	return t, s.take(n + t.payload)
}

// take moves n bytes from the reader to dst, or drops them once over max.
func (s *stream) take(n int) error {
	s.size += n
	if s.size > s.max {
		s.over = true
	}
	if s.over {
		_, err := s.br.Discard(n)
		return s.cut(err)
	}
	for n > 0 {
		step := min(n, max(growStep, len(s.dst)-s.start))
		at := len(s.dst)
		if !s.reserve(at - s.start + step) {
			s.over, s.noRoom = true, true
			_, err := s.br.Discard(n)
			return s.cut(err)
		}
		s.dst = slices.Grow(s.dst, step)[:at+step]
		if _, err := io.ReadFull(s.br, s.dst[at:]); err != nil {
			s.dst = s.dst[:at]
			return s.cut(err)
		}
		n -= step
	}
	return nil
}

// roomStep is the least that room is asked for: many small values are one question.
const roomStep = 4 << 10

// reserve asks for room for the first n bytes of the value.
func (s *stream) reserve(n int) bool {
	if s.room == nil || n <= s.held {
		return true
	}
	more := (n - s.held + roomStep - 1) / roomStep * roomStep
	if !s.room.Grow(more) {
		return false
	}
	s.held += more
	return true
}

// cut makes the end of the input inside of a value an error of its own.
func (s *stream) cut(err error) error {
	if err == io.EOF && s.size > 0 {
		return io.ErrUnexpectedEOF
	}
	return err
}
