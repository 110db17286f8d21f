package wire

import (
	"context"
	"crypto/tls"
	"net/http/httptest"
	"testing"
	"time"
)

// The idle limit passes while a call runs; a read that timed out must not have
// spoiled the TLS session.
func TestTLSOutlivesTheIdleLimit(t *testing.T) {
	certs := httptest.NewTLSServer(nil)
	certs.Close()
	near, far := tcpPair(t)
	server := tls.Server(far, &tls.Config{Certificates: certs.TLS.Certificates})
	client := tls.Client(near, &tls.Config{InsecureSkipVerify: true})
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	if err := client.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-shaken; err != nil {
		t.Fatal(err)
	}
	started, release := make(chan struct{}), make(chan struct{})
	limits := Limits{IdleTimeout: 500 * time.Millisecond, HeaderTimeout: time.Minute, BodyTimeout: time.Minute}
	serve(t, func(_ context.Context, c *Call) (any, error) {
		if c.Method == "A.Slow" {
			close(started)
			<-release
		}
		return c.Body, nil
	}, limits, server)
	c := NewClient(client, Limits{})
	defer c.Close()
	slow := make(chan error, 1)
	go func() { slow <- c.Call(t.Context(), "A.Slow", nil, nil, CallOptions{}) }()
	<-started
	time.Sleep(2 * limits.IdleTimeout)
	var out Raw
	if err := c.Call(t.Context(), "A.Quick", Raw(appendText(100_000)), &out, CallOptions{}); err != nil || len(out) < 100_000 {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	close(release)
	if err := <-slow; err != nil {
		t.Error(err)
	}
}
