package nodelink

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"
)

// frameType is the first byte of a frame; the length of the payload follows, four
// bytes in network order, and the payload. The types are frozen.
type frameType byte

// The frames. The first five are for the control stream, which the agent opens
// first; the others for the streams of calls, which the server opens. A stream
// that its caller closes before the last frame is cancelled.
const (
	frameHello   frameType = 1 // agent: Hello
	frameWelcome frameType = 2 // server: Welcome
	frameRefusal frameType = 3 // server: Refusal, instead of a welcome or as a goodbye
	framePing    frameType = 4 // both: nothing, "I am there"
	frameLeave   frameType = 5 // agent: nothing, "I end the link"
	frameCall    frameType = 6 // server: callFrame, or callFrameV1
	frameResult  frameType = 7 // agent: the reply, or replyFrameV1; the last frame
	frameFailure frameType = 8 // agent: Failure; the last frame
	frameData    frameType = 9 // agent: data of a stream
)

const (
	frameHeader = 5
	// maxControl bounds a frame of the control stream and what surrounds the
	// argument of a call.
	maxControl = 64 << 10
	// DefaultMaxMessage is the largest argument and the largest reply in bytes.
	DefaultMaxMessage = 8 << 20
	// maxData is how much of a stream goes into a frame.
	maxData = 64 << 10
)

// callFrame is a call since version 2.
type callFrame struct {
	Method     string
	Revision   int
	Timeout    time.Duration `json:",omitempty"` // what is left, 0 for no end
	Idempotent bool          `json:",omitempty"`
	Trace      string        `json:",omitempty"`
	Caller     string        `json:",omitempty"`
	Hops       []string      `json:",omitempty"`
	Body       json.RawMessage
}

// writeFrame sends a frame in one write.
func writeFrame(w io.Writer, t frameType, payload []byte) error {
	b := make([]byte, frameHeader, frameHeader+len(payload))
	b[0] = byte(t)
	binary.BigEndian.PutUint32(b[1:], uint32(len(payload)))
	_, err := w.Write(append(b, payload...))
	return err
}

// encode returns v as JSON that is not made fit for HTML pages, so that what a
// caller or a handler encoded itself stays as it is.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// writeJSON sends a frame with v as its payload within a limit.
func writeJSON(conn net.Conn, t frameType, v any, within time.Duration) error {
	b, err := encode(v)
	if err != nil {
		return err
	}
	if err := conn.SetWriteDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	return writeFrame(conn, t, b)
}

// garbage is the error of a frame that makes no sense, as against one that did
// not come.
type garbage struct{ error }

func (g garbage) Unwrap() error { return g.error }

func garbled(format string, args ...any) error { return garbage{fmt.Errorf(format, args...)} }

// readFrame reads a frame with a payload of at most limit bytes. Memory grows with
// what arrives, not with what is announced.
func readFrame(r io.Reader, limit int) (frameType, []byte, error) {
	var head [frameHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	t, size := frameType(head[0]), int64(binary.BigEndian.Uint32(head[1:]))
	if t < frameHello || t > frameData {
		return t, nil, garbled("unknown frame %d", t)
	}
	if size > int64(limit) {
		return t, nil, garbled("frame of %d bytes, at most %d are taken", size, limit)
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r, size); err != nil {
		return t, nil, err
	}
	return t, b.Bytes(), nil
}

// decode reads the JSON payload of a frame into v.
func decode(payload []byte, v any) error {
	if err := json.Unmarshal(payload, v); err != nil {
		return garbage{err}
	}
	return nil
}
