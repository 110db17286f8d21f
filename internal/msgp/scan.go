package msgp

import (
	"encoding/binary"
	"errors"
	"io"
)

// MaxDepth is how deep containers may nest in a value that is skipped or
// scanned. The deepest value of ours stays below ten.
const MaxDepth = 64

// The faults of an encoding. ErrShort means that more bytes might complete the value.
var (
	ErrShort    = io.ErrUnexpectedEOF
	ErrFormat   = errors.New("msgpack: byte 0xc1 starts no value")
	ErrDepth    = errors.New("msgpack: value is nested too deeply")
	ErrTooLarge = errors.New("msgpack: value is larger than the limit")
	// ErrNoRoom says that a value was dropped because others fill the memory that it
	// shares with them.
	ErrNoRoom = errors.New("msgpack: no room for the value")
	ErrHeavy  = errors.New("msgpack: value holds too many empty elements")
)

// Scan returns how many bytes the first value in b occupies. It allocates
// nothing. ErrShort says that b ends before the value does.
func Scan(b []byte) (int, error) { return scan(b, 0, 0) }

func scan(b []byte, off, depth int) (int, error) {
	if off >= len(b) {
		return off, ErrShort
	}
	t, n, err := header(b[off:])
	if err != nil {
		return off, err
	}
	off += n
	if t.payload > len(b)-off {
		return off, ErrShort
	}
	off += t.payload
	if t.values == 0 {
		return off, nil
	}
	if depth >= MaxDepth {
		return off, ErrDepth
	}
	if t.values > len(b)-off { // every value takes a byte at least
		return off, ErrShort
	}
	for range t.values {
		if off, err = scan(b, off, depth+1); err != nil {
			return off, err
		}
	}
	return off, nil
}

// token is what a leading byte and its length announce: bytes of payload, or
// values that follow.
type token struct {
	payload int
	values  int
}

// header decodes the leading byte of b and its length bytes; n is their count.
func header(b []byte) (t token, n int, err error) {
	c := b[0]
	switch {
	case c < codeFixMap || c >= codeNegFix:
		return token{}, 1, nil
	case c < codeFixArray:
		return token{values: 2 * int(c&0x0f)}, 1, nil
	case c < codeFixStr:
		return token{values: int(c & 0x0f)}, 1, nil
	case c < codeNil:
		return token{payload: int(c & 0x1f)}, 1, nil
	}
	k := kinds[c-codeNil]
	if k.form == formNone {
		return token{}, 0, ErrFormat
	}
	if len(b) < 1+k.length {
		return token{}, 0, ErrShort
	}
	size := uint32(0)
	switch k.length {
	case 1:
		size = uint32(b[1])
	case 2:
		size = uint32(binary.BigEndian.Uint16(b[1:]))
	case 4:
		size = binary.BigEndian.Uint32(b[1:])
	}
	switch k.form {
	case formMap:
		return token{values: 2 * int(size)}, 1 + k.length, nil
	case formArray:
		return token{values: int(size)}, 1 + k.length, nil
	default:
		return token{payload: int(size) + k.extra}, 1 + k.length, nil
	}
}

type form uint8

const (
	formNone form = iota
	formPlain
	formMap
	formArray
)

// kind describes a leading byte from 0xc0 to 0xdf: how many length bytes follow
// and how many bytes of payload come on top of that length.
type kind struct {
	form   form
	length int
	extra  int
}

var kinds = [codeNegFix - codeNil]kind{
	codeNil - codeNil:         {formPlain, 0, 0},
	codeFalse - codeNil:       {formPlain, 0, 0},
	codeTrue - codeNil:        {formPlain, 0, 0},
	codeBin8 - codeNil:        {formPlain, 1, 0},
	codeBin16 - codeNil:       {formPlain, 2, 0},
	codeBin32 - codeNil:       {formPlain, 4, 0},
	codeExt8 - codeNil:        {formPlain, 1, 1},
	codeExt16 - codeNil:       {formPlain, 2, 1},
	codeExt32 - codeNil:       {formPlain, 4, 1},
	codeFloat32 - codeNil:     {formPlain, 0, 4},
	codeFloat64 - codeNil:     {formPlain, 0, 8},
	codeUint8 - codeNil:       {formPlain, 0, 1},
	codeUint16 - codeNil:      {formPlain, 0, 2},
	codeUint32 - codeNil:      {formPlain, 0, 4},
	codeUint64 - codeNil:      {formPlain, 0, 8},
	codeInt8 - codeNil:        {formPlain, 0, 1},
	codeInt16 - codeNil:       {formPlain, 0, 2},
	codeInt32 - codeNil:       {formPlain, 0, 4},
	codeInt64 - codeNil:       {formPlain, 0, 8},
	codeFixExt1 - codeNil:     {formPlain, 0, 2},
	codeFixExt1 + 1 - codeNil: {formPlain, 0, 3},
	codeFixExt1 + 2 - codeNil: {formPlain, 0, 5},
	codeFixExt1 + 3 - codeNil: {formPlain, 0, 9},
	codeFixExt16 - codeNil:    {formPlain, 0, 17},
	codeStr8 - codeNil:        {formPlain, 1, 0},
	codeStr16 - codeNil:       {formPlain, 2, 0},
	codeStr32 - codeNil:       {formPlain, 4, 0},
	codeArray16 - codeNil:     {formArray, 2, 0},
	codeArray32 - codeNil:     {formArray, 4, 0},
	codeMap16 - codeNil:       {formMap, 2, 0},
	codeMap32 - codeNil:       {formMap, 4, 0},
}
