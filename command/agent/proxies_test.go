package agent

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
)

func trusting(texts ...string) func(*Config) {
	return func(c *Config) { c.HTTPProxies.Trusted = texts }
}

func TestForwardedForCountsBehindTrustedProxiesOnly(t *testing.T) {
	for _, tc := range []struct{ remote, forwarded, want string }{
		{"192.0.2.9:1234", "10.1.2.3", "192.0.2.9:1234"}, // not a proxy of ours
		{"10.0.0.1:1234", "10.1.2.3", "10.1.2.3:0"},
		{"10.0.0.1:1234", "", "10.0.0.1:1234"},
		{"10.0.0.1:1234", "1.1.1.1, 10.1.2.3", "10.1.2.3:0"}, // the client invented the first
		{"10.0.0.1:1234", "1.1.1.1, 10.1.2.3, 10.0.0.2", "10.1.2.3:0"},
		{"10.0.0.1:1234", "10.0.0.3,10.0.0.2", "10.0.0.3:0"}, // proxies all the way
		{"10.0.0.1:1234", "1.1.1.1, rubbish, 10.0.0.2", "10.0.0.2:0"},
		{"10.0.0.1:1234", "rubbish", "10.0.0.1:1234"},
		{"10.0.0.1:1234", "1.1.1.1, unknown", "10.0.0.1:1234"},
		{"10.0.0.1:1234", "10.1.2.3:5555", "10.1.2.3:0"},
		{"10.0.0.1:1234", "[2001:db8::1]:5555", "[2001:db8::1]:0"},
		{"10.0.0.1:1234", "[2001:db8::1]", "[2001:db8::1]:0"},
		{"10.0.0.1:1234", "::ffff:10.1.2.3", "10.1.2.3:0"},
		{"[::ffff:10.0.0.1]:1234", "10.1.2.3", "10.1.2.3:0"},
		{"[2001:db8:5::1]:1", "fe80::1%eth0", "[fe80::1]:0"},
		{"@", "10.1.2.3", "@"},
	} {
		f := newFake().fill()
		r := httptest.NewRequest("GET", "/v1/vars", nil)
		r.RemoteAddr = tc.remote
		if tc.forwarded != "" {
			for line := range strings.SplitSeq(tc.forwarded, ",") { // in one line or in several is the same
				r.Header.Add("X-Forwarded-For", line)
			}
		}
		testAPI(t, f, trusting("10.0.0.0/24", "2001:db8:5::/48")).ServeHTTP(httptest.NewRecorder(), r)
		if diff := cmp.Diff([]string{"Variables.List  " + tc.want}, f.taken()); diff != "" {
			t.Errorf("%s for %q: %s", tc.remote, tc.forwarded, diff)
		}
	}
	f := newFake().fill()
	call(testAPI(t, f), "GET", "/v1/vars", "", "X-Forwarded-For", "10.1.2.3")
	if diff := cmp.Diff([]string{"Variables.List  192.0.2.1:1234"}, f.taken()); diff != "" {
		t.Errorf("without trusted proxies: %s", diff)
	}
}

func TestBadProxiesAreExplained(t *testing.T) {
	c := DefaultDevConfig()
	c.HTTPProxies = HTTPProxiesConfig{Trusted: []string{"10.0.0.0/33", "lb.example.com", "0.0.0.0/0", "::/0", "10.0.0.1", "fd00::/8"}}
	err := c.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{`"10.0.0.0/33" is no address`, `"lb.example.com" is no address`, `"0.0.0.0/0" is everybody`, `"::/0" is everybody`} {
		if !strings.Contains(err.Error(), "http_proxies.trusted: "+want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "10.0.0.1\"") || strings.Contains(err.Error(), "fd00") {
		t.Errorf("good ones are refused:\n%v", err)
	}
	c.HTTPProxies = HTTPProxiesConfig{ProxyProtocol: true}
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "http_proxies.proxy_protocol: needs trusted") {
		t.Errorf("got %v", err)
	}
	parsed, _, problems := parse(t, "http_proxies {\n trusted = [\"10.0.0.0/8\"]\n proxy_protocol = true\n}\n")
	if problems != "" || !parsed.HTTPProxies.ProxyProtocol || len(parsed.HTTPProxies.Trusted) != 1 {
		t.Errorf("%s%+v", problems, parsed.HTTPProxies)
	}
}

// pipeListener accepts pipes whose clients are where the test says.
type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.done) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l *pipeListener) dial(from string) net.Conn {
	ours, theirs := net.Pipe()
	l.conns <- &proxiedConn{theirs, connFrom(from)}
	return ours
}

func connFrom(addr string) net.Addr { return (&connAt{from: addr}).RemoteAddr() }

// inProxied runs f in a bubble with a listener that trusts 10.0.0.0/24.
func inProxied(t *testing.T, f func(in *pipeListener, l *proxyListener, got <-chan net.Conn)) {
	synctest.Test(t, func(t *testing.T) {
		in := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
		l := throughProxies(in, newProxies(&HTTPProxiesConfig{Trusted: []string{"10.0.0.0/24"}, ProxyProtocol: true}), hclog.NewNullLogger())
		got := make(chan net.Conn, 16)
		go func() {
			defer close(got)
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				got <- c
			}
		}()
		f(in, l, got)
		_ = l.Close()
		for c := range got {
			_ = c.Close()
		}
	})
}

func TestProxiesSayWhoseConnectionsTheyPassOn(t *testing.T) {
	inProxied(t, func(in *pipeListener, _ *proxyListener, got <-chan net.Conn) {
		silent := in.dial("10.0.0.1:1") // holds up nobody
		direct := in.dial("192.0.2.9:7")
		if c := <-got; c.RemoteAddr().String() != "192.0.2.9:7" {
			t.Errorf("a client that came by itself is %v", c.RemoteAddr())
		}
		for header, want := range map[string]string{
			"PROXY TCP4 203.0.113.5 10.0.0.1 55 4646\r\n": "203.0.113.5:55",
			"PROXY UNKNOWN\r\n":                           "10.0.0.2:9",
			"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xcb\x00\x71\x06\x0a\x00\x00\x01\x00\x37\x12\x26": "203.0.113.6:55",
		} {
			proxy := in.dial("10.0.0.2:9")
			go func() { _, _ = io.WriteString(proxy, header+"GET") }()
			c := <-got
			if c.RemoteAddr().String() != want {
				t.Errorf("%q: the client is %v, want %s", header, c.RemoteAddr(), want)
			}
			b := make([]byte, 3)
			if _, err := io.ReadFull(c, b); err != nil || string(b) != "GET" {
				t.Errorf("%q: behind it came %q, %v", header, b, err)
			}
			_, _ = c.Close(), proxy.Close()
		}
		rude := in.dial("10.0.0.3:1")
		go func() { _, _ = io.WriteString(rude, "GET / HTTP/1.1\r\n") }()
		if _, err := rude.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("a proxy without a header was read as %v", err)
		}
		start := time.Now()
		if _, err := silent.Read(make([]byte, 1)); err == nil || time.Since(start) > headerTimeout {
			t.Errorf("a silent proxy was kept for %v: %v", time.Since(start), err)
		}
		_ = direct.Close()
	})
}

func TestAFloodOfSilentProxyConnectionsIsBounded(t *testing.T) {
	inProxied(t, func(in *pipeListener, l *proxyListener, got <-chan net.Conn) {
		var conns []net.Conn
		for range maxUnsaid + 5 {
			conns = append(conns, in.dial("10.0.0.1:1"))
		}
		synctest.Wait()
		closed := 0
		for _, c := range conns {
			_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
				closed++
			}
		}
		if closed != 5 || len(l.unsaid) != maxUnsaid {
			t.Errorf("%d closed and %d waited for", closed, len(l.unsaid))
		}
		time.Sleep(headerTimeout)
		synctest.Wait()
		if len(l.unsaid) != 0 {
			t.Errorf("%d are still waited for", len(l.unsaid))
		}
		_ = in.dial("192.0.2.9:7")
		<-got
	})
}

// The limits of connections and of requests see the address of the header.
func TestProxyProtocolOnTheHTTPPort(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	trusted := newProxies(&HTTPProxiesConfig{Trusted: []string{"127.0.0.1"}, ProxyProtocol: true})
	f := newFake().fill()
	ctx, cancel := context.WithCancel(t.Context())
	s := serveHTTP(ctx, limitConns(throughProxies(inner, trusted, hclog.NewNullLogger()), 1, trusted), testAPI(t, f))
	defer s.stop(ctx, cancel)
	const request = "GET /v1/vars HTTP/1.1\r\nHost: x\r\n\r\n"
	get := func(text string) int {
		c, err := net.Dial("tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return 0
		}
		return resp.StatusCode
	}
	const from = "PROXY TCP4 203.0.113.5 127.0.0.1 55 4646\r\n"
	if code := get(from + request); code != 200 {
		t.Fatalf("answered %d", code)
	}
	if diff := cmp.Diff([]string{"Variables.List  203.0.113.5:55"}, f.taken()); diff != "" {
		t.Error(diff)
	}
	if code := get(from); code != 429 {
		t.Errorf("a second connection of that client: %d", code)
	}
	if code := get("PROXY TCP4 203.0.113.6 127.0.0.1 55 4646\r\n" + request); code != 200 {
		t.Errorf("one of another client: %d", code)
	}
	if code := get(request); code != 0 {
		t.Errorf("a proxy without a header was answered %d", code)
	}
}

// What is trusted, and how, changes with the file.
func TestProxiesAreReloaded(t *testing.T) {
	a := &Agent{config: DefaultConfig(), logger: hclog.NewNullLogger()}
	f := newFake().fill()
	h := testAPI(t, f)
	h.proxies = &a.proxies
	synctest.Test(t, func(t *testing.T) {
		in := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
		l := limitConns(throughProxies(in, &a.proxies, hclog.NewNullLogger()), 1, &a.proxies)
		defer l.Close()
		for _, at := range []struct {
			conf   HTTPProxiesConfig
			header string // of the connection
			conn   string // whose it is
			client string // whose the request is
		}{
			{HTTPProxiesConfig{}, "", "10.0.0.1:9", "10.0.0.1:9"},
			{HTTPProxiesConfig{Trusted: []string{"10.0.0.0/24"}}, "", "10.0.0.1:9", "203.0.113.7:0"},
			{HTTPProxiesConfig{Trusted: []string{"10.0.0.0/24"}, ProxyProtocol: true}, "PROXY TCP4 203.0.113.5 10.0.0.1 55 4646\r\n", "203.0.113.5:55", "203.0.113.5:55"},
			{HTTPProxiesConfig{Trusted: []string{"10.9.0.0/24"}, ProxyProtocol: true}, "", "10.0.0.1:9", "10.0.0.1:9"},
		} {
			next := DefaultConfig()
			next.HTTPProxies = at.conf
			if err := a.reloadProxies(next); err != nil {
				t.Fatal(err)
			}
			go func() {
				proxy := in.dial("10.0.0.1:9")
				_, _ = io.WriteString(proxy, at.header)
			}()
			c, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if got := c.RemoteAddr().String(); got != at.conn {
				t.Errorf("%+v: a connection of %s, want %s", at.conf, got, at.conn)
			}
			r := httptest.NewRequest("GET", "/v1/vars", nil)
			r.RemoteAddr = c.RemoteAddr().String()
			r.Header.Set("X-Forwarded-For", "203.0.113.7")
			h.ServeHTTP(httptest.NewRecorder(), r)
			if diff := cmp.Diff([]string{"Variables.List  " + at.client}, f.taken()); diff != "" {
				t.Errorf("%+v: %s", at.conf, diff)
			}
			_ = c.Close()
		}
	})
}
