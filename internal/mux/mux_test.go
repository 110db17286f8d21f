package mux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo answers each chunk with its own bytes behind the name of the handler.
func echo(name string) Handler {
	return func(_ context.Context, conn net.Conn, _ Info) {
		defer conn.Close()
		buf := make([]byte, 1024)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			if _, err := fmt.Fprintf(conn, "%s:%s", name, buf[:n]); err != nil {
				return
			}
		}
	}
}

// serve starts m with echo handlers where it has none and stops it at the end.
func serve(t testing.TB, m *Mux) string {
	t.Helper()
	for p, name := range map[Protocol]string{ProtoRPC: "rpc", ProtoRaft: "raft", ProtoStreaming: "stream", ProtoSnapshot: "snapshot", ProtoJoin: "join", ProtoNodeLink: "node-link", ProtoGRPC: "grpc"} {
		if m.handlers[p] == nil {
			m.Handle(p, echo(name))
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve ended with %v", err)
		}
		if s := m.Stats(); s.OpenConns != 0 || s.OpenStreams != 0 {
			t.Errorf("left open after the end: %+v", s)
		}
	})
	return l.Addr().String()
}

// dial connects and sends what is given.
func dial(t testing.TB, addr string, first ...byte) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Write(first); err != nil {
		t.Fatal(err)
	}
	return conn
}

// mustAnswer sends text and expects the handler of that name to echo it.
func mustAnswer(t testing.TB, conn net.Conn, name, text string) {
	t.Helper()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatalf("send %q: %v", text, err)
	}
	mustRead(t, conn, name+":"+text)
}

func mustRead(t testing.TB, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatalf("got %q and %v, want %q", got, err, want)
	}
	if string(got) != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

// mustClose expects the peer to close conn.
func mustClose(t testing.TB, conn net.Conn) {
	t.Helper()
	var b [1]byte
	n, err := conn.Read(b[:])
	var timeout net.Error
	if n != 0 || err == nil || (errors.As(err, &timeout) && timeout.Timeout()) {
		t.Fatalf("read %d bytes and %v, want a closed connection", n, err)
	}
}

func newClient(t testing.TB, conn net.Conn) Session {
	t.Helper()
	s, err := Client(conn, SessionConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func open(t testing.TB, s Session, first ...byte) net.Conn {
	t.Helper()
	st, err := s.Open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	st.SetDeadline(time.Now().Add(20 * time.Second))
	if len(first) > 0 {
		if _, err := st.Write(first); err != nil {
			t.Fatal(err)
		}
	}
	return st
}

func TestFirstBytePicksHandler(t *testing.T) {
	addr := serve(t, New(Config{}))
	for p, name := range map[Protocol]string{ProtoRPC: "rpc", ProtoRaft: "raft", ProtoStreaming: "stream"} {
		mustAnswer(t, dial(t, addr, byte(p)), name, "hello")
		conn := dial(t, addr, append([]byte{byte(p)}, "in one packet"...)...)
		mustRead(t, conn, name+":in one packet")
	}
}

func TestHandlerLearnsWhereAConnectionCameFrom(t *testing.T) {
	m := New(Config{})
	infos := make(chan Info, 1)
	m.Handle(ProtoRPC, func(_ context.Context, conn net.Conn, info Info) {
		infos <- info
		conn.Close()
	})
	addr := serve(t, m)

	conn := dial(t, addr, 1)
	got := <-infos
	if got.Protocol != ProtoRPC || got.Multiplexed || got.TLS != nil || got.Session != nil || got.Remote.String() != conn.LocalAddr().String() {
		t.Errorf("plain connection: %+v", got)
	}
	conn = dial(t, addr, 6)
	open(t, newClient(t, conn), 1)
	got = <-infos
	if got.Protocol != ProtoMultiplexV2 || !got.Multiplexed || got.Session == nil || got.Remote.String() != conn.LocalAddr().String() {
		t.Errorf("stream: %+v", got)
	}
}

func TestUnknownBytesAndSilenceAreRefused(t *testing.T) {
	m := New(Config{})
	addr := serve(t, m)
	for _, b := range []byte{0, 4, 99, 22, 255} {
		mustClose(t, dial(t, addr, b))
	}
	empty := dial(t, addr)
	empty.(*net.TCPConn).CloseWrite()
	mustClose(t, empty)
	mustAnswer(t, dial(t, addr, 1), "rpc", "still served")
	if s := m.Stats(); s.Refused[RefusedUnknown] != 3 || s.Refused[RefusedTLS] != 2 || s.Refused[RefusedSilent] != 1 || s.Accepted != 7 {
		t.Errorf("stats: %+v", s)
	}

	hasty := New(Config{HandshakeTimeout: 50 * time.Millisecond})
	addr = serve(t, hasty)
	mustClose(t, dial(t, addr)) // never sends its byte
	mustAnswer(t, inTime(t, tcp(addr, 1)), "rpc", "still served")
	if s := hasty.Stats(); s.Refused[RefusedSilent] == 0 || s.Refused[RefusedSilent] != s.Accepted-1 {
		t.Errorf("stats: %+v", s)
	}
}

// tcp returns a way to connect and send what is given.
func tcp(addr string, first ...byte) func() (net.Conn, error) {
	return func() (net.Conn, error) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_, err = conn.Write(first)
		}
		return conn, err
	}
}

// inTime connects to the RPC protocol until it was answered: on a busy machine a port
// of little patience may refuse the first.
func inTime(t testing.TB, connect func() (net.Conn, error)) net.Conn {
	t.Helper()
	const early = "early"
	var err error
	for range 100 {
		var conn net.Conn
		if conn, err = connect(); conn == nil {
			continue
		}
		t.Cleanup(func() { conn.Close() })
		if err != nil {
			continue
		}
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		answer := make([]byte, len("rpc:"+early))
		if _, err = io.WriteString(conn, early); err != nil {
			continue
		}
		if _, err = io.ReadFull(conn, answer); err == nil && string(answer) == "rpc:"+early {
			return conn
		}
	}
	t.Fatalf("never answered: %v", err)
	return nil
}

// onSession opens a session and a stream in it for the RPC protocol.
func onSession(addr string, to *Session) func() (net.Conn, error) {
	return func() (net.Conn, error) {
		conn, err := tcp(addr, byte(ProtoMultiplexV2))()
		if err != nil {
			return conn, err
		}
		s, err := Client(conn, SessionConfig{})
		if err != nil {
			return conn, err
		}
		*to = s
		st, err := s.Open(context.Background())
		if err != nil {
			return sessionConn{conn, s}, err
		}
		_, err = st.Write([]byte{byte(ProtoRPC)})
		return sessionConn{st, s}, err
	}
}

// sessionConn closes its session, too.
type sessionConn struct {
	net.Conn
	session Session
}

// Close closes the session.
func (c sessionConn) Close() error { return c.session.Close() }

func TestDeadlineOfTheFirstByteIsNotTheHandlers(t *testing.T) {
	m := New(Config{HandshakeTimeout: 100 * time.Millisecond})
	addr := serve(t, m)
	var s Session
	plain, multiplexed := inTime(t, tcp(addr, 1)), inTime(t, onSession(addr, &s))
	silent := dial(t, addr)
	mustClose(t, silent) // the timeout has passed for all three
	mustClose(t, open(t, s))
	mustAnswer(t, plain, "rpc", "late")
	mustAnswer(t, multiplexed, "rpc", "late")
}

func TestMultiplexStreams(t *testing.T) {
	addr := serve(t, New(Config{}))
	v1 := newClient(t, dial(t, addr, 3))
	mustAnswer(t, open(t, v1), "rpc", "no byte needed")

	v2 := newClient(t, dial(t, addr, 6))
	mustAnswer(t, open(t, v2, 1), "rpc", "a")
	mustAnswer(t, open(t, v2, 5), "stream", "b")
	mustAnswer(t, open(t, v2, append([]byte{1}, "c"...)...), "rpc", "") // sent along with the byte
}

func TestOneStreamNeverHurtsItsSiblings(t *testing.T) {
	m := New(Config{})
	addr := serve(t, m)
	s := newClient(t, dial(t, addr, 6))
	busy := open(t, s, 1)
	mustAnswer(t, busy, "rpc", "before")

	open(t, s) // silent until the end
	mustAnswer(t, open(t, s, 1), "rpc", "beside a silent one")

	open(t, s).Close() // empty
	for _, b := range []byte{0, 2, 3, 4, 6, 99} {
		unknown := open(t, s, b)
		mustClose(t, unknown)
	}
	mustAnswer(t, open(t, s, 5), "stream", "after bad ones")
	mustAnswer(t, busy, "rpc", "after")
	if n := m.Stats().Refused[RefusedUnknown]; n != 6 {
		t.Errorf("%d unknown bytes counted, want 6", n)
	}
}

func TestServerOpensStreamsBack(t *testing.T) {
	m := New(Config{OnSession: func(ctx context.Context, s Session, _ Info) {
		st, err := s.Open(ctx)
		if err != nil {
			return
		}
		io.WriteString(st, "from the server")
		<-ctx.Done()
		st.Close()
	}})
	addr := serve(t, m)
	s := newClient(t, dial(t, addr, 6))
	st, err := s.Accept()
	if err != nil {
		t.Fatal(err)
	}
	mustRead(t, st, "from the server")
	mustAnswer(t, open(t, s, 1), "rpc", "and to the server")
}

func TestDialerServesStreamsOpenedBack(t *testing.T) {
	answers := make(chan string, 1)
	addr := serve(t, New(Config{OnSession: func(ctx context.Context, s Session, _ Info) {
		st, err := s.Open(ctx)
		if err != nil {
			return
		}
		defer st.Close()
		got := make([]byte, len("agent:ping"))
		st.Write(append([]byte{1}, "ping"...))
		io.ReadFull(st, got)
		answers <- string(got)
	}}))
	agent := New(Config{})
	agent.Handle(ProtoRPC, echo("agent"))
	s := newClient(t, dial(t, addr, 6))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		agent.ServeSession(ctx, s, Info{Protocol: ProtoMultiplexV2})
		close(done)
	}()
	if got := <-answers; got != "agent:ping" {
		t.Errorf("the server got %q", got)
	}
	mustAnswer(t, open(t, s, 1), "rpc", "x")
	cancel()
	<-done
	if _, err := s.Open(context.Background()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("open on an ended session: %v", err)
	}
}

func TestOpenHeedsItsContext(t *testing.T) {
	ours, theirs := net.Pipe() // nobody reads: frames go nowhere
	defer theirs.Close()
	s := newClient(t, ours)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	var err error
	for err == nil { // until the send queue is full
		_, err = s.Open(ctx)
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	s.Close()
	if _, err := s.Open(context.Background()); !errors.Is(err, net.ErrClosed) {
		t.Errorf("open on a closed session: %v", err)
	}
	if _, err := s.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept on a closed session: %v", err)
	}
}

func TestLostFrameEndsTheSession(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	s, err := Client(ours, SessionConfig{WriteTimeout: 20 * time.Millisecond, KeepAlive: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	s.Open(context.Background()) // nobody reads it
	select {
	case <-s.Done():
	case <-time.After(20 * time.Second):
		t.Error("the session lives on although a frame was dropped")
	}
}

func TestStreamLimit(t *testing.T) {
	m := New(Config{MaxStreams: 4})
	addr := serve(t, m)
	s := newClient(t, dial(t, addr, 6))
	var kept []net.Conn
	for range 4 {
		st := open(t, s, 1)
		mustAnswer(t, st, "rpc", "x")
		kept = append(kept, st)
	}
	over := open(t, s)
	mustClose(t, over)
	over.Close()
	for _, st := range kept {
		mustAnswer(t, st, "rpc", "kept")
	}
	for range 16 { // never closed by us: the session is gone before they pile up
		if _, err := s.Open(context.Background()); err != nil {
			break
		}
	}
	select {
	case <-s.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("a session that piles up streams is kept")
	}
}

func TestTotalStreamLimit(t *testing.T) {
	addr := serve(t, New(Config{MaxStreamsTotal: 2}))
	a, b := newClient(t, dial(t, addr, 6)), newClient(t, dial(t, addr, 6))
	first := open(t, a, 1)
	mustAnswer(t, first, "rpc", "x")
	mustAnswer(t, open(t, b, 1), "rpc", "x")
	mustClose(t, open(t, b, 1))
	first.Close()
	for { // until the server has seen it
		st := open(t, b, append([]byte{1}, "y"...)...)
		if _, err := io.ReadFull(st, make([]byte, 5)); err == nil {
			break
		}
		st.Close()
	}
}

func TestPingFloodEndsTheSession(t *testing.T) {
	addr := serve(t, New(Config{}))
	conn := dial(t, addr, 6)
	ping := []byte{0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9}
	data := []byte{0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 13, 1, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9}
	conn.Write(append(ping, data...)) // pings within data are none
	reply := make([]byte, 12)
	if _, err := io.ReadFull(conn, reply); err != nil {
		t.Fatalf("a single ping was not answered: %v", err)
	}
	for range pingBurst + pingRate*20 {
		if _, err := conn.Write(ping); err != nil {
			break
		}
	}
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a flood of pings is served")
	}
}

func TestPingsAreCountedWhereverReadsSplitThem(t *testing.T) {
	ping := []byte{0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9}
	data := append([]byte{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 12}, ping...)
	var frames []byte
	for range pingBurst {
		frames = append(append(frames, ping...), data...)
	}
	for _, size := range []int{1, 5, 12, 13, len(frames)} {
		g := &guardedConn{}
		for chunk := range slices.Chunk(frames, size) {
			if err := g.scan(chunk); err != nil {
				t.Fatalf("size %d: refused within the burst: %v", size, err)
			}
		}
		if g.scan(append(slices.Clone(ping), ping...)) == nil && g.scan(bytes.Repeat(ping, pingRate*20)) == nil {
			t.Errorf("size %d: pings were missed", size)
		}
	}
}

// A peer that opens a stream under a number which this side gives to its own streams
// would have that one forgotten, and its reader spin for ever.
func TestStreamsUnderForeignNumbersEndTheSession(t *testing.T) {
	for _, tc := range []struct {
		as   side
		id   byte
		ends bool
	}{{accepting, 1, false}, {accepting, 2, true}, {dialing, 2, false}, {dialing, 1, true}} {
		for _, kind := range []byte{frameTypeData, frameTypeWindow} {
			g := &guardedConn{ours: tc.as.numbers}
			open := []byte{0, kind, 0, frameFlagSYN, 0, 0, 0, tc.id, 0, 0, 0, 0}
			if err := g.scan(open); (err == errForeignName) != tc.ends {
				t.Errorf("stream %d towards a side of %d by frame %d: %v", tc.id, tc.as.numbers, kind, err)
			}
			open[3] = 0 // more of one that is open
			if err := (&guardedConn{ours: tc.as.numbers}).scan(open); err != nil {
				t.Errorf("a frame for stream %d: %v", tc.id, err)
			}
		}
	}
	addr := serve(t, New(Config{}))
	conn := dial(t, addr, 6)
	conn.Write([]byte{0, frameTypeWindow, 0, frameFlagSYN, 0, 0, 0, 2, 0, 0, 0, 0})
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the session goes on")
	}
}

func TestGarbageEndsTheSessionOnly(t *testing.T) {
	addr := serve(t, New(Config{}))
	conn := dial(t, addr, 6)
	io.WriteString(conn, "GET / HTTP/1.1\r\n\r\n")
	if _, err := io.Copy(io.Discard, conn); err != nil && !errors.Is(err, syscall.ECONNRESET) { // pings may arrive before the end
		t.Errorf("%v, want the end", err)
	}
	mustAnswer(t, dial(t, addr, 1), "rpc", "fine")
}

func TestClientLimitLeavesRaftAlone(t *testing.T) {
	m := New(Config{MaxConnsPerClient: 3})
	addr := serve(t, m)
	var held []net.Conn
	for range 3 {
		c := dial(t, addr, 1)
		mustAnswer(t, c, "rpc", "x")
		held = append(held, c)
	}
	mustClose(t, dial(t, addr, 1))
	mustClose(t, dial(t, addr, 5))
	mustClose(t, dial(t, addr, 6))
	for range 3 {
		mustAnswer(t, dial(t, addr, 2), "raft", "x")
	}
	mustClose(t, dial(t, addr, 2))
	if n := m.Stats().Refused[RefusedClientLimit]; n != 4 {
		t.Errorf("%d refused, want 4", n)
	}

	held[0].Close()
	for { // until the server has seen it
		c := dial(t, addr, 1)
		io.WriteString(c, "y")
		got := make([]byte, 5)
		if _, err := io.ReadFull(c, got); err == nil {
			break
		}
	}
}

// A peer that says nothing is pinged and costs no session; one that answers, and says
// nothing else, gets one.
func TestSilentPeersGetNoSession(t *testing.T) {
	begun := make(chan struct{}, 8)
	addr := serve(t, New(Config{OnSession: func(context.Context, Session, Info) { begun <- struct{}{} }}))
	for _, proto := range []Protocol{ProtoMultiplex, ProtoMultiplexV2} {
		conn := dial(t, addr, byte(proto))
		var ping [frameHeader]byte
		if _, err := io.ReadFull(conn, ping[:]); err != nil || ping[1] != frameTypePing || ping[3] != frameFlagSYN {
			t.Fatalf("a silent peer gets % x, %v", ping, err)
		}
		if len(begun) > 0 {
			t.Error("a session began for a silent peer")
		}
		ping[3] = 2 // ACK
		if _, err := conn.Write(ping[:]); err != nil {
			t.Fatal(err)
		}
		<-begun
	}
	newClient(t, dial(t, addr, byte(ProtoMultiplex))) // opens no stream
	<-begun
}

func TestSilentConnectionsKeepNobodyOut(t *testing.T) {
	m := New(Config{MaxConnsPerClient: 3, HandshakeTimeout: time.Hour})
	addr := serve(t, m)
	var silent []net.Conn
	for range 6 {
		silent = append(silent, dial(t, addr))
	}
	for _, c := range silent[:3] { // the oldest give way
		mustClose(t, c)
	}
	if s := m.Stats(); s.Refused[RefusedClientLimit] != 3 || s.Refused[RefusedSilent] != 0 {
		t.Errorf("stats: %+v", s)
	}
	mustAnswer(t, dial(t, addr, 2), "raft", "x")
	mustAnswer(t, dial(t, addr, 1), "rpc", "x")
}

func TestStreamingLeavesRoomForRPC(t *testing.T) {
	addr := serve(t, New(Config{MaxConnsPerClient: 4}))
	for range 2 {
		mustAnswer(t, dial(t, addr, 5), "stream", "x")
	}
	mustClose(t, dial(t, addr, 5))
	for range 2 {
		mustAnswer(t, dial(t, addr, 1), "rpc", "x")
	}
	mustClose(t, dial(t, addr, 1))
}

func TestTotalLimit(t *testing.T) {
	m := New(Config{MaxConns: 2})
	addr := serve(t, m)
	mustAnswer(t, dial(t, addr, 1), "rpc", "x")
	mustAnswer(t, dial(t, addr, 1), "rpc", "x")
	mustClose(t, dial(t, addr, 1))
	mustAnswer(t, dial(t, addr, 2), "raft", "x")
	if n := m.Stats().Refused[RefusedTotalLimit]; n != 1 {
		t.Errorf("%d refused, want 1", n)
	}
}

func TestEndClosesPassedOnConnections(t *testing.T) {
	m := New(Config{})
	passed := make(chan net.Conn, 1)
	m.Handle(ProtoRaft, func(_ context.Context, conn net.Conn, _ Info) { passed <- conn })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Serve(ctx, l) }()
	client := dial(t, l.Addr().String(), 2)
	conn := <-passed
	mustAnswerBack(t, conn, client)
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	mustClose(t, client)
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("passed-on connection: %v", err)
	}
	if s := m.Stats(); s.OpenConns != 0 {
		t.Errorf("%d connections counted as open", s.OpenConns)
	}
}

func mustAnswerBack(t *testing.T, from, to net.Conn) {
	t.Helper()
	io.WriteString(from, "ping")
	mustRead(t, to, "ping")
}

// flaky fails to accept some times before it accepts, then for good.
type flaky struct {
	net.Listener
	mu   sync.Mutex
	errs []error
}

func (f *flaky) Accept() (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.errs) > 0 {
		err := f.errs[0]
		f.errs = f.errs[1:]
		return nil, err
	}
	return f.Listener.Accept()
}

func TestAcceptErrors(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &flaky{Listener: inner, errs: []error{errors.New("once"), errors.New("twice")}}
	m := New(Config{})
	m.Handle(ProtoRPC, echo("rpc"))
	done := make(chan error, 1)
	go func() { done <- m.Serve(context.Background(), l) }()
	conn := dial(t, inner.Addr().String(), 1)
	mustAnswer(t, conn, "rpc", "after two failures")
	inner.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("serve ended with %v", err)
	}
	mustClose(t, conn)

	broken := errors.New("broken")
	inner2, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	many := make([]error, 100)
	for i := range many {
		many[i] = broken
	}
	if err := New(Config{}).Serve(context.Background(), &flaky{Listener: inner2, errs: many}); !errors.Is(err, broken) {
		t.Errorf("serve ended with %v", err)
	}
}
