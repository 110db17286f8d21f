package agent

import (
	"errors"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/time/rate"
)

// tooMany is the whole reply to a connection above the limit.
const tooMany = "HTTP/1.1 429 Too Many Requests\r\n" +
	"Content-Type: text/plain; charset=utf-8\r\n" +
	"Connection: close\r\nContent-Length: 86\r\n\r\n" +
	"too many connections from this address: reuse them or raise http_max_conns_per_client\n"

// Bounds of the replies to connections above the limit, as the public API has
// them; beyond these a connection is closed without a word.
const (
	refusalsPerSecond = 10
	refusalsBurst     = 100
)

// connLimiter is a listener that bounds the connections of each client address.
type connLimiter struct {
	net.Listener
	max      int
	refusals *rate.Limiter

	mu sync.Mutex
	// open counts connections by address.
	open map[string]int
}

func limitConns(ln net.Listener, maxPerClient int) net.Listener {
	return &connLimiter{
		Listener: ln,
		max:      maxPerClient,
		refusals: rate.NewLimiter(refusalsPerSecond, refusalsBurst),
		open:     map[string]int{},
	}
}

// Accept returns the next connection within the limit.
func (l *connLimiter) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		host, _, err := net.SplitHostPort(c.RemoteAddr().String())
		if err != nil {
			host = c.RemoteAddr().String()
		}
		if l.acquire(host) {
			return &limitedConn{Conn: c, release: sync.OnceFunc(func() { l.release(host) })}, nil
		}
		l.refuse(c)
	}
}

func (l *connLimiter) acquire(host string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[host] >= l.max {
		return false
	}
	l.open[host]++
	return true
}

func (l *connLimiter) release(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[host]--; l.open[host] <= 0 {
		delete(l.open, host)
	}
}

// refuse answers 429 without reading anything. The reply fits the empty send
// buffer of a new connection, so it does not block.
func (l *connLimiter) refuse(c net.Conn) {
	if l.refusals.Allow() {
		_ = c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		_, _ = c.Write([]byte(tooMany))
	}
	_ = c.Close()
}

// limitedConn gives its place back when it closes.
type limitedConn struct {
	net.Conn
	release func()
}

// SyscallConn gives access to the socket, if there is one.
func (c *limitedConn) SyscallConn() (syscall.RawConn, error) {
	if sc, ok := c.Conn.(syscall.Conn); ok {
		return sc.SyscallConn()
	}
	return nil, errors.ErrUnsupported
}

// Close closes the connection.
func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
