package wire

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/hashicorp/yamux"

	"github.com/cairn-project/cairn/internal/errs"
)

// yamuxPair returns both ends of a stream, whose session ends with the test.
func yamuxPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	a, b := tcpPair(t)
	config := yamux.DefaultConfig()
	config.LogOutput = io.Discard
	client, err := yamux.Client(a, config)
	if err != nil {
		t.Fatal(err)
	}
	server, err := yamux.Server(b, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close(); _ = server.Close() })
	near, err = client.Open()
	if err != nil {
		t.Fatal(err)
	}
	far, err = server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return near, far
}

// Closing a yamux stream does not wake its reader; both ends must end anyway,
// although the other side never closes.
func TestYamuxStreamsEnd(t *testing.T) {
	near, far := yamuxPair(t)
	s := serve(t, echo, Limits{}, far)
	c := NewClient(near, Limits{})
	var out Raw
	if err := c.Call(t.Context(), "A.B", Raw(appendText(300_000)), &out, CallOptions{}); err != nil || len(out) < 300_000 {
		t.Fatalf("%d bytes, %v", len(out), err)
	}
	_ = c.Close()
	<-s.done

	_, far = yamuxPair(t)
	s = serve(t, echo, Limits{}, far)
	s.stop()
	<-s.done

	near, _ = yamuxPair(t)
	c = NewClient(near, Limits{})
	result := make(chan error, 1)
	go func() { result <- c.Call(t.Context(), "A.B", nil, nil, CallOptions{}) }()
	_ = c.Close()
	if err := <-result; !errors.Is(err, errs.Unavailable) {
		t.Errorf("got %v", err)
	}
}
