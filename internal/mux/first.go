package mux

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// preface is what an HTTP/2 client sends first (RFC 9113, section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

var errPreface = errors.New("no HTTP/2 preface; the HTTP API has a port of its own")

// readProtocol reads the first byte and, for ProtoGRPC, the rest of the preface.
// Nothing is read beyond that, so that nothing is lost; the connection returned
// yields again what its handler must see.
func readProtocol(conn net.Conn) (net.Conn, Protocol, error) {
	var b [len(preface)]byte
	if _, err := io.ReadFull(conn, b[:1]); err != nil {
		return conn, 0, err
	}
	p := Protocol(b[0])
	if p != ProtoGRPC {
		return conn, p, nil
	}
	for n := 1; n < len(b); {
		m, err := conn.Read(b[n:])
		if n += m; string(b[:n]) != preface[:n] {
			return conn, p, errPreface
		}
		if err != nil && n < len(b) {
			return conn, p, err
		}
	}
	return again(conn, b[:]), p, nil
}

// again returns conn with b in front of what it yields.
func again(conn net.Conn, b []byte) net.Conn {
	return &replayed{Conn: conn, r: io.MultiReader(bytes.NewReader(bytes.Clone(b)), conn)}
}

// replayed is a connection of which something was read already.
type replayed struct {
	net.Conn
	r io.Reader
}

// Read reads what was read already, then the connection.
func (c *replayed) Read(b []byte) (int, error) { return c.r.Read(b) }

// CloseWrite ends the outgoing half where the transport can.
func (c *replayed) CloseWrite() error { return closeWrite(c.Conn) }

func closeWrite(conn net.Conn) error {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

var errSilent = errors.New("the peer asked for a protocol and said no more")

// expectant is a connection whose peer has asked for a protocol and has yet to
// use it. Until it does, no read waits beyond a limit, whatever deadline the
// handler sets; then the connection is closed, since handlers may take a
// time-out for their own and read on. After the first data the handler's
// deadlines count.
type expectant struct {
	net.Conn
	silent func() // is told, once
	spoken atomic.Bool

	mu     sync.Mutex
	limit  time.Time
	wanted time.Time // the handler's deadline for reads
}

func expect(conn net.Conn, within time.Duration, silent func()) net.Conn {
	e := &expectant{Conn: conn, limit: time.Now().Add(within), silent: sync.OnceFunc(silent)}
	if err := conn.SetReadDeadline(e.limit); err != nil {
		return conn // it is closed, as the handler will find out
	}
	return e
}

// Read reads from the connection.
func (e *expectant) Read(b []byte) (int, error) {
	n, err := e.Conn.Read(b)
	switch {
	case e.spoken.Load():
	case n > 0:
		e.heard()
	case isTimeout(err) && !time.Now().Before(e.limit):
		e.silent()
		_ = e.Conn.Close() // the handler hears of it by the error
		return 0, errSilent
	}
	return n, err
}

// isTimeout knows the time-outs of sockets, TLS and yamux.
func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func (e *expectant) heard() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.spoken.Load() {
		_ = e.Conn.SetReadDeadline(e.wanted) // fails on a closed connection only
		e.spoken.Store(true)
	}
}

// SetReadDeadline bounds reads, to the limit at most while the peer is silent.
func (e *expectant) SetReadDeadline(t time.Time) error {
	if e.spoken.Load() {
		return e.Conn.SetReadDeadline(t)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.spoken.Load() {
		if e.wanted = t; t.IsZero() || t.After(e.limit) {
			t = e.limit
		}
	}
	return e.Conn.SetReadDeadline(t)
}

// SetDeadline bounds reads and writes.
func (e *expectant) SetDeadline(t time.Time) error {
	if err := e.Conn.SetWriteDeadline(t); err != nil {
		return err
	}
	return e.SetReadDeadline(t)
}

// CloseWrite ends the outgoing half where the transport can.
func (e *expectant) CloseWrite() error { return closeWrite(e.Conn) }
