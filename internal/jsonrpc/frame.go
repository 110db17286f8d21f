package jsonrpc

import (
	"bytes"
	"errors"
	"io"
)

// firstRead is the size of the buffer of an idle connection; it grows with a
// message and shrinks after it.
const firstRead = 4 << 10

// errMessageTooLarge ends a connection: where the next message begins is not known.
var errMessageTooLarge = errors.New("message too large")

// framer cuts a stream into JSON values. It belongs to one goroutine.
type framer struct {
	r        io.Reader
	max      int
	maxDepth int
	buf      []byte
	have     []byte // the part of buf that was read and not yet given out
	scan     scanner
	scanned  int  // bytes of have that scan has followed
	inside   bool // a message has begun
	// began is called when the first byte of a message arrived, if it is not nil.
	began func()
}

// next returns the next value in memory of its own. The error is io.EOF between
// values, an error of syntax, of depth or of size, or one of the reader. After an
// error of the reader that is temporary, such as a deadline, next can be called again.
func (f *framer) next() ([]byte, error) {
	for {
		msg, err := f.cut()
		if msg != nil || err != nil {
			return msg, err
		}
		if err := f.fill(); err == io.EOF && f.inside {
			if err := f.scan.finish(); err != nil {
				return nil, err
			}
			return f.take(f.scanned), nil
		} else if err != nil {
			return nil, err
		}
	}
}

// cut takes a value out of what was read; nil when more has to come.
func (f *framer) cut() ([]byte, error) {
	if !f.inside {
		f.have = bytes.TrimLeft(f.have, " \t\r\n")
		if len(f.have) == 0 {
			return nil, nil
		}
		f.inside, f.scanned = true, 0
		f.scan.reset(f.maxDepth)
		if f.began != nil {
			f.began()
		}
	}
	n, done, err := f.scan.feed(f.have[f.scanned:])
	f.scanned += n
	switch {
	case err != nil:
		return nil, err
	case f.scanned > f.max:
		return nil, errMessageTooLarge
	case !done:
		return nil, nil
	}
	if err := f.checkRest(); err != nil {
		return nil, err
	}
	return f.take(f.scanned), nil
}

// checkRest looks at what has already arrived behind a value. A peer that sends
// what cannot begin a message does not mean what it sent before either, so the
// value is refused with it. It never waits for the peer.
func (f *framer) checkRest() error {
	rest := bytes.TrimLeft(f.have[f.scanned:], " \t\r\n")
	if len(rest) == 0 || rest[0] == '{' || rest[0] == '[' || f.scan.offset < 2 {
		return nil
	}
	return &syntaxError{offset: len(f.have) - len(rest), msg: "found no message after the first"}
}

// take gives out the first n bytes.
func (f *framer) take(n int) []byte {
	msg := bytes.Clone(f.have[:n])
	f.have = f.have[n:]
	f.inside = false
	if len(f.have) == 0 && cap(f.buf) > 16*firstRead {
		f.buf, f.have = nil, nil
	}
	return msg
}

// fill reads more. The buffer never holds much more than one message.
func (f *framer) fill() error {
	if f.buf == nil {
		f.buf = make([]byte, firstRead)
	}
	n := len(f.have)
	if cap(f.have) != cap(f.buf) { // it does not begin where the buffer does
		copy(f.buf, f.have)
	}
	if n == len(f.buf) {
		f.buf = append(f.buf, make([]byte, len(f.buf))...)
	}
	f.have = f.buf[:n]
	m, err := f.r.Read(f.buf[n:])
	f.have = f.buf[:n+m]
	if m > 0 {
		return nil
	}
	return err
}
