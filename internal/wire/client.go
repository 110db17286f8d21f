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

// CallOptions is what a call carries beside its argument.
type CallOptions struct {
	// Hops counts the servers that passed the call on, this one included.
	Hops int
	// RequestID names the call in the logs of every hop, "" for none.
	RequestID string
	// WriteID and WriteSince are passed on as they are, see Call.
	WriteID    [16]byte
	WriteSince uint64
}

// Client makes calls on one connection, any number at a time.
type Client struct {
	conn   net.Conn
	limits Limits
	in     *inbox
	out    *outbox
	ext    atomic.Bool // the peer showed that it knows our keys
	done   chan struct{}
	// drained is closed when the peer asked to make no more calls; the reader's.
	drained chan struct{}
	ended   sync.WaitGroup // reader and writer

	mu   sync.Mutex
	seq  uint64
	open map[uint64]*pending
	err  error // why the connection ended; nil while it lives
}

// pending is a call that waits for its answer.
type pending struct {
	ticket uint64 // see outbox.put
	whole  bool   // the reply goes to the caller as it is
	body   *buffer
	err    error
	ready  chan struct{} // capacity 1
}

// NewClient returns a client on conn, which it owns from then on. The byte that
// selects the protocol must have been written. Close ends it.
func NewClient(conn net.Conn, limits Limits) *Client {
	limits = limits.withDefaults()
	c := &Client{
		conn: conn, limits: limits,
		in:   newInbox(conn),
		out:  newOutbox(conn, limits.WriteTimeout),
		done: make(chan struct{}), drained: make(chan struct{}),
		open: make(map[uint64]*pending),
	}
	c.ended.Add(2)
	go func() {
		defer c.ended.Done()
		c.fail(c.read())
	}()
	go func() {
		defer c.ended.Done()
		if err := c.out.run(); err != nil {
			c.fail(err)
		}
	}()
	return c
}

// Done returns a channel that is closed when the connection has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Draining returns a channel that is closed when the peer has asked to make no more
// calls on the connection. Those under way are answered.
func (c *Client) Draining() <-chan struct{} { return c.drained }

// Pending returns how many calls wait for an answer.
func (c *Client) Pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.open)
}

// Close ends the connection and every call on it, and waits for its goroutines.
func (c *Client) Close() error {
	c.fail(net.ErrClosed)
	c.ended.Wait()
	return nil
}

// Call sends args, a Raw or any value that package msgp encodes, and reads the
// answer into reply: a pointer, a *Raw that gets the encoded answer, or nil to
// drop it. The peer learns the deadline of ctx, and, if it is of our kind, that
// ctx ended early.
//
// An error of the peer comes back as an *errs.Error with its code, text and
// details. A connection that fails gives errs.Unavailable, and says whether the
// call may have run; the end of ctx gives errs.Deadline.
func (c *Client) Call(ctx context.Context, method string, args, reply any, opts CallOptions) error {
	timeout, err := timeLeft(ctx, method)
	if err != nil {
		return err
	}
	p := &pending{ready: make(chan struct{}, 1)}
	_, p.whole = reply.(*Raw)
	seq, err := c.register(p)
	if err != nil {
		return err
	}
	b := newBuffer()
	b.b = appendRequest(b.b, method, seq, timeout, opts)
	at := len(b.b)
	if b.b, err = appendValue(b.b, args); err != nil {
		err = errs.Wrap(errs.Invalid, "cannot encode the argument of "+method, err)
	} else if len(b.b)-at > c.limits.MaxMessage {
		err = errs.Newf(errs.TooLarge, "the argument of %s exceeds %d bytes: send less at once", method, c.limits.MaxMessage)
	}
	if err != nil {
		c.remove(seq)
		return err
	}
	if !c.out.put(ctx.Done(), b, &p.ticket) && ctx.Err() == nil {
		return c.refused(seq)
	}
	return c.await(ctx, method, seq, p, reply)
}

// timeLeft returns what ctx leaves, 0 for no deadline.
func timeLeft(ctx context.Context, method string) (time.Duration, error) {
	if ctx.Err() != nil {
		return 0, late(ctx, method)
	}
	at, ok := ctx.Deadline()
	if !ok {
		return 0, nil
	}
	left := time.Until(at)
	if left <= 0 {
		return 0, errs.Wrap(errs.Deadline, "the time for "+method+" was up before it was sent", context.DeadlineExceeded)
	}
	return left, nil
}

// late is the error of a call whose ctx ended first.
func late(ctx context.Context, method string) error {
	if ctx.Err() == context.Canceled {
		return errs.Wrap(errs.Deadline, "the call of "+method+" was cancelled", ctx.Err())
	}
	return errs.Wrap(errs.Deadline, "no answer to "+method+" in time", ctx.Err())
}

// register gives p a Seq, which starts at 1.
func (c *Client) register(p *pending) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, lost(errs.ExecutedNo, c.err)
	}
	c.seq++
	c.open[c.seq] = p
	return c.seq, nil
}

// lost is the error of a call whose connection ended.
func lost(executed errs.Executed, cause error) error {
	if executed == errs.ExecutedNo {
		return errs.Lost(executed, "the connection was lost before the call was sent: send it again", cause)
	}
	return errs.Lost(executed, "the connection was lost before the answer came: the call may have run", cause)
}

// refused ends a call that the outbox did not take because the connection ended.
func (c *Client) refused(seq uint64) error {
	c.remove(seq)
	c.mu.Lock()
	defer c.mu.Unlock()
	cause := c.err
	if cause == nil {
		cause = net.ErrClosed // the writer stopped and is about to say why
	}
	return lost(errs.ExecutedNo, cause)
}

// remove takes a call out of the open ones; false says that it was answered.
func (c *Client) remove(seq uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.open[seq]
	delete(c.open, seq)
	return ok
}

// await waits for the answer or the end of ctx.
func (c *Client) await(ctx context.Context, method string, seq uint64, p *pending, reply any) error {
	select {
	case <-p.ready:
	case <-ctx.Done():
		if c.remove(seq) {
			c.sendCancel(seq)
			return late(ctx, method)
		}
		<-p.ready // the answer came at the same time
	}
	err := p.err
	if err == nil {
		err = p.decode(ctx, method, reply)
	}
	p.body.release()
	return err
}

// longAnswer is the size in bytes from which decoding waits for its turn.
const longAnswer = 64 << 10

// decode reads the answer into reply. A *Raw takes the buffer over.
func (p *pending) decode(ctx context.Context, method string, reply any) error {
	switch reply := reply.(type) {
	case nil:
		return nil
	case *Raw:
		*reply = p.body.b
		p.body = nil
		return nil
	}
	if len(p.body.b) >= longAnswer {
		end, err := limit.Turn(ctx)
		if err != nil {
			return late(ctx, method)
		}
		defer end()
	}
	if err := msgp.Unmarshal(p.body.b, reply); err != nil {
		return errs.Wrap(errs.Internal, "cannot decode the answer to "+method, err)
	}
	return nil
}

// sendCancel tells a peer of our kind that nobody waits for the call.
func (c *Client) sendCancel(seq uint64) {
	if !c.ext.Load() {
		return
	}
	b := newBuffer()
	b.b = msgp.AppendNil(appendRequest(b.b, methodCancel, seq, 0, CallOptions{}))
	c.out.tryPut(b)
}

// read takes responses until the connection ends.
func (c *Client) read() error {
	head := make([]byte, 0, 256)
	for {
		if err := c.in.first(0); err != nil {
			return err
		}
		var err error
		c.in.phase(c.limits.HeaderTimeout)
		if head, err = c.in.header(head[:0]); err != nil {
			return err
		}
		r, err := parseResponse(head)
		if err != nil {
			return fmt.Errorf("%w: %w", errGarbage, err)
		}
		if r.ext && !c.ext.Load() {
			c.ext.Store(true)
		}
		if r.drain && r.seq == 0 && !closed(c.drained) {
			close(c.drained)
		}
		if err := c.body(r); err != nil {
			return err
		}
	}
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// body reads the value behind a header and delivers both.
func (c *Client) body(r response) error {
	c.mu.Lock()
	p := c.open[r.seq]
	c.mu.Unlock()
	body := new(buffer) // for the caller to keep
	if p == nil || !p.whole {
		body = newBuffer()
	}
	var skipped bool
	var err error
	body.b, skipped, err = c.in.value(body.b, c.limits.MaxMessage, c.limits.BodyTimeout, nil)
	switch {
	case err == msgp.ErrTooLarge:
		c.deliver(r.seq, nil, errs.Newf(errs.TooLarge, "the answer exceeds %d bytes: ask for less at once", c.limits.MaxMessage))
		if skipped {
			return nil
		}
		return err
	case err == io.EOF:
		return io.ErrUnexpectedEOF
	case err != nil:
		return err
	case r.err != nil:
		body.release()
		c.deliver(r.seq, nil, r.err)
	default:
		c.deliver(r.seq, body, nil)
	}
	return nil
}

// deliver hands an answer to its call, if that still waits.
func (c *Client) deliver(seq uint64, body *buffer, err error) {
	c.mu.Lock()
	p := c.open[seq]
	delete(c.open, seq)
	c.mu.Unlock()
	if p == nil {
		body.release()
		return
	}
	p.body, p.err = body, err
	p.ready <- struct{}{}
}

// fail ends the connection and every open call; only the first cause counts.
func (c *Client) fail(cause error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = cause
	open := c.open
	c.open = nil
	c.mu.Unlock()
	c.out.close()
	c.in.stop()
	_ = c.conn.Close() // there is nothing left to lose
	for _, p := range open {
		executed := errs.ExecutedNo
		if c.out.sent(&p.ticket) {
			executed = errs.ExecutedUnknown
		}
		p.err = lost(executed, cause)
		p.ready <- struct{}{}
	}
	close(c.done)
}
