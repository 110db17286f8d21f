package agent

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestConnectionsPerClientAreLimited(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := testAPI(t, newFake().fill())
	ctx := t.Context()
	s := serveHTTP(ctx, limitConns(inner, 2, nil), a)
	t.Cleanup(func() { s.stop(ctx, func() {}) })
	dial := func() net.Conn {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	get := func(c net.Conn) int {
		if _, err := io.WriteString(c, "GET /v1/regions HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return 0
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	first, second := dial(), dial()
	if get(first) != 200 || get(second) != 200 {
		t.Fatal("refused within the limit")
	}
	resp, err := http.ReadResponse(bufio.NewReader(dial()), nil) // answered before anything is sent
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode != 429 || err != nil || !strings.Contains(string(body), "too many connections") {
		t.Errorf("%d %q %v", resp.StatusCode, body, err)
	}
	_ = first.Close()
	for deadline := time.Now().Add(time.Minute); ; {
		if get(dial()) == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a closed connection keeps its place")
		}
	}
}

// Connections that were dialled and not used yet wait for their first request while less
// than half of the places are taken, of one address and of all.
func TestUnusedConnectionsWaitWhereThereIsRoom(t *testing.T) {
	a := testAPI(t, newFake().fill())
	synctest.Test(t, func(t *testing.T) {
		in := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
		limited := limitConns(in, 8, nil).(*connLimiter)
		limited.total = 20
		ctx, cancel := context.WithCancel(t.Context())
		s := serveHTTP(ctx, limited, a)
		dial := func(n int, from string) (out []net.Conn) {
			for range n {
				out = append(out, in.dial(from))
			}
			synctest.Wait()
			return out
		}
		open := func(what string, conns []net.Conn, want int) {
			t.Helper()
			n := 0
			for _, c := range conns {
				_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
				if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
					n++
				}
			}
			if n != want {
				t.Errorf("%s: %d of %d are open, want %d", what, n, len(conns), want)
			}
		}
		headers, idle := a.config.Limits.HTTPHeaderTimeout, a.config.Limits.HTTPIdleTimeout
		few, other := dial(3, "192.0.2.7:1"), dial(3, "192.0.2.8:1")
		time.Sleep(headers + time.Second)
		open("few", few, 3)
		more := dial(4, "192.0.2.7:1")
		time.Sleep(time.Second)
		open("the older of many from one address", few, 0)
		open("the younger", more, 4)
		open("those of another address", other, 3)
		time.Sleep(headers)
		open("the younger, when they are old", more, 3)
		crowd := append(append(dial(3, "192.0.2.9:1"), dial(3, "192.0.2.10:1")...), dial(3, "192.0.2.11:1")...)
		time.Sleep(time.Second)
		open("the older where many come from everywhere", append(more, other...), 0)
		open("those that came", crowd, 9)
		time.Sleep(idle - 2*time.Second)
		open("nine of twenty before the time of an idle one", crowd, 9)
		time.Sleep(2 * time.Second)
		open("nine of twenty after it", crowd, 0)
		for _, c := range slices.Concat(few, other, more, crowd) {
			_ = c.Close()
		}
		s.stop(t.Context(), cancel)
		if n := len(limited.open); n != 0 || limited.all != 0 {
			t.Errorf("%d addresses and %d connections are counted after all", n, limited.all)
		}
	})
}

// connAt is a connection that comes from an address.
type connAt struct {
	net.Conn
	from   string
	closed atomic.Bool
}

func (c *connAt) RemoteAddr() net.Addr {
	return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(c.from))
}
func (c *connAt) Close() error { c.closed.Store(true); return nil }

func (c *connAt) Write(b []byte) (int, error)      { return len(b), nil }
func (c *connAt) SetWriteDeadline(time.Time) error { return nil }

// connsAt is a listener that accepts one connection from each address.
type connsAt struct {
	net.Listener
	conns []*connAt
}

func (l *connsAt) Accept() (net.Conn, error) {
	if len(l.conns) == 0 {
		return nil, net.ErrClosed
	}
	c := l.conns[0]
	l.conns = l.conns[1:]
	return c, nil
}

func TestConnectionsAreCountedByAddressAndInAll(t *testing.T) {
	proxies := newProxies(&HTTPProxiesConfig{Trusted: []string{"10.0.0.0/24"}})
	var all []*connAt
	for _, from := range []string{"10.1.1.1:1", "10.1.1.1:2", "10.1.1.1:3", "10.0.0.7:1", "10.0.0.7:2", "10.0.0.7:3", "10.1.1.2:1", "10.1.1.3:1"} {
		all = append(all, &connAt{from: from})
	}
	l := limitConns(&connsAt{conns: all}, 2, proxies).(*connLimiter)
	l.total = 6
	var taken []net.Conn
	for {
		c, err := l.Accept()
		if err != nil {
			break
		}
		taken = append(taken, c)
	}
	var refused []string
	for _, c := range all {
		if c.closed.Load() {
			refused = append(refused, c.from)
		}
	}
	if diff := cmp.Diff([]string{"10.1.1.1:3", "10.1.1.3:1"}, refused); diff != "" {
		t.Errorf("refused: %s", diff)
	}
	for _, c := range taken {
		_ = c.Close()
		_ = c.Close()
	}
	if l.all != 0 || len(l.open) != 0 {
		t.Errorf("%d and %v are left", l.all, l.open)
	}
	for _, reply := range []string{tooMany, tooManyInAll} {
		resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(reply)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(resp.Body); err != nil || int64(len(body)) != resp.ContentLength || resp.Header.Get("Retry-After") == "" {
			t.Errorf("%q of %d bytes, %v", body, resp.ContentLength, err)
		}
	}
}

func TestRefusalsAreRateLimited(t *testing.T) {
	l := limitConns(nil, 1, nil).(*connLimiter)
	answered := 0
	for range refusalsBurst + 50 {
		server, client := net.Pipe()
		read := make(chan int)
		go func() {
			b, _ := io.ReadAll(client)
			read <- len(b)
		}()
		l.refuse(server, tooMany)
		if n := <-read; n == len(tooMany) {
			answered++
		}
	}
	if answered < refusalsBurst/2 || answered >= refusalsBurst+50 {
		t.Errorf("%d of %d were answered", answered, refusalsBurst+50)
	}
}

func TestHTTPServerBoundsSlowClients(t *testing.T) {
	a := testAPI(t, newFake(), func(c *Config) { c.TLSConfig.EnableHTTP = true })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := serveHTTP(t.Context(), ln, a)
	defer s.stop(t.Context(), func() {})
	if s.http.ReadHeaderTimeout != a.config.Limits.HTTPSHandshakeTimeout || s.http.IdleTimeout == 0 || s.http.MaxHeaderBytes == 0 {
		t.Errorf("%+v", s.http)
	}
	if s.http.ReadTimeout != 0 || s.http.WriteTimeout != 0 {
		t.Error("a time-out of the whole request would end blocking queries")
	}
}
