package msgp

import (
	"encoding/binary"
	"math"
	"slices"
	"time"
)

// The leading bytes of the MessagePack formats (msgpack specification, "Formats").
const (
	codeFixMap   = 0x80
	codeFixArray = 0x90
	codeFixStr   = 0xa0
	codeNil      = 0xc0
	codeUnused   = 0xc1
	codeFalse    = 0xc2
	codeTrue     = 0xc3
	codeBin8     = 0xc4
	codeBin16    = 0xc5
	codeBin32    = 0xc6
	codeExt8     = 0xc7
	codeExt16    = 0xc8
	codeExt32    = 0xc9
	codeFloat32  = 0xca
	codeFloat64  = 0xcb
	codeUint8    = 0xcc
	codeUint16   = 0xcd
	codeUint32   = 0xce
	codeUint64   = 0xcf
	codeInt8     = 0xd0
	codeInt16    = 0xd1
	codeInt32    = 0xd2
	codeInt64    = 0xd3
	codeFixExt1  = 0xd4
	codeFixExt16 = 0xd8
	codeStr8     = 0xd9
	codeStr16    = 0xda
	codeStr32    = 0xdb
	codeArray16  = 0xdc
	codeArray32  = 0xdd
	codeMap16    = 0xde
	codeMap32    = 0xdf
	codeNegFix   = 0xe0
)

// AppendMapHeader starts a map of n pairs.
func AppendMapHeader(b []byte, n int) []byte {
	return appendHeader(b, n, 16, codeFixMap, codeMap16)
}

// AppendArrayHeader starts an array of n elements.
func AppendArrayHeader(b []byte, n int) []byte {
	return appendHeader(b, n, 16, codeFixArray, codeArray16)
}

// AppendString appends text in the raw format, which has no 8-bit length.
func AppendString(b []byte, s string) []byte {
	return append(appendHeader(b, len(s), 32, codeFixStr, codeStr16), s...)
}

// AppendField appends the name of a struct field, the key of its map entry.
func AppendField(b []byte, name string) []byte { return AppendString(b, name) }

// AppendBytes appends v like text, and nil for a nil slice.
func AppendBytes(b, v []byte) []byte {
	if v == nil {
		return AppendNil(b)
	}
	return append(appendHeader(b, len(v), 32, codeFixStr, codeStr16), v...)
}

// appendHeader writes a length: in the leading byte below limit, else behind
// wide in 16 bits or wide+1 in 32.
func appendHeader(b []byte, n, limit int, fix, wide byte) []byte {
	switch {
	case n < limit:
		return append(b, fix|byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, wide), uint16(n))
	default:
		return binary.BigEndian.AppendUint32(append(b, wide+1), uint32(n))
	}
}

// AppendNil appends nil.
func AppendNil(b []byte) []byte { return append(b, codeNil) }

// AppendBool appends v.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, codeTrue)
	}
	return append(b, codeFalse)
}

// AppendUint64 appends a field of an unsigned type, whatever its size.
func AppendUint64(b []byte, v uint64) []byte {
	switch {
	case v <= math.MaxInt8:
		return append(b, byte(v))
	case v <= math.MaxUint8:
		return append(b, codeUint8, byte(v))
	case v <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, codeUint16), uint16(v))
	case v <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, codeUint32), uint32(v))
	default:
		return binary.BigEndian.AppendUint64(append(b, codeUint64), v)
	}
}

// AppendInt64 appends a field of a signed type, whatever its size. Its bytes
// differ from AppendUint64's from 128 on.
func AppendInt64(b []byte, v int64) []byte {
	switch {
	case v >= -32 && v <= math.MaxInt8:
		return append(b, byte(v))
	case v >= math.MinInt8 && v < 0:
		return append(b, codeInt8, byte(v))
	case v >= math.MinInt16 && v <= math.MaxInt16:
		return binary.BigEndian.AppendUint16(append(b, codeInt16), uint16(v))
	case v >= math.MinInt32 && v <= math.MaxInt32:
		return binary.BigEndian.AppendUint32(append(b, codeInt32), uint32(v))
	default:
		return binary.BigEndian.AppendUint64(append(b, codeInt64), uint64(v))
	}
}

// AppendFloat64 appends v.
func AppendFloat64(b []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(append(b, codeFloat64), math.Float64bits(v))
}

// AppendDuration appends d as nanoseconds.
func AppendDuration(b []byte, d time.Duration) []byte { return AppendInt64(b, int64(d)) }

// AppendTime appends the binary form of t. A zone offset that has no binary
// form is dropped: the instant is kept, in UTC.
func AppendTime(b []byte, t time.Time) []byte {
	at := len(b)
	b = append(b, codeFixStr)
	out, err := t.AppendBinary(b)
	if err != nil {
		out, _ = t.UTC().AppendBinary(b) // UTC always has a binary form
	}
	out[at] = codeFixStr | byte(len(out)-at-1)
	return out
}

// AppendStringMap appends m with its keys sorted, and nil for a nil map.
func AppendStringMap(b []byte, m map[string]string) []byte {
	if m == nil {
		return AppendNil(b)
	}
	b = AppendMapHeader(b, len(m))
	keys := make([]string, 0, 16) // on the stack
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		b = AppendString(AppendString(b, k), m[k])
	}
	return b
}

// AppendStrings appends v, and nil for a nil slice.
func AppendStrings(b []byte, v []string) []byte {
	if v == nil {
		return AppendNil(b)
	}
	b = AppendArrayHeader(b, len(v))
	for _, s := range v {
		b = AppendString(b, s)
	}
	return b
}
