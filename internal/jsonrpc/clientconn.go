package jsonrpc

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"syscall"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// clientConn is a connection that one call uses at a time.
type clientConn struct {
	conn   *net.UnixConn
	frames framer
	since  time.Time // idle since
}

// What is kept for the next call. Servers close idle connections later than this.
const (
	maxIdle  = 4
	keepIdle = time.Minute
)

// exchange sends a message and waits for one answer, if there is to be one.
func (c *Client) exchange(ctx context.Context, msg []byte, wait bool) ([]byte, error) {
	cc, err := c.conn(ctx)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = cc.conn.SetDeadline(longAgo) })
	out, err := cc.roundTrip(msg, wait)
	if !stop() || err != nil {
		_ = cc.conn.Close() // which ends the call on the server
	} else {
		c.keep(cc)
	}
	if err != nil {
		return nil, c.lost(ctx, err)
	}
	return out, nil
}

func (cc *clientConn) roundTrip(msg []byte, wait bool) ([]byte, error) {
	_, werr := cc.conn.Write(msg)
	if !wait {
		return nil, werr
	}
	// A server that refuses the message answers before it has read all of it.
	out, err := cc.frames.next()
	if err != nil {
		return nil, errors.Join(werr, err)
	}
	return out, nil
}

// lost is the error of a call that was sent and not answered.
func (c *Client) lost(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		e := errs.Wrap(errs.Deadline, "no answer in time", ctx.Err())
		e.Executed = errs.ExecutedUnknown
		return e
	case errors.Is(err, errMessageTooLarge):
		return errs.Newf(errs.TooLarge, "answer has more than %d bytes", c.maxAnswer())
	}
	return errs.Lost(errs.ExecutedUnknown, "connection to "+c.Path+" broke", err)
}

// broken is the error of an answer that is none.
func broken(err error) error {
	return errs.Lost(errs.ExecutedUnknown, "cannot read the answer", err)
}

// conn returns an idle connection that is still good, or a new one.
func (c *Client) conn(ctx context.Context) (*clientConn, error) {
	for {
		cc, err := c.takeIdle()
		if err != nil {
			return nil, err
		}
		if cc == nil {
			return c.dial(ctx)
		}
		if time.Since(cc.since) < keepIdle && alive(cc.conn) {
			return cc, nil
		}
		_ = cc.conn.Close()
	}
}

// takeIdle returns the connection used last, nil for none.
func (c *Client) takeIdle() (*clientConn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errs.Lost(errs.ExecutedNo, "client is closed", nil)
	}
	n := len(c.idle)
	if n == 0 {
		return nil, nil
	}
	cc := c.idle[n-1]
	c.idle = c.idle[:n-1]
	return cc, nil
}

func (c *Client) keep(cc *clientConn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || len(c.idle) >= maxIdle {
		_ = cc.conn.Close()
		return
	}
	cc.since = time.Now()
	c.idle = append(c.idle, cc)
}

// A server whose queue of connections is full is asked again.
const (
	dialTries = 5
	dialWait  = 40 * time.Millisecond
)

func (c *Client) dial(ctx context.Context) (*clientConn, error) {
	var d net.Dialer
	for try := 1; ; try++ {
		conn, err := d.DialContext(ctx, "unix", c.Path)
		if err == nil {
			u := conn.(*net.UnixConn)
			return &clientConn{conn: u, frames: framer{r: u, max: c.maxAnswer(), maxDepth: maxAnswerDepth}}, nil
		}
		if try == dialTries || !errors.Is(err, syscall.EAGAIN) {
			return nil, dialError(c.Path, err)
		}
		select {
		case <-ctx.Done():
			return nil, dialError(c.Path, ctx.Err())
		case <-time.After(dialWait):
		}
	}
}

// maxAnswerDepth bounds answers, whose results may be nested deeper than requests.
const maxAnswerDepth = 1000

func dialError(path string, err error) error {
	msg := "cannot connect to " + path
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		msg = "no agent listens on " + path + ": start it, or name its socket"
	case errors.Is(err, fs.ErrPermission):
		msg = "may not connect to " + path + ": run as the agent's user, or have the socket's mode changed"
	}
	return errs.Lost(errs.ExecutedNo, msg, err)
}

// alive reports whether an idle connection is still open and has nothing to read.
func alive(conn *net.UnixConn) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	open := false
	err = raw.Read(func(fd uintptr) bool {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		open = err == syscall.EAGAIN || err == syscall.EINTR
		return true
	})
	return err == nil && open
}
