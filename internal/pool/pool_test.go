package pool

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/wire"
)

// server answers over pipes. Its methods are Echo, Block (until the call or
// the server is cancelled, or release is closed), Silent (until release is closed) and
// Fail.
type server struct {
	ctx     context.Context
	release chan struct{}
	// drain asks the clients of all connections to move.
	draining context.Context
	drain    context.CancelFunc
	refuse   func(dial int) error // nil accepts
	before   func(ctx context.Context) error
	limits   wire.Limits

	mu    sync.Mutex
	dials int
	conns []net.Conn // our ends of the connections
	calls map[string]int
}

func (s *server) dial(ctx context.Context, _ string) (net.Conn, error) {
	s.mu.Lock()
	s.dials++
	n := s.dials
	s.mu.Unlock()
	if s.before != nil {
		if err := s.before(ctx); err != nil {
			return nil, err
		}
	}
	if s.refuse != nil {
		if err := s.refuse(n); err != nil {
			return nil, err
		}
	}
	theirs, ours := net.Pipe()
	s.mu.Lock()
	s.conns = append(s.conns, ours)
	s.mu.Unlock()
	go s.serve(ours)
	return theirs, nil
}

func (s *server) serve(conn net.Conn) {
	defer conn.Close()
	var b [1]byte
	if _, err := io.ReadFull(conn, b[:]); err != nil {
		return
	}
	switch mux.Protocol(b[0]) {
	case mux.ProtoRPC:
		srv := wire.NewServer(s.handle, s.limits, nil)
		defer context.AfterFunc(s.draining, srv.Drain)()
		srv.ServeConn(s.ctx, conn, nil)
	case mux.ProtoStreaming:
		r := wire.NewStreamRegistry(wire.Limits{}, nil)
		r.Register("Echo.Stream", func(_ context.Context, conn net.Conn, _ *wire.Identity) { io.Copy(conn, conn) })
		r.ServeConn(s.ctx, conn, nil)
	}
}

func (s *server) handle(ctx context.Context, c *wire.Call) (any, error) {
	s.mu.Lock()
	s.calls[c.Method]++
	s.mu.Unlock()
	switch c.Method {
	case "Echo":
		return c.Body, nil
	case "Silent": // Block answers at the caller's deadline, which may be in time
		<-s.release
		return c.Body, nil
	case "Fail":
		return nil, errs.Lost(errs.ExecutedNo, "my own peer is gone", nil)
	}
	select {
	case <-s.release:
	case <-ctx.Done():
	}
	return c.Body, nil
}

// count returns the dials so far and the calls of a method.
func (s *server) count(method string) (dials, calls int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dials, s.calls[method]
}

// hangUp closes the connections from the server's side.
func (s *server) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
}

// inPool runs f in a bubble, which fails if a goroutine is left at its end.
func inPool(t *testing.T, cfg Config, f func(t *testing.T, p *Pool, s *server)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := &server{ctx: ctx, release: make(chan struct{}), calls: make(map[string]int)}
		s.draining, s.drain = context.WithCancel(ctx)
		cfg.Dial = s.dial
		p := New(cfg)
		f(t, p, s)
		p.Close()
		p.Close()
		cancel()
		if err := p.Call(t.Context(), addr, "Echo", "x", nil, wire.CallOptions{}); !errs.NotSent(err) {
			t.Errorf("call on a closed pool: %v", err)
		}
	})
}

const addr = "10.0.0.1:4647"

// known returns how many addresses the pool holds connections to.
func known(p *Pool) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.peers)
}

func echo(t *testing.T, p *Pool, ctx context.Context) error {
	t.Helper()
	var got string
	err := p.Call(ctx, addr, "Echo", "hello", &got, wire.CallOptions{})
	if err == nil && got != "hello" {
		t.Errorf("got %q", got)
	}
	return err
}

// block starts n calls that wait for the server and returns their errors.
func block(p *Pool, ctx context.Context, n int) <-chan error {
	out := make(chan error, n)
	for range n {
		go func() { out <- p.Call(ctx, addr, "Block", "x", nil, wire.CallOptions{}) }()
	}
	synctest.Wait()
	return out
}

func TestCallsShareConnections(t *testing.T) {
	inPool(t, Config{}, func(t *testing.T, p *Pool, s *server) {
		for range 3 {
			if err := echo(t, p, t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		few := block(p, t.Context(), loadedCalls-1)
		if dials, _ := s.count(""); dials != 1 {
			t.Errorf("%d connections for few calls, want 1", dials)
		}
		many := block(p, t.Context(), 40)
		dials, calls := s.count("Block")
		if dials != 2 || calls != 40+loadedCalls-1 {
			t.Errorf("%d connections and %d calls, want 2 and all calls at once", dials, calls)
		}
		close(s.release)
		for range calls {
			select {
			case err := <-few:
				if err != nil {
					t.Error(err)
				}
			case err := <-many:
				if err != nil {
					t.Error(err)
				}
			}
		}
	})
}

func TestLongCallsLeaveRoomForOthers(t *testing.T) {
	limits := wire.Limits{MaxInFlight: 4}
	inPool(t, Config{Limits: limits, MaxConnsPerAddr: 6}, func(t *testing.T, p *Pool, s *server) {
		s.limits = limits
		for range 16 {
			block(p, t.Context(), 1)
		}
		if err := echo(t, p, t.Context()); err != nil {
			t.Error(err)
		}
		if _, calls := s.count("Block"); calls != 16 {
			t.Errorf("%d calls run, want all 16", calls)
		}
		for range 50 {
			block(p, t.Context(), 1)
		}
		if dials, _ := s.count(""); dials != 6 {
			t.Errorf("%d connections, want no more than 6", dials)
		}
	})
}

func TestCallersShareADialButNotTheirTime(t *testing.T) {
	inPool(t, Config{}, func(t *testing.T, p *Pool, s *server) {
		s.before = func(context.Context) error { time.Sleep(5 * time.Second); return nil }
		hasty, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		first := make(chan error, 1)
		go func() { first <- echo(t, p, hasty) }()
		synctest.Wait()
		others := make(chan error, 10)
		for range 10 {
			go func() { others <- echo(t, p, t.Context()) }()
		}
		if err := <-first; !errors.Is(err, errs.Deadline) || !errors.Is(err, context.DeadlineExceeded) || !errs.NotSent(err) {
			t.Errorf("the one in a hurry got %v", err)
		}
		for range 10 {
			if err := <-others; err != nil {
				t.Errorf("one of the others got %v", err)
			}
		}
		if dials, _ := s.count(""); dials != 1 {
			t.Errorf("%d dials, want one for all", dials)
		}
	})
}

func TestEveryWaiterGetsTheErrorOfTheDial(t *testing.T) {
	inPool(t, Config{DialTimeout: time.Minute}, func(t *testing.T, p *Pool, s *server) {
		s.before = func(context.Context) error { time.Sleep(time.Second); return nil }
		s.refuse = func(n int) error {
			if n == 1 {
				return syscall.ECONNREFUSED
			}
			return nil
		}
		failed := make(chan error, 5)
		for range 5 {
			go func() { failed <- echo(t, p, t.Context()) }()
		}
		for range 5 {
			if err := <-failed; !errors.Is(err, errs.Unavailable) || !errors.Is(err, syscall.ECONNREFUSED) || !errs.NotSent(err) {
				t.Errorf("got %v", err)
			}
		}
		if err := echo(t, p, t.Context()); err != nil {
			t.Errorf("after the failure: %v", err)
		}

		s.before = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		p.Drop(addr)
		start := time.Now()
		if err := echo(t, p, t.Context()); !errs.NotSent(err) || time.Since(start) != time.Minute {
			t.Errorf("a dial without an answer gave %v after %v", err, time.Since(start))
		}
	})
}

func TestDeadConnectionsAreReplaced(t *testing.T) {
	inPool(t, Config{}, func(t *testing.T, p *Pool, s *server) {
		running := block(p, t.Context(), 1)
		s.hangUp()
		var e *errs.Error
		if err := <-running; !errors.As(err, &e) || e.Code != errs.Unavailable || e.Executed != errs.ExecutedUnknown {
			t.Errorf("call in flight got %v", err)
		}
		synctest.Wait()
		if n := known(p); n != 0 {
			t.Errorf("%d addresses are kept without a connection", n)
		}
		if err := echo(t, p, t.Context()); err != nil {
			t.Error(err)
		}
		if dials, calls := s.count("Block"); dials != 2 || calls != 1 {
			t.Errorf("%d dials and %d calls, want 2 and no second try of what may have run", dials, calls)
		}

		for range 20 { // whoever notices first, a call that was not sent is sent again
			s.hangUp()
			if err := echo(t, p, t.Context()); err != nil && errs.NotSent(err) {
				t.Errorf("a call that was never sent failed: %v", err)
			}
		}
	})
}

func TestErrorsOfThePeerAreNotOurs(t *testing.T) {
	inPool(t, Config{}, func(t *testing.T, p *Pool, s *server) {
		err := p.Call(t.Context(), addr, "Fail", "x", nil, wire.CallOptions{})
		if !errors.Is(err, errs.Unavailable) {
			t.Errorf("got %v", err)
		}
		if err := echo(t, p, t.Context()); err != nil {
			t.Error(err)
		}
		if dials, calls := s.count("Fail"); dials != 1 || calls != 1 {
			t.Errorf("%d dials and %d calls, want the connection kept and no second try", dials, calls)
		}
	})
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	inPool(t, Config{IdleTimeout: time.Minute}, func(t *testing.T, p *Pool, s *server) {
		long := block(p, t.Context(), 1)
		time.Sleep(time.Hour)
		synctest.Wait()
		if dials, _ := s.count(""); dials != 1 || known(p) != 1 {
			t.Error("a connection with a call in flight was closed")
		}
		close(s.release)
		if err := <-long; err != nil {
			t.Error(err)
		}
		time.Sleep(30 * time.Second)
		if err := echo(t, p, t.Context()); err != nil {
			t.Error(err)
		}
		time.Sleep(50 * time.Second)
		synctest.Wait()
		if known(p) != 1 {
			t.Error("a connection used within the time was closed")
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if known(p) != 0 {
			t.Error("an idle connection was kept")
		}
		if _, err := s.conns[0].Write([]byte("x")); err == nil {
			t.Error("an idle connection was forgotten but not closed")
		}
	})
}

func TestDropFailsCallsAndDialsAgain(t *testing.T) {
	inPool(t, Config{}, func(t *testing.T, p *Pool, s *server) {
		running := block(p, t.Context(), 3)
		p.Drop(addr)
		p.Drop("unknown")
		for range 3 {
			if err := <-running; !errors.Is(err, errs.Unavailable) {
				t.Errorf("call in flight got %v", err)
			}
		}
		if err := echo(t, p, t.Context()); err != nil {
			t.Error(err)
		}
		if dials, _ := s.count(""); dials != 2 {
			t.Errorf("%d dials, want 2", dials)
		}
	})
}

func TestCloseEndsCallsAndDials(t *testing.T) {
	inPool(t, Config{}, func(t *testing.T, p *Pool, s *server) {
		running := block(p, t.Context(), 3)
		s.before = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		dialing := make(chan error, 1)
		go func() { dialing <- p.Call(t.Context(), "10.0.0.2:4647", "Echo", "x", nil, wire.CallOptions{}) }()
		synctest.Wait()
		p.Close()
		for range 3 {
			if err := <-running; !errors.Is(err, errs.Unavailable) {
				t.Errorf("call in flight got %v", err)
			}
		}
		if err := <-dialing; !errs.NotSent(err) {
			t.Errorf("dial got %v", err)
		}
	})
}

func TestStream(t *testing.T) {
	inPool(t, Config{}, func(t *testing.T, p *Pool, s *server) {
		st, err := p.Stream(t.Context(), addr, "Echo.Stream")
		if err != nil {
			t.Fatal(err)
		}
		defer st.Close()
		p.Drop(addr)
		time.Sleep(time.Hour) // no deadline is left on it
		go io.WriteString(st, "frames")
		got := make([]byte, 6)
		if _, err := io.ReadFull(st, got); err != nil || string(got) != "frames" {
			t.Errorf("got %q and %v", got, err)
		}
		if _, err := p.Stream(t.Context(), addr, "No.Such"); !errors.Is(err, errs.Unsupported) {
			t.Errorf("unknown method: %v", err)
		}
		s.refuse = func(int) error { return syscall.ECONNREFUSED }
		if _, err := p.Stream(t.Context(), addr, "Echo.Stream"); !errors.Is(err, syscall.ECONNREFUSED) || !errs.NotSent(err) {
			t.Errorf("refused: %v", err)
		}
		s.before = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		hasty, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Stream(hasty, addr, "Echo.Stream"); !errors.Is(err, errs.Deadline) || !errs.NotSent(err) {
			t.Errorf("caller in a hurry: %v", err)
		}
		if _, err := p.Stream(t.Context(), addr, "Echo.Stream"); !errors.Is(err, errs.Unavailable) || !errs.NotSent(err) {
			t.Errorf("server that does not answer the dial: %v", err)
		}
	})
}

func TestStreamToASilentServerEnds(t *testing.T) {
	inPool(t, Config{}, func(t *testing.T, p *Pool, _ *server) {
		var silent net.Conn
		p.cfg.Dial = func(context.Context, string) (net.Conn, error) {
			theirs, ours := net.Pipe()
			silent = ours
			go io.Copy(io.Discard, ours)
			return theirs, nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := p.Stream(ctx, addr, "Echo.Stream"); !errors.Is(err, errs.Deadline) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		silent.Close()
	})
}

// A connection that was dialed ahead is not kept until the server gives up on it.
func TestConnectionsNobodyUsedAreClosed(t *testing.T) {
	inPool(t, Config{}, func(t *testing.T, p *Pool, s *server) {
		if err := echo(t, p, t.Context()); err != nil {
			t.Fatal(err)
		}
		done := block(p, t.Context(), loadedCalls+1) // one more than a connection is meant for
		if dials, _ := s.count(""); dials != 2 {
			t.Fatalf("%d dials, want one ahead", dials)
		}
		time.Sleep(unusedTimeout)
		synctest.Wait()
		p.mu.Lock()
		left := len(p.peers[addr].conns)
		p.mu.Unlock()
		if left != 1 {
			t.Errorf("%d connections left, want the one in use", left)
		}
		close(s.release)
		for range loadedCalls + 1 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if err := echo(t, p, t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A server that drains, and a leader that was deposed, get no more calls on the
// connections there are, and answer those under way.
func TestCallsUnderWayOutliveARetiredConnection(t *testing.T) {
	for name, retire := range map[string]func(*Pool, *server){
		"drain":  func(_ *Pool, s *server) { s.drain(); synctest.Wait() },
		"retire": func(p *Pool, _ *server) { p.Retire(addr) },
	} {
		t.Run(name, func(t *testing.T) {
			inPool(t, Config{}, func(t *testing.T, p *Pool, s *server) {
				if err := echo(t, p, t.Context()); err != nil {
					t.Fatal(err)
				}
				done := block(p, t.Context(), 3)
				retire(p, s)
				if peers := p.Peers(); len(peers) != 1 || peers[0] != (Peer{Addr: addr, Conns: 1, Calls: 3}) {
					t.Errorf("peers %+v", peers)
				}
				if n := known(p); n != 0 {
					t.Errorf("%d addresses with connections for new calls", n)
				}
				if err := echo(t, p, t.Context()); err != nil {
					t.Errorf("a call afterwards: %v", err)
				}
				if dials, _ := s.count(""); dials != 2 {
					t.Errorf("%d dials, want another one for the call afterwards", dials)
				}
				close(s.release)
				for range 3 {
					if err := <-done; err != nil {
						t.Errorf("a call under way: %v", err)
					}
				}
				synctest.Wait()
				p.mu.Lock()
				left := len(p.retired)
				p.mu.Unlock()
				if left != 0 {
					t.Errorf("%d connections are kept after their last call", left)
				}
			})
		})
	}
}

func TestCloseEndsRetiredConnections(t *testing.T) {
	inPool(t, Config{}, func(t *testing.T, p *Pool, s *server) {
		done := block(p, t.Context(), 2)
		p.Retire(addr)
		p.Close()
		for range 2 {
			if err := <-done; !errors.Is(err, errs.Unavailable) {
				t.Errorf("a call on a pool that was closed: %v", err)
			}
		}
	})
}
