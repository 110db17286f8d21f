// Package msgp is the one MessagePack codec of Cairn: Raft entries, RPC bodies
// and snapshots all use it. The encoding is the one of Go's net/rpc over
// msgpack as hashicorp/go-msgpack writes it: structs are maps keyed by field
// name, embedded structs are flattened, text and bytes share the raw type, a
// duration is an integer of nanoseconds and a time.Time is its binary form.
// The entries of every map are sorted by key, so equal values give equal bytes.
//
// Types on a hot path implement Appender and Parser by hand; everything else
// goes through reflection. Both must give the same bytes: fields sorted by name
// (a codec or else a json tag renames them and its omitempty leaves them out).
package msgp

import (
	"fmt"
	"reflect"
	"sync"

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
	h.Canonical = true
	h.MapType = reflect.TypeOf(map[string]any(nil))
	h.TimeNotBuiltin = true
	return h
}

// Handle returns the shared handle, for streams of values. Callers must not
// change it.
func Handle() *codec.MsgpackHandle { return handle }

// encoders keeps reflective encoders, whose set-up costs more than most values.
var encoders = sync.Pool{New: func() any { return codec.NewEncoderBytes(new([]byte), handle) }}

// Append appends the encoding of v to b. On an error b is returned unchanged.
func Append(b []byte, v any) ([]byte, error) {
	if a, ok := v.(Appender); ok && !isNilPointer(v) {
		return a.AppendMsgpack(b), nil
	}
	tail := b[len(b):]
	if cap(tail) == 0 {
		tail = make([]byte, 0, 128)
	}
	e := encoders.Get().(*codec.Encoder)
	e.ResetBytes(&tail)
	if err := e.Encode(v); err != nil {
		return b, err // the encoder is dropped: its state is unknown
	}
	encoders.Put(e)
	if len(tail) == 0 { // the codec does so for a bare time without a binary form
		return b, fmt.Errorf("msgpack: %T has no encoding", v)
	}
	if n := len(b); cap(b) > n && &b[:n+1][n] == &tail[0] {
		return b[:n+len(tail)], nil // it fitted behind b
	}
	return append(b, tail...), nil
}

// nothing is what a decoder in the pool reads.
var nothing = []byte{codeNil}

// decoders keeps reflective decoders for the same reason.
var decoders = sync.Pool{New: func() any { return codec.NewDecoderBytes(nothing, handle) }}

// isNilPointer reports whether v holds a nil pointer, which encodes as nil.
func isNilPointer(v any) bool {
	rv := reflect.ValueOf(v)
	return rv.Kind() == reflect.Pointer && rv.IsNil()
}

// Marshal returns the encoding of v.
func Marshal(v any) ([]byte, error) { return Append(nil, v) }

// Unmarshal decodes the single value in b into v, a non-nil pointer. Fields
// that v lacks are skipped. A value that would take far more memory decoded
// than encoded is refused.
func Unmarshal(b []byte, v any) error {
	if len(b) == 0 {
		return ErrShort
	}
	if len(b) > cheapSize {
		if err := weigh(b); err != nil {
			return err
		}
	}
	if p, ok := v.(Parser); ok {
		r := Reader{buf: b}
		if err := p.ParseMsgpack(&r); err != nil {
			return err
		}
		return r.err
	}
	d := decoders.Get().(*codec.Decoder)
	d.ResetBytes(b)
	if err := d.Decode(v); err != nil {
		return err // the decoder is dropped: its state is unknown
	}
	d.ResetBytes(nothing) // lets go of b
	decoders.Put(d)
	return nil
}
