package wire

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/internal/msgp"
)

// replay is a connection whose peer sends fixed bytes and then leaves.
type replay struct {
	net.Conn // nil: what is not defined here must not be used
	in       io.Reader
	mu       sync.Mutex
	out      bytes.Buffer
	wrote    chan struct{} // closed by the first write; reads wait for it if not nil
	once     sync.Once
}

func (c *replay) Read(p []byte) (int, error) {
	if c.wrote != nil {
		<-c.wrote
	}
	return c.in.Read(p)
}

func (c *replay) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.wrote != nil {
		c.once.Do(func() { close(c.wrote) })
	}
	return c.out.Write(p)
}

func (c *replay) Close() error                     { return nil }
func (c *replay) SetReadDeadline(time.Time) error  { return nil }
func (c *replay) SetWriteDeadline(time.Time) error { return nil }
func (c *replay) SetDeadline(time.Time) error      { return nil }
func (c *replay) RemoteAddr() net.Addr             { return &net.TCPAddr{} }

func FuzzServerConn(f *testing.F) {
	var two []byte
	two = msgp.AppendNil(appendRequest(two, "A.B", 1, time.Second, CallOptions{Hops: 1, RequestID: "r"}))
	two = msgp.AppendNil(appendRequest(two, methodCancel, 1, 0, CallOptions{}))
	f.Add(two)
	f.Add(plainRequest("A.B", 1, []byte("\x81\xa1A\x05")))
	f.Add(plainRequest("A.B", 1, []byte("\xdb\x40\x00\x00\x00")))
	f.Add(append(plainRequest("A.B", 1, appendText(1500)), plainRequest("A.B", 1, []byte("\xc0"))...))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		held := limit.NewBytes(600)
		s := NewServer(func(_ context.Context, c *Call) (any, error) {
			var v Sum
			if err := c.Decode(&v); err != nil {
				return nil, err
			}
			var any any
			return any, c.Decode(&any)
		}, Limits{MaxMessage: 1024, MaxInFlight: 2, Held: held}, nil)
		conn := &replay{in: bytes.NewReader(b)}
		s.ServeConn(context.Background(), conn, nil)
		if s.InFlight() != 0 || held.Used() != 0 {
			t.Fatalf("%d calls and %d bytes left", s.InFlight(), held.Used())
		}
		// what was answered is a sequence of whole values
		for out := conn.out.Bytes(); len(out) > 0; {
			n, err := msgp.Scan(out)
			if err != nil {
				t.Fatalf("wrote %x: %v", out, err)
			}
			out = out[n:]
		}
	})
}

func FuzzClientConn(f *testing.F) {
	fail := errs.New(errs.Busy, "later").WithErrata(errs.Erratum{Field: "f", Msg: "m"}).WithRetryAfter(time.Second)
	f.Add(append(appendResponse(nil, "A.B", 1, true, nil), "\x81\xa1A\x05"...))
	f.Add(msgp.AppendNil(appendResponse(nil, "A.B", 1, true, fail)))
	f.Add(msgp.AppendNil(appendResponse(nil, "A.B", 1, false, fail)))
	f.Add(append(appendResponse(nil, "A.B", 1, false, nil), "\xdb\x40\x00\x00\x00"...))
	f.Add([]byte("\x83\xa3Seq\x01\xa3Err\xdf\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		conn := &replay{in: bytes.NewReader(b), wrote: make(chan struct{})}
		c := NewClient(conn, Limits{MaxMessage: 1024})
		var reply Sum
		err := c.Call(context.Background(), "A.B", nil, &reply, CallOptions{})
		if err != nil && errs.CodeOf(err) == "" {
			t.Fatalf("an error without a code: %v", err)
		}
		_ = c.Close()
		if c.Pending() != 0 {
			t.Fatal("calls left")
		}
	})
}

func FuzzErrorText(f *testing.F) {
	f.Add("RPC Error:: 404,not found")
	f.Add("rpc error: RPC Error:: 99999999999999999999,x")
	f.Add("Permission denied")
	f.Fuzz(func(t *testing.T, text string) {
		e := fromPlainText(text)
		if e.Code == "" || !strings.Contains(text, e.Msg) {
			t.Fatalf("%q became %#v", text, e)
		}
	})
}
