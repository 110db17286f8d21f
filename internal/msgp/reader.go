package msgp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// Reader reads MessagePack values from a buffer without reflection. It never
// writes to the buffer and never allocates for a length that the buffer does
// not hold. The first fault sticks: from then on every method returns a zero
// value at once, so a parser may check Err once at its end.
//
// A nil stands for the zero value of whatever is asked for, and numbers and
// text are taken in every format that can hold them, as go-msgpack does.
type Reader struct {
	buf []byte
	off int
	err error
}

// NewReader returns a reader over b.
func NewReader(b []byte) *Reader { return &Reader{buf: b} }

// Reset makes r read b from its start.
func (r *Reader) Reset(b []byte) { *r = Reader{buf: b} }

// Err returns the first fault, nil while there was none.
func (r *Reader) Err() error { return r.err }

// Fail records err as the fault unless there is one already.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// Offset returns how many bytes were read.
func (r *Reader) Offset() int { return r.off }

// More reports whether bytes are left and no fault happened.
func (r *Reader) More() bool { return r.err == nil && r.off < len(r.buf) }

var errNegative = errors.New("msgpack: negative number for an unsigned field")

// next returns the leading byte, its announced payload and count, and moves
// behind its length bytes. ok is false after a fault.
func (r *Reader) next() (c byte, t token, ok bool) {
	if r.err != nil {
		return 0, token{}, false
	}
	if r.off >= len(r.buf) {
		r.err = ErrShort
		return 0, token{}, false
	}
	t, n, err := header(r.buf[r.off:])
	if err == nil && (t.payload > len(r.buf)-r.off-n || t.values > len(r.buf)-r.off-n) {
		err = ErrShort
	}
	if err != nil {
		r.err = err
		return 0, token{}, false
	}
	c = r.buf[r.off]
	r.off += n
	return c, t, true
}

// mismatch records that a value of another sort was found.
func (r *Reader) mismatch(want string, c byte) {
	r.Fail(fmt.Errorf("msgpack: want %s, found format 0x%02x", want, c))
}

// MapHeader enters a map and returns the number of its pairs, 0 for nil. The
// buffer holds at least two bytes per pair.
func (r *Reader) MapHeader() int {
	c, t, ok := r.next()
	switch {
	case !ok || c == codeNil:
		return 0
	case c&0xf0 == codeFixMap || c == codeMap16 || c == codeMap32:
		return t.values / 2
	}
	r.mismatch("a map", c)
	return 0
}

// ArrayHeader enters an array and returns the number of its elements, 0 for
// nil. The buffer holds at least a byte per element, which may be far less than
// an element takes decoded: append to a slice of capacity Room(n).
func (r *Reader) ArrayHeader() int {
	c, t, ok := r.next()
	switch {
	case !ok || c == codeNil:
		return 0
	case c&0xf0 == codeFixArray || c == codeArray16 || c == codeArray32:
		return t.values
	}
	r.mismatch("an array", c)
	return 0
}

// Room bounds how many elements to make room for before they were read.
func Room(n int) int { return min(n, 1024) }

// RawBytes returns text or bytes as a part of the buffer: nil for nil, which
// the caller must neither change nor keep.
func (r *Reader) RawBytes() []byte {
	if r.err == nil && r.off < len(r.buf) { // field names and most text are short
		if c := r.buf[r.off]; c&0xe0 == codeFixStr {
			at, end := r.off+1, r.off+1+int(c&0x1f)
			if end <= len(r.buf) {
				r.off = end
				return r.buf[at:end:end]
			}
		}
	}
	c, t, ok := r.next()
	if !ok || c == codeNil {
		return nil
	}
	switch {
	case c&0xe0 == codeFixStr, c >= codeBin8 && c <= codeBin32, c >= codeStr8 && c <= codeStr32:
		v := r.buf[r.off : r.off+t.payload : r.off+t.payload]
		r.off += t.payload
		return v
	}
	r.mismatch("text", c)
	return nil
}

// StringKey is RawBytes for the key of a map: switch on string(key), which
// does not allocate.
func (r *Reader) StringKey() []byte { return r.RawBytes() }

// Bytes returns a copy of text or bytes, nil for nil.
func (r *Reader) Bytes() []byte {
	v := r.RawBytes()
	if v == nil {
		return nil
	}
	return append(make([]byte, 0, len(v)), v...)
}

// String returns text.
func (r *Reader) String() string { return string(r.RawBytes()) }

// number reads an integer of any format as two's complement; negative says
// that the value lies below zero, wide that it lies above MaxInt64.
func (r *Reader) number() (v uint64, negative, wide bool) {
	c, t, ok := r.next()
	if !ok || c == codeNil {
		return 0, false, false
	}
	p := r.buf[r.off : r.off+t.payload]
	switch {
	case c < codeFixMap:
		return uint64(c), false, false
	case c >= codeNegFix:
		return uint64(int64(int8(c))), true, false
	case c < codeUint8 || c > codeInt64:
		r.mismatch("an integer", c)
		return 0, false, false
	}
	r.off += t.payload
	for _, x := range p {
		v = v<<8 | uint64(x)
	}
	if c <= codeUint64 {
		return v, false, v > math.MaxInt64
	}
	shift := 64 - 8*len(p)
	i := int64(v<<shift) >> shift
	return uint64(i), i < 0, false
}

// Uint64 returns an integer, which must not be negative.
func (r *Reader) Uint64() uint64 {
	v, negative, _ := r.number()
	if negative {
		r.Fail(errNegative)
		return 0
	}
	return v
}

// Int64 returns an integer. An unsigned one above MaxInt64 is a fault.
func (r *Reader) Int64() int64 {
	v, _, wide := r.number()
	if wide {
		r.Fail(errors.New("msgpack: number exceeds 63 bits"))
		return 0
	}
	return int64(v)
}

// Int returns an integer.
func (r *Reader) Int() int { return int(r.Int64()) }

// Duration returns an integer of nanoseconds.
func (r *Reader) Duration() time.Duration { return time.Duration(r.Int64()) }

// Bool returns a boolean; the integers 0 and 1 stand for one too.
func (r *Reader) Bool() bool {
	c, _, ok := r.next()
	switch {
	case !ok || c == codeNil || c == codeFalse || c == 0:
		return false
	case c == codeTrue || c == 1:
		return true
	}
	r.mismatch("a boolean", c)
	return false
}

// Float64 returns a number of any format.
func (r *Reader) Float64() float64 {
	if r.err == nil && r.off < len(r.buf) {
		switch c := r.buf[r.off]; c {
		case codeFloat32, codeFloat64:
			_, t, ok := r.next()
			if !ok {
				return 0
			}
			p := r.buf[r.off : r.off+t.payload]
			r.off += t.payload
			if c == codeFloat32 {
				return float64(math.Float32frombits(binary.BigEndian.Uint32(p)))
			}
			return math.Float64frombits(binary.BigEndian.Uint64(p))
		}
	}
	v, _, wide := r.number()
	if wide {
		return float64(v)
	}
	return float64(int64(v))
}

// Time returns a time in its binary form, the zero time for nil.
func (r *Reader) Time() time.Time {
	p := r.RawBytes()
	if p == nil {
		return time.Time{}
	}
	var t time.Time
	if err := t.UnmarshalBinary(p); err != nil {
		r.Fail(fmt.Errorf("msgpack: time: %w", err))
		return time.Time{}
	}
	return t
}

// TryNil reads a nil if one is next and reports whether it did.
func (r *Reader) TryNil() bool {
	if r.err != nil || r.off >= len(r.buf) || r.buf[r.off] != codeNil {
		return false
	}
	r.off++
	return true
}

// Skip passes over one value of any sort, nested up to MaxDepth.
func (r *Reader) Skip() { r.Value() }

// Value returns the encoding of the next value as a part of the buffer.
func (r *Reader) Value() []byte {
	if r.err != nil {
		return nil
	}
	n, err := Scan(r.buf[r.off:])
	if err != nil {
		r.err = err
		return nil
	}
	v := r.buf[r.off : r.off+n : r.off+n]
	r.off += n
	return v
}

// StringMap reads a map of text to text, nil for nil.
func (r *Reader) StringMap() map[string]string {
	if r.TryNil() {
		return nil
	}
	n := r.MapHeader()
	if r.err != nil {
		return nil
	}
	m := make(map[string]string, Room(n))
	for ; n > 0 && r.err == nil; n-- {
		k := r.String()
		m[k] = r.String()
	}
	return m
}

// Strings reads an array of text, nil for nil.
func (r *Reader) Strings() []string {
	if r.TryNil() {
		return nil
	}
	n := r.ArrayHeader()
	if r.err != nil {
		return nil
	}
	v := make([]string, 0, Room(n))
	for ; n > 0 && r.err == nil; n-- {
		v = append(v, r.String())
	}
	return v
}
