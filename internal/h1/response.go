package h1

import (
	"bufio"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// maxUndeclared is how long a body without Content-Length may become, in
	// bytes, before it is sent in chunks. It is what net/http takes.
	maxUndeclared = 2 << 10
	// maxPending is how much of any other body waits to be sent in one piece.
	maxPending = 16 << 10
	// maxJoined is the length in bytes up to which what a handler writes is
	// copied behind what waits instead of written on its own.
	maxJoined = 64 << 10
	// maxKept is the size in bytes above which buffers are left to the collector.
	maxKept = 128 << 10
)

// output holds the buffers of an answer, from its status to its end: a request
// that waits for long has none.
type output struct {
	// out is what goes out next: first the head.
	out []byte
	// pending is the part of the body that waits.
	pending []byte
}

var outputs = sync.Pool{New: func() any { return &output{} }}

// response is the writer of one request at a time.
type response struct {
	c      *conn
	header http.Header
	*output
	// status is 0 until WriteHeader.
	status int
	// length is the declared Content-Length, -1 for none.
	length  int64
	written int64
	// own says which fields the handler has set.
	own ownFields
	// committed says that the head is complete: out has it, or it was sent.
	committed, chunked, closing bool
	// duplex lets the handler read the body after it began to answer.
	duplex, hijacked bool
	err              error
}

// reset prepares the writer for the connection's request.
func (w *response) reset(c *conn) {
	clear(w.header)
	*w = response{c: c, header: w.header, output: w.output, length: -1}
}

// begin starts a head.
func (w *response) begin(status int) {
	if w.output == nil {
		w.output = outputs.Get().(*output)
	}
	w.out = appendStatus(w.out, status)
}

// release gives the buffers back.
func (w *response) release() {
	if o := w.output; o != nil && cap(o.out)+cap(o.pending) <= maxKept {
		o.out, o.pending = o.out[:0], o.pending[:0]
		outputs.Put(o)
	}
	w.output = nil
}

// Header returns the header; changes after WriteHeader have no effect.
func (w *response) Header() http.Header { return w.header }

// WriteHeader sets the status and takes the header over. Informational
// statuses are sent at once.
func (w *response) WriteHeader(status int) {
	switch {
	case w.hijacked:
		w.c.srv.logf("http: WriteHeader on a hijacked connection")
		return
	case w.status != 0:
		w.c.srv.logf("http: superfluous WriteHeader of %d after %d", status, w.status)
		return
	case status < 100 || status > 999:
		panic("h1: invalid status " + strconv.Itoa(status))
	case status < 200 && status != http.StatusSwitchingProtocols:
		w.inform(status)
		return
	}
	w.status = status
	w.begin(status)
	w.takeHeader()
}

// inform sends an answer before the answer.
func (w *response) inform(status int) {
	w.begin(status)
	for name, values := range w.header {
		if name != "Content-Length" && name != "Transfer-Encoding" {
			w.out = appendField(w.out, name, values)
		}
	}
	w.out = append(w.out, "\r\n"...)
	w.send(nil)
}

// Write adds to the body.
func (w *response) Write(p []byte) (int, error) {
	if err := w.admit(len(p)); err != nil || len(p) == 0 {
		return 0, err
	}
	if w.fits(len(p)) {
		w.pending = append(w.pending, p...)
		return len(p), nil
	}
	if w.push(p); w.err != nil {
		return 0, w.err
	}
	return len(p), nil
}

// WriteString adds to the body.
func (w *response) WriteString(s string) (int, error) {
	if err := w.admit(len(s)); err != nil || s == "" {
		return 0, err
	}
	if w.fits(len(s)) {
		w.pending = append(w.pending, s...)
		return len(s), nil
	}
	if w.push([]byte(s)); w.err != nil {
		return 0, w.err
	}
	return len(s), nil
}

// admit decides whether n bytes may be added.
func (w *response) admit(n int) error {
	if w.hijacked {
		return http.ErrHijacked
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case n == 0:
		return nil
	case !hasBody(w.status):
		return http.ErrBodyNotAllowed
	case w.length >= 0 && w.written+int64(n) > w.length:
		w.written += int64(n)
		return http.ErrContentLength
	}
	w.written += int64(n)
	return w.err
}

// fits says that n bytes more may wait.
func (w *response) fits(n int) bool {
	if w.length < 0 && !w.committed {
		return len(w.pending)+n <= maxUndeclared
	}
	return len(w.pending)+n <= maxPending
}

// push sends what waits and p.
func (w *response) push(p []byte) {
	if !w.committed {
		sniff := w.pending
		if len(sniff) == 0 {
			sniff = p
		}
		w.commit(false, sniff)
	}
	n := len(w.pending) + len(p)
	switch {
	case w.headOnly():
		p = nil
	case w.chunked && n > 0:
		w.out = append(strconv.AppendInt(w.out, int64(n), 16), "\r\n"...)
		w.out = append(w.out, w.pending...)
	default:
		w.out = append(w.out, w.pending...)
	}
	w.pending = w.pending[:0]
	if len(p) <= maxJoined {
		w.out, p = append(w.out, p...), nil
	}
	if w.chunked && n > 0 && p == nil {
		w.out = append(w.out, "\r\n"...)
	}
	w.send(p)
	if w.chunked && p != nil {
		w.out = append(w.out, "\r\n"...)
	}
}

// send writes out and then p. After a failure nothing is written any more.
func (w *response) send(p []byte) {
	if len(w.out) > 0 && w.err == nil {
		w.err = w.c.write(w.out)
	}
	if len(p) > 0 && w.err == nil {
		w.err = w.c.write(p)
	}
	w.out = w.out[:0]
	if w.err != nil {
		w.c.cancel()
	}
}

// FlushError sends what was written so far.
func (w *response) FlushError() error {
	if w.hijacked {
		return http.ErrHijacked
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	w.push(nil)
	return w.err
}

// Flush is FlushError without an error.
func (w *response) Flush() { _ = w.FlushError() }

// finish sends the rest of the answer and reports whether the connection can be
// used again.
func (w *response) finish() bool {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if !w.committed {
		w.commit(true, w.pending)
	}
	if !w.headOnly() {
		if w.chunked && len(w.pending) > 0 {
			w.out = append(strconv.AppendInt(w.out, int64(len(w.pending)), 16), "\r\n"...)
		}
		w.out = append(w.out, w.pending...)
		if w.chunked && len(w.pending) > 0 {
			w.out = append(w.out, "\r\n"...)
		}
		if w.chunked {
			w.out = append(w.out, "0\r\n\r\n"...)
		}
	}
	w.send(nil)
	short := w.length >= 0 && w.written != w.length && !w.headOnly()
	w.release()
	return w.err == nil && !short && !w.closing && w.c.body.drain()
}

// SetReadDeadline bounds the reading of the body. When the body is here already
// there is nothing to bound.
func (w *response) SetReadDeadline(t time.Time) error {
	if w.c.body.buffered() {
		return nil
	}
	w.c.readDeadline = !t.IsZero()
	return w.c.nc.SetReadDeadline(t)
}

// SetWriteDeadline bounds the writing of the answer.
func (w *response) SetWriteDeadline(t time.Time) error {
	w.c.writeDeadline = !t.IsZero()
	return w.c.nc.SetWriteDeadline(t)
}

// EnableFullDuplex lets the handler go on to read the body after it began to
// answer.
func (w *response) EnableFullDuplex() error {
	w.duplex = true
	return nil
}

// Hijack hands the connection to the handler. What was read and not used is
// read from it first.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if w.hijacked {
		return nil, nil, http.ErrHijacked
	}
	c := w.c
	if w.status != 0 {
		w.push(nil)
	}
	switch c.state.swap(left, 0) {
	case watched:
		c.stopWatch()
	case left:
		return nil, nil, net.ErrClosed
	}
	w.hijacked, c.gone = true, true
	c.clearDeadlines()
	nc := &replayed{c.nc, append([]byte(nil), c.buf[c.r:c.w]...)}
	c.r, c.w = 0, 0
	return nc, bufio.NewReadWriter(bufio.NewReader(nc), bufio.NewWriter(nc)), nil
}
