package wire

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/internal/msgp"
)

// serverConn is one connection of a Server: a reader, a writer, and a goroutine
// per call that runs.
type serverConn struct {
	srv     *Server
	conn    net.Conn
	id      *Identity
	ctx     context.Context
	cancel  context.CancelFunc
	in      *inbox
	out     *outbox
	written chan struct{} // closed when the writer has ended
	calls   sync.WaitGroup
	ext     atomic.Bool  // the peer showed that it knows our keys
	last    atomic.Int64 // when the connection was last busy, Unix nanoseconds

	mu        sync.Mutex
	room      sync.Cond           // the reader waits here for the queue to shrink, under mu
	open      map[uint64]*inbound // by Seq, running and waiting
	running   int
	waiting   []*inbound
	openBytes int // of the arguments of all open calls
	ended     bool
	broken    error // why the writer failed
}

// inbound is a call in progress. Its context answers CallFrom.
type inbound struct {
	context.Context
	cancel    context.CancelFunc
	call      Call
	seq       uint64
	ext       bool
	body      *buffer
	held      limit.Hold  // for the body
	cancelled atomic.Bool // by the peer, which expects no reply
}

// Value makes CallFrom find the call without another context around this one.
func (i *inbound) Value(key any) any {
	if key == (callKey{}) {
		return &i.call
	}
	return i.Context.Value(key)
}

func newServerConn(ctx context.Context, s *Server, conn net.Conn, id *Identity) *serverConn {
	c := &serverConn{
		srv: s, conn: conn, id: id,
		in:      newInbox(conn),
		out:     newOutbox(conn, s.limits.WriteTimeout),
		written: make(chan struct{}),
		open:    make(map[uint64]*inbound),
	}
	c.room.L = &c.mu
	c.ctx, c.cancel = context.WithCancel(ctx)
	return c
}

// write runs the writer; a failure ends the connection.
func (c *serverConn) write() {
	defer close(c.written)
	if err := c.out.run(); err != nil {
		c.mu.Lock()
		c.broken = err
		c.mu.Unlock()
		c.close()
	}
}

// close ends the connection from any goroutine; the reader does the rest.
func (c *serverConn) close() {
	c.out.close()
	c.cancel()
	c.in.stop()
	_ = c.conn.Close() // the peer learns of it or is gone
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	c.room.Broadcast()
}

// end closes the connection after the reader stopped with err. After an overrun
// the reply that says so goes out first and the peer has a moment to read it.
func (c *serverConn) end(err error) {
	if err == errOverrun {
		c.out.finish()
		<-c.written
		_ = c.conn.SetReadDeadline(time.Now().Add(lingerTime)) // best effort
		_, _ = io.CopyN(io.Discard, c.conn, int64(c.srv.limits.MaxMessage))
	}
	c.close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, i := range c.waiting {
		c.forgetLocked(i)
	}
	c.waiting = nil
}

// lingerTime is how long a peer that sends too much may go on, so that closing
// does not destroy the reply on its way.
const lingerTime = 500 * time.Millisecond

// read takes messages until the connection ends.
func (c *serverConn) read() error {
	head := make([]byte, 0, 256)
	c.touch()
	for {
		if err := c.idle(); err != nil {
			return err
		}
		var err error
		c.in.phase(c.srv.limits.HeaderTimeout)
		if head, err = c.in.header(head[:0]); err != nil {
			return err
		}
		q, err := parseRequest(head)
		if err != nil {
			return fmt.Errorf("%w: %w", errGarbage, err)
		}
		if err := c.message(q); err != nil {
			return err
		}
		if cap(head) > 4<<10 {
			head = make([]byte, 0, 256)
		}
	}
}

func (c *serverConn) touch() { c.last.Store(time.Now().UnixNano()) }

// idle waits for a message. The idle limit counts from when the connection was
// last busy and not at all while a call is open.
func (c *serverConn) idle() error {
	limit := c.srv.limits.IdleTimeout
	for {
		err := c.in.first(limit)
		if err == nil || !isTimeout(err) {
			return err
		}
		quiet := time.Since(time.Unix(0, c.last.Load()))
		c.mu.Lock()
		busy := len(c.open) > 0
		c.mu.Unlock()
		if !busy && quiet >= c.srv.limits.IdleTimeout {
			return io.EOF
		}
		if limit = c.srv.limits.IdleTimeout - quiet; busy || limit <= 0 {
			limit = c.srv.limits.IdleTimeout
		}
	}
}

// message reads the body that belongs to q and starts the call.
func (c *serverConn) message(q request) error {
	i := &inbound{seq: q.seq, ext: q.ext, body: newBuffer(), held: limit.Hold{Of: c.srv.limits.Held}}
	skipped, err := c.readBody(i)
	if err != nil {
		i.held.Release()
	}
	if q.ext && !c.ext.Load() {
		c.ext.Store(true)
		c.hello()
		if c.srv.draining.Err() != nil {
			c.sayDraining()
		}
	}
	switch {
	case err == msgp.ErrTooLarge:
		return c.refuse(q, skipped, errs.Newf(errs.TooLarge, "the argument exceeds %d bytes: send less at once", c.srv.limits.MaxMessage))
	case err == msgp.ErrNoRoom:
		return c.refuse(q, skipped, errs.From(c.srv.limits.Held.Err(), ""))
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	case string(q.method) == methodCancel:
		i.held.Release()
		i.body.release()
		c.cancelCall(q.seq)
		return nil
	}
	return c.start(q, i)
}

// readBody reads the argument of a call, as far as there is room for it.
func (c *serverConn) readBody(i *inbound) (skipped bool, err error) {
	l := &c.srv.limits
	var room msgp.Budget
	if l.Held != nil {
		room = &i.held
	}
	i.body.b, skipped, err = c.in.value(i.body.b, l.MaxMessage, l.BodyTimeout, room)
	return skipped, err
}

// hello tells a peer of our kind at once that it may send cancellations: a
// response to no call.
func (c *serverConn) hello() {
	b := newBuffer()
	b.b = msgp.AppendNil(appendResponse(b.b, "", 0, true, nil))
	c.out.tryPut(b)
}

// sayDraining asks a peer of our kind to use another connection: a response to no
// call.
func (c *serverConn) sayDraining() {
	if !c.ext.Load() {
		return
	}
	b := newBuffer()
	b.b = msgp.AppendNil(appendResponse(b.b, methodDrain, 0, true, nil))
	c.out.tryPut(b)
}

// refuse answers a call whose argument was not taken. Without its end the connection
// cannot go on.
func (c *serverConn) refuse(q request, skipped bool, e *errs.Error) error {
	b := newBuffer()
	b.b = msgp.AppendNil(appendResponse(b.b, string(q.method), q.seq, q.ext, e))
	if !c.out.put(c.ctx.Done(), b, nil) {
		return net.ErrClosed
	}
	if !skipped {
		return errOverrun
	}
	return nil
}

// start runs the call, or lets it wait when MaxInFlight run. It blocks while
// too many wait.
func (c *serverConn) start(q request, i *inbound) error {
	i.call = Call{Method: string(q.method), Body: i.body.b, Hops: q.hops, RequestID: q.id, WriteID: q.write, WriteSince: q.since, Identity: c.id}
	if q.timeout > 0 {
		i.Context, i.cancel = context.WithTimeout(c.ctx, q.timeout)
	} else {
		i.Context, i.cancel = context.WithCancel(c.ctx)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open[q.seq] = i
	c.openBytes += len(i.body.b)
	if c.running < c.srv.limits.MaxInFlight {
		c.running++
		c.calls.Add(1)
		go c.serve(i)
		return c.waitRoomLocked()
	}
	c.waiting = append(c.waiting, i)
	return c.waitRoomLocked()
}

// waitRoomLocked blocks the reader while too much is open; it holds mu.
func (c *serverConn) waitRoomLocked() error {
	for !c.ended && (len(c.waiting) >= c.srv.limits.MaxInFlight || c.openBytes > 2*c.srv.limits.MaxMessage) {
		c.room.Wait()
	}
	if c.ended {
		return net.ErrClosed
	}
	return nil
}

// serve runs i and then calls that wait, until none does.
func (c *serverConn) serve(i *inbound) {
	defer c.calls.Done()
	for i != nil {
		c.srv.inFlight.Add(1)
		reply, err := c.srv.invoke(i, &i.call)
		c.srv.inFlight.Add(-1)
		if !i.cancelled.Load() {
			c.reply(i, reply, err)
		}
		i = c.next(i)
	}
}

// next closes the books on done and returns the call that takes its place.
func (c *serverConn) next(done *inbound) *inbound {
	c.touch()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forgetLocked(done)
	done.body.release()
	c.room.Signal()
	if len(c.waiting) == 0 || c.ended {
		c.running--
		return nil
	}
	i := c.waiting[0]
	c.waiting[0] = nil
	c.waiting = c.waiting[1:]
	return i
}

// forgetLocked ends the context of a call; the caller holds mu.
func (c *serverConn) forgetLocked(i *inbound) {
	i.cancel()
	i.held.Release()
	c.openBytes -= len(i.body.b)
	if c.open[i.seq] == i {
		delete(c.open, i.seq)
	}
}

// cancelCall ends the call with that Seq, of which the peer wants to hear nothing more.
func (c *serverConn) cancelCall(seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := c.open[seq]
	if i == nil {
		return
	}
	i.cancelled.Store(true)
	i.cancel()
	for n, w := range c.waiting {
		if w == i {
			c.waiting = append(c.waiting[:n], c.waiting[n+1:]...)
			c.forgetLocked(i)
			return
		}
	}
}

// reply encodes and queues the answer. Its error, too, must fit the protocol.
func (c *serverConn) reply(i *inbound, reply any, err error) {
	b := newBuffer()
	if err == nil {
		b.b, err = c.appendReply(b.b, i, reply)
	}
	if err != nil {
		e := c.srv.fail(&i.call, err)
		b.b = msgp.AppendNil(appendResponse(b.b[:0], i.call.Method, i.seq, i.ext, e))
	}
	c.out.put(c.ctx.Done(), b, nil) // false when nobody is there to hear it
}

// appendReply encodes a successful response.
func (c *serverConn) appendReply(b []byte, i *inbound, reply any) (out []byte, err error) {
	defer c.srv.guard(&i.call, &err)
	if i.call.Bulk {
		end, err := limit.Turn(i)
		if err != nil {
			return b, err
		}
		defer end()
	}
	out = appendResponse(b, i.call.Method, i.seq, i.ext, nil)
	at := len(out)
	out, err = appendValue(out, reply)
	if err == nil && len(out)-at > c.srv.limits.MaxMessage {
		err = errs.Newf(errs.TooLarge, "the reply exceeds %d bytes: ask for less at once", c.srv.limits.MaxMessage)
	}
	return out, err
}

// appendValue encodes an argument or a reply.
func appendValue(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return msgp.AppendNil(b), nil
	case Raw:
		if len(v) == 0 {
			return msgp.AppendNil(b), nil
		}
		return append(b, v...), nil
	}
	return msgp.Append(b, v)
}
