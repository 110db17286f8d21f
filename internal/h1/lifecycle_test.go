package h1

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// bubble runs a test with a server in memory.
func bubble(t *testing.T, h http.HandlerFunc, f func(t *testing.T, s *Server, dial func() *memConn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := New(newHTTP(h))
		f(t, s, serveMem(t, s))
	})
}

func send(c *memConn, s string) {
	_, _ = io.WriteString(c, s)
	synctest.Wait()
}

// expect fails unless what arrived begins so, or is empty for "".
func expect(t *testing.T, c *memConn, prefix string, closed bool) {
	t.Helper()
	synctest.Wait()
	got, end := c.received()
	if !strings.HasPrefix(got, prefix) || prefix == "" && got != "" || end != closed {
		t.Errorf("got %q, closed %t; want %q, %t", got, end, prefix, closed)
	}
}

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }

func TestSilentConnectionsAreClosed(t *testing.T) {
	bubble(t, ok, func(t *testing.T, _ *Server, dial func() *memConn) {
		fresh, partial, used, again := dial(), dial(), dial(), dial()
		send(partial, "GET / HTTP/1.1\r\nHo")
		send(used, get("/"))
		send(again, get("/")+"GET ")
		expect(t, used, "HTTP/1.1 200", false)
		expect(t, again, "HTTP/1.1 200", false)
		time.Sleep(9 * time.Second)
		for _, c := range []*memConn{fresh, partial, used, again} {
			expect(t, c, "", false)
		}
		send(partial, "s") // a byte now and then buys no time
		time.Sleep(2 * time.Second)
		expect(t, fresh, "", true)
		expect(t, partial, "", true)
		expect(t, again, "", true)
		expect(t, used, "", false)
		time.Sleep(100 * time.Second)
		expect(t, used, "", false)
		time.Sleep(10 * time.Second)
		expect(t, used, "", true)
	})
}

// A client that dials ahead may come back to such a connection later, while there is
// room. Half a head buys no time, whenever it comes.
func TestUnusedConnectionsStayWhileThereIsRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(newHTTP(http.HandlerFunc(ok)))
		var room atomic.Bool
		room.Store(true)
		s.Room = func(net.Conn) bool { return room.Load() }
		dial := serveMem(t, s)
		late, partial, forgotten := dial(), dial(), dial()
		time.Sleep(60 * time.Second)
		crowded := dial()
		send(late, get("/"))
		expect(t, late, "HTTP/1.1 200", false)
		send(partial, "GET / HTTP/1.1\r\nHo")
		time.Sleep(9 * time.Second)
		expect(t, partial, "", false)
		send(partial, "s")
		time.Sleep(2 * time.Second)
		expect(t, partial, "", true)
		expect(t, crowded, "", false)
		time.Sleep(40 * time.Second)
		expect(t, forgotten, "", false)
		time.Sleep(10 * time.Second)
		expect(t, forgotten, "", true)
		young := dial()
		room.Store(false)
		time.Sleep(time.Second)
		expect(t, crowded, "", true)
		expect(t, young, "", false)
		expect(t, late, "", false)
		time.Sleep(10 * time.Second)
		expect(t, young, "", true)
		expect(t, late, "", false)
	})
}

func TestRequestsMayTakeLong(t *testing.T) {
	slow := func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		time.Sleep(time.Hour)
		_, _ = fmt.Fprintf(w, "%s %v %v", body, err, r.Context().Err())
	}
	bubble(t, slow, func(t *testing.T, _ *Server, dial func() *memConn) {
		c := dial()
		send(c, strings.TrimSuffix(put("/", "body"), "dy"))
		time.Sleep(time.Hour)
		send(c, "dy")
		time.Sleep(time.Hour + time.Second)
		got, closed := c.received()
		if !strings.HasSuffix(got, "body <nil> <nil>") || closed {
			t.Errorf("%q %t", got, closed)
		}
	})
}

func TestContextEndsWithTheClient(t *testing.T) {
	const clients = 500
	var ended atomic.Int64
	wait := func(_ http.ResponseWriter, r *http.Request) {
		began := time.Now()
		<-r.Context().Done()
		if time.Since(began) > time.Hour+200*time.Millisecond {
			t.Errorf("noticed after %v", time.Since(began)-time.Hour)
		}
		ended.Add(1)
	}
	bubble(t, wait, func(t *testing.T, _ *Server, dial func() *memConn) {
		var all []*memConn
		for i := range clients {
			all = append(all, dial())
			request := get("/")
			if i%2 == 0 {
				request = put("/ignored", "body")
			}
			_, _ = io.WriteString(all[i], request)
		}
		time.Sleep(time.Hour)
		if n := ended.Load(); n != 0 {
			t.Fatalf("%d ended early", n)
		}
		for _, c := range all {
			_ = c.Close()
		}
		synctest.Wait()
		if n := ended.Load(); n != clients {
			t.Errorf("%d of %d ended", n, clients)
		}
	})
}

// A client that leaves at once is noticed soon too, and what comes while a
// request is served is the next request.
func TestWatching(t *testing.T) {
	wait := func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		select {
		case <-r.Context().Done():
			if d := time.Since(began); d > 200*time.Millisecond {
				t.Errorf("noticed after %v", d)
			}
		case <-time.After(time.Second):
			_, _ = io.WriteString(w, r.URL.Path)
		}
	}
	bubble(t, wait, func(t *testing.T, _ *Server, dial func() *memConn) {
		time.Sleep(123 * time.Millisecond)
		gone := dial()
		send(gone, get("/"))
		_ = gone.Close()
		c := dial()
		send(c, get("/first"))
		time.Sleep(500 * time.Millisecond)
		send(c, get("/second")[:1])
		send(c, get("/second")[1:]+get("/third"))
		for _, path := range []string{"/first", "/second", "/third"} {
			got, _ := c.received()
			for ; got == ""; got, _ = c.received() {
				time.Sleep(time.Millisecond)
				synctest.Wait()
			}
			if !strings.HasSuffix(got, "\r\n\r\n"+path) {
				t.Errorf("%s: %q", path, got)
			}
		}
	})
}

func TestShutdown(t *testing.T) {
	slow := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			time.Sleep(10 * time.Second)
		}
		ok(w, r)
	}
	bubble(t, slow, func(t *testing.T, s *Server, dial func() *memConn) {
		fresh, idle, busy, moved := dial(), dial(), dial(), dial()
		send(idle, get("/"))
		send(moved, get("/", "Pragma: x"))
		send(busy, get("/slow"))
		expect(t, idle, "HTTP/1.1 200", false)
		expect(t, moved, "HTTP/1.1 200", false)
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		time.Sleep(time.Second)
		expect(t, idle, "", true)
		expect(t, moved, "", true)
		expect(t, fresh, "", false)
		expect(t, busy, "", false)
		time.Sleep(6 * time.Second)
		expect(t, fresh, "", true)
		if len(done) != 0 {
			t.Error("did not wait")
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		got, closed := busy.received()
		if !strings.Contains(got, "\r\nConnection: close\r\n") || !closed {
			t.Errorf("%q %t", got, closed)
		}
		if err := s.Serve(newHandover()); err != http.ErrServerClosed {
			t.Errorf("serving again: %v", err)
		}
	})
}

func TestShutdownGivesUp(t *testing.T) {
	ended := make(chan error, 2)
	wait := func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		ended <- r.Context().Err()
	}
	bubble(t, wait, func(t *testing.T, s *Server, dial func() *memConn) {
		c, moved := dial(), dial()
		send(c, get("/"))
		send(moved, get("/", "Pragma: x"))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("shutdown: %v", err)
		}
		_ = s.Close()
		<-ended
		<-ended
		expect(t, c, "", true)
		expect(t, moved, "", true)
	})
}

func TestBaseContextEndsRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type key struct{}
		base, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "v"))
		hs := newHTTP(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			_, _ = fmt.Fprint(w, r.Context().Value(key{}))
		}))
		hs.BaseContext = func(net.Listener) context.Context { return base }
		c := serveMem(t, New(hs))()
		send(c, get("/"))
		cancel()
		synctest.Wait()
		if got, _ := c.received(); !strings.HasSuffix(got, "\r\n\r\nv") {
			t.Errorf("%q", got)
		}
	})
}

func TestPanicsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		hs := newHTTP(http.HandlerFunc(play))
		hs.ErrorLog = log.New(&out, "", 0)
		dial := serveMem(t, New(hs))
		c := dial()
		send(c, get("/crash"))
		expect(t, c, "", true)
		if !strings.Contains(out.String(), "crash") || !strings.Contains(out.String(), "goroutine") {
			t.Errorf("log: %q", out.String())
		}
		out.Reset()
		c = dial()
		send(c, get("/panic"))
		expect(t, c, "", true)
		if out.Len() > 0 {
			t.Errorf("log of an abort: %q", out.String())
		}
	})
}

func TestReadDeadline(t *testing.T) {
	read := func(w http.ResponseWriter, r *http.Request) {
		if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Error(err)
		}
		_, err := io.ReadAll(r.Body)
		if r.URL.Path == "/long" {
			time.Sleep(time.Hour)
		}
		_, _ = fmt.Fprint(w, errors.Is(err, os.ErrDeadlineExceeded), r.Context().Err())
	}
	bubble(t, read, func(t *testing.T, _ *Server, dial func() *memConn) {
		c := dial()
		send(c, strings.TrimSuffix(put("/", "body"), "dy"))
		time.Sleep(59 * time.Second)
		expect(t, c, "", false)
		time.Sleep(2 * time.Second)
		got, closed := c.received()
		if !strings.HasSuffix(got, "true <nil>") || !strings.Contains(got, "Connection: close") {
			t.Errorf("%q, %t", got, closed)
		}
		c = dial()
		whole := put("/long", "body")
		for _, pieces := range [][]string{{whole}, {whole[:len(whole)-2], whole[len(whole)-2:]}} {
			for _, p := range pieces {
				send(c, p)
			}
			time.Sleep(time.Hour + time.Minute)
			if got, closed := c.received(); !strings.HasSuffix(got, "false <nil>") || closed {
				t.Errorf("%q, %t", got, closed)
			}
			send(c, put("/", "body")) // no deadline is left behind
			expect(t, c, "HTTP/1.1 200", false)
		}
	})
}

func TestHijack(t *testing.T) {
	hijack := func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(time.Second) // somebody listens for the end of the client by now
		nc, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := w.Write([]byte("x")); err != http.ErrHijacked {
			t.Errorf("write: %v", err)
		}
		go func() {
			line, _ := rw.ReadString('\n')
			_, _ = io.WriteString(nc, "got "+line)
			_ = nc.Close()
		}()
	}
	bubble(t, hijack, func(t *testing.T, s *Server, dial func() *memConn) {
		c := dial()
		send(c, get("/")+"a li")
		time.Sleep(2 * time.Second)
		_ = s.Close() // not the server's any more
		send(c, "ne\n")
		expect(t, c, "got a line\n", true)
	})
}

func TestSmallAnswersAreOneWrite(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newHandover()
		s := New(newHTTP(http.HandlerFunc(play)))
		done := make(chan error)
		go func() { done <- s.Serve(ln) }()
		client, server := memPipe()
		ln.give(server)
		for _, target := range []string{"/echo", "/declared/15000", "/declared/60000", "/size/2000", "/status/204"} {
			server.writes = 0
			send(client, get(target))
			if got, _ := client.received(); got == "" || server.writes != 1 {
				t.Errorf("%s: %d writes, %d bytes", target, server.writes, len(got))
			}
		}
		_ = s.Close()
		<-done
	})
}

// Nobody but the loop serves ordinary requests: a test that compares the two
// would not notice if all connections moved.
func TestOrdinaryRequestsStay(t *testing.T) {
	for want, pieces := range map[bool][]string{
		true: {get("/a?b=c"), put("/a", "body"), get("/a", "User-Agent: curl/8", "Accept: */*", "Connection: keep-alive"),
			put("/a", strings.Repeat("b", 100_000)), get("/%41"), "HEAD /a HTTP/1.1\r\n" + host + "\r\n"},
		false: {get("/a", "Pragma: no-cache")},
	} {
		bubble(t, func(w http.ResponseWriter, r *http.Request) {
			if _, stays := w.(*response); stays != want {
				t.Errorf("%s: served by %T", r.URL, w)
			}
		}, func(t *testing.T, _ *Server, dial func() *memConn) {
			c := dial()
			for _, p := range pieces {
				send(c, p)
				expect(t, c, "HTTP/1.1 200", false)
			}
		})
	}
}

type failingListener struct {
	net.Listener
	errs []error
}

func (l *failingListener) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, err
	}
	return l.Listener.Accept()
}

type temporary struct{ error }

func (temporary) Temporary() bool { return true }

func TestAcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		ln := &failingListener{newHandover(), []error{temporary{broken}, temporary{broken}, broken}}
		if err := New(newHTTP(http.HandlerFunc(ok))).Serve(ln); err != broken {
			t.Errorf("serve: %v", err)
		}
	})
}
