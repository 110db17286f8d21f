package nomadtest

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// pipeBuffer is how many bytes one direction of a connection holds before
// writers block, in flight and unread together.
const pipeBuffer = 256 << 10

// half is one direction of a connection. Everything waits on one sync.Cond,
// which a synctest bubble takes for durably blocked.
type half struct {
	mu   sync.Mutex
	cond *sync.Cond

	arrived  bytes.Buffer // may be read
	flight   []segment    // on its way, oldest first
	inFlight int          // bytes of flight
	stalled  bool         // the link is cut: nothing of flight arrives
	delay    time.Duration
	ended    error // what the reader gets after arrived

	writing     bool // somebody is within write, others wait
	readClosed  bool
	writeClosed bool
	readBy      deadline
	writeBy     deadline
}

// segment is some bytes, or how the stream ended.
type segment struct {
	at   time.Time
	data []byte
	end  error
}

func newHalf() *half {
	h := &half{}
	h.cond = sync.NewCond(&h.mu)
	return h
}

// condition tells h of the state of its link.
func (h *half) condition(cut bool, delay time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.landLocked()
	h.stalled, h.delay = cut, delay
	h.cond.Broadcast()
}

// landLocked moves what is due from flight to arrived. It needs mu.
func (h *half) landLocked() {
	if h.stalled || len(h.flight) == 0 {
		return
	}
	now, n := time.Now(), 0
	for ; n < len(h.flight) && !h.flight[n].at.After(now); n++ {
		s := h.flight[n]
		h.arrived.Write(s.data)
		h.inFlight -= len(s.data)
		if h.ended == nil {
			h.ended = s.end
		}
	}
	h.flight = append(h.flight[:0:0], h.flight[n:]...)
}

// sendLocked puts a segment on its way. It needs mu.
func (h *half) sendLocked(data []byte, end error) {
	if end == nil && h.delay == 0 && !h.stalled && len(h.flight) == 0 {
		h.arrived.Write(data)
		h.cond.Broadcast()
		return
	}
	h.flight = append(h.flight, segment{at: time.Now().Add(h.delay), data: bytes.Clone(data), end: end})
	h.inFlight += len(data)
	if h.delay > 0 {
		time.AfterFunc(h.delay, h.wake)
	}
	h.cond.Broadcast()
}

// wake lets all who wait look again. Taking mu keeps it from passing between
// the look of one of them and its wait.
func (h *half) wake() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cond.Broadcast()
}

func (h *half) read(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for {
		h.landLocked()
		switch {
		case h.readClosed:
			return 0, net.ErrClosed
		case h.readBy.passed():
			return 0, os.ErrDeadlineExceeded
		case len(p) == 0:
			return 0, nil
		case h.arrived.Len() > 0:
			n, _ := h.arrived.Read(p)
			h.cond.Broadcast()
			return n, nil
		case h.ended != nil:
			return 0, h.ended
		}
		h.cond.Wait()
	}
}

func (h *half) write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.writing { // one at a time, or large writes would mix
		if err := h.writableLocked(); err != nil {
			return 0, err
		}
		h.cond.Wait()
	}
	h.writing = true
	defer func() {
		h.writing = false
		h.cond.Broadcast()
	}()
	written := 0
	for {
		if err := h.writableLocked(); err != nil {
			return written, err
		}
		n := min(len(p)-written, pipeBuffer-h.inFlight-h.arrived.Len())
		if n > 0 {
			h.sendLocked(p[written:written+n], nil)
			written += n
		}
		if written == len(p) {
			return written, nil
		}
		h.cond.Wait()
	}
}

// writableLocked says why nothing can be written. It needs mu.
func (h *half) writableLocked() error {
	switch {
	case h.writeClosed:
		return net.ErrClosed
	case h.writeBy.passed():
		return os.ErrDeadlineExceeded
	case h.stalled:
		return nil // what the reader does cannot be known here
	case h.readClosed, h.ended == syscall.ECONNRESET:
		return syscall.EPIPE
	}
	return nil
}

// closeWrite ends the stream: the reader gets end after all that was written.
func (h *half) closeWrite(end error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.writeClosed {
		return
	}
	h.writeClosed = true
	h.writeBy.set(time.Time{}, nil)
	h.sendLocked(nil, end)
}

// closeRead drops what was not read.
func (h *half) closeRead() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readClosed = true
	h.arrived = bytes.Buffer{}
	h.readBy.set(time.Time{}, nil)
	h.cond.Broadcast()
}

// deadline belongs to the mu of its half.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

// set moves the deadline, with wake called when it passes; zero is for never.
func (d *deadline) set(at time.Time, wake func()) {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	d.at = at
	if wait := time.Until(at); !at.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, wake)
	}
}

// fabricConn is one end of a connection.
type fabricConn struct {
	fabric        *Fabric
	local, remote net.Addr
	host          string // of local
	link          link
	in, out       *half
	peer          *fabricConn
	ended         bool // this end is closed; belongs to the mu of fabric
}

func newConnPair(f *Fabric, local, remote net.Addr) *fabricConn {
	there, back := newHalf(), newHalf()
	a := &fabricConn{fabric: f, local: local, remote: remote, in: back, out: there}
	b := &fabricConn{fabric: f, local: remote, remote: local, in: there, out: back}
	a.peer, b.peer = b, a
	return a
}

func (c *fabricConn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *fabricConn) Write(p []byte) (int, error) { return c.out.write(p) }
func (c *fabricConn) LocalAddr() net.Addr         { return c.local }
func (c *fabricConn) RemoteAddr() net.Addr        { return c.remote }

// CloseWrite ends the outgoing half, as of a TCP connection.
func (c *fabricConn) CloseWrite() error {
	c.out.closeWrite(io.EOF)
	return nil
}

// Close ends both halves; the peer reads what was sent and then io.EOF.
func (c *fabricConn) Close() error {
	c.end(io.EOF)
	return nil
}

// reset ends both halves with an error for the peer.
func (c *fabricConn) reset() { c.end(syscall.ECONNRESET) }

func (c *fabricConn) end(err error) {
	c.out.closeWrite(err)
	c.in.closeRead()
	c.fabric.forget(c)
}

func (c *fabricConn) SetDeadline(t time.Time) error {
	c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *fabricConn) SetReadDeadline(t time.Time) error {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	if c.in.readClosed {
		return net.ErrClosed
	}
	c.in.readBy.set(t, c.in.wake)
	c.in.cond.Broadcast()
	return nil
}

func (c *fabricConn) SetWriteDeadline(t time.Time) error {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	if c.out.writeClosed {
		return net.ErrClosed
	}
	c.out.writeBy.set(t, c.out.wake)
	c.out.cond.Broadcast()
	return nil
}
