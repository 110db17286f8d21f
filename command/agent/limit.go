package agent

import (
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/time/rate"
)

// The whole replies to a connection above a limit: of its address, and of all.
const (
	tooMany = "HTTP/1.1 429 Too Many Requests\r\n" +
		"Content-Type: text/plain; charset=utf-8\r\n" +
		"Retry-After: 1\r\nConnection: close\r\nContent-Length: 86\r\n\r\n" +
		"too many connections from this address: reuse them or raise http_max_conns_per_client\n"
	tooManyInAll = "HTTP/1.1 503 Service Unavailable\r\n" +
		"Content-Type: text/plain; charset=utf-8\r\n" +
		"Retry-After: 1\r\nConnection: close\r\nContent-Length: 73\r\n\r\n" +
		"this server has too many connections: ask another one or try again later\n"
)

// maxHTTPConns bounds the HTTP connections of all clients.
const maxHTTPConns = 16384

// Bounds of the replies to connections above the limit, as the public API has
// them; beyond these a connection is closed without a word.
const (
	refusalsPerSecond = 10
	refusalsBurst     = 100
)

// connLimiter is a listener that bounds the connections of each client address, and
// of all.
type connLimiter struct {
	net.Listener
	// max is for one address, 0 for no bound.
	max, total int
	// proxies are bounded by total only: theirs are those of many clients.
	proxies  *proxies
	refusals *rate.Limiter

	mu sync.Mutex
	// open counts connections by address, "" for those that max does not bound; all is
	// their sum. Both are guarded by mu.
	open map[string]int
	all  int
}

func limitConns(ln net.Listener, maxPerClient int, proxies *proxies) net.Listener {
	return &connLimiter{
		Listener: ln,
		max:      maxPerClient,
		total:    maxHTTPConns,
		proxies:  proxies,
		refusals: rate.NewLimiter(refusalsPerSecond, refusalsBurst),
		open:     map[string]int{},
	}
}

// Accept returns the next connection within the limits.
func (l *connLimiter) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		host := l.host(c.RemoteAddr())
		refusal := l.acquire(host)
		if refusal == "" {
			return &limitedConn{Conn: c, release: sync.OnceFunc(func() { l.release(host) }), room: func() bool { return l.hasRoom(host) }}, nil
		}
		l.refuse(c, refusal)
	}
}

// host returns under which name connections of an address are counted.
func (l *connLimiter) host(a net.Addr) string {
	if l.max <= 0 || l.proxies.rules().hasAddr(a) {
		return ""
	}
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}

// acquire counts a connection, or returns the reply that refuses it.
func (l *connLimiter) acquire(host string) (refusal string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.all >= l.total:
		return tooManyInAll
	case host != "" && l.open[host] >= l.max:
		return tooMany
	}
	l.open[host]++
	l.all++
	return ""
}

func (l *connLimiter) release(host string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.open[host]--; l.open[host] <= 0 {
		delete(l.open, host)
	}
}

// hasRoom reports whether less than half of the places are taken, of a host's and of all.
func (l *connLimiter) hasRoom(host string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 2*l.all < l.total && (host == "" || 2*l.open[host] < l.max)
}

// refuse answers without reading anything. The reply fits the empty send buffer of
// a new connection, so it does not block.
func (l *connLimiter) refuse(c net.Conn, reply string) {
	if l.refusals.Allow() {
		_ = c.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		_, _ = c.Write([]byte(reply))
	}
	_ = c.Close()
}

// limitedConn gives its place back when it closes.
type limitedConn struct {
	net.Conn
	release func()
	// room reports whether places are plenty.
	room func() bool
}

// roomBeside reports whether a connection is in nobody's way: its listener has more
// places left than it has given away.
func roomBeside(c net.Conn) bool {
	limited, ok := c.(*limitedConn)
	return ok && limited.room()
}

// SyscallConn gives access to the socket, if there is one.
func (c *limitedConn) SyscallConn() (syscall.RawConn, error) { return rawConn(c.Conn) }

// CloseWrite ends the sending side where the connection can.
func (c *limitedConn) CloseWrite() error { return closeWrite(c.Conn) }

// Close closes the connection.
func (c *limitedConn) Close() error {
	defer c.release()
	return c.Conn.Close()
}
