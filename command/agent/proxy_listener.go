package agent

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/proxyproto"
)

const (
	// headerTimeout is how long a proxy may take to say whose connection it passes on.
	headerTimeout = 5 * time.Second
	// maxUnsaid bounds the connections of proxies that have not said it yet.
	maxUnsaid = 1024
	// sayUnsaidEvery is how often the log tells of connections without a header.
	sayUnsaidEvery = time.Second
)

// proxyListener is a listener of which trusted proxies say whose connections they
// pass on, where they are to. Accept returns them when that is known; others are taken
// as they are.
type proxyListener struct {
	net.Listener
	proxies *proxies
	logger  hclog.Logger
	ready   chan accepted
	unsaid  chan struct{} // a token for each connection whose header is being read
	done    chan struct{}
	once    sync.Once
	said    atomic.Int64 // Unix nanoseconds of the last line about a bad header
}

type accepted struct {
	conn net.Conn
	err  error
}

func throughProxies(ln net.Listener, proxies *proxies, logger hclog.Logger) *proxyListener {
	l := &proxyListener{Listener: ln, proxies: proxies, logger: logger, ready: make(chan accepted),
		unsaid: make(chan struct{}, maxUnsaid), done: make(chan struct{})}
	go l.run()
	return l
}

// run accepts until the listener is closed.
func (l *proxyListener) run() {
	for {
		c, err := l.Listener.Accept()
		switch {
		case err != nil:
			if l.give(accepted{err: err}); errors.Is(err, net.ErrClosed) {
				return
			}
		case !l.passesOn(c):
			l.give(accepted{conn: c})
		default:
			select {
			case l.unsaid <- struct{}{}:
				go l.read(c)
			default:
				_ = c.Close()
				l.complain(c, errors.New("too many connections of proxies wait for their header"))
			}
		}
	}
}

// passesOn reports whether a header must come first.
func (l *proxyListener) passesOn(c net.Conn) bool {
	rules := l.proxies.rules()
	return rules.headers && rules.hasAddr(c.RemoteAddr())
}

// read reads the header of a proxy.
func (l *proxyListener) read(c net.Conn) {
	_ = c.SetReadDeadline(time.Now().Add(headerTimeout))
	from, err := proxyproto.Read(c)
	<-l.unsaid
	if err == nil {
		err = c.SetReadDeadline(time.Time{})
	}
	if err != nil {
		l.complain(c, err)
		_ = c.Close()
		return
	}
	if from.IsValid() {
		c = &proxiedConn{c, net.TCPAddrFromAddrPort(from)}
	}
	l.give(accepted{conn: c})
}

func (l *proxyListener) complain(c net.Conn, err error) {
	now, last := time.Now().UnixNano(), l.said.Load()
	if now-last > int64(sayUnsaidEvery) && l.said.CompareAndSwap(last, now) {
		l.logger.Warn("connection of a proxy closed", "proxy", c.RemoteAddr(), "error", err)
	}
}

// give passes a connection to Accept, or closes it when nobody calls that any more.
func (l *proxyListener) give(a accepted) {
	select {
	case l.ready <- a:
	case <-l.done:
		if a.conn != nil {
			_ = a.conn.Close()
		}
	}
}

// Accept returns the next connection of which it is known whose it is.
func (l *proxyListener) Accept() (net.Conn, error) {
	select {
	case a := <-l.ready:
		return a.conn, a.err
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close closes the listener, and the connections that Accept has not returned.
func (l *proxyListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

// proxiedConn is a connection whose client is not the peer.
type proxiedConn struct {
	net.Conn
	client net.Addr
}

// RemoteAddr returns the address of the client.
func (c *proxiedConn) RemoteAddr() net.Addr { return c.client }

// SyscallConn gives access to the socket, if there is one.
func (c *proxiedConn) SyscallConn() (syscall.RawConn, error) { return rawConn(c.Conn) }

// CloseWrite ends the sending side where the connection can.
func (c *proxiedConn) CloseWrite() error { return closeWrite(c.Conn) }

func rawConn(c net.Conn) (syscall.RawConn, error) {
	if sc, ok := c.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

func closeWrite(c net.Conn) error {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}
