package drpc

import (
	"context"
	"sync"

	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/internal/errs"
)

// Options of a client. The zero value is right for an agent of ours.
type Options struct {
	// MaxMessage is the longest call or answer in bytes, 0 for 4 MiB.
	MaxMessage int
	// MaxCalls is how many calls may be in flight, 0 for 64, which is what a
	// server takes unless configured otherwise; further ones wait their turn.
	MaxCalls int
	// Classic sends every call as one plain packet, for servers that know no
	// frames; calls and answers are at most 128 KiB long then.
	Classic bool
	// Owner, where not nil, is the number of the user whose the socket must be, or
	// Connect fails: for a path that came from somebody who is not trusted.
	Owner *int
}

// Client is a connection to one socket. It is safe for concurrent use.
type Client struct {
	path string
	opts Options

	connecting sync.Mutex // held while dialling, so that one Connect dials
	mu         sync.Mutex
	conn       *conn // nil before Connect and after Close
}

// NewClient returns a client that is not connected yet.
func NewClient(path string, opts Options) *Client {
	if opts.MaxMessage <= 0 {
		opts.MaxMessage = drpc.DefaultMaxMessage
	}
	if opts.MaxCalls <= 0 {
		opts.MaxCalls = 64
	}
	return &Client{path: path, opts: opts}
}

// Path returns the path of the socket.
func (c *Client) Path() string { return c.path }

// Connect opens the connection; on a client that is connected it does nothing.
// Sequences begin again at 1.
func (c *Client) Connect(ctx context.Context) error {
	c.connecting.Lock()
	defer c.connecting.Unlock()
	if c.IsConnected() {
		return nil
	}
	link, err := c.dial(ctx)
	if err != nil {
		return err
	}
	conn := newConn(link, c.opts)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = conn
	return nil
}

func (c *Client) dial(ctx context.Context) (*drpc.Link, error) {
	if c.opts.Owner != nil {
		return drpc.DialOwned(ctx, c.path, *c.opts.Owner, c.opts.MaxMessage)
	}
	return drpc.Dial(ctx, c.path, c.opts.MaxMessage)
}

// IsConnected reports whether calls can be sent: after Connect, until Close or
// until the server ends the connection.
func (c *Client) IsConnected() bool {
	conn := c.current()
	return conn != nil && !conn.ended()
}

// Ended is closed when the connection has ended, whoever ended it. Without one it is
// closed already; after the next Connect it is another channel.
func (c *Client) Ended() <-chan struct{} {
	if conn := c.current(); conn != nil {
		return conn.done
	}
	return ended
}

// ended is closed.
var ended = func() <-chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}()

func (c *Client) current() *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.conn
}

// Close ends the connection and the calls in flight on it. On a client that is
// not connected it does nothing.
func (c *Client) Close() error {
	c.mu.Lock()
	conn := c.conn
	c.conn = nil
	c.mu.Unlock()
	if conn == nil {
		return nil
	}
	return conn.close()
}

// SendMsg sends a call and returns the server's answer, whatever its status:
// look at Response.Err. An error of SendMsg itself is an *Error and means that
// no answer came; Executed says whether the call may have run. The call's
// sequence is not used and the call not changed.
func (c *Client) SendMsg(ctx context.Context, call *Call) (*Response, error) {
	if call == nil {
		return nil, errs.New(errs.Invalid, "there is no call to send")
	}
	conn := c.current()
	if conn == nil {
		return nil, errs.Lost(errs.ExecutedNo, "not connected to "+c.path+": call Connect first", nil)
	}
	return conn.send(ctx, call)
}

// Do is SendMsg for callers who need the answer's body only: every status but
// SUCCESS and SUBMITTED is an error.
func (c *Client) Do(ctx context.Context, module, method int32, body []byte) ([]byte, error) {
	resp, err := c.SendMsg(ctx, &Call{Module: module, Method: method, Body: body})
	if err != nil {
		return nil, err
	}
	return resp.Body, resp.Err()
}
