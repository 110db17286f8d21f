package wire

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/msgp"
)

func contains(s string, parts ...string) bool {
	for _, p := range parts {
		if !strings.Contains(s, p) {
			return false
		}
	}
	return true
}

func appendText(n int) []byte { return msgp.AppendString(nil, strings.Repeat("x", n)) }

// plainRequest is what a plain peer writes.
func plainRequest(method string, seq uint64, body []byte) []byte {
	b := msgp.AppendMapHeader(nil, 2)
	b = msgp.AppendString(msgp.AppendField(b, keyMethod), method)
	b = msgp.AppendUint64(msgp.AppendField(b, keySeq), seq)
	return append(b, body...)
}

func TestCancelEndsTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 1)
		c, s := pair(t, func(ctx context.Context, call *Call) (any, error) {
			if call.Method == "A.Quick" {
				return "quick", nil
			}
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		}, Limits{})
		// even the first call of a connection
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- c.Call(ctx, "A.Block", nil, nil, CallOptions{}) }()
		synctest.Wait()
		if n := s.InFlight(); n != 1 {
			t.Errorf("%d calls in flight", n)
		}
		if peers := s.Peers(); len(peers) != 1 || peers[0] != (Peer{Remote: "pipe", Conns: 1, Calls: 1}) {
			t.Errorf("peers %+v", peers)
		}
		cancel()
		if err := <-result; !errors.Is(err, errs.Deadline) || !errors.Is(err, context.Canceled) {
			t.Errorf("caller got %v", err)
		}
		if err := <-ended; err != context.Canceled {
			t.Errorf("handler got %v", err)
		}
		var out string
		if err := c.Call(t.Context(), "A.Quick", nil, &out, CallOptions{}); err != nil || out != "quick" {
			t.Errorf("afterwards: %q, %v", out, err)
		}
		synctest.Wait()
		if n := s.InFlight(); n != 0 {
			t.Errorf("%d calls in flight at the end", n)
		}
		if peers := s.Peers(); len(peers) != 1 || peers[0].Calls != 0 {
			t.Errorf("peers at the end of the call %+v", peers)
		}
		_ = c.Close()
		synctest.Wait()
		if peers := s.Peers(); len(peers) != 0 {
			t.Errorf("peers after the connection %+v", peers)
		}
	})
}

func TestDeadlineAndOptionsAreCarried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type seen struct {
			left   time.Duration
			call   Call
			same   bool
			endsAt error
		}
		got := make(chan seen, 1)
		c, _ := pair(t, func(ctx context.Context, call *Call) (any, error) {
			at, _ := ctx.Deadline()
			s := seen{left: time.Until(at), call: *call}
			from, ok := CallFrom(context.WithValue(ctx, "k", 1))
			s.same = ok && from == call
			<-ctx.Done()
			s.endsAt = ctx.Err()
			got <- s
			return nil, ctx.Err()
		}, Limits{})
		ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
		defer cancel()
		err := c.Call(ctx, "A.B", nil, nil, CallOptions{Hops: 2, RequestID: "req"})
		if !errors.Is(err, errs.Deadline) {
			t.Errorf("caller got %v", err)
		}
		s := <-got
		if s.left != 1500*time.Millisecond || s.endsAt != context.DeadlineExceeded && s.endsAt != context.Canceled {
			t.Errorf("handler had %v, ended with %v", s.left, s.endsAt)
		}
		if s.call.Hops != 2 || s.call.RequestID != "req" || s.call.Identity.Protocol != "test" || !s.same {
			t.Errorf("handler saw %+v", s.call)
		}
		if err := c.Call(ctx, "A.B", nil, nil, CallOptions{}); !errors.Is(err, errs.Deadline) {
			t.Errorf("a call after the deadline: %v", err)
		}
	})
}

func TestRepliesOutOfOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := map[string]chan struct{}{"A.0": make(chan struct{}), "A.1": make(chan struct{}), "A.2": make(chan struct{})}
		c, _ := pair(t, func(_ context.Context, call *Call) (any, error) {
			<-release[call.Method]
			return call.Method, nil
		}, Limits{})
		type answer struct{ method, text string }
		answers := make(chan answer, 3)
		for method := range release {
			go func() {
				var text string
				if err := c.Call(t.Context(), method, nil, &text, CallOptions{}); err != nil {
					t.Error(err)
				}
				answers <- answer{method, text}
			}()
		}
		for _, method := range []string{"A.2", "A.0", "A.1"} {
			synctest.Wait()
			close(release[method])
			if a := <-answers; a.method != method || a.text != method {
				t.Errorf("released %s, got %+v", method, a)
			}
		}
	})
}

// volatile cannot be encoded.
type volatile struct{}

func (volatile) AppendMsgpack([]byte) []byte { panic("crash") }

func TestPanicEndsOneCall(t *testing.T) {
	c, s := pair(t, func(_ context.Context, call *Call) (any, error) {
		switch call.Method {
		case "A.Panic":
			panic("boom")
		case "A.Reply":
			return volatile{}, nil
		}
		return "fine", nil
	}, Limits{})
	err := c.Call(t.Context(), "A.Panic", nil, nil, CallOptions{RequestID: "r9"})
	if !errors.Is(err, errs.Internal) || err.Error() != "internal error, request r9" {
		t.Errorf("got %v", err)
	}
	if log := s.logged(); !contains(log, "boom", "r9", "behaviour_test.go") {
		t.Errorf("log lacks the stack:\n%s", log)
	}
	if err := c.Call(t.Context(), "A.Reply", nil, nil, CallOptions{}); !errors.Is(err, errs.Internal) || !contains(s.logged(), "crash") {
		t.Errorf("while the reply was encoded: %v", err)
	}
	if err := c.Call(t.Context(), "A.Fine", nil, nil, CallOptions{}); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// A reply that cannot be encoded is a fault of that call only.
func TestUnencodableReply(t *testing.T) {
	odd := time.Unix(1, 0).In(time.FixedZone("", -60))
	c, _ := pair(t, func(_ context.Context, call *Call) (any, error) {
		if call.Method == "A.Huge" {
			return Raw(appendText(5000)), nil
		}
		return map[string]any{"t": odd}, nil
	}, Limits{MaxMessage: 4096})
	if err := c.Call(t.Context(), "A.Odd", nil, nil, CallOptions{}); !errors.Is(err, errs.Internal) {
		t.Errorf("odd reply: %v", err)
	}
	if err := c.Call(t.Context(), "A.Huge", nil, nil, CallOptions{}); !errors.Is(err, errs.TooLarge) {
		t.Errorf("huge reply: %v", err)
	}
	if err := c.Call(t.Context(), "A.Odd", odd, nil, CallOptions{}); !errors.Is(err, errs.Invalid) {
		t.Errorf("odd argument: %v", err)
	}
	if err := c.Call(t.Context(), "A.Odd", Raw(appendText(5000)), nil, CallOptions{}); !errors.Is(err, errs.TooLarge) {
		t.Errorf("huge argument: %v", err)
	}
	if n := c.Pending(); n != 0 {
		t.Errorf("%d calls pending", n)
	}
}

func TestConnectionLossSaysWhetherSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c := NewClient(near, Limits{})
		defer c.Close()
		results := map[string]chan error{"A.Read": make(chan error, 1), "A.Queued": make(chan error, 1)}
		call := func(method string) {
			go func() { results[method] <- c.Call(t.Context(), method, "x", nil, CallOptions{}) }()
			synctest.Wait()
		}
		call("A.Read")
		if _, err := far.Read(make([]byte, 8)); err != nil { // a part of it
			t.Fatal(err)
		}
		call("A.Queued") // behind the write that still waits
		_ = far.Close()
		for method, want := range map[string]errs.Executed{"A.Read": errs.ExecutedUnknown, "A.Queued": errs.ExecutedNo} {
			err := <-results[method]
			var e *errs.Error
			if !errors.As(err, &e) || e.Code != errs.Unavailable || e.Executed != want {
				t.Errorf("%s: %v, want executed %s", method, err, want)
			}
		}
		<-c.Done()
		if err := c.Call(t.Context(), "A.Late", nil, nil, CallOptions{}); !errors.Is(err, errs.Unavailable) || !errs.NotSent(err) {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestConnectionEndCancelsHandlers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan struct{}, 2)
		c, s := pair(t, func(ctx context.Context, _ *Call) (any, error) {
			<-ctx.Done()
			ended <- struct{}{}
			return nil, ctx.Err()
		}, Limits{MaxInFlight: 2})
		for range 3 {
			go func() { _ = c.Call(t.Context(), "A.B", nil, nil, CallOptions{}) }()
		}
		synctest.Wait()
		_ = c.Close()
		<-ended
		<-ended
		<-s.done
		if n := s.InFlight(); n != 0 {
			t.Errorf("%d calls in flight", n)
		}
	})
}

func TestServerStopEndsConnection(t *testing.T) {
	c, s := pair(t, func(ctx context.Context, _ *Call) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}, Limits{})
	go s.stop()
	err := c.Call(t.Context(), "A.B", nil, nil, CallOptions{})
	if !errors.Is(err, errs.Unavailable) {
		t.Errorf("got %v", err)
	}
	<-s.done
}

func TestMaxInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c, s := pair(t, func(ctx context.Context, _ *Call) (any, error) {
			select {
			case <-release:
			case <-ctx.Done():
			}
			return nil, nil
		}, Limits{MaxInFlight: 2})
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, 3)
		for range 2 {
			go func() { results <- c.Call(ctx, "A.B", nil, nil, CallOptions{}) }()
		}
		synctest.Wait()
		go func() { results <- c.Call(t.Context(), "A.B", nil, nil, CallOptions{}) }()
		synctest.Wait()
		if n := s.InFlight(); n != 2 {
			t.Fatalf("%d calls in flight, want 2", n)
		}
		cancel() // is read although a call waits, and makes room for it
		<-results
		<-results
		synctest.Wait()
		if n := s.InFlight(); n != 1 {
			t.Fatalf("%d calls in flight, want the one that waited", n)
		}
		close(release)
		if err := <-results; err != nil {
			t.Error(err)
		}
	})
}

// drainAll reads what the server sends until it closes the connection.
func drainAll(conn net.Conn) <-chan []byte {
	out := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(conn)
		out <- b
	}()
	return out
}

func TestBadInputClosesTheConnection(t *testing.T) {
	for _, tc := range []struct {
		name  string
		in    string
		reply string
		log   string
	}{
		{"garbage", "GET / HTTP/1.1\r\n\r\n", "", "broke the protocol"},
		{"unused byte", "\x82\xc1", "", "broke the protocol"},
		{"header without a method", "\x81\xa3Seq\x01\xc0", "", "broke the protocol"},
		{"header of 1 GiB", "\x81\xdb\x40\x00\x00\x00", "", "broke the protocol"},
		{"header of 4 G pairs", "\xdf\xff\xff\xff\xff", "", "broke the protocol"},
		{"header too deep", "\x81\xa3Foo" + strings.Repeat("\x91", 1000), "", "broke the protocol"},
		{"body of 1 GiB", string(plainRequest("A.B", 7, []byte("\xdb\x40\x00\x00\x00"))), "RPC Error:: 413,", "broke the protocol"},
		{"body too deep", string(plainRequest("A.B", 7, []byte(strings.Repeat("\x91", 1000)))), "", "broke the protocol"},
		{"half a header", "\x82\xadServiceMe", "", "connection lost"},
		{"half a body", string(plainRequest("A.B", 7, []byte("\xaa12"))), "", "connection lost"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				s := serve(t, echo, Limits{}, far)
				got := drainAll(near)
				_, _ = near.Write([]byte(tc.in))
				synctest.Wait()
				if tc.log == "connection lost" {
					_ = near.Close()
				}
				<-s.done
				if reply := string(<-got); !strings.Contains(reply, tc.reply) || tc.reply == "" && reply != "" {
					t.Errorf("reply %q", reply)
				}
				log := s.logged()
				if !strings.Contains(log, tc.log) || strings.Count(log, "\n") != 1 {
					t.Errorf("log:\n%s", log)
				}
			})
		})
	}
}

func TestLargeArgumentLeavesTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		serve(t, echo, Limits{MaxMessage: 1024}, far)
		defer near.Close()
		c := NewClient(near, Limits{})
		defer c.Close()
		if err := c.Call(t.Context(), "A.B", Raw(appendText(1500)), nil, CallOptions{}); !errors.Is(err, errs.TooLarge) {
			t.Errorf("too large: %v", err)
		}
		if err := c.Call(t.Context(), "A.B", Raw(appendText(500)), nil, CallOptions{}); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		if err := c.Call(t.Context(), "A.B", Raw(appendText(5000)), nil, CallOptions{}); !errors.Is(err, errs.TooLarge) {
			t.Errorf("far too large: %v", err)
		}
		<-c.Done()
	})
}

func TestSlowPeersAreClosed(t *testing.T) {
	limits := Limits{HeaderTimeout: 5 * time.Second, BodyTimeout: 30 * time.Second, IdleTimeout: 10 * time.Minute, WriteTimeout: 10 * time.Second}
	request := plainRequest("A.B", 1, []byte("\xaahelloworld"))
	for _, tc := range []struct {
		name  string
		bytes int           // of the request that are sent, one each second
		want  time.Duration // from the last byte on
	}{
		{"silent", 0, 10 * time.Minute},
		{"in the header", 3, 3 * time.Second},
		{"in the body", len(request) - 5, 30 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				near, far := net.Pipe()
				s := serve(t, echo, limits, far)
				got := drainAll(near)
				if tc.name == "in the body" {
					_, _ = near.Write(request[:tc.bytes])
				} else {
					for i := range tc.bytes {
						if i > 0 {
							time.Sleep(time.Second)
						}
						_, _ = near.Write(request[i : i+1])
					}
				}
				start := time.Now()
				<-s.done
				<-got
				if d := time.Since(start); d != tc.want {
					t.Errorf("closed after %v, want %v", d, tc.want)
				}
			})
		})
	}
	t.Run("does not read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			s := serve(t, echo, limits, far)
			_, _ = near.Write(request)
			start := time.Now()
			<-s.done
			if d := time.Since(start); d != limits.WriteTimeout {
				t.Errorf("closed after %v", d)
			}
			if !strings.Contains(s.logged(), "too slow") {
				t.Errorf("log:\n%s", s.logged())
			}
		})
	})
}

func TestIdleCountsFromTheLastReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := pair(t, func(context.Context, *Call) (any, error) {
			time.Sleep(25 * time.Minute) // longer than the limit
			return "late", nil
		}, Limits{IdleTimeout: 10 * time.Minute})
		var out string
		if err := c.Call(t.Context(), "A.B", nil, &out, CallOptions{}); err != nil || out != "late" {
			t.Fatalf("%q, %v", out, err)
		}
		start := time.Now()
		<-s.done
		if d := time.Since(start); d < 10*time.Minute || d > 20*time.Minute {
			t.Errorf("closed %v after the reply", d)
		}
	})
}

func TestArgumentsInMemoryAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c, s := pair(t, func(context.Context, *Call) (any, error) {
			<-release
			return nil, nil
		}, Limits{MaxMessage: 1000})
		results := make(chan error, 8)
		for range 8 {
			go func() { results <- c.Call(t.Context(), "A.B", Raw(appendText(900)), nil, CallOptions{}) }()
		}
		synctest.Wait()
		if n := s.InFlight(); n != 3 { // the third passes 2000 bytes
			t.Errorf("%d calls in flight", n)
		}
		close(release)
		for range 8 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
	})
}
