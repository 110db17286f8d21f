package drpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/internal/errs"
)

// conn is one connection and the calls in flight on it.
type conn struct {
	link  *drpc.Link
	opts  Options
	slots chan struct{} // one per call in flight, also for those given up
	done  chan struct{} // closed after why is set

	mu       sync.Mutex
	sequence int64
	waiting  map[int64]chan *Response // by sequence; nil for a call given up
	answers  bool                     // one came
	closed   bool                     // by us
	why      error
}

func newConn(link *drpc.Link, opts Options) *conn {
	c := &conn{link: link, opts: opts, waiting: map[int64]chan *Response{},
		slots: make(chan struct{}, opts.MaxCalls), done: make(chan struct{})}
	go c.read()
	return c
}

func (c *conn) ended() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *conn) close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	err := c.link.Close()
	<-c.done
	return err
}

// read hands answers to the calls that wait for them, until the connection
// ends, for one of many reasons.
func (c *conn) read() {
	err := c.receive()
	c.mu.Lock()
	c.why = err
	if c.closed {
		c.why = errs.New(errs.Unavailable, "the connection was closed here")
	}
	c.mu.Unlock()
	_ = c.link.Close()
	close(c.done)
}

func (c *conn) receive() error {
	for {
		msg, err := c.link.Read()
		if errors.Is(err, io.EOF) {
			return errs.Wrap(errs.Unavailable, "the server closed the connection", err)
		}
		if err != nil {
			return errs.Newf(errs.Unavailable, "read from the server: %w", err)
		}
		resp := new(Response)
		if err := proto.Unmarshal(msg.Data, resp); err != nil {
			return errs.Newf(errs.Unavailable, "the server's packet is no answer: %w", err)
		}
		if err := c.deliver(resp); err != nil {
			return err
		}
	}
}

// deliver finds the call of an answer. An answer that belongs to none means
// that the two ends disagree, and no other answer could be trusted.
func (c *conn) deliver(resp *Response) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch, ok := c.waiting[resp.Sequence]
	switch {
	case ok:
		c.answers = true
		delete(c.waiting, resp.Sequence)
		<-c.slots
		if ch != nil {
			ch <- resp
		}
		return nil
	case resp.Sequence == -1 && resp.Err() != nil:
		return resp.Err()
	}
	return errs.Newf(errs.Unavailable, "the server answered a call that is not in flight, sequence %d", resp.Sequence)
}

// send makes one call.
func (c *conn) send(ctx context.Context, call *Call) (*Response, error) {
	if c.ended() {
		return nil, c.lost(errs.ExecutedNo)
	}
	select {
	case c.slots <- struct{}{}:
	case <-c.done:
		return nil, c.lost(errs.ExecutedNo)
	case <-ctx.Done():
		return nil, gaveUp(ctx, errs.ExecutedNo)
	}
	sequence, answer := c.enter()
	if err := c.write(ctx, call, sequence); err != nil {
		return nil, err
	}
	select {
	case resp := <-answer:
		return resp, nil
	case <-ctx.Done():
		return c.abandon(ctx, sequence, answer)
	case <-c.done:
	}
	select {
	case resp := <-answer: // it came before the end
		return resp, nil
	default:
		return nil, c.lost(errs.ExecutedUnknown)
	}
}

// enter gives a call its sequence and a place for its answer.
func (c *conn) enter() (int64, chan *Response) {
	answer := make(chan *Response, 1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sequence++
	c.waiting[c.sequence] = answer
	return c.sequence, answer
}

// leave takes a call back that was not sent.
func (c *conn) leave(sequence int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.waiting[sequence]; ok {
		delete(c.waiting, sequence)
		<-c.slots
	}
}

// abandon leaves a call whose caller's time is up. Its slot stays taken until
// the answer comes, so what is in flight stays bounded.
func (c *conn) abandon(ctx context.Context, sequence int64, answer chan *Response) (*Response, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.waiting[sequence]; ok {
		c.waiting[sequence] = nil
		return nil, gaveUp(ctx, errs.ExecutedUnknown)
	}
	return <-answer, nil // it came meanwhile; deliver fills the channel under the lock
}

// write sends the call, or says that it did not leave.
func (c *conn) write(ctx context.Context, call *Call, sequence int64) error {
	b, err := c.encode(ctx, call, sequence)
	if err != nil {
		c.leave(sequence)
		return err
	}
	sent, err := c.link.WriteContext(ctx, drpc.Message{Data: b, Framed: !c.opts.Classic})
	if err == nil {
		return nil
	}
	executed := errs.ExecutedNo // a message that is not whole is never run
	if !sent && ctx.Err() != nil {
		c.leave(sequence)
		return gaveUp(ctx, executed)
	}
	if ctx.Err() != nil {
		_ = c.link.Close()
		return gaveUp(ctx, executed)
	}
	// The reader knows better why the server left, if it said so.
	select {
	case <-c.done:
	case <-ctx.Done():
	case <-time.After(time.Second):
	}
	_ = c.link.Close()
	<-c.done
	return c.lost(executed)
}

// encode returns the bytes of a call.
func (c *conn) encode(ctx context.Context, call *Call, sequence int64) ([]byte, error) {
	out := &Call{Module: call.Module, Method: call.Method, Sequence: sequence, Body: call.Body, TimeoutMs: call.TimeoutMs, Trace: call.Trace}
	if at, ok := ctx.Deadline(); ok {
		left := max(1, int64((time.Until(at)+time.Millisecond-1)/time.Millisecond))
		if out.TimeoutMs <= 0 || left < out.TimeoutMs {
			out.TimeoutMs = left
		}
	}
	b, err := proto.Marshal(out)
	if err != nil {
		return nil, errs.Newf(errs.Invalid, "encode the call: %w", err)
	}
	limit := c.opts.MaxMessage
	if c.opts.Classic {
		limit = min(limit, drpc.MaxPacket)
	}
	if len(b) > limit {
		return nil, &errs.Error{Code: errs.TooLarge, Executed: errs.ExecutedNo,
			Msg: fmt.Sprintf("the call has %d bytes, at most %d can be sent", len(b), limit)}
	}
	return b, nil
}

// lost is what a call gets whose connection ended.
func (c *conn) lost(executed errs.Executed) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	why := errs.From(c.why, "")
	e := errs.Newf(why.Code, "%w", c.why)
	e.Errata, e.RetryAfter, e.Executed = why.Errata, why.RetryAfter, executed
	if !c.answers && why.Code == errs.Busy {
		e.Executed = errs.ExecutedNo // the server did not let us in
	}
	return e
}

// gaveUp is what a call gets whose context ended.
func gaveUp(ctx context.Context, executed errs.Executed) error {
	e := errs.Wrap(errs.Deadline, "the call was given up: "+ctx.Err().Error(), ctx.Err())
	e.Executed = executed
	return e
}
