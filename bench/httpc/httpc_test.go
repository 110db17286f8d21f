package httpc

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func mustServe(t *testing.T, h http.HandlerFunc) *Client {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	c := New(srv.Listener.Addr().String(), 10*time.Second)
	t.Cleanup(func() { c.Close() })
	return c
}

func TestRequestsOnOneConnection(t *testing.T) {
	peers := map[string]bool{}
	c := mustServe(t, func(w http.ResponseWriter, r *http.Request) {
		peers[r.RemoteAddr] = true
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Nomad-Index", "42")
		switch r.URL.Path {
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		case "/missing":
			http.Error(w, "gone", http.StatusNotFound)
		case "/chunks":
			for range 3 {
				fmt.Fprint(w, strings.Repeat("x", 5000))
				w.(http.Flusher).Flush()
			}
		default:
			fmt.Fprintf(w, "%s %s %s", r.Method, r.RequestURI, body)
		}
	})
	for _, step := range []struct {
		method, target, body string
		status               int
		want                 string
	}{
		{"PUT", "/v1/var/a?cas=1", `{"Items":{}}`, 200, `PUT /v1/var/a?cas=1 {"Items":{}}`},
		{"GET", "/v1/var/a", "", 200, "GET /v1/var/a "},
		{"DELETE", "/none", "", 204, ""},
		{"GET", "/missing", "", 404, "gone\n"},
		{"GET", "/chunks", "", 200, strings.Repeat("x", 15000)},
		{"GET", "/last", "", 200, "GET /last "},
	} {
		var body []byte
		if step.body != "" {
			body = []byte(step.body)
		}
		got, err := c.Do(step.method, step.target, body)
		if err != nil || got.Status != step.status || string(got.Body) != step.want || got.Index != 42 {
			t.Errorf("%s %s: %d, index %d, %d bytes, %v", step.method, step.target, got.Status, got.Index, len(got.Body), err)
		}
	}
	if len(peers) != 1 {
		t.Errorf("%d connections", len(peers))
	}
}

func TestDialsAnewAfterClose(t *testing.T) {
	peers := map[string]bool{}
	c := mustServe(t, func(w http.ResponseWriter, r *http.Request) {
		peers[r.RemoteAddr] = true
		w.Header().Set("Connection", "close")
	})
	for range 2 {
		if _, err := c.Do("GET", "/", nil); err != nil {
			t.Fatal(err)
		}
	}
	if len(peers) != 2 {
		t.Errorf("%d connections", len(peers))
	}
}

// mustAnswer returns what the client makes of raw bytes.
func mustAnswer(t testing.TB, raw string) (Response, error) {
	t.Helper()
	c := &Client{r: bufio.NewReaderSize(strings.NewReader(raw), 1<<10)}
	resp, _, err := c.read("GET")
	return resp, err
}

func TestBadAnswersAreErrors(t *testing.T) {
	for _, raw := range []string{
		"", "garbage\r\n\r\n", "HTTP/1.1 xyz\r\n\r\n", "HTTP/1.1 200 OK\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\nX\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX-Nomad-Index: x\r\nContent-Length: 0\r\n\r\n",
	} {
		if resp, err := mustAnswer(t, raw); err == nil {
			t.Errorf("%q gives %+v", raw, resp)
		}
	}
}

func TestTimeout(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if _, err := New(ln.Addr().String(), time.Millisecond).Do("GET", "/", nil); err == nil {
		t.Error("no error from a server that is silent")
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc")
	f.Add("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
	f.Add("HTTP/1.1 204 \r\nConnection: close\r\n\r\n")
	f.Fuzz(func(t *testing.T, raw string) {
		if resp, err := mustAnswer(t, raw); err == nil && len(resp.Body) > len(raw) {
			t.Errorf("%d bytes of body from %d", len(resp.Body), len(raw))
		}
	})
}
