package wire

import (
	"net"
	"runtime"
	"sync"
	"time"
)

const (
	// outboxLimit is how many bytes may wait for a slow peer before senders do.
	outboxLimit = 1 << 20
	// gatherSize is how much of small messages one write takes together.
	gatherSize = 32 << 10
	// writeStep is the most that one write takes, so that a slow but living peer
	// shows progress within the time limit.
	writeStep = 256 << 10
)

// buffer holds one message. Buffers are pooled.
type buffer struct{ b []byte }

var buffers = sync.Pool{New: func() any { return &buffer{b: make([]byte, 0, 512)} }}

func newBuffer() *buffer {
	b := buffers.Get().(*buffer)
	b.b = b.b[:0]
	return b
}

// release gives b back. Large buffers are left to the collector.
func (b *buffer) release() {
	if b != nil && cap(b.b) <= 64<<10 {
		buffers.Put(b)
	}
}

// outbox is the one writer of a connection. Messages are encoded by their
// senders and written in the order of put, as many as wait in one write.
type outbox struct {
	conn    net.Conn
	timeout time.Duration

	mu     sync.Mutex
	wake   sync.Cond // the writer waits here, under mu
	queue  []*buffer
	bytes  int           // in queue
	room   chan struct{} // closed when queue was taken; nil while nobody waits
	put64  uint64        // messages ever put
	handed uint64        // messages ever handed to conn.Write
	closed bool          // nothing more is written
	drain  bool          // the writer ends once the queue is empty
}

func newOutbox(conn net.Conn, timeout time.Duration) *outbox {
	o := &outbox{conn: conn, timeout: timeout}
	o.wake.L = &o.mu
	return o
}

// put queues b, which the outbox owns from then on if put returns true. It
// waits for room until done is closed. Under mu it stores the number of the
// message in ticket, if that is not nil.
func (o *outbox) put(done <-chan struct{}, b *buffer, ticket *uint64) bool {
	o.mu.Lock()
	for !o.closed && !o.drain && o.bytes > 0 && o.bytes+len(b.b) > outboxLimit {
		if o.room == nil {
			o.room = make(chan struct{})
		}
		room := o.room
		o.mu.Unlock()
		select {
		case <-room:
		case <-done:
			return false
		}
		o.mu.Lock()
	}
	defer o.mu.Unlock()
	if o.closed || o.drain {
		return false
	}
	o.enqueueLocked(b, ticket)
	return true
}

// tryPut is put for messages that may be lost; it never waits.
func (o *outbox) tryPut(b *buffer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed && !o.drain && o.bytes+len(b.b) <= outboxLimit {
		o.enqueueLocked(b, nil)
	}
}

// enqueueLocked appends b; the caller holds mu.
func (o *outbox) enqueueLocked(b *buffer, ticket *uint64) {
	o.put64++
	if ticket != nil {
		*ticket = o.put64
	}
	o.queue = append(o.queue, b)
	o.bytes += len(b.b)
	if len(o.queue) == 1 {
		o.wake.Signal()
	}
}

// sent reports whether any byte of the message may have left. It is exact once
// the outbox is closed.
func (o *outbox) sent(ticket *uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return *ticket != 0 && *ticket <= o.handed
}

// close stops the writer before its next write.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.freeRoomLocked()
	o.wake.Signal()
}

// finish lets the writer end when all that was put is written.
func (o *outbox) finish() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drain = true
	o.freeRoomLocked()
	o.wake.Signal()
}

// freeRoomLocked wakes the senders that wait; the caller holds mu.
func (o *outbox) freeRoomLocked() {
	if o.room != nil {
		close(o.room)
		o.room = nil
	}
}

// run writes until the outbox is closed or finished, or a write fails.
func (o *outbox) run() error {
	var batch []*buffer
	for {
		batch = o.take(batch[:0])
		if batch == nil {
			return nil
		}
		if err := o.write(batch); err != nil {
			return err
		}
		clear(batch)
		if cap(batch) > 1024 {
			batch = nil
		}
	}
}

// take waits for messages and swaps the queue for spare. nil means stop. Woken
// by the first message it lets the senders that are ready to run go first, so
// that one write takes what they bring: that doubled the calls per second.
func (o *outbox) take(spare []*buffer) []*buffer {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.queue) == 0 && !o.closed && !o.drain {
		o.wake.Wait()
		o.mu.Unlock()
		runtime.Gosched()
		o.mu.Lock()
	}
	if o.closed || len(o.queue) == 0 {
		return nil
	}
	batch := o.queue
	o.queue, o.bytes = spare, 0
	o.freeRoomLocked()
	return batch
}

// write sends a batch, small messages gathered, and releases its buffers.
func (o *outbox) write(batch []*buffer) error {
	if len(batch) == 1 {
		defer batch[0].release()
		return o.send(batch[0].b, 1)
	}
	gather := newBuffer()
	defer gather.release()
	gathered := 0
	for _, m := range batch {
		if len(gather.b)+len(m.b) > gatherSize && gathered > 0 {
			if err := o.send(gather.b, gathered); err != nil {
				return err
			}
			gather.b, gathered = gather.b[:0], 0
		}
		if len(m.b) > gatherSize {
			if err := o.send(m.b, 1); err != nil {
				return err
			}
		} else {
			gather.b = append(gather.b, m.b...)
			gathered++
		}
		m.release()
	}
	if gathered == 0 {
		return nil
	}
	return o.send(gather.b, gathered)
}

// send writes p, which holds n messages, in steps that each have the time limit.
func (o *outbox) send(p []byte, n int) error {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return net.ErrClosed
	}
	o.handed += uint64(n)
	o.mu.Unlock()
	for len(p) > 0 {
		step := p[:min(len(p), writeStep)]
		if err := o.conn.SetWriteDeadline(time.Now().Add(o.timeout)); err != nil {
			return err
		}
		if _, err := o.conn.Write(step); err != nil {
			return err
		}
		p = p[len(step):]
	}
	return nil
}
