package wire

import (
	"context"
	"net"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/cairn-project/cairn/internal/limit"
)

type pingArgs struct {
	Region    string
	Namespace string
	AuthToken string
	Value     uint64
}

// tcpPair returns both ends of a loopback connection.
func tcpPair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

func echo(_ context.Context, c *Call) (any, error) { return c.Body, nil }

func decoding(_ context.Context, c *Call) (any, error) {
	var a pingArgs
	if err := c.Decode(&a); err != nil {
		return nil, err
	}
	return &a, nil
}

// BenchmarkCall counts calls per second over loopback TCP with both ends in
// this process, by the number of callers on the one connection.
func BenchmarkCall(b *testing.B) {
	for _, kind := range []struct {
		name string
		h    Handler
		held *limit.Bytes
	}{{"raw", echo, nil}, {"held", echo, limit.NewBytes(256 << 20)}, {"reflect", decoding, nil}} {
		for _, callers := range []int{1, 8, 64, 256} {
			b.Run(kind.name+"/callers="+strconv.Itoa(callers), func(b *testing.B) {
				benchCalls(b, kind.h, callers, kind.name != "reflect", kind.held)
			})
		}
	}
}

func benchCalls(b *testing.B, h Handler, callers int, raw bool, held *limit.Bytes) {
	near, far := tcpPair(b)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		NewServer(h, Limits{Held: held}, nil).ServeConn(ctx, far, nil)
	}()
	c := NewClient(near, Limits{})
	defer func() { cancel(); _ = c.Close(); <-served }()
	b.ReportAllocs()
	b.ResetTimer()
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan error, callers)
	for range callers {
		go func() {
			done <- func() error {
				args := pingArgs{Region: "global", Namespace: "default", AuthToken: "t", Value: 7}
				value := Raw("\x81\xa5Value\x07")
				for left.Add(-1) >= 0 {
					var err error
					if raw {
						var out Raw
						err = c.Call(ctx, "Status.Ping", value, &out, CallOptions{})
					} else {
						var out pingArgs
						err = c.Call(ctx, "Status.Ping", &args, &out, CallOptions{})
					}
					if err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	for range callers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}

// BenchmarkPlain is the same work by package net/rpc, for comparison.
func BenchmarkPlain(b *testing.B) {
	near, far := tcpPair(b)
	plainServer(b, &Arith{}, far)
	c := plainClient(b, near)
	b.ReportAllocs()
	b.ResetTimer()
	b.SetParallelism(32) // times GOMAXPROCS callers
	b.RunParallel(func(pb *testing.PB) {
		args := Sum{A: 1, Label: "global"}
		for pb.Next() {
			var out Sum
			if err := c.Call("Arith.Add", &args, &out); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "calls/s")
}
