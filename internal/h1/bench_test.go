package h1

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
)

// BenchmarkRequest sends small requests one by one over loopback, to this
// package and to net/http.
func BenchmarkRequest(b *testing.B) {
	answer := []byte(`{"some":"json"}`)
	media, length := []string{"application/json"}, []string{"15"}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		h := w.Header()
		h["Content-Type"], h["Content-Length"] = media, length
		_, _ = w.Write(answer)
	})
	for name, s := range map[string]served{"h1": New(newHTTP(handler)), "net-http": newHTTP(handler)} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		go func() { _ = s.Serve(ln) }()
		for kind, request := range map[string]string{"get": get("/v1/var/app/db", "User-Agent: bench"), "put": put("/v1/var/app/db", `{"Items":{"a":"b"}}`)} {
			b.Run(name+"/"+kind, func(b *testing.B) { roundTrips(b, ln.Addr().String(), request) })
		}
		_ = s.Close()
	}
}

func roundTrips(b *testing.B, addr, request string) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	r, raw := bufio.NewReader(c), []byte(request)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.Write(raw); err != nil {
			b.Fatal(err)
		}
		for {
			line, err := r.ReadSlice('\n')
			if err != nil {
				b.Fatal(err)
			}
			if len(line) == 2 {
				break
			}
		}
		if _, err := r.Discard(len(`{"some":"json"}`)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkParse parses the head of a typical write.
func BenchmarkParse(b *testing.B) {
	raw := []byte(put("/v1/var/app/db?namespace=default", "body", "User-Agent: Go-http-client/1.1", "Accept-Encoding: gzip",
		"X-Nomad-Token: 6e1dfd35-4ff0-4ec3-8e6f-3a3a1d6b1a5c"))
	var h head
	b.ReportAllocs()
	for b.Loop() {
		if h.parse(raw) != whole {
			b.Fatal("not ordinary")
		}
	}
}
