package h1

import (
	"bufio"
	"bytes"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// FuzzConn sends any bytes to net/http and to this package, which must answer alike.
func FuzzConn(f *testing.F) {
	for _, pieces := range streams {
		if s := strings.Join(pieces, ""); len(s) < 5000 {
			f.Add([]byte(s), uint16(0), false)
			f.Add([]byte(s), uint16(len(s)/2), true)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, cut uint16, halfClose bool) {
		if len(data) > 1<<20 {
			return
		}
		at := min(int(cut), len(data))
		compare(t, halfClose, string(data[:at]), string(data[at:]))
	})
}

// FuzzHead checks that what is ordinary is the same request to net/http, and that
// a head cut anywhere is never odd.
func FuzzHead(f *testing.F) {
	for _, pieces := range streams {
		for _, p := range pieces {
			if len(p) < 5000 {
				f.Add([]byte(p))
			}
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var h head
		if h.parse(data) != whole {
			return
		}
		if bytes.Count(data[:h.size], []byte("\r\n\r\n")) != 1 || !bytes.HasSuffix(data[:h.size], []byte("\r\n\r\n")) {
			t.Fatalf("ends elsewhere: %q", data[:h.size])
		}
		if _, err := url.ParseRequestURI(string(h.target)); err != nil {
			t.Fatalf("bad target %q: %v", h.target, err)
		}
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(data)))
		if err != nil {
			t.Fatalf("net/http refuses %q: %v", data[:h.size], err)
		}
		want := []any{req.Method, req.RequestURI, req.Host, req.ContentLength, req.Close}
		got := []any{string(h.method), string(h.target), string(h.host), max(h.length, 0), h.close}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q: %s", data[:h.size], diff)
		}
		for i := range h.size {
			var cut head
			if v := cut.parse(data[:i]); v != partial {
				t.Errorf("%q: %d instead of partial", data[:i], v)
			}
		}
	})
}
