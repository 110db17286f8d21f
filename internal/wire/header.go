package wire

import (
	"errors"
	"strings"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/msgp"
)

// The keys of the header maps. ServiceMethod, Seq and Error are net/rpc's; the
// others are ours. Ext (1) tells that the sender knows our keys. A request may
// have Timeout (milliseconds left), Hops, ID (of the request), Write (16 bytes that
// name a write over all its tries) and Since (an index); a response to
// a peer with Ext has Err, the error with its code.
const (
	keyMethod  = "ServiceMethod"
	keySeq     = "Seq"
	keyError   = "Error"
	keyExt     = "Ext"
	keyTimeout = "Timeout"
	keyHops    = "Hops"
	keyID      = "ID"
	keyErr     = "Err"
	keyWrite   = "Write"
	keySince   = "Since"
)

// methodCancel is the request that cancels the call with its Seq; its body is
// nil and it has no reply. It is sent only to peers that showed Ext.
const methodCancel = "$cancel"

// methodDrain is the method of a response to no call, by which a server asks to
// make no more calls on the connection.
const methodDrain = "$drain"

// maxHeader bounds a header map: a method name, or an error with its details.
const maxHeader = 256 << 10

// maxName bounds a method name and a request ID.
const maxName = 1 << 10

// maxText bounds the message of an error, which is sent twice. Details that do
// not fit beside it are left out.
const maxText = 64 << 10

// maxTimeout bounds the deadline that a peer may carry; above it there is none.
const maxTimeout = 30 * 24 * time.Hour

type request struct {
	method  []byte // part of the buffer that was parsed
	seq     uint64
	ext     bool
	timeout time.Duration
	hops    int
	id      string
	write   [16]byte
	since   uint64
}

func appendRequest(b []byte, method string, seq uint64, timeout time.Duration, o CallOptions) []byte {
	n := 3
	if timeout > 0 {
		n++
	}
	if o.Hops > 0 {
		n++
	}
	if o.RequestID != "" {
		n++
	}
	if o.WriteID != [16]byte{} {
		n++
	}
	if o.WriteSince > 0 {
		n++
	}
	b = msgp.AppendMapHeader(b, n)
	b = msgp.AppendString(msgp.AppendField(b, keyMethod), method)
	b = msgp.AppendUint64(msgp.AppendField(b, keySeq), seq)
	b = msgp.AppendUint64(msgp.AppendField(b, keyExt), 1)
	if timeout > 0 {
		ms := (timeout + time.Millisecond - 1) / time.Millisecond
		b = msgp.AppendUint64(msgp.AppendField(b, keyTimeout), uint64(ms))
	}
	if o.Hops > 0 {
		b = msgp.AppendUint64(msgp.AppendField(b, keyHops), uint64(o.Hops))
	}
	if o.RequestID != "" {
		b = msgp.AppendString(msgp.AppendField(b, keyID), o.RequestID)
	}
	if o.WriteID != [16]byte{} {
		b = msgp.AppendBytes(msgp.AppendField(b, keyWrite), o.WriteID[:])
	}
	if o.WriteSince > 0 {
		b = msgp.AppendUint64(msgp.AppendField(b, keySince), o.WriteSince)
	}
	return b
}

func parseRequest(b []byte) (request, error) {
	var q request
	r := msgp.NewReader(b)
	for n := r.MapHeader(); n > 0 && r.Err() == nil; n-- {
		switch string(r.StringKey()) {
		case keyMethod:
			q.method = r.RawBytes()
		case keySeq:
			q.seq = r.Uint64()
		case keyExt:
			q.ext = r.Uint64() > 0
		case keyTimeout:
			if ms := r.Uint64(); ms <= uint64(maxTimeout/time.Millisecond) {
				q.timeout = time.Duration(ms) * time.Millisecond
			}
		case keyHops:
			q.hops = int(min(r.Uint64(), 1<<16))
		case keyID:
			q.id = r.String()
		case keyWrite:
			if v := r.RawBytes(); copy(q.write[:], v) != len(v) || len(v) != len(q.write) {
				r.Fail(errors.New("a write ID that has not 16 bytes"))
			}
		case keySince:
			q.since = r.Uint64()
		default:
			r.Skip()
		}
	}
	if len(q.method) == 0 || len(q.method) > maxName || len(q.id) > maxName {
		r.Fail(errors.New("a method or an ID that is missing or too long"))
	}
	return q, r.Err()
}

// fitError returns err in a form that a header can hold.
func fitError(err *errs.Error) *errs.Error {
	size := 0
	for _, e := range err.Errata {
		size += len(e.Field) + len(e.Msg) + 32
	}
	if len(err.Msg) <= maxText && size <= maxText {
		return err
	}
	c := *err
	c.Msg = strings.ToValidUTF8(c.Msg[:min(len(c.Msg), maxText)], "")
	if size > maxText {
		c.Errata = nil
	}
	return &c
}

type response struct {
	seq uint64
	ext bool
	// drain asks to make no more calls on the connection.
	drain bool
	text  string // of a plain peer's error
	err   *errs.Error
}

// appendResponse writes a response header. ext tells whether the peer
// understands our keys; err is nil for success.
func appendResponse(b []byte, method string, seq uint64, ext bool, err *errs.Error) []byte {
	n := 3
	if ext {
		n++
		if err != nil {
			n++
		}
	}
	b = msgp.AppendMapHeader(b, n)
	b = msgp.AppendString(msgp.AppendField(b, keyMethod), method)
	b = msgp.AppendUint64(msgp.AppendField(b, keySeq), seq)
	b = msgp.AppendString(msgp.AppendField(b, keyError), plainText(err))
	if ext {
		b = msgp.AppendUint64(msgp.AppendField(b, keyExt), 1)
		if err != nil {
			b = appendError(msgp.AppendField(b, keyErr), err)
		}
	}
	return b
}

func parseResponse(b []byte) (response, error) {
	var p response
	r := msgp.NewReader(b)
	for n := r.MapHeader(); n > 0 && r.Err() == nil; n-- {
		switch string(r.StringKey()) {
		case keySeq:
			p.seq = r.Uint64()
		case keyMethod:
			p.drain = string(r.StringKey()) == methodDrain
		case keyError:
			p.text = r.String()
		case keyExt:
			p.ext = r.Uint64() > 0
		case keyErr:
			p.err = parseError(r)
		default:
			r.Skip()
		}
	}
	if p.err == nil && p.text != "" {
		p.err = fromPlainText(p.text)
	}
	return p, r.Err()
}
