package jsonrpc

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// session is one connection of a test that speaks for itself.
type session struct {
	t    testing.TB
	conn *net.UnixConn
	in   *bufio.Reader
}

func mustSession(t testing.TB, path string) *session {
	t.Helper()
	conn := mustDial(t, path)
	return &session{t: t, conn: conn, in: bufio.NewReader(conn)}
}

func (s *session) send(msg string) {
	s.t.Helper()
	if _, err := io.WriteString(s.conn, msg); err != nil {
		s.t.Fatal(err)
	}
}

// line returns the next answer without its line feed, "" when the connection ended.
func (s *session) line() string {
	s.t.Helper()
	line, err := s.in.ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
		s.t.Fatal(err)
	}
	return strings.TrimSuffix(line, "\n")
}

func (s *session) want(answer string) {
	s.t.Helper()
	if got := s.line(); got != answer {
		s.t.Fatalf("answer %q, want %q", got, answer)
	}
}

// wantCode reads an answer and compares the code of its error.
func (s *session) wantCode(code int) *Error {
	s.t.Helper()
	var a answer
	line := s.line()
	if err := json.Unmarshal([]byte(line), &a); err != nil || a.Error == nil || a.Error.Code != code {
		s.t.Fatalf("answer %q, want error %d", line, code)
	}
	return a.Error
}

// eventually waits for what another goroutine is about to do.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

const ping7 = `{"jsonrpc":"2.0","method":"get_data","id":7}`
const pong7 = `{"jsonrpc":"2.0","result":["hello",5],"id":7}`

func testServer(t testing.TB) *Server { return conformanceServer(t, &conformanceCase{}) }

func TestManyMessagesOnOneConnection(t *testing.T) {
	c := mustSession(t, startSocket(t, testServer(t), DefaultSocketConfig()))
	c.send(ping7 + ping7 + "\n\n " + `{"jsonrpc":"2.0","method":"update"}` + "\n[" + ping7 + "]")
	c.want(pong7)
	c.want(pong7)
	c.want("[" + pong7 + "]")
	c.send("5 ")
	c.wantCode(CodeInvalidRequest)
	c.send(ping7)
	c.want(pong7)
}

func TestMessageInPieces(t *testing.T) {
	path := startSocket(t, testServer(t), DefaultSocketConfig())
	c := mustSession(t, path)
	for i := range len(ping7) {
		c.send(ping7[i : i+1])
	}
	c.want(pong7)

	cut := mustSession(t, path)
	for _, part := range []string{ping7[:10], ping7[10:20], ping7[20 : len(ping7)-1]} {
		cut.send(part)
	}
	_ = cut.conn.CloseWrite()
	cut.wantCode(CodeParse)
	cut.want("")
}

func TestPeerLeavesInTheMiddleOfAMessage(t *testing.T) {
	s := testServer(t)
	path := startSocket(t, s, DefaultSocketConfig())
	c := mustSession(t, path)
	c.send(`{"jsonrpc":"2.0","method":"bu`)
	c.send(`mp","id":1`)
	_ = c.conn.Close()
	eventually(t, "the broken message is noticed", func() bool { return s.Stats().Refused == 1 })
	other := mustSession(t, path)
	other.send(`{"jsonrpc":"2.0","method":"bump_count","id":1}`)
	other.want(`{"jsonrpc":"2.0","result":0,"id":1}`)
}

func TestGarbageIsAnsweredAtOnceAndEndsTheConnection(t *testing.T) {
	path := startSocket(t, testServer(t), DefaultSocketConfig())
	for _, msg := range []string{"GET / HTTP/1.1\r\n", "\x16\x03\x01", `{"a" 1`, `{"a":tru `, "[1,,", `"` + "\x01"} {
		c := mustSession(t, path)
		c.send(msg)
		c.wantCode(CodeParse)
		c.want("")
	}
}

func TestTooLargeSaysTheLimit(t *testing.T) {
	cfg := DefaultConfig()
	cfg.MaxMessage = 1000
	path := startSocket(t, mustServer(t, cfg), DefaultSocketConfig())
	c := mustSession(t, path)
	go func() { _, _ = io.WriteString(c.conn, `{"a":"`+strings.Repeat("x", 1<<20)) }()
	if e := c.wantCode(CodeTooLarge); e.Data[0].Limit != 1000 {
		t.Errorf("%+v", e)
	}
	c.want("")
}

func TestConnectionsAreServedAtTheSameTime(t *testing.T) {
	s := testServer(t)
	var both sync.WaitGroup
	both.Add(2)
	mustRegister(t, s, Method{Name: "meet", Handler: func(ctx context.Context, _ json.RawMessage) (any, error) {
		both.Done()
		both.Wait()
		return CallerOf(ctx).Peer.UID, nil
	}})
	path := startSocket(t, s, DefaultSocketConfig())
	a, b := mustSession(t, path), mustSession(t, path)
	for _, c := range []*session{a, b} {
		c.send(`{"jsonrpc":"2.0","method":"meet","id":1}`)
	}
	for _, c := range []*session{a, b} {
		c.want(fmt.Sprintf(`{"jsonrpc":"2.0","result":%d,"id":1}`, os.Geteuid()))
	}
}

// blocking registers a method that waits for the end of its context and a
// notification that waits for release.
func blocking(t *testing.T, s *Server) (began chan struct{}, ended chan error, release chan struct{}) {
	began, ended, release = make(chan struct{}, 4), make(chan error, 4), make(chan struct{})
	mustRegister(t, s,
		Method{Name: "block", Timeout: time.Hour, Handler: func(ctx context.Context, _ json.RawMessage) (any, error) {
			began <- struct{}{}
			select {
			case <-ctx.Done():
				ended <- context.Cause(ctx)
				return nil, ctx.Err()
			case <-release:
				return "released", nil
			}
		}},
		Method{Name: "note_block", Kind: KindNotification, Timeout: time.Hour, Handler: func(ctx context.Context, _ json.RawMessage) (any, error) {
			began <- struct{}{}
			<-release
			ended <- ctx.Err()
			return nil, nil
		}})
	return began, ended, release
}

func TestCallEndsWhenThePeerLeaves(t *testing.T) {
	s := testServer(t)
	began, ended, _ := blocking(t, s)
	path := startSocket(t, s, DefaultSocketConfig())
	for _, halfClosedFirst := range []bool{false, true} {
		c := mustSession(t, path)
		c.send(`{"jsonrpc":"2.0","method":"block","id":1}`)
		if halfClosedFirst {
			_ = c.conn.CloseWrite()
		}
		<-began
		_ = c.conn.Close()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("half closed first %v: context ended with %v", halfClosedFirst, err)
		}
	}
}

const block1 = `{"jsonrpc":"2.0","method":"block","id":1}`

// A peer that left is noticed whatever it sent behind the call that runs.
func TestCallEndsWhenThePeerLeavesMoreBehind(t *testing.T) {
	s := testServer(t)
	began, ended, _ := blocking(t, s)
	cfg := DefaultSocketConfig()
	cfg.MaxConns = 1
	path := startSocket(t, s, cfg)
	for _, behind := range []string{"", block1, strings.Repeat(block1, 5), strings.Repeat(block1, 5000), ` {"jsonrpc":`, " []]", block1 + " x"} {
		for _, halfClosedFirst := range []bool{false, true} {
			var c *session
			eventually(t, "there is room for a connection", func() bool {
				c = mustSession(t, path)
				_, _ = io.WriteString(c.conn, ping7) // it may have been refused already
				return c.line() == pong7
			})
			c.send(block1)
			<-began
			sent := make(chan struct{})
			go func() { // more than the socket holds waits
				defer close(sent)
				_, _ = io.WriteString(c.conn, behind)
				if halfClosedFirst {
					_ = c.conn.CloseWrite()
				}
			}()
			if len(behind) < 1000 {
				<-sent
			}
			_ = c.conn.Close()
			<-sent
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("%.20q, half closed first %v: context ended with %v", behind, halfClosedFirst, err)
			}
		}
	}
	if len(began) > 0 {
		t.Error("calls of a peer that left were run")
	}
}

// Who only stopped sending reads the answers to all that was sent ahead.
func TestMessagesSentAheadAreAnswered(t *testing.T) {
	s := testServer(t)
	began, _, release := blocking(t, s)
	c := mustSession(t, startSocket(t, s, DefaultSocketConfig()))
	c.send(block1 + block1 + ping7 + ping7)
	_ = c.conn.CloseWrite()
	<-began
	close(release)
	for _, answer := range []string{`{"jsonrpc":"2.0","result":"released","id":1}`, `{"jsonrpc":"2.0","result":"released","id":1}`, pong7, pong7, ""} {
		c.want(answer)
	}
}

// What nobody waits for is run although its sender left before.
func TestNotificationsSentAheadAreRun(t *testing.T) {
	s := testServer(t)
	began, ended, release := blocking(t, s)
	c := mustSession(t, startSocket(t, s, DefaultSocketConfig()))
	c.send(strings.Repeat(`{"jsonrpc":"2.0","method":"note_block"}`, 4))
	<-began
	_ = c.conn.Close()
	close(release)
	for range 4 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestPeerThatOnlyStoppedSendingIsAnswered(t *testing.T) {
	s := testServer(t)
	began, _, release := blocking(t, s)
	c := mustSession(t, startSocket(t, s, DefaultSocketConfig()))
	c.send(`{"jsonrpc":"2.0","method":"block","id":1}`)
	_ = c.conn.CloseWrite()
	<-began
	close(release)
	c.want(`{"jsonrpc":"2.0","result":"released","id":1}`)
	c.want("")
}

func TestNotificationOutlivesItsSender(t *testing.T) {
	s := testServer(t)
	began, ended, release := blocking(t, s)
	c := mustSession(t, startSocket(t, s, DefaultSocketConfig()))
	c.send(`[{"jsonrpc":"2.0","method":"note_block"},{"jsonrpc":"2.0","method":"note_block"}]`)
	_ = c.conn.Close()
	<-began
	close(release)
	<-began
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

func TestPeerThatDoesNotReadLosesItsConnection(t *testing.T) {
	s := testServer(t)
	mustRegister(t, s, Method{Name: "large", Handler: always(strings.Repeat("x", 4<<20), nil)})
	cfg := DefaultSocketConfig()
	cfg.WriteTimeout = 20 * time.Millisecond
	path := startSocket(t, s, cfg)
	c, other := mustSession(t, path), mustSession(t, path)
	c.send(`{"jsonrpc":"2.0","method":"large","id":1}`)
	other.send(ping7)
	other.want(pong7)
	eventually(t, "the call ended", func() bool { return s.Stats().Calls == 2 && s.Stats().Running == 0 })
	// The connection breaks in the middle of the answer.
	n, err := io.Copy(io.Discard, untilBroken{t, c.conn})
	if err != nil || n >= 4<<20 {
		t.Errorf("read %d bytes: %v", n, err)
	}
}

// untilBroken begins to read once the server has hung up.
type untilBroken struct {
	t    *testing.T
	conn *net.UnixConn
}

func (u untilBroken) Read(p []byte) (int, error) {
	eventually(u.t, "the server closed", func() bool {
		_, err := u.conn.Write([]byte(" "))
		return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
	})
	n, err := u.conn.Read(p)
	if errors.Is(err, syscall.ECONNRESET) {
		err = io.EOF
	}
	return n, err
}

func TestSlowPeersAreCutOff(t *testing.T) {
	s := testServer(t)
	began, _, release := blocking(t, s)
	hastyIdle, hasty := DefaultSocketConfig(), DefaultSocketConfig()
	hastyIdle.IdleTimeout, hasty.MessageTimeout = 30*time.Millisecond, 30*time.Millisecond
	path := startSocket(t, s, hastyIdle)
	busy, answered := heardInTime(t, path, began)
	mustSession(t, path).want("") // idle
	slow := mustSession(t, startSocket(t, s, hasty))
	slow.send(`{"jsonrpc":`)
	slow.wantCode(CodeTimeout)
	slow.want("")
	close(release) // a call that takes longer than the idle time is no idle connection
	if err := <-answered; err != nil {
		t.Error(err)
	}
	busy.want(`{"jsonrpc":"2.0","result":"released","id":1}`)
}

// heardInTime connects until a call has begun: on a busy machine a socket of little
// patience may find the first connections idle. What it returns beside the session gets
// nil once there is an answer, and an error when the connection ends without.
func heardInTime(t *testing.T, path string, began <-chan struct{}) (*session, <-chan error) {
	t.Helper()
	for range 100 {
		c, answered := mustSession(t, path), make(chan error, 1)
		if _, err := io.WriteString(c.conn, `{"jsonrpc":"2.0","method":"block","id":1}`); err != nil {
			continue
		}
		go func() {
			_, err := c.in.Peek(1)
			answered <- err
		}()
		select {
		case <-began:
			return c, answered
		case <-answered:
		}
	}
	t.Fatal("never heard")
	return nil, nil
}

func TestConnectionsAreLimited(t *testing.T) {
	cfg := DefaultSocketConfig()
	cfg.MaxConns, cfg.MaxConnsPerUID = 3, 1
	uids := make(chan uint32, 5)
	for _, uid := range []uint32{0, 77, 77, 0, 0} {
		uids <- uid
	}
	cfg.Identify = func(*net.UnixConn) Caller { return Caller{Transport: TransportSocket, Peer: &PeerCred{UID: <-uids}} }
	path := startSocket(t, testServer(t), cfg)
	open := func() *session {
		c := mustSession(t, path)
		c.send(ping7)
		return c
	}
	open().want(pong7)
	user := open()
	user.want(pong7)
	refused := mustSession(t, path)
	if e := refused.wantCode(CodeBusy); !strings.Contains(e.Message, "this user") {
		t.Error(e)
	}
	refused.want("")
	open().want(pong7)
	if e := mustSession(t, path).wantCode(CodeBusy); e.Data[0].RetryAfterMS == 0 {
		t.Errorf("does not say when to come back: %+v", e)
	}
}

// Connections of others leave room for root and the agent's user.
func TestConnectionsAreLeftForTheOwner(t *testing.T) {
	cfg := DefaultSocketConfig()
	cfg.MaxConns, cfg.MaxConnsPerUID = 8, 4
	uids := make(chan uint32, 9)
	for _, uid := range []uint32{77, 77, 77, 77, 78, 78, 78, 78, 0} {
		uids <- uid
	}
	cfg.Identify = func(*net.UnixConn) Caller { return Caller{Transport: TransportSocket, Peer: &PeerCred{UID: <-uids}} }
	path := startSocket(t, testServer(t), cfg)
	for range 7 {
		c := mustSession(t, path)
		c.send(ping7)
		c.want(pong7)
	}
	mustSession(t, path).wantCode(CodeBusy)
	owner := mustSession(t, path)
	owner.send(ping7)
	owner.want(pong7)
}

func TestShutdownLetsCallsFinish(t *testing.T) {
	s := testServer(t)
	began, _, release := blocking(t, s)
	sock, path, stop, done := mustServe(t, s, time.Hour)
	idle, c := mustSession(t, path), mustSession(t, path)
	c.send(`{"jsonrpc":"2.0","method":"block","id":1}`)
	<-began
	stop()
	idle.want("")
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
	close(release)
	c.want(`{"jsonrpc":"2.0","result":"released","id":1}`)
	c.want("")
	if err := <-done; err != nil || sock.Conns() != 0 {
		t.Errorf("%v, %d connections", err, sock.Conns())
	}
}

func TestShutdownEndsCallsAfterTheGrace(t *testing.T) {
	s := testServer(t)
	began, ended, _ := blocking(t, s)
	_, path, stop, done := mustServe(t, s, time.Millisecond)
	c := mustSession(t, path)
	c.send(`{"jsonrpc":"2.0","method":"block","id":1}`)
	<-began
	stop()
	c.wantCode(CodeBusy)
	if err := <-ended; !errors.Is(err, errStopping) {
		t.Errorf("cause %v", err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// mustServe is startSocket for tests that stop it themselves.
func mustServe(t *testing.T, s *Server, grace time.Duration) (*Socket, string, context.CancelFunc, chan error) {
	t.Helper()
	cfg := DefaultSocketConfig()
	cfg.Grace = grace
	cfg.Path = filepath.Join(mustShortDir(t), "s")
	sock, err := s.Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	done := make(chan error, 1)
	go func() { done <- sock.Serve(ctx) }()
	return sock, cfg.Path, stop, done
}

// mustShortDir is a directory whose path leaves room for the name of a socket.
func mustShortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "jr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
