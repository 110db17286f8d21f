package jsonrpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	"github.com/cairn-project/cairn/internal/errs"
)

// Client calls a server on a Unix socket. Its methods may be called from any
// goroutine: each call has a connection for itself, so that one which ends early is
// ended on the server too, and connections are kept for the next call.
type Client struct {
	// Path is the server's socket.
	Path string
	// Token is sent with every request that Call, Notify and Batch make, "" for none.
	Token string
	// MaxAnswer bounds an answer in bytes, 0 for 64 MiB.
	MaxAnswer int

	lastID atomic.Uint64
	mu     sync.Mutex
	idle   []*clientConn
	closed bool
}

// BatchCall is one call of a batch.
type BatchCall struct {
	// Method is the name and Params its parameters: anything that encodes as an
	// array or an object, nil for none.
	Method string
	Params any
	// Notify sends it without an id: there will be no answer.
	Notify bool
	// Result is where the result is decoded to, a non-nil pointer or nil.
	Result any
	// Err is the outcome of this call once Batch has returned without error.
	Err error

	id uint64
}

// envelope is a request on the wire, answer what comes back.
type envelope struct {
	Version string  `json:"jsonrpc"`
	Method  string  `json:"method"`
	Params  any     `json:"params,omitempty"`
	ID      *uint64 `json:"id,omitempty"`
	Token   string  `json:"token,omitempty"`
}

type answer struct {
	Result json.RawMessage `json:"result"`
	Error  *Error          `json:"error"`
	ID     json.RawMessage `json:"id"`
}

// Call calls a method and decodes the result into result, a non-nil pointer or
// nil. Errors of the server are *Error; errors.Is with the codes of errs holds for
// them. Failures of the connection are Unavailable and say whether the call may have run.
func (c *Client) Call(ctx context.Context, method string, params, result any) error {
	call := &BatchCall{Method: method, Params: params, Result: result}
	msg, err := encodeMessage(c.envelope(call))
	if err != nil {
		return err
	}
	raw, err := c.exchange(ctx, msg, true)
	if err != nil {
		return err
	}
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil {
		return broken(err)
	}
	if !call.is(a.ID) && a.Error == nil {
		return broken(errors.New("it belongs to another call"))
	}
	call.settle(&a)
	return call.Err
}

// Notify sends a notification. nil means that it was handed to the socket, no more.
func (c *Client) Notify(ctx context.Context, method string, params any) error {
	msg, err := encodeMessage(c.envelope(&BatchCall{Method: method, Params: params, Notify: true}))
	if err != nil {
		return err
	}
	_, err = c.exchange(ctx, msg, false)
	return err
}

// Batch sends calls as one message; the server runs them in this order. The error is that of the
// batch as a whole; each call has its own in Err.
func (c *Client) Batch(ctx context.Context, calls ...*BatchCall) error {
	list := make([]envelope, len(calls))
	wait := false
	for i, call := range calls {
		list[i] = c.envelope(call)
		wait = wait || !call.Notify
	}
	if len(list) == 0 {
		return nil
	}
	msg, err := encodeMessage(list)
	if err != nil {
		return err
	}
	raw, err := c.exchange(ctx, msg, wait)
	if err != nil || !wait {
		return err
	}
	if raw[0] != '[' {
		var a answer
		if err := json.Unmarshal(raw, &a); err != nil || a.Error == nil {
			return broken(errors.Join(err, errors.New("it is no batch")))
		}
		return a.Error
	}
	var answers []answer
	if err := json.Unmarshal(raw, &answers); err != nil {
		return broken(err)
	}
	settleBatch(calls, answers)
	return nil
}

// Raw sends any bytes on a connection of their own and returns everything that
// comes back until the server has answered all of it: for what is written by hand. What
// came before the time was up or the connection broke is returned beside the error.
func (c *Client) Raw(ctx context.Context, msg []byte) ([]byte, error) {
	cc, err := c.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer cc.conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = cc.conn.SetDeadline(longAgo) })
	defer stop()
	// Answers are read while msg is still being sent: the server may not take more
	// before it got rid of them.
	written := make(chan error, 1)
	go func() {
		_, err := cc.conn.Write(msg)
		_ = cc.conn.CloseWrite()
		written <- err
	}()
	out, err := io.ReadAll(io.LimitReader(cc.conn, int64(c.maxAnswer())+1))
	_ = cc.conn.SetWriteDeadline(longAgo) // nothing more will be answered
	werr := <-written
	switch {
	case len(out) > c.maxAnswer():
		return nil, errs.Newf(errs.TooLarge, "answer has more than %d bytes", c.maxAnswer())
	case ctx.Err() != nil && err != nil, len(out) == 0 && (err != nil || werr != nil):
		return out, c.lost(ctx, errors.Join(werr, err))
	case len(out) > 0 && out[len(out)-1] != '\n':
		return out, c.lost(ctx, errors.Join(io.ErrUnexpectedEOF, err))
	}
	return out, nil
}

// Close ends the idle connections. Calls that run are not ended; those that come
// later fail.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, cc := range c.idle {
		_ = cc.conn.Close()
	}
	c.idle = nil
}

func (c *Client) maxAnswer() int {
	if c.MaxAnswer > 0 {
		return c.MaxAnswer
	}
	return DefaultConfig().MaxAnswer
}

func (c *Client) envelope(call *BatchCall) envelope {
	e := envelope{Version: "2.0", Method: call.Method, Params: call.Params, Token: c.Token}
	if !call.Notify {
		call.id = c.lastID.Add(1)
		e.ID = &call.id
	}
	return e
}

func encodeMessage(v any) ([]byte, error) {
	msg, err := json.Marshal(v)
	if err != nil {
		return nil, errs.Wrap(errs.Invalid, "cannot encode the parameters: "+err.Error(), err)
	}
	return append(msg, '\n'), nil
}

// is reports whether an answer with this id belongs to the call.
func (b *BatchCall) is(id json.RawMessage) bool {
	want, _ := json.Marshal(b.id)
	return bytes.Equal(want, id)
}

// settle takes the answer of the call.
func (b *BatchCall) settle(a *answer) {
	switch {
	case a.Error != nil:
		b.Err = a.Error
	case b.Result != nil:
		if err := json.Unmarshal(a.Result, b.Result); err != nil {
			b.Err = errs.Wrap(errs.Internal, "cannot decode the result of "+b.Method+": "+err.Error(), err)
		}
	}
}

// settleBatch gives each call its answer.
func settleBatch(calls []*BatchCall, answers []answer) {
	byID := map[string]*answer{}
	for i := range answers {
		byID[string(answers[i].ID)] = &answers[i]
	}
	for _, call := range calls {
		call.Err = nil
		if call.Notify {
			continue
		}
		id, _ := json.Marshal(call.id)
		if a := byID[string(id)]; a != nil {
			call.settle(a)
		} else {
			call.Err = errs.Lost(errs.ExecutedUnknown, "the batch has no answer to "+call.Method, nil)
		}
	}
}

// UnmarshalJSON takes errors of any server: data that is no list of details is left out.
func (e *Error) UnmarshalJSON(raw []byte) error {
	var wire struct {
		Code    int             `json:"code"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(raw, &wire); err != nil {
		return err
	}
	*e = Error{Code: wire.Code, Message: wire.Message}
	if json.Unmarshal(wire.Data, &e.Data) != nil {
		e.Data = nil
	}
	return nil
}
