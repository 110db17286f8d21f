package agent

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/nomad/structs"
)

// onHTTPPort runs f in bubbles against the HTTP port, in clear and with TLS. dial
// returns a connection on which requests can be made; raw one on which nothing was
// said yet.
func onHTTPPort(t *testing.T, f func(t *testing.T, p *httpPort)) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%t", secure), func(t *testing.T) {
			fake := newFake().fill()
			a := testAPI(t, fake, func(c *Config) { // the defaults, but for
				c.Server.MaxVariableSize = 1 << 20
				if secure {
					c.TLSConfig.EnableHTTP = true
					c.TLSConfig.CertFile, c.TLSConfig.KeyFile, _ = selfSigned(t)
				}
			})
			a.held = limit.NewBytes(4 << 20)
			source, err := a.config.TLSConfig.load()
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) {
				in := &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
				ctx, cancel := context.WithCancel(t.Context())
				s := serveHTTP(ctx, a.config.wrapHTTP(in, source), a)
				p := &httpPort{in: in, secure: secure, api: a, fake: fake}
				f(t, p)
				for _, c := range p.conns {
					_ = c.Close()
				}
				p.talk.Wait()
				done, end := context.WithTimeout(t.Context(), time.Minute)
				s.stop(done, cancel)
				end()
				if used := a.held.Used(); used != 0 {
					t.Errorf("%d bytes are held for nobody", used)
				}
			})
		})
	}
}

type httpPort struct {
	in     *pipeListener
	secure bool
	api    *api
	fake   *fakeServer
	conns  []net.Conn
	talk   sync.WaitGroup // what goes on beside the test
}

func (p *httpPort) raw() net.Conn {
	c := p.in.dial("192.0.2.7:1")
	p.conns = append(p.conns, c)
	return c
}

func (p *httpPort) dial(t *testing.T) net.Conn {
	t.Helper()
	c := p.raw()
	if !p.secure {
		return c
	}
	sc := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	if err := sc.HandshakeContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return sc
}

// headerTime is how long a head, or a handshake, may take.
func (p *httpPort) headerTime() time.Duration {
	if p.secure {
		return p.api.config.Limits.HTTPSHandshakeTimeout
	}
	return p.api.config.Limits.HTTPHeaderTimeout
}

// drip writes text, one byte every pause, until it fails or is through.
func drip(c net.Conn, text string, pause time.Duration) {
	for i := range len(text) {
		if _, err := io.WriteString(c, text[i:i+1]); err != nil {
			return
		}
		time.Sleep(pause)
	}
}

// untilClosed returns how long it took until the server closed c, and what it said.
func untilClosed(c net.Conn) (string, time.Duration) {
	start := time.Now()
	said, _ := io.ReadAll(c)
	return string(said), time.Since(start)
}

func near(t *testing.T, what string, got, want time.Duration) {
	t.Helper()
	if got < want-time.Second || got > want+time.Second {
		t.Errorf("%s: after %v, want %v", what, got, want)
	}
}

func TestSilentAndSlowHeadsAreClosed(t *testing.T) {
	onHTTPPort(t, func(t *testing.T, p *httpPort) {
		_, took := untilClosed(p.raw())
		near(t, "a connection that says nothing", took, p.headerTime())

		c := p.raw()
		first := "GET /v1/vars HTTP/1.1\r\nHost: x\r\nX-Padding: yyyyyyyyyyyyyyyyyy\r\n\r\n"
		if p.secure {
			first = "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("x", 500) // a ClientHello that does not come to its end
		}
		p.talk.Go(func() { drip(c, first, 500*time.Millisecond) })
		_, took = untilClosed(c)
		near(t, "a first message byte by byte", took, p.headerTime())

		again := p.dial(t)
		p.talk.Go(func() {
			drip(again, "GET /v1/vars HTTP/1.1\r\nHost: x\r\nX-Padding: yyyyyyyyyyyyyyyyyy\r\n\r\n", 500*time.Millisecond)
		})
		_, took = untilClosed(again)
		near(t, "a head byte by byte", took, p.headerTime())
	})
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	onHTTPPort(t, func(t *testing.T, p *httpPort) {
		c := p.dial(t)
		_, _ = io.WriteString(c, "GET /v1/regions HTTP/1.1\r\nHost: x\r\n\r\n")
		said, took := untilClosed(c)
		if !strings.HasPrefix(said, "HTTP/1.1 200") {
			t.Errorf("answered %q", said)
		}
		near(t, "an idle connection", took, p.api.config.Limits.HTTPIdleTimeout)
	})
}

// putHead is the head of a request for a variable with a body of n bytes.
func putHead(n int) string {
	return fmt.Sprintf("PUT /v1/var/app/db HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", n)
}

func TestSlowBodiesEnd(t *testing.T) {
	onHTTPPort(t, func(t *testing.T, p *httpPort) {
		timeout := p.api.config.Limits.HTTPBodyTimeout
		c := p.dial(t)
		_, _ = io.WriteString(c, putHead(1000))
		p.talk.Go(func() { drip(c, strings.Repeat(" ", 1000), time.Second) })
		said, took := untilClosed(c)
		if !strings.HasPrefix(said, "HTTP/1.1 400") || !strings.Contains(said, "could not read the request body in time") {
			t.Errorf("answered %q", said)
		}
		near(t, "a small body byte by byte", took, timeout)

		unread := p.dial(t)
		_, _ = io.WriteString(unread, "PUT /v1/nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
		p.talk.Go(func() { drip(unread, strings.Repeat(" ", 1000), time.Second) })
		if _, took = untilClosed(unread); took > timeout+time.Second {
			t.Errorf("a body that nobody wants was read for %v", took)
		}

		silent := p.dial(t)
		_, _ = io.WriteString(silent, putHead(2<<20))
		said, took = untilClosed(silent)
		if !strings.HasPrefix(said, "HTTP/1.1 400") {
			t.Errorf("answered %q", said)
		}
		near(t, "a large body of which nothing comes", took, timeout)
	})
}

// sendAt sends a body of n bytes at a pace, in bytes a second.
func sendAt(c net.Conn, n, pace int) {
	for sent := 0; sent < n; sent += pace {
		if _, err := c.Write(make([]byte, min(pace, n-sent))); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}

func TestLargeBodiesMayTakeTheirTime(t *testing.T) {
	onHTTPPort(t, func(t *testing.T, p *httpPort) {
		c := p.dial(t)
		const size = 5 << 20
		_, _ = io.WriteString(c, putHead(size))
		start := time.Now()
		p.talk.Go(func() { sendAt(c, size, 96<<10) })
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		if took := time.Since(start); took < 50*time.Second || !strings.Contains(string(body), "invalid JSON") {
			t.Errorf("after %v answered %q", took, body)
		}
		slow := p.dial(t)
		_, _ = io.WriteString(slow, putHead(size))
		start = time.Now()
		p.talk.Go(func() { sendAt(slow, size, 8<<10) })
		if resp, err = http.ReadResponse(bufio.NewReader(slow), nil); err != nil {
			t.Fatal(err)
		}
		if body, _ = io.ReadAll(resp.Body); !strings.Contains(string(body), "in time") {
			t.Errorf("answered %q", body)
		}
		near(t, "a large body that dawdles", time.Since(start), 34*time.Second) // 30 s, and 4 for 272 KiB
	})
}

func TestWhoDoesNotReadIsClosed(t *testing.T) {
	onHTTPPort(t, func(t *testing.T, p *httpPort) {
		on(p.fake, "Variables.List", func(_ *structs.VariablesListRequest, r *structs.VariablesListResponse) error {
			for range 20000 {
				r.Data = append(r.Data, &variable().VariableMetadata)
			}
			return nil
		})
		const request = "GET /v1/vars HTTP/1.1\r\nHost: x\r\n\r\n"
		c := p.dial(t)
		_, _ = io.WriteString(c, request)
		time.Sleep(p.api.config.Limits.HTTPWriteTimeout + time.Second)
		if n, _ := io.Copy(io.Discard, c); n > 1<<20 { // it ends, in the middle of something
			t.Errorf("%d bytes could still be read", n)
		}
		c = p.dial(t)
		_, _ = io.WriteString(c, request)
		resp, err := http.ReadResponse(bufio.NewReader(slowly{c}), nil)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		n, err := io.Copy(io.Discard, resp.Body)
		if err != nil || n < 4<<20 || time.Since(start) < 2*p.api.config.Limits.HTTPWriteTimeout {
			t.Errorf("who reads slowly got %d bytes in %v: %v", n, time.Since(start), err)
		}
	})
}

// slowly is a connection whose owner takes some time between reads.
type slowly struct{ net.Conn }

func (s slowly) Read(p []byte) (int, error) {
	time.Sleep(500 * time.Millisecond)
	return s.Conn.Read(p)
}

// The bodies of all connections share a budget. Who finds it spent is told so.
func TestBodiesOfAllConnectionsAreBounded(t *testing.T) {
	onHTTPPort(t, func(t *testing.T, p *httpPort) {
		const size = 3 << 20
		slow := p.dial(t)
		_, _ = io.WriteString(slow, putHead(size))
		if _, err := slow.Write(make([]byte, size-1)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if used := p.api.held.Used(); used != size-1 {
			t.Errorf("%d bytes are held for %d that have come", used, size-1)
		}
		answer := func(request string) *http.Response {
			c := p.dial(t)
			p.talk.Go(func() { _, _ = io.WriteString(c, request) })
			resp, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				t.Fatal(err)
			}
			return resp
		}
		blank := strings.Repeat(" ", 2<<20)
		for name, request := range map[string]string{
			"a body":   putHead(len(blank)) + blank,
			"chunks":   "PUT /v1/var/app/db HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n200000\r\n" + blank + "\r\n0\r\n\r\n",
			"json-rpc": fmt.Sprintf("POST /v1/rpc HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(blank), blank),
		} {
			resp := answer(request)
			text, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" || !strings.Contains(string(text), "max_request_bytes") {
				t.Errorf("%s: answered %d, Retry-After %q: %s", name, resp.StatusCode, resp.Header.Get("Retry-After"), text)
			}
		}
		if resp := answer(putHead(16) + `{"Items":{"a":1}`); resp.StatusCode != 400 {
			t.Errorf("a small body beside it: %d", resp.StatusCode)
		}
		if n := p.api.held.Refused(); n != 3 {
			t.Errorf("%d refused", n)
		}
		_, _ = slow.Write([]byte{0})
		if resp, err := http.ReadResponse(bufio.NewReader(slow), nil); err != nil || resp.StatusCode != 400 {
			t.Errorf("the slow one: %v, %v", resp, err)
		}
		if resp := answer(putHead(len(blank)) + blank); resp.StatusCode != 400 {
			t.Errorf("when there is room: %d", resp.StatusCode)
		}
	})
}

func TestBadLimitsAreExplained(t *testing.T) {
	c := DefaultDevConfig()
	c.Limits.HTTPHeaderTimeout, c.Limits.HTTPBodyTimeout, c.Limits.HTTPIdleTimeout = 0, -1, 2*time.Hour
	c.Limits.MaxRequestBytes = 1000
	err := c.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"limits.http_header_timeout: must be from 1s", "limits.http_body_timeout", "limits.http_idle_timeout", "limits.max_request_bytes: must be 0"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%v", want, err)
		}
	}
	parsed, _, problems := parse(t, `limits {
		http_header_timeout = "2s"
		http_body_timeout = "3s"
		http_idle_timeout = "4s"
		http_write_timeout = "5s"
		max_request_bytes = 2000000
	}`)
	l := parsed.Limits
	if problems != "" || l.HTTPHeaderTimeout != 2*time.Second || l.HTTPBodyTimeout != 3*time.Second || l.HTTPIdleTimeout != 4*time.Second ||
		l.HTTPWriteTimeout != 5*time.Second || l.MaxRequestBytes != 2000000 {
		t.Errorf("%s%+v", problems, l)
	}
}
