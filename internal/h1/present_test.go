package h1

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/presence"
)

// A handler behind TLS, or behind net/http for an odd request, learns that its client
// has left before anybody has read the farewell.
func TestHandlersOfOthersMayAskForTheClient(t *testing.T) {
	odd := strings.Replace(put("/clock", ""), "Content-Length: 0", "Transfer-Encoding: chunked", 1) + "0\r\n\r\n"
	for name, secure := range map[string]bool{"tls": true, "odd": false} {
		t.Run(name, func(t *testing.T) {
			asked, left := make(chan bool), make(chan struct{})
			hs := newHTTP(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				ctx := context.WithoutCancel(r.Context()) // what net/http reads does not count
				asked <- presence.Left(ctx)
				<-left
				for !presence.Left(ctx) {
					runtime.Gosched()
				}
				asked <- true
			}))
			hs.ConnContext = Present
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			request := odd
			if secure {
				request = put("/clock", "6")
			}
			client := serveAs(t, hs, ln, secure)
			if _, err := io.WriteString(client, request); err != nil {
				t.Fatal(err)
			}
			if <-asked {
				t.Error("a client that waits has left")
			}
			_ = client.Close()
			close(left)
			if !<-asked {
				t.Error("a client that left is there")
			}
		})
	}
}

// serveAs serves hs with TLS, or by a Server, and returns a client's connection.
func serveAs(t *testing.T, hs *http.Server, ln net.Listener, secure bool) net.Conn {
	t.Helper()
	addr := ln.Addr().String()
	if !secure {
		s := New(hs)
		s.StallTimeout = time.Minute
		go func() { _ = s.Serve(ln) }()
		t.Cleanup(func() { _ = s.Close() })
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	sample := httptest.NewTLSServer(nil) // for its certificate
	config := sample.TLS.Clone()
	sample.Close()
	config.NextProtos = []string{"http/1.1"}
	go func() { _ = hs.Serve(tls.NewListener(Steady(ln, time.Minute), config)) }()
	t.Cleanup(func() { _ = hs.Close() })
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
