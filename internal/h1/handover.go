package h1

import (
	"net"
	"sync"
)

// handover is the listener from which the http.Server accepts the connections
// that are not ordinary.
type handover struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newHandover() *handover {
	return &handover{conns: make(chan net.Conn), done: make(chan struct{})}
}

// give passes a connection on. It reports false when nobody takes it any more.
func (h *handover) give(c net.Conn) bool {
	select {
	case h.conns <- c:
		return true
	case <-h.done:
		return false
	}
}

// Accept returns the next connection.
func (h *handover) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

// Close makes Accept and give fail.
func (h *handover) Close() error {
	h.once.Do(func() { close(h.done) })
	return nil
}

// Addr returns an address that says what this is.
func (h *handover) Addr() net.Addr { return handoverAddr{} }

type handoverAddr struct{}

// Network returns the name of the network.
func (handoverAddr) Network() string { return "handover" }

// String returns the address.
func (handoverAddr) String() string { return "handover" }

// replayed is a connection whose first bytes were read before.
type replayed struct {
	net.Conn
	// before is read first.
	before []byte
}

// Read returns what was read before, then what comes.
func (c *replayed) Read(p []byte) (int, error) {
	if len(c.before) > 0 {
		n := copy(p, c.before)
		c.before = c.before[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// CloseWrite closes the sending side where the connection can.
func (c *replayed) CloseWrite() error { return closeWrite(c.Conn) }

func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
