package h1

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// served is a server under test and the way to its connections.
type served interface {
	Serve(net.Listener) error
	Shutdown(context.Context) error
	Close() error
}

// newHTTP returns the settings that both servers of a comparison get.
func newHTTP(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 120 * time.Second,
		MaxHeaderBytes: 64 << 10, ErrorLog: log.New(io.Discard, "", 0)}
}

// serveMem serves on a listener in memory; the function returned dials it.
func serveMem(t testing.TB, s served) (dial func() *memConn) {
	ln := newHandover()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(ln); err != http.ErrServerClosed {
			t.Errorf("serve: %v", err)
		}
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
		time.Sleep(time.Second) // net/http holds some connections a moment longer
	})
	return func() *memConn {
		client, server := memPipe()
		if !ln.give(server) {
			t.Error("the server does not accept")
		}
		return client
	}
}

// answers is what a server sent on one connection.
type answers struct {
	heads  []string
	bodies []string
	// rest is what could not be read as an answer.
	rest string
	// closed says that the server has closed the connection.
	closed bool
}

// exchange sends the pieces one by one, waits for the server after each, and
// returns what it answered.
func exchange(dial func() *memConn, halfClose bool, pieces ...string) answers {
	c := dial()
	defer c.Close()
	var out strings.Builder
	for _, p := range pieces {
		_, _ = io.WriteString(c, p)
		synctest.Wait()
	}
	if halfClose {
		_ = c.CloseWrite()
	}
	time.Sleep(time.Second) // connections are closed a moment after their last answer
	synctest.Wait()
	got, closed := c.received()
	out.WriteString(got)
	a := split(out.String())
	a.closed = closed
	return a
}

// split takes the answers on a connection apart, and sorts their fields.
func split(s string) answers {
	var a answers
	for s != "" {
		head, rest, ok := strings.Cut(s, "\r\n\r\n")
		if !ok {
			break
		}
		lines := strings.Split(head, "\r\n")
		slices.Sort(lines[1:])
		body, after, ok := cutBody(lines, rest)
		a.heads = append(a.heads, strings.Join(lines, "\n"))
		a.bodies = append(a.bodies, body)
		if s = after; !ok {
			break
		}
	}
	a.rest = s
	return a
}

func cutBody(lines []string, rest string) (body, after string, ok bool) {
	status, _ := strconv.Atoi(strings.Fields(lines[0] + " 0 0")[1])
	if !hasBody(status) || slices.Contains(lines, "X-Method: HEAD") {
		return "", rest, true
	}
	for _, l := range lines {
		if v, is := strings.CutPrefix(l, "Content-Length: "); is {
			n, _ := strconv.Atoi(v)
			if n > len(rest) {
				return rest, "", false
			}
			return rest[:n], rest[n:], true
		}
	}
	if !slices.Contains(lines, "Transfer-Encoding: chunked") {
		return rest, "", true
	}
	for {
		size, more, found := strings.Cut(rest, "\r\n")
		n, err := strconv.ParseUint(size, 16, 31)
		if !found || err != nil || len(more) < int(n)+2 || more[n:n+2] != "\r\n" {
			return body, "broken chunk: " + rest, false
		}
		body, rest = body+more[:n], more[n+2:]
		if n == 0 {
			return body, rest, true
		}
	}
}

// play is a handler that does what the path says, and tells what it was given.
func play(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Method", r.Method)
	w.Header()["bad name"] = []string{"x"}
	w.Header().Add("X-Lines", "a\r\nX-Evil: yes")
	name, arg, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	n, err := strconv.Atoi(arg)
	if err == nil {
		arg = strconv.Itoa(n) // net/http sends a declared length as it was written
	}
	n = max(0, min(n, 300_000))
	switch name {
	case "status":
		playStatus(w, n)
	case "size":
		_, _ = w.Write(bytes.Repeat([]byte("s"), n))
	case "declared":
		w.Header().Set("Content-Length", arg)
		_, _ = io.WriteString(w, strings.Repeat("d", n))
	case "wrong":
		w.Header().Set("Content-Length", arg)
		_, err := io.WriteString(w, "four")
		_, again := io.WriteString(w, "s")
		w.Header().Set("X-Late", fmt.Sprint(err, again))
	case "flush":
		for i := range min(n, 20) {
			_, _ = fmt.Fprintf(w, "piece %d\n", i)
			_ = http.NewResponseController(w).Flush()
		}
	case "ignore":
		w.WriteHeader(403)
		_, _ = io.WriteString(w, "no")
	case "some":
		b := make([]byte, n)
		got, err := io.ReadFull(r.Body, b)
		_, _ = fmt.Fprintln(w, got, err)
	case "duplex":
		_ = http.NewResponseController(w).EnableFullDuplex()
		_, _ = io.WriteString(w, "early")
		_ = http.NewResponseController(w).Flush()
		got, err := io.Copy(io.Discard, r.Body)
		_, _ = fmt.Fprintln(w, got, err)
	case "html":
		_, _ = io.WriteString(w, "<html>")
	case "close":
		w.Header().Set("Connection", "close")
	case "panic":
		panic(http.ErrAbortHandler)
	case "crash":
		_, _ = io.WriteString(w, "lost")
		panic("crash")
	default:
		echo(w, r)
	}
}

func playStatus(w http.ResponseWriter, status int) {
	if status < 100 || status > 999 || status == 101 {
		status = 299
	}
	w.Header().Set("Content-Type", "text/x")
	w.WriteHeader(status)
	w.Header().Set("X-Late", "ignored")
	if status > 199 {
		w.WriteHeader(500)
	}
	_, err := io.WriteString(w, "body")
	w.Header().Set("X-Late", fmt.Sprint(err))
}

// echo answers with the request as the handler sees it.
func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	out := w.(io.StringWriter)
	for _, s := range []any{r.Method, r.RequestURI, r.URL.Path, r.URL.RawPath, r.URL.RawQuery, r.URL.ForceQuery, r.URL.Host, r.Host,
		r.ContentLength, r.Close, r.TransferEncoding, r.Proto, r.ProtoMajor, r.ProtoMinor, r.RemoteAddr, r.Body == http.NoBody,
		r.Context().Value(http.LocalAddrContextKey), r.Context().Value(http.ServerContextKey) != nil, string(body), err} {
		_, _ = out.WriteString(fmt.Sprintf("%v\n", s))
	}
	for _, k := range slices.Sorted(maps.Keys(r.Header)) {
		_, _ = out.WriteString(fmt.Sprintf("%s=%q\n", k, r.Header[k]))
	}
	r.Header.Set("X-Left-Behind", "by a handler")
}
