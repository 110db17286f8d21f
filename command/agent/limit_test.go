package agent

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestConnectionsPerClientAreLimited(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	a := testAPI(t, newFake().fill())
	ctx := t.Context()
	s := serveHTTP(ctx, limitConns(inner, 2), a)
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
	for deadline := time.Now().Add(5 * time.Second); ; {
		if get(dial()) == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a closed connection keeps its place")
		}
	}
}

func TestRefusalsAreRateLimited(t *testing.T) {
	l := limitConns(nil, 1).(*connLimiter)
	answered := 0
	for range refusalsBurst + 50 {
		server, client := net.Pipe()
		read := make(chan int)
		go func() {
			b, _ := io.ReadAll(client)
			read <- len(b)
		}()
		l.refuse(server)
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
