package agent

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
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
