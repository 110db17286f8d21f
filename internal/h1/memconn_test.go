package h1

import (
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// queue is one direction of a connection in memory, without a bound.
type queue struct {
	mu   sync.Mutex
	cond *sync.Cond
	data []byte
	// ended says that the writer is done, broken that the reader is.
	ended, broken bool
	deadline      time.Time
	timer         *time.Timer
	// most is how much may wait to be read, 0 for any amount; writeBy is the deadline of
	// writes that wait for room.
	most    int
	writeBy time.Time
}

func newQueue() *queue {
	q := &queue{}
	q.cond = sync.NewCond(&q.mu)
	return q
}

func (q *queue) read(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case q.broken:
			return 0, net.ErrClosed
		case !q.deadline.IsZero() && !time.Now().Before(q.deadline):
			return 0, os.ErrDeadlineExceeded
		case len(q.data) > 0:
			n := copy(p, q.data)
			q.data = q.data[n:]
			q.cond.Broadcast()
			return n, nil
		case q.ended:
			return 0, io.EOF
		}
		q.cond.Wait()
	}
}

func (q *queue) write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	sent := 0
	for {
		if q.ended || q.broken {
			return sent, io.ErrClosedPipe
		}
		if !q.writeBy.IsZero() && !time.Now().Before(q.writeBy) {
			return sent, os.ErrDeadlineExceeded
		}
		n := len(p)
		if q.most > 0 {
			n = min(n, q.most-len(q.data))
		}
		q.data = append(q.data, p[:n]...)
		p, sent = p[n:], sent+n
		q.cond.Broadcast()
		if len(p) == 0 {
			return sent, nil
		}
		q.cond.Wait()
	}
}

func (q *queue) set(change func()) {
	q.mu.Lock()
	defer q.mu.Unlock()
	change()
	q.cond.Broadcast()
}

func (q *queue) setDeadline(t time.Time) {
	q.set(func() {
		if q.timer != nil {
			q.timer.Stop()
		}
		if q.deadline = t; !t.IsZero() {
			q.timer = time.AfterFunc(time.Until(t), func() { q.set(func() {}) })
		}
	})
}

// memConn is one end of a connection in memory.
type memConn struct {
	in, out *queue
	// writes counts calls of Write.
	writes int
}

// memPipe returns two ends that are connected.
func memPipe() (client, server *memConn) {
	a, b := newQueue(), newQueue()
	return &memConn{in: a, out: b}, &memConn{in: b, out: a}
}

func (c *memConn) Read(p []byte) (int, error) { return c.in.read(p) }
func (c *memConn) Write(p []byte) (int, error) {
	c.writes++
	return c.out.write(p)
}
func (c *memConn) CloseWrite() error {
	c.out.set(func() { c.out.ended = true })
	return nil
}
func (c *memConn) Close() error {
	_ = c.CloseWrite()
	c.in.setDeadline(time.Time{})
	c.in.set(func() { c.in.broken = true })
	return nil
}
func (c *memConn) LocalAddr() net.Addr               { return handoverAddr{} }
func (c *memConn) RemoteAddr() net.Addr              { return handoverAddr{} }
func (c *memConn) SetReadDeadline(t time.Time) error { c.in.setDeadline(t); return nil }
func (c *memConn) SetWriteDeadline(t time.Time) error {
	c.out.set(func() { c.out.writeBy = t })
	if !t.IsZero() {
		time.AfterFunc(time.Until(t), func() { c.out.set(func() {}) })
	}
	return nil
}
func (c *memConn) SetDeadline(t time.Time) error { return c.SetReadDeadline(t) }

// received returns what has arrived and was not read, and whether the other
// side has closed.
func (c *memConn) received() (string, bool) {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	data := string(c.in.data)
	c.in.data = nil
	return data, c.in.ended
}
