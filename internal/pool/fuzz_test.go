package pool

import (
	"context"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/internal/msgp"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/wire"
)

// small are the limits of both ends under arbitrary bytes.
var small = wire.Limits{
	MaxMessage: 32 << 10, MaxInFlight: 4, HeaderTimeout: time.Second, BodyTimeout: time.Second, IdleTimeout: time.Second, WriteTimeout: time.Second,
}

// maxAllocated bounds what one connection makes either end allocate in all, in bytes:
// far above what its limits add up to, far below what a length that is believed would.
const maxAllocated = 32 << 20

// leavesNothing runs f, and fails if goroutines stay or too much was allocated.
func leavesNothing(t *testing.T, f func()) {
	t.Helper()
	var before, after runtime.MemStats
	hung := time.AfterFunc(20*time.Second, func() {
		stacks := make([]byte, 1<<20)
		panic("hung:\n" + string(stacks[:runtime.Stack(stacks, true)]))
	})
	defer hung.Stop()
	goroutines := runtime.NumGoroutine()
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > maxAllocated {
		t.Errorf("%d bytes were allocated", n)
	}
	for tries := 0; runtime.NumGoroutine() > goroutines; tries++ {
		if tries == 2000 {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines were left, there were %d:\n%s", runtime.NumGoroutine(), goroutines, stacks[:runtime.Stack(stacks, true)])
		}
		time.Sleep(time.Millisecond) // they are on their way
	}
}

// feed writes b in two pieces and closes conn, while what comes back is dropped.
func feed(conn net.Conn, b []byte) {
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(io.Discard, conn) })
	_ = conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
	for _, piece := range [][]byte{b[:len(b)/2], b[len(b)/2:]} {
		if _, err := conn.Write(piece); err != nil {
			break
		}
	}
	_ = conn.Close()
	wg.Wait()
}

// seeds are connections as they should be, from their first byte.
func seeds(f *testing.F) {
	header := func(method string) []byte {
		b := msgp.AppendString(msgp.AppendField(msgp.AppendMapHeader(nil, 2), "ServiceMethod"), method)
		return msgp.AppendUint64(msgp.AppendField(b, "Seq"), 1)
	}
	call := append(header("Echo"), "\x81\xa1A\x05"...)
	stream := msgp.AppendString(msgp.AppendField(msgp.AppendMapHeader(nil, 1), "Method"), "Echo.Stream")
	f.Add(append([]byte{byte(mux.ProtoRPC)}, append(append([]byte(nil), call...), call...)...))
	f.Add(append([]byte{byte(mux.ProtoRPC)}, append(header("Echo"), "\xdb\x40\x00\x00\x00x"...)...))
	f.Add(append([]byte{byte(mux.ProtoRPC)}, append(header("Echo"), "\xdd\xff\xff\xff\xff\xc0"...)...))
	f.Add(append([]byte{byte(mux.ProtoStreaming)}, append(stream, "frames"...)...))
	f.Add([]byte("\x01\x83\xadServiceMethod\xa4Echo\xa3Seq\x01\xa5Error\xa0\x05"))
	f.Add([]byte("\x01\x83\xadServiceMethod\xa6$drain\xa3Seq\x00\xa5Error\xa0\xc0"))
	f.Add([]byte("\x05\x81\xa5Error\xa0frames"))
	opened := []byte{0, 1, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0}
	data := append([]byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, byte(len(call))}, call...)
	f.Add(append([]byte{byte(mux.ProtoMultiplex)}, append(opened, data...)...))
	data[11]++
	f.Add(append([]byte{byte(mux.ProtoMultiplexV2)}, append(opened, append(data[:12:12], append([]byte{1}, call...)...)...)...))
	f.Add([]byte("\x06\x00\x01\x00\x01\x00\x00\x00\x01\x00\x00d\xa4Echu\xa3Se9\x01\x81\xa1AZ")) // a stream under a number of the dialing side
	f.Add([]byte{byte(mux.ProtoMultiplexV2), 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2})
}

// FuzzPort sends arbitrary bytes to a server port with everything behind it that
// reads frames: calls, streaming calls, sessions.
func FuzzPort(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, sent []byte) {
		leavesNothing(t, func() {
			held := limit.NewBytes(64 << 10)
			limits := small
			limits.Held = held
			rpc := wire.NewServer(func(_ context.Context, c *wire.Call) (any, error) {
				var v any
				return c.Body, c.Decode(&v)
			}, limits, nil)
			streams := wire.NewStreamRegistry(limits, nil)
			_ = streams.Register("Echo.Stream", func(_ context.Context, conn net.Conn, _ *wire.Identity) { _, _ = io.Copy(conn, conn) })
			m := mux.New(mux.Config{HandshakeTimeout: time.Second, SilenceTimeout: time.Second, MaxStreams: 8, MaxConns: 4})
			m.Handle(mux.ProtoRPC, func(ctx context.Context, conn net.Conn, _ mux.Info) { rpc.ServeConn(ctx, conn, nil) })
			m.Handle(mux.ProtoStreaming, func(ctx context.Context, conn net.Conn, _ mux.Info) { streams.ServeConn(ctx, conn, nil) })
			ours, theirs := net.Pipe()
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- m.Serve(ctx, &once{conn: theirs, done: make(chan struct{})}) }()
			feed(ours, sent)
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			if s := m.Stats(); s.OpenConns != 0 || s.OpenStreams != 0 || rpc.InFlight() != 0 || held.Used() != 0 {
				t.Errorf("left: %+v, %d calls, %d bytes", s, rpc.InFlight(), held.Used())
			}
		})
	})
}

// once is a listener that accepts one connection.
type once struct {
	conn  net.Conn
	done  chan struct{}
	close sync.Once
}

func (l *once) Accept() (net.Conn, error) {
	if c := l.conn; c != nil {
		l.conn = nil
		return c, nil
	}
	<-l.done
	return nil, net.ErrClosed
}
func (l *once) Close() error   { l.close.Do(func() { close(l.done) }); return nil }
func (l *once) Addr() net.Addr { return &net.TCPAddr{} }

// FuzzPeer has the dialing side call, stream and keep a session with a peer that
// answers arbitrary bytes; the first one says which.
func FuzzPeer(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, answer []byte) {
		if len(answer) == 0 {
			return
		}
		leavesNothing(t, func() {
			var peers sync.WaitGroup
			ours, theirs := net.Pipe()
			p := New(Config{Limits: small, DialTimeout: 2 * time.Second, Dial: func(context.Context, string) (net.Conn, error) {
				near, far := net.Pipe()
				peers.Go(func() { feed(far, answer[1:]) })
				return near, nil
			}})
			ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
			switch mux.Protocol(answer[0]) {
			case mux.ProtoStreaming:
				if conn, err := p.Stream(ctx, addr, "Echo.Stream"); err == nil {
					_, _ = io.Copy(io.Discard, conn)
					_ = conn.Close()
				}
			case mux.ProtoMultiplex, mux.ProtoMultiplexV2:
				peers.Go(func() { feed(theirs, answer[1:]) })
				session(ctx, ours)
			default:
				var reply any
				err := p.Call(ctx, addr, "Echo", "x", &reply, wire.CallOptions{})
				if err != nil && errs.CodeOf(err) == errs.Internal && !errors.Is(err, errs.Internal) {
					t.Errorf("an error without a code: %v", err)
				}
			}
			cancel()
			_ = p.Close()
			_, _ = ours.Close(), theirs.Close()
			peers.Wait()
			if s := p.Stats(); s.Conns != 0 || s.Calls != 0 {
				t.Errorf("left: %+v", s)
			}
		})
	})
}

// session keeps a session over conn, opens a stream and accepts those of the peer.
func session(ctx context.Context, conn net.Conn) {
	s, err := mux.Client(conn, mux.SessionConfig{})
	if err != nil {
		return
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			st, err := s.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				_, _ = io.Copy(io.Discard, st)
				_ = st.Close()
			})
		}
	})
	if st, err := s.Open(ctx); err == nil {
		_, _ = io.Copy(io.Discard, st)
		_ = st.Close()
	}
	<-s.Done()
	_ = s.Close()
	wg.Wait()
}
