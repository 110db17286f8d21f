package pool

import (
	"context"
	"io"
	"net"
	"testing"

	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/wire"
)

func TestCallsAndStreamsThroughTheSharedPort(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	rpc := wire.NewServer(func(_ context.Context, c *wire.Call) (any, error) { return c.Body, nil }, wire.Limits{}, nil)
	streams := wire.NewStreamRegistry(wire.Limits{}, nil)
	streams.Register("Echo.Stream", func(_ context.Context, conn net.Conn, _ *wire.Identity) { io.Copy(conn, conn) })
	m := mux.New(mux.Config{})
	m.Handle(mux.ProtoRPC, func(ctx context.Context, conn net.Conn, _ mux.Info) { rpc.ServeConn(ctx, conn, nil) })
	m.Handle(mux.ProtoStreaming, func(ctx context.Context, conn net.Conn, _ mux.Info) { streams.ServeConn(ctx, conn, nil) })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Serve(ctx, l) }()

	p := New(Config{Dial: func(ctx context.Context, addr string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}})
	var got string
	if err := p.Call(t.Context(), l.Addr().String(), "Echo", "over TCP", &got, wire.CallOptions{}); err != nil || got != "over TCP" {
		t.Errorf("got %q and %v", got, err)
	}
	st, err := p.Stream(t.Context(), l.Addr().String(), "Echo.Stream")
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(st, "frames")
	echoed := make([]byte, 6)
	if _, err := io.ReadFull(st, echoed); err != nil || string(echoed) != "frames" {
		t.Errorf("got %q and %v", echoed, err)
	}
	st.Close()
	p.Close()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if s := m.Stats(); s.Accepted != 2 || s.OpenConns != 0 {
		t.Errorf("%+v", s)
	}
}
