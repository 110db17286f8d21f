package wire

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/rpc"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-msgpack/v2/codec"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is a Server on one connection, with its log.
type server struct {
	*Server
	mu   sync.Mutex
	log  bytes.Buffer
	done chan struct{}
	stop context.CancelFunc
}

func (s *server) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(p)
}

func (s *server) logged() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.String()
}

// serve starts h on conn and ends it with the test.
func serve(t testing.TB, h Handler, l Limits, conn net.Conn) *server {
	s := &server{done: make(chan struct{})}
	s.Server = NewServer(h, l, hclog.New(&hclog.LoggerOptions{Output: s, Level: hclog.Debug}))
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() {
		defer close(s.done)
		s.ServeConn(ctx, conn, &Identity{Remote: conn.RemoteAddr(), Protocol: "test"})
	}()
	t.Cleanup(func() { cancel(); <-s.done })
	return s
}

// pair connects a Client to a Server with handler h.
func pair(t testing.TB, h Handler, l Limits) (*Client, *server) {
	near, far := net.Pipe()
	s := serve(t, h, l, far)
	c := NewClient(near, l)
	t.Cleanup(func() { _ = c.Close() })
	return c, s
}

// plainHandle is how existing peers set up their codec.
func plainHandle() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{}
	h.RawToString = true
	h.TimeNotBuiltin = true
	return h
}

// plainClient is package net/rpc on the same wire.
func plainClient(t testing.TB, conn net.Conn) *rpc.Client {
	c := rpc.NewClientWithCodec(codec.GoRpc.ClientCodec(conn, plainHandle()))
	t.Cleanup(func() {
		_ = conn.Close()
		for !errors.Is(c.Call("", nil, nil), rpc.ErrShutdown) { // its reader never ends if it comes to read after Close
			time.Sleep(time.Millisecond)
		}
		_ = c.Close()
	})
	return c
}

// Arith is an endpoint for a plain net/rpc server.
type Arith struct{ block chan struct{} }

type Sum struct {
	A, B  int
	Total int
	Label string
	Wait  time.Duration
	At    time.Time
	Blob  []byte
}

func (a *Arith) Add(args *Sum, reply *Sum) error {
	*reply = *args
	reply.Total = args.A + args.B
	return nil
}

func (a *Arith) Fail(args *Sum, _ *Sum) error { return rpc.ServerError(args.Label) }

func (a *Arith) Block(_ *Sum, _ *Sum) error {
	<-a.block
	return nil
}

// plainServer serves Arith by package net/rpc on conn.
func plainServer(t testing.TB, a *Arith, conn net.Conn) {
	s := rpc.NewServer()
	if err := s.RegisterName("Arith", a); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.ServeCodec(codec.GoRpc.ServerCodec(conn, plainHandle()))
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
}
