package h1

import (
	"io"
	"net/http"
	"time"
)

const (
	// maxDrain is how much of a body that the handler left is read, so that the
	// connection can be used again, in bytes.
	maxDrain = 256 << 10
	// drainTimeout bounds how long that may take.
	drainTimeout = 5 * time.Second
)

// body is the request body: what the buffer holds of it, then the connection.
type body struct {
	c *conn
	// left is how much was not read yet, in bytes.
	left   int64
	closed bool
	err    error
}

// buffered says that nothing of the body is still to come.
func (b *body) buffered() bool { return b.left <= int64(b.c.w-b.c.r) }

// Read reads the body; the last bytes come with io.EOF.
func (b *body) Read(p []byte) (int, error) {
	switch {
	case b.closed:
		return 0, http.ErrBodyReadAfterClose
	case b.err != nil:
		return 0, b.err
	case b.left == 0:
		return 0, io.EOF
	}
	n, err := b.next(p[:min(int64(len(p)), b.left)])
	if b.left == 0 {
		err = io.EOF
	}
	b.err = err
	return n, err
}

func (b *body) next(p []byte) (int, error) {
	c := b.c
	if c.r < c.w {
		n := copy(p, c.buf[c.r:c.w])
		c.r += n
		b.left -= int64(n)
		return n, nil
	}
	n, err := c.nc.Read(p)
	if b.left -= int64(n); b.left == 0 {
		c.bodyArrived()
	} else if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Close makes later reads fail. The connection skips what was not read.
func (b *body) Close() error {
	b.closed = true
	return nil
}

// drain reads the rest of the body. It reports false when that is too much or
// fails, and the connection cannot be used again.
func (b *body) drain() bool {
	if b.left >= maxDrain {
		return false
	}
	c := b.c
	n := int(min(b.left, int64(c.w-c.r)))
	c.r += n
	if b.left -= int64(n); b.left == 0 {
		return true
	}
	if b.err != nil {
		return b.err == io.ErrUnexpectedEOF // the next read finds the end too
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(drainTimeout))
	c.readDeadline = true
	c.r, c.w = 0, 0
	for b.left > 0 {
		n, err := c.nc.Read(c.buf[:min(int64(len(c.buf)), b.left)])
		if b.left -= int64(n); err != nil && b.left > 0 {
			b.err = err
			return false
		}
	}
	c.bodyArrived()
	return true
}
