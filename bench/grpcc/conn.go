// Package grpcc is a small gRPC client for load generation: unary calls,
// bytes in and bytes out, many streams over one HTTP/2 connection in clear
// (RFC 9113; gRPC over HTTP/2, github.com/grpc/grpc PROTOCOL-HTTP2.md). Frames of
// concurrent calls share writes, so that the client costs less than the server.
package grpcc

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	ourWindow     = 1 << 30 // bytes the server may send, per connection and per stream
	defaultWindow = 65535   // RFC 9113, 6.9.2
	maxMessage    = 16 << 20
)

// Conn is one connection. It is safe for concurrent use; its calls run
// concurrently.
type Conn struct {
	host string
	conn net.Conn

	mu       sync.Mutex
	room     sync.Cond // signalled when sendable grows or the connection ends
	out      bytes.Buffer
	spare    bytes.Buffer
	framer   *http2.Framer // writes to out
	hbuf     bytes.Buffer
	henc     *hpack.Encoder
	next     uint32
	calls    map[uint32]*call
	sendable int64
	err      error // why the connection ended, nil while it lives

	wake     chan struct{} // one slot: there is something to write
	done     chan struct{}
	received int64 // bytes since the last window update, reader only
}

// call is one unary call under way.
type call struct {
	reply  []byte
	status string // grpc-status
	msg    string // grpc-message
	err    error
	done   chan struct{}
}

// Dial connects to addr, host:port. timeout bounds the dial only.
func Dial(addr string, timeout time.Duration) (*Conn, error) {
	nc, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return nil, err
	}
	c := &Conn{host: addr, conn: nc, next: 1, calls: map[uint32]*call{}, sendable: defaultWindow,
		wake: make(chan struct{}, 1), done: make(chan struct{})}
	c.room.L = &c.mu
	c.framer = http2.NewFramer(&c.out, nil)
	c.henc = hpack.NewEncoder(&c.hbuf)
	c.out.WriteString(http2.ClientPreface)
	err = errors.Join(
		c.framer.WriteSettings(http2.Setting{ID: http2.SettingEnablePush}, http2.Setting{ID: http2.SettingInitialWindowSize, Val: ourWindow}),
		c.framer.WriteWindowUpdate(0, ourWindow-defaultWindow))
	if err != nil {
		nc.Close()
		return nil, err
	}
	go c.write()
	go c.read()
	c.kick()
	return c, nil
}

// Close ends the connection and every call under way.
func (c *Conn) Close() error {
	c.fail(net.ErrClosed)
	return nil
}

// Err returns why the connection ended, nil while it lives.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Call sends one message to method, such as "/etcdserverpb.KV/Put", and returns
// the reply. It blocks until the reply is there, the timeout is over or the
// connection ends.
func (c *Conn) Call(method string, req []byte, timeout time.Duration) ([]byte, error) {
	id, cl, err := c.send(method, req)
	if err != nil {
		return nil, err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-cl.done:
	case <-timer.C:
		c.mu.Lock()
		delete(c.calls, id)
		c.mu.Unlock()
		return nil, fmt.Errorf("%s: no reply within %s", method, timeout)
	}
	switch {
	case cl.err != nil:
		return nil, cl.err
	case cl.status != "0":
		return nil, fmt.Errorf("%s: status %s: %s", method, cl.status, cl.msg)
	case len(cl.reply) < 5 || cl.reply[0] != 0 || int(binary.BigEndian.Uint32(cl.reply[1:])) != len(cl.reply)-5:
		return nil, fmt.Errorf("%s: reply is not one message", method)
	}
	return cl.reply[5:], nil
}

// send queues the frames of one call.
func (c *Conn) send(method string, req []byte) (uint32, *call, error) {
	size := int64(len(req) + 5)
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && c.sendable < size {
		c.room.Wait()
	}
	if c.err != nil {
		return 0, nil, c.err
	}
	c.sendable -= size
	id := c.next
	c.next += 2
	cl := &call{done: make(chan struct{})}
	c.calls[id] = cl

	c.hbuf.Reset()
	for _, f := range []hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: method},
		{Name: ":authority", Value: c.host}, {Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
	} {
		if err := c.henc.WriteField(f); err != nil {
			return 0, nil, err
		}
	}
	var prefix [5]byte
	binary.BigEndian.PutUint32(prefix[1:], uint32(len(req)))
	data := append(prefix[:], req...)
	err := errors.Join(
		c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.hbuf.Bytes(), EndHeaders: true}),
		c.framer.WriteData(id, true, data))
	c.kick()
	return id, cl, err
}

// kick wakes the writer. It never blocks.
func (c *Conn) kick() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// write sends what the calls queued, everything that is there at once.
func (c *Conn) write() {
	for {
		select {
		case <-c.wake:
		case <-c.done:
			return
		}
		c.mu.Lock()
		c.out, c.spare = c.spare, c.out
		c.mu.Unlock()
		if _, err := c.conn.Write(c.spare.Bytes()); err != nil {
			c.fail(err)
			return
		}
		c.spare.Reset()
	}
}

func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return
	}
	c.err = fmt.Errorf("connection to %s: %w", c.host, err)
	close(c.done)
	c.conn.Close()
	for id, cl := range c.calls {
		cl.err = c.err
		close(cl.done)
		delete(c.calls, id)
	}
	c.room.Broadcast()
}

func (c *Conn) read() {
	fr := http2.NewFramer(nil, bufio.NewReaderSize(c.conn, 64<<10))
	fr.SetReuseFrames()
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		f, err := fr.ReadFrame()
		if err == nil {
			err = c.take(f)
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
}

// take handles one frame from the server.
func (c *Conn) take(f http2.Frame) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := f.Header().StreamID
	switch f := f.(type) {
	case *http2.SettingsFrame:
		if !f.IsAck() {
			defer c.kick()
			return c.framer.WriteSettingsAck()
		}
	case *http2.PingFrame:
		if !f.IsAck() {
			defer c.kick()
			return c.framer.WritePing(true, f.Data)
		}
	case *http2.WindowUpdateFrame:
		if id == 0 {
			c.sendable += int64(f.Increment)
			c.room.Broadcast()
		}
	case *http2.GoAwayFrame:
		return fmt.Errorf("server went away: %s", f.ErrCode)
	case *http2.RSTStreamFrame:
		c.endLocked(id, fmt.Errorf("stream reset: %s", f.ErrCode))
	case *http2.MetaHeadersFrame:
		c.headersLocked(id, f)
	case *http2.DataFrame:
		return c.dataLocked(id, f)
	}
	return nil
}

// headersLocked takes headers or trailers. Locked by mu.
func (c *Conn) headersLocked(id uint32, f *http2.MetaHeadersFrame) {
	cl := c.calls[id]
	if cl == nil {
		return
	}
	for _, h := range f.Fields {
		switch h.Name {
		case "grpc-status":
			cl.status = h.Value
		case "grpc-message":
			cl.msg = h.Value
		}
	}
	if !f.StreamEnded() {
		return
	}
	var err error
	if _, bad := strconv.Atoi(cl.status); bad != nil {
		err = fmt.Errorf("reply without grpc-status, HTTP status %s", f.PseudoValue("status"))
	}
	c.endLocked(id, err)
}

// dataLocked takes a piece of a reply. Locked by mu.
func (c *Conn) dataLocked(id uint32, f *http2.DataFrame) error {
	if c.received += int64(f.Length); c.received > ourWindow/2 {
		if err := c.framer.WriteWindowUpdate(0, uint32(c.received)); err != nil {
			return err
		}
		c.received = 0
		c.kick()
	}
	cl := c.calls[id]
	if cl == nil {
		return nil
	}
	if len(cl.reply)+len(f.Data()) > maxMessage {
		return errors.New("reply is too large")
	}
	cl.reply = append(cl.reply, f.Data()...)
	if f.StreamEnded() {
		c.endLocked(id, errors.New("reply without trailers"))
	}
	return nil
}

// endLocked finishes a call. Locked by mu.
func (c *Conn) endLocked(id uint32, err error) {
	if cl := c.calls[id]; cl != nil {
		cl.err = err
		delete(c.calls, id)
		close(cl.done)
	}
}
