package nodelink

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"time"
)

// PassStream passes a call of a stream on to the server at the other end of conn,
// which serves it with ServeStream, and writes the data that comes to w. The
// failure of the other server arrives as it is.
func PassStream(ctx context.Context, conn net.Conn, request []byte, w io.Writer) (json.RawMessage, error) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	err := writeFrame(conn, frameCall, request)
	for err == nil {
		var t frameType
		var b []byte
		if t, b, err = readFrame(conn, DefaultMaxMessage+maxControl); err != nil {
			break
		}
		switch t {
		case frameData:
			if _, err := w.Write(b); err != nil {
				return nil, callerGone(err)
			}
		case frameResult:
			return b, nil
		case frameFailure:
			f := new(Failure)
			if err = decode(b, f); err == nil {
				return nil, f
			}
		default:
			err = garbled("frame %d from a server", t)
		}
	}
	if ctx.Err() != nil {
		return nil, late(ctx)
	}
	return nil, &Failure{Outcome: MayHaveRun, Help: "the server that has the link of the node broke off: the call may have run", Text: err.Error()}
}

// ServeStream serves a stream that another server passed on. It returns when that
// has ended; the context of answer ends when the other server hangs up.
func ServeStream(ctx context.Context, conn net.Conn, answer func(ctx context.Context, request []byte, w io.Writer) (json.RawMessage, error)) {
	defer conn.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if conn.SetReadDeadline(time.Now().Add(handshakeTimeout)) != nil {
		return
	}
	t, request, err := readFrame(conn, DefaultMaxMessage+maxControl)
	if err != nil || t != frameCall {
		return
	}
	watched := watch(conn, cancel)
	reply, err := answer(ctx, request, dataWriter{conn})
	if conn.SetWriteDeadline(time.Now().Add(replyTimeout)) == nil {
		if f := new(Failure); err == nil {
			_ = writeFrame(conn, frameResult, reply)
		} else if errors.As(err, &f) {
			_ = writeJSON(conn, frameFailure, f, replyTimeout)
		} else {
			_ = writeJSON(conn, frameFailure, failed(err, ""), replyTimeout)
		}
	}
	_ = conn.SetReadDeadline(time.Unix(1, 0))
	<-watched
}

// dataWriter sends what is written to it as data.
type dataWriter struct{ conn net.Conn }

// Write sends b; the other side may take as long for it as for a reply.
func (d dataWriter) Write(b []byte) (int, error) {
	if err := d.conn.SetWriteDeadline(time.Now().Add(replyTimeout)); err != nil {
		return 0, err
	}
	return len(b), sendData(d.conn, b)
}

func callerGone(err error) *Failure {
	return &Failure{Outcome: Late, Help: "the caller went away", Text: err.Error()}
}
