package h1

import (
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// sendStep is the most that one write takes, in bytes, so that a client that reads
// slowly shows that it does.
const sendStep = 128 << 10

// write sends p. The janitor closes the connection when the client has taken none of
// it for too long.
func (c *conn) write(p []byte) error {
	for len(p) > 0 {
		step := p[:min(len(p), sendStep)]
		c.sending.Store(c.srv.clock.now.Load() + 1)
		_, err := c.nc.Write(step)
		c.sending.Store(0)
		if err != nil {
			return err
		}
		p = p[len(step):]
	}
	return nil
}

// stalled reports whether a write waits for longer than limit, in milliseconds.
func (c *conn) stalled(now, limit int64) bool {
	at := c.sending.Load()
	return limit > 0 && at > 0 && now-(at-1) >= limit
}

// Steady returns a listener whose connections fail when their peer takes nothing of
// what is sent for as long as limit: for servers other than a Server.
func Steady(ln net.Listener, limit time.Duration) net.Listener {
	if limit <= 0 {
		return ln
	}
	return &steadyListener{ln, limit}
}

type steadyListener struct {
	net.Listener
	limit time.Duration
}

// Accept returns the next connection.
func (l *steadyListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &steady{Conn: c, limit: l.limit}, nil
}

// steady is a connection with a deadline for each part of what is written, beside
// the one that its owner sets.
type steady struct {
	net.Conn
	limit time.Duration
	// wanted is the owner's deadline for writes in Unix nanoseconds, 0 for none.
	wanted atomic.Int64
}

// SetWriteDeadline bounds writes.
func (c *steady) SetWriteDeadline(t time.Time) error {
	if t.IsZero() {
		c.wanted.Store(0)
	} else {
		c.wanted.Store(t.UnixNano())
	}
	return c.Conn.SetWriteDeadline(t)
}

// SetDeadline bounds reads and writes.
func (c *steady) SetDeadline(t time.Time) error {
	if err := c.SetWriteDeadline(t); err != nil {
		return err
	}
	return c.Conn.SetReadDeadline(t)
}

// deadline is that of the next part.
func (c *steady) deadline() time.Time {
	at := time.Now().Add(c.limit)
	if wanted := c.wanted.Load(); wanted != 0 && wanted < at.UnixNano() {
		return time.Unix(0, wanted)
	}
	return at
}

// Write sends p in parts.
func (c *steady) Write(p []byte) (sent int, err error) {
	for len(p) > 0 {
		step := p[:min(len(p), sendStep)]
		if err := c.Conn.SetWriteDeadline(c.deadline()); err != nil {
			return sent, err
		}
		n, err := c.Conn.Write(step)
		if sent += n; err != nil {
			return sent, err
		}
		p = p[len(step):]
	}
	return sent, nil
}

// SyscallConn gives access to the socket, if there is one.
func (c *steady) SyscallConn() (syscall.RawConn, error) { return rawConn(c.Conn) }

// CloseWrite closes the sending side where the connection can.
func (c *steady) CloseWrite() error { return closeWrite(c.Conn) }
