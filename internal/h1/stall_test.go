package h1

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const stall = 30 * time.Second

// large answers with a MiB, and tells on ended when that has come to its end; /small
// is answered with a few bytes.
func large(ended chan error) http.HandlerFunc {
	body := []byte(strings.Repeat("x", 1<<20))
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/small" {
			_, _ = w.Write(body[:10])
			return
		}
		_, err := w.Write(body)
		ended <- err
	}
}

// stalling runs a test with a server that has a StallTimeout, whose clients hold 64 KiB.
func stalling(t *testing.T, f func(t *testing.T, dial func() *memConn, ended chan error)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan error, 100)
		s := New(newHTTP(large(ended)))
		s.StallTimeout = stall
		dial := serveMem(t, s)
		f(t, func() *memConn {
			c := dial()
			c.in.most = 64 << 10
			return c
		}, ended)
	})
}

func TestAClientThatNeverReadsIsClosed(t *testing.T) {
	for name, request := range map[string]string{
		"ordinary":             get("/"),
		"answered by net/http": "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			stalling(t, func(t *testing.T, dial func() *memConn, ended chan error) {
				c := dial()
				start := time.Now()
				send(c, request)
				if err := <-ended; err == nil {
					t.Error("all of the answer was sent to nobody")
				}
				if took := time.Since(start); took < stall || took > stall+time.Second {
					t.Errorf("closed after %v", took)
				}
			})
		})
	}
}

func TestManySmallAnswersToAClientThatNeverReads(t *testing.T) {
	stalling(t, func(t *testing.T, dial func() *memConn, _ chan error) {
		c := dial()
		start := time.Now()
		var err error
		for err == nil { // pipelined until the client's buffer is full, and the server's end closed
			_, err = io.WriteString(c, get("/small"))
			if time.Sleep(20 * time.Millisecond); time.Since(start) > 5*time.Minute {
				t.Fatal("still open")
			}
		}
		if took := time.Since(start); took < stall {
			t.Errorf("closed after %v", took)
		}
	})
}

func TestASlowReaderGetsItsAnswer(t *testing.T) {
	for name, request := range map[string]string{
		"ordinary":             get("/"),
		"answered by net/http": "PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			stalling(t, func(t *testing.T, dial func() *memConn, ended chan error) {
				c := dial()
				send(c, request)
				start := time.Now()
				for got := 0; got < 1<<20; {
					n, err := c.Read(make([]byte, 16<<10))
					if err != nil {
						t.Fatalf("after %d bytes and %v: %v", got, time.Since(start), err)
					}
					got += n
					time.Sleep(2 * time.Second) // 8 KiB/s, more than two minutes
				}
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestSteadyConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		c, err := Steady(oneConn{far}, stall).Accept()
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := c.Write(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != stall {
			t.Errorf("nobody reads: %v after %v", err, time.Since(start))
		}
		start = time.Now()
		_ = c.SetWriteDeadline(start.Add(time.Second))
		if _, err := c.Write(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("an earlier deadline of the owner: %v after %v", err, time.Since(start))
		}
		_ = c.SetDeadline(time.Time{})
		go func() {
			for range 8 {
				time.Sleep(20 * time.Second)
				_, _ = io.CopyN(io.Discard, near, sendStep)
			}
		}()
		if n, err := c.Write(make([]byte, 8*sendStep)); n != 8*sendStep || err != nil {
			t.Errorf("a slow reader took %d bytes: %v", n, err)
		}
		if n, err := c.Write(nil); n != 0 || err != nil {
			t.Errorf("nothing: %d, %v", n, err)
		}
		if ln := Steady(oneConn{far}, 0); ln != (oneConn{far}) {
			t.Error("no limit is a limit")
		}
		_, _ = near.Close(), far.Close()
	})
}

// oneConn is a listener with one connection.
type oneConn struct{ net.Conn }

func (o oneConn) Accept() (net.Conn, error) { return o.Conn, nil }
func (o oneConn) Addr() net.Addr            { return o.LocalAddr() }
