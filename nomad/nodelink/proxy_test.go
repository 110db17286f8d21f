package nodelink_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/cairn-project/cairn/nomad/nodelink"
)

// echoProxy opens tunnels to an echo for a user, and notes for what.
func echoProxy(t *testing.T, asked *string) *url.URL {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := strings.Cut(r.Header.Get("Proxy-Authorization"), " ")
		if user != "Basic" || password != "dTpwOnc=" {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		*asked = r.Method + " " + r.Host
		near, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer near.Close()
		_, _ = io.WriteString(near, "HTTP/1.1 200 Connection established\r\n\r\n")
		_, _ = io.Copy(near, near)
	}))
	t.Cleanup(srv.Close)
	u, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestTunnel(t *testing.T) {
	var asked string
	proxy := echoProxy(t, &asked)
	if _, err := nodelink.Tunnel(t.Context(), proxy, "far:1"); err == nil || !strings.Contains(err.Error(), "407") {
		t.Errorf("a proxy that wants a password: %v", err)
	}
	proxy.User = url.UserPassword("u", "p:w")
	conn, err := nodelink.Tunnel(t.Context(), proxy, "far:1")
	if err != nil || asked != "CONNECT far:1" {
		t.Fatal(asked, err)
	}
	defer conn.Close()
	b := make([]byte, 2)
	if _, err := conn.Write([]byte("hi")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, b); err != nil || string(b) != "hi" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := nodelink.Tunnel(t.Context(), &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, "far:1"); err == nil {
		t.Error("there is no proxy")
	}
}

// A proxy that never answers ends with the caller.
func TestTunnelEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		conn, err := l.Accept()
		if err == nil {
			_, _ = conn.Read(make([]byte, 1))
			cancel()
			_, _ = io.Copy(io.Discard, conn)
			_ = conn.Close()
		}
	}()
	if _, err := nodelink.Tunnel(ctx, &url.URL{Scheme: "http", Host: l.Addr().String()}, "far:1"); err == nil || ctx.Err() == nil {
		t.Error(err)
	}
}
