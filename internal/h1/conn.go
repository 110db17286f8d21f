package h1

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-project/cairn/internal/presence"
)

// bufferSize is the size of a connection's buffer in bytes: what an ordinary
// head has at most.
const bufferSize = 4 << 10

// minBegun is how many bytes after an answer make a request, as net/http counts.
// Fewer are no reason to answer.
const minBegun = 4

// closeDelay is how long a connection stays half open after an answer to a
// request that was not read to its end: a reset would overtake the answer.
const closeDelay = 500 * time.Millisecond

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// conn is one connection. Its goroutine owns all that is not said otherwise.
type conn struct {
	srv    *Server
	nc     net.Conn
	ctx    context.Context
	cancel context.CancelFunc
	state  state
	// index is the place among the server's connections, guarded by its mu.
	index int
	// buf[r:w] was read and not used yet.
	buf  *[bufferSize]byte
	r, w int

	head head
	seen []seen
	req  *http.Request
	// blank is what req is before it is filled.
	blank http.Request
	url   url.URL
	body  body
	resp  response
	// skip is how many bytes of line ends may still come before the next
	// request: some clients send an empty line behind the body of a POST.
	skip int
	// begun says that the next request has: on a new connection, or when a few
	// bytes have arrived.
	begun bool
	// sending is when the write under way began, as the server's clock and one, 0 for none.
	sending atomic.Int64
	// readDeadline and writeDeadline say that a deadline is set.
	readDeadline, writeDeadline bool
	// gone says that the connection belongs to somebody else now.
	gone bool

	// ended tells that watch has returned. It is set before the phase is watched.
	ended chan struct{}
	// pending says that watch may still read though its request is answered: what
	// it reads begins the next one, so most often nobody has to stop it.
	pending bool
	// extra[:extras] is what watch read, to be used after ended.
	extra  [1]byte
	extras int
}

func newConn(s *Server, base context.Context, nc net.Conn) *conn {
	c := &conn{srv: s, nc: nc, begun: true}
	base = presence.With(base, func() bool { return !hasLeft(nc) })
	c.ctx, c.cancel = context.WithCancel(context.WithValue(base, http.LocalAddrContextKey, nc.LocalAddr()))
	c.req = (&http.Request{}).WithContext(c.ctx)
	c.blank = *c.req
	c.blank.Proto, c.blank.ProtoMajor, c.blank.ProtoMinor = "HTTP/1.1", 1, 1
	c.blank.RemoteAddr = nc.RemoteAddr().String()
	c.blank.URL, c.blank.Header = &c.url, http.Header{}
	c.resp.header = http.Header{}
	return c
}

// serve answers requests until the connection ends or moves to net/http.
func (c *conn) serve() {
	c.buf = buffers.Get().(*[bufferSize]byte)
	defer c.end()
	for c.await() && c.handle() {
	}
}

// await reads until the buffer starts with a whole ordinary head.
func (c *conn) await() bool {
	for {
		if !c.begun && c.w-c.r < minBegun {
			if !c.more() {
				return false
			}
			continue
		}
		c.begun = true
		if c.pending && c.r < c.w { // this request came along with the one before
			c.stopWatch()
		}
		for c.skip > 0 && c.r < c.w && (c.buf[c.r] == '\r' || c.buf[c.r] == '\n') {
			c.r++
			c.skip--
		}
		if c.r < c.w {
			switch v := c.head.parse(c.buf[c.r:c.w]); {
			case v == whole && c.fill():
				c.r += c.head.size
				return true
			case v != partial || c.w-c.r == len(c.buf):
				c.moveOn()
				return false
			}
		}
		if !c.more() {
			return false
		}
	}
}

// more reads into the buffer. A head that the client does not complete is for
// net/http to answer.
func (c *conn) more() bool {
	c.w = copy(c.buf[:], c.buf[c.r:c.w])
	c.r = 0
	if p, _, v := c.state.load(); (p == idle || p == fresh) && c.begun && c.w > 0 {
		c.state.v.CompareAndSwap(v, pack(heading, c.srv.clock.now.Load()))
	}
	if c.pending && c.endWatch() {
		return true
	}
	n, err := c.nc.Read(c.buf[c.w:])
	c.w += n
	if err == nil || n > 0 {
		return true
	}
	if c.begun && c.w > 0 && !errors.Is(err, net.ErrClosed) {
		c.moveOn()
	}
	return false
}

// moveOn hands the connection to net/http with what was read and not used.
func (c *conn) moveOn() {
	if c.state.swap(left, 0) == left {
		return
	}
	nc := c.nc
	if limit := c.srv.StallTimeout; limit > 0 {
		nc = &steady{Conn: nc, limit: limit}
	}
	c.gone = c.srv.odd.give(&replayed{nc, bytes.Clone(c.buf[c.r:c.w])})
}

// handle serves the request and reports whether there may be another.
func (c *conn) handle() bool {
	p := serving
	if !c.body.buffered() {
		p = receiving
	}
	if c.state.swap(p, c.srv.clock.now.Load()) == left {
		return false
	}
	if c.srv.clock.stood() && hasLeft(c.nc) {
		c.cancel()
	}
	c.resp.reset(c)
	if !c.call() {
		return false
	}
	c.body.closed = true
	if c.resp.hijacked {
		return false
	}
	keep := c.resp.finish()
	c.clearDeadlines()
	switch c.state.swap(idle, c.srv.clock.now.Load()) {
	case watched:
		c.pending = true
	case left:
		return false
	}
	if !keep && c.body.left > 0 && closeWrite(c.nc) == nil {
		select {
		case <-time.After(closeDelay):
		case <-c.ctx.Done():
		}
	}
	c.skip, c.begun = 0, false
	if c.req.Method == http.MethodPost {
		c.skip = len("\r\n\r\n")
	}
	return keep
}

// clearDeadlines takes back what the handler has set and left.
func (c *conn) clearDeadlines() {
	if c.readDeadline {
		_ = c.nc.SetReadDeadline(time.Time{})
	}
	if c.writeDeadline {
		_ = c.nc.SetWriteDeadline(time.Time{})
	}
	c.readDeadline, c.writeDeadline = false, false
}

// call runs the handler. It reports false when that panicked.
func (c *conn) call() (ok bool) {
	defer func() {
		if ok {
			return
		}
		p := recover()
		if err, is := p.(error); p != nil && !(is && errors.Is(err, http.ErrAbortHandler)) {
			c.srv.logf("http: panic serving %v: %v\n%s", c.blank.RemoteAddr, p, debug.Stack())
		}
	}()
	c.srv.http.Handler.ServeHTTP(&c.resp, c.req)
	return true
}

// bodyArrived tells the janitor that the connection may be watched. A deadline
// for reading was for the body.
func (c *conn) bodyArrived() {
	if c.readDeadline {
		c.readDeadline = false
		_ = c.nc.SetReadDeadline(time.Time{})
	}
	if p, _, v := c.state.load(); p == receiving {
		c.state.move(v, serving)
	}
}

// startWatch has somebody listen whether the client goes away, if the state is
// still v. Only the janitor calls it.
func (c *conn) startWatch(v uint64) {
	c.ended = make(chan struct{})
	if c.state.move(v, watched) {
		go c.watch()
	}
}

// watch reads one byte. A failure ends the connection's context; a byte belongs
// to the next request.
func (c *conn) watch() {
	defer close(c.ended)
	n, err := c.nc.Read(c.extra[:])
	c.extras = n
	if p, _, _ := c.state.load(); n == 0 && (p == watched || !errors.Is(err, os.ErrDeadlineExceeded)) {
		c.cancel()
	}
}

// stopWatch has watch return, after the phase was left.
func (c *conn) stopWatch() {
	_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	c.endWatch()
	_ = c.nc.SetReadDeadline(time.Time{})
}

// endWatch waits until watch has returned and reports whether it read something,
// which is in the buffer then.
func (c *conn) endWatch() bool {
	<-c.ended
	c.pending = false
	if c.extras == 0 {
		return false
	}
	c.w = copy(c.buf[:], c.buf[c.r:c.w])
	c.r = 0
	c.w += copy(c.buf[c.w:], c.extra[:c.extras])
	c.extras = 0
	return true
}

// expire closes the connection if its state is still v.
func (c *conn) expire(v uint64) {
	if c.state.move(v, left) {
		c.close()
	}
}

// abort closes the connection whatever it does, unless it has left.
func (c *conn) abort() {
	if p, _, _ := c.state.load(); p != left {
		c.close()
	}
}

// close closes the connection under the loop, which then ends.
func (c *conn) close() {
	c.cancel()
	_ = c.nc.Close()
}

// end releases everything.
func (c *conn) end() {
	p := c.state.swap(left, 0)
	c.cancel()
	if !c.gone {
		_ = c.nc.Close()
	}
	if p == watched || c.pending {
		<-c.ended
	}
	c.srv.remove(c)
	c.resp.release()
	buffers.Put(c.buf)
}
