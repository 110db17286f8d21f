package wire

import (
	"bufio"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/cairn-project/cairn/internal/msgp"
)

// readBuffer is the size of a connection's read buffer; large values bypass it.
const readBuffer = 4 << 10

// The faults after which a connection cannot go on.
var (
	errGarbage = errors.New("not a message of this protocol")
	errOverrun = errors.New("message exceeds the size limit")
)

// inbox reads the values of a connection. The time limit of a phase starts with
// the first read that has to wait for the peer.
type inbox struct {
	conn  net.Conn
	br    *bufio.Reader
	limit time.Duration // of the phase, 0 for none
	armed bool          // the deadline of this phase is set
	ended atomic.Bool
}

func newInbox(conn net.Conn) *inbox {
	in := &inbox{conn: conn}
	in.br = bufio.NewReaderSize(deadlineReader{in}, readBuffer)
	return in
}

// deadlineReader sets the deadline of the phase before the first read in it.
type deadlineReader struct{ in *inbox }

func (r deadlineReader) Read(p []byte) (int, error) {
	in := r.in
	if !in.armed {
		in.armed = true
		var at time.Time
		if in.limit > 0 {
			at = time.Now().Add(in.limit)
		}
		if err := in.conn.SetReadDeadline(at); err != nil {
			return 0, err
		}
	}
	if in.ended.Load() {
		return 0, net.ErrClosed
	}
	return in.conn.Read(p)
}

// stop ends a read that blocks and all later ones. Closing the connection is
// not enough: a yamux stream goes on reading until its peer closes too.
func (in *inbox) stop() {
	in.ended.Store(true)
	_ = in.conn.SetReadDeadline(time.Unix(1, 0)) // fails only on a closed connection
}

// phase starts a part of a message that must arrive within limit, 0 for ever.
func (in *inbox) phase(limit time.Duration) { in.limit, in.armed = limit, false }

// first waits for the first byte of a message, up to limit.
func (in *inbox) first(limit time.Duration) error {
	in.phase(limit)
	_, err := in.br.Peek(1)
	return err
}

// value appends the next value to dst; see msgp.ReadValueWithin. room may be nil.
func (in *inbox) value(dst []byte, max int, limit time.Duration, room msgp.Budget) ([]byte, bool, error) {
	in.phase(limit)
	return msgp.ReadValueWithin(in.br, dst, max, room)
}

// header reads a header map into dst in the present phase. Anything else is errGarbage.
func (in *inbox) header(dst []byte) ([]byte, error) {
	b, err := in.br.Peek(1)
	if err != nil {
		return dst, err
	}
	if c := b[0]; c&0xf0 != 0x80 && c != 0xde && c != 0xdf { // the formats of a map
		return dst, errGarbage
	}
	dst, _, err = msgp.ReadValue(in.br, dst, maxHeader)
	return dst, err
}

// isGarbage tells a peer that broke the protocol from a connection that broke.
func isGarbage(err error) bool {
	for _, g := range []error{errGarbage, errOverrun, msgp.ErrFormat, msgp.ErrDepth, msgp.ErrTooLarge} {
		if errors.Is(err, g) {
			return true
		}
	}
	return false
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}
