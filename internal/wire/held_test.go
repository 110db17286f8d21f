package wire

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/limit"
)

// Arguments that come in slowly, or are worked on, take from one budget for all
// connections. Who finds it spent is told so, and its connection lives on.
func TestArgumentsOfAllConnectionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := limit.NewBytes(1 << 20)
		release := make(chan struct{})
		slow, far := net.Pipe()
		limits := Limits{Held: held, BodyTimeout: time.Minute}
		serve(t, func(_ context.Context, c *Call) (any, error) {
			<-release
			return len(c.Body), nil
		}, limits, far)
		fast, _ := pair(t, func(_ context.Context, c *Call) (any, error) { return len(c.Body), nil }, limits)
		large := strings.Repeat("y", 600<<10)
		call := func(arg string) error { return fast.Call(t.Context(), "A.B", arg, nil, CallOptions{}) }

		request := plainRequest("A.B", 1, appendText(700<<10))
		half := len(request) / 2
		if _, err := slow.Write(request[:half]); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if used := held.Used(); used < int64(half)-4096 || used > 2*int64(half)+8192 {
			t.Errorf("%d bytes are held for %d that have come", used, half)
		}
		if err := call("small"); err != nil {
			t.Errorf("a small call beside it: %v", err)
		}
		if _, err := slow.Write(request[half:]); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		err := call(large)
		var e *errs.Error
		if !errors.As(err, &e) || e.Code != errs.Busy || e.RetryAfter <= 0 || !strings.Contains(e.Msg, "max_request_bytes") {
			t.Errorf("while the other call is worked on: %v", err)
		}
		if held.Refused() != 1 {
			t.Errorf("%d refused", held.Refused())
		}
		if err := call("small"); err != nil {
			t.Errorf("the connection afterwards: %v", err)
		}
		close(release)
		readAnswer(t, slow)
		synctest.Wait()
		if used := held.Used(); used != 0 {
			t.Errorf("%d bytes are held for nobody", used)
		}
		if err := call(large); err != nil {
			t.Errorf("when there is room again: %v", err)
		}
		if err := call(strings.Repeat("z", 3<<20)); err != nil {
			t.Errorf("an argument above the budget that is alone: %v", err)
		}
		synctest.Wait()
		if used := held.Used(); used != 0 {
			t.Errorf("%d bytes are held at the end", used)
		}
		_ = slow.Close()
	})
}

// readAnswer waits for an answer and reads it.
func readAnswer(t *testing.T, conn net.Conn) {
	t.Helper()
	if _, err := conn.Read(make([]byte, 4<<10)); err != nil {
		t.Fatal(err)
	}
}

// Whatever ends a call gives its bytes back: a refusal for its size, the loss of the
// connection, a time-out, a cancellation.
func TestEveryEndGivesBytesBack(t *testing.T) {
	start := plainRequest("A.B", 1, appendText(90<<10))
	for name, end := range map[string]func(conn net.Conn){
		"hangs up in its argument": func(conn net.Conn) { _, _ = conn.Write(start[:80<<10]); _ = conn.Close() },
		"stops in its argument":    func(conn net.Conn) { _, _ = conn.Write(start[:80<<10]) },
		"hangs up while it runs":   func(conn net.Conn) { _, _ = conn.Write(start); _ = conn.Close() },
		"is too large":             func(conn net.Conn) { _, _ = conn.Write(plainRequest("A.B", 1, appendText(150<<10))) },
		"is far too large":         func(conn net.Conn) { _, _ = conn.Write(plainRequest("A.B", 1, appendText(500<<10))) },
		"is garbage":               func(conn net.Conn) { _, _ = conn.Write(plainRequest("A.B", 1, []byte("\x92\xc1"))) },
		"cancels": func(conn net.Conn) {
			_, _ = conn.Write(start)
			_, _ = conn.Write(plainRequest(methodCancel, 1, []byte("\xc0")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				held := limit.NewBytes(1 << 20)
				near, far := net.Pipe()
				serve(t, func(ctx context.Context, _ *Call) (any, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				}, Limits{Held: held, MaxMessage: 100 << 10}, far)
				go func() { // reads what is answered
					b := make([]byte, 4<<10)
					for {
						if _, err := near.Read(b); err != nil {
							return
						}
					}
				}()
				end(near)
				time.Sleep(time.Hour)
				synctest.Wait()
				if used := held.Used(); used != 0 {
					t.Errorf("%d bytes are held", used)
				}
				_ = near.Close()
			})
		})
	}
}
