package stream

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/msgp"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Method is the streaming call of servers: the request follows, then messages of
// EventStreamWrapper come until one side closes the connection.
const Method = "Event.Stream"

// Heartbeat is how long a stream is silent at most.
const Heartbeat = 30 * time.Second

const (
	// requestTimeout is how long the request may take, sendTimeout a message.
	requestTimeout = 10 * time.Second
	sendTimeout    = 40 * time.Second
	// silence is after how long without a heartbeat the other side is gone.
	silence = Heartbeat + sendTimeout
	// maxRequest and maxMessage bound messages in bytes.
	maxRequest = 1 << 20
	maxMessage = 64 << 20
)

// HeartbeatLine is an empty line of a stream.
var HeartbeatLine = []byte("{}\n")

// EndedError ends a stream that had begun.
type EndedError struct {
	// NextIndex is the index from which on to ask again.
	NextIndex uint64
	// Cause is why the stream ended.
	Cause error
}

// Error implements error.
func (e *EndedError) Error() string { return e.Cause.Error() }

// Unwrap returns why the stream ended.
func (e *EndedError) Unwrap() error { return e.Cause }

// AppendOther appends a line without events.
func AppendOther(b []byte, v *structs.EventStreamLine) []byte {
	out := bytes.NewBuffer(b)
	enc := json.NewEncoder(out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // a line has nothing that cannot be encoded
	return out.Bytes()
}

// EndedLine returns the last line of a stream that err ends.
func EndedLine(err error) []byte {
	e := failure(err)
	return AppendOther(nil, &structs.EventStreamLine{Error: &structs.EventStreamEnd{Code: e.Code, Message: e.Message, NextIndex: e.NextIndex}})
}

func failure(err error) *structs.EventStreamError {
	e := errs.From(err, "")
	out := &structs.EventStreamError{Code: e.Code, Message: e.Error()}
	if ended := (*EndedError)(nil); errors.As(err, &ended) {
		out.NextIndex = ended.NextIndex
	}
	return out
}

// Relay asks a server at the other end of conn, which serves with Serve, and passes on
// the lines that come. It returns when the stream or ctx ends, and closes conn.
func Relay(ctx context.Context, conn net.Conn, r *structs.EventStreamRequest, send func([]byte) error) error {
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { interrupt(conn) })()
	b, err := msgp.Marshal(r)
	if err != nil {
		return err
	}
	br := bufio.NewReader(conn)
	if err = within(conn.SetWriteDeadline, requestTimeout); err == nil {
		_, err = conn.Write(b)
	}
	for err == nil {
		if err = within(conn.SetReadDeadline, silence); err != nil || ctx.Err() != nil {
			break // interrupt comes after the deadline that was set now, or ctx has ended
		}
		if b, _, err = msgp.ReadValue(br, b[:0], maxMessage); err != nil {
			break
		}
		if done, err := pass(b, send); done || err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return errs.Gone(ctx.Err())
	}
	return errs.Wrap(errs.Unavailable, "the server that sent the events broke off: ask again from the next index", err)
}

// pass passes on one message; done means that it was the last.
func pass(b []byte, send func([]byte) error) (done bool, err error) {
	var m structs.EventStreamWrapper
	if err := msgp.Unmarshal(b, &m); err != nil {
		return true, errs.Wrap(errs.Unavailable, "the server that sent the events sends something else", err)
	}
	switch e := m.Error; {
	case e == nil && m.Event == nil:
		return false, nil
	case e == nil:
		return false, send(m.Event.Data)
	case e.NextIndex > 0:
		return true, &EndedError{NextIndex: e.NextIndex, Cause: errs.New(e.Code, e.Message)}
	default:
		return true, errs.New(e.Code, e.Message)
	}
}

// interrupt ends what waits on conn, also on a stream whose Close does not do that.
func interrupt(conn net.Conn) {
	_ = conn.SetDeadline(time.Unix(1, 0))
	_ = conn.Close()
}

func within(set func(time.Time) error, d time.Duration) error { return set(time.Now().Add(d)) }

// Serve answers the stream that a peer asks for on conn: answer sends the lines and
// returns why there are no more, never nil. Its context ends when the peer hangs up.
// Serve closes conn.
func Serve(ctx context.Context, conn net.Conn, answer func(ctx context.Context, r *structs.EventStreamRequest, send func([]byte) error) error) error {
	defer conn.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := within(conn.SetReadDeadline, requestTimeout); err != nil {
		return err
	}
	r, err := readRequest(conn)
	if err != nil {
		return sendMessage(conn, &structs.EventStreamWrapper{Error: failure(err)})
	}
	watched := make(chan struct{})
	_ = conn.SetReadDeadline(time.Time{})
	go func() {
		defer close(watched)
		_, _ = io.Copy(io.Discard, conn) // nothing more is due: this ends with the connection
		cancel()
	}()
	defer func() { interrupt(conn); <-watched }()
	err = answer(ctx, r, func(lines []byte) error {
		return sendMessage(conn, &structs.EventStreamWrapper{Event: &structs.EventJson{Data: lines}})
	})
	return sendMessage(conn, &structs.EventStreamWrapper{Error: failure(err)})
}

func readRequest(r io.Reader) (*structs.EventStreamRequest, error) {
	b, _, err := msgp.ReadValue(bufio.NewReader(r), nil, maxRequest)
	req := &structs.EventStreamRequest{}
	if err == nil {
		err = msgp.Unmarshal(b, req)
	}
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, "cannot decode the request of a stream of events", err)
	}
	return req, nil
}

func sendMessage(conn net.Conn, m *structs.EventStreamWrapper) error {
	b, err := msgp.Marshal(m)
	if err != nil {
		return err
	}
	if err := within(conn.SetWriteDeadline, sendTimeout); err != nil {
		return err
	}
	_, err = conn.Write(b)
	return err
}
