// Package msgp is the one MessagePack codec of Cairn: Raft entries, RPC bodies
// and snapshots all use it. The encoding is the one of Go's net/rpc over
// msgpack as hashicorp/go-msgpack writes it: structs are maps keyed by field
// name, embedded structs are flattened, text and bytes share the raw type, a
// duration is an integer of nanoseconds and a time.Time is its binary form.
//
// Types on a hot path implement Appender and Parser by hand; everything else
// goes through reflection. Both must give the same bytes.
package msgp

import (
	"reflect"

	"github.com/hashicorp/go-msgpack/v2/codec"
)

// Appender is a value that encodes itself without reflection.
type Appender interface {
	// AppendMsgpack appends the encoding of the value to b and returns it.
	AppendMsgpack(b []byte) []byte
}

// Parser is a pointer that decodes itself without reflection.
type Parser interface {
	// ParseMsgpack replaces the value by the one read from r. It must not keep
	// references into the reader's buffer.
	ParseMsgpack(r *Reader) error
}

var handle = newHandle()

func newHandle() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{}
	h.RawToString = true
	h.MapType = reflect.TypeOf(map[string]any(nil))
	h.TimeNotBuiltin = true
	return h
}

// Handle returns the shared handle, for streams of values. Callers must not
// change it.
func Handle() *codec.MsgpackHandle { return handle }

// Append appends the encoding of v to b.
func Append(b []byte, v any) ([]byte, error) {
	if a, ok := v.(Appender); ok {
		return a.AppendMsgpack(b), nil
	}
	var out []byte
	if err := codec.NewEncoderBytes(&out, handle).Encode(v); err != nil {
		return b, err
	}
	return append(b, out...), nil
}

// Marshal returns the encoding of v.
func Marshal(v any) ([]byte, error) { return Append(nil, v) }

// Unmarshal decodes the single value in b into v, a non-nil pointer. Fields
// that v lacks are skipped.
func Unmarshal(b []byte, v any) error {
	if p, ok := v.(Parser); ok {
		return p.ParseMsgpack(NewReader(b))
	}
	return codec.NewDecoderBytes(b, handle).Decode(v)
}
