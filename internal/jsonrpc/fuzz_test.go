package jsonrpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"testing"
	"unicode/utf8"
)

var fuzzSeeds = []string{
	`{"jsonrpc":"2.0","method":"echo","params":[1.50,-0,1e3,"é\u00e9\n"],"id":1}`,
	`[{"jsonrpc":"2.0","method":"sum","params":[1,2],"id":"a"},{"jsonrpc":"2.0","method":"update"},1,"x",[],{}]`,
	`{"a":{"b":[true,false,null,{"c":1,"c":2}]},"id":1,"id":2,"token":"t"}`,
	"[[[[[[[[", " 5 ", `"x"`, "\xef\xbb\xbf{}", "{}{} []", `{"\ud800":1}`, "-", "01", "1.", "1e", `{"":""}`, "\xed\xa0\x80", "[1 ,2 , 3 ]", "{} x",
}

// FuzzScanner compares the scanner with the decoder of the standard library,
// which is right about everything but UTF-8 and depth.
func FuzzScanner(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := checkMessage(b, 1000)
		var depth *depthError
		if errors.As(err, &depth) {
			return
		}
		if want := json.Valid(b) && utf8.Valid(b); (err == nil) != want {
			t.Fatalf("%q: %v, want valid %v", b, err, want)
		}
		if err != nil {
			return
		}
		b = bytes.TrimSpace(b)
		if b[0] == '[' {
			checkElements(t, b)
		}
		r := parseRequest(b, false)
		if r.problems == nil && (r.params != nil && !json.Valid(r.params) || r.hasID && !json.Valid(r.id)) {
			t.Fatalf("%q: %+v", b, r)
		}
	})
}

// checkElements compares the elements of a batch with the standard library's.
func checkElements(t *testing.T, b []byte) {
	t.Helper()
	var want []json.RawMessage
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	got := elements(b, len(b))
	if len(got) != len(want) {
		t.Fatalf("%q: %d elements, want %d", b, len(got), len(want))
	}
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			t.Fatalf("%q: element %d is %q, want %q", b, i, got[i], want[i])
		}
		parseRequest(got[i], true)
	}
}

// FuzzMessage gives anything to a server: whatever comes back is well formed.
func FuzzMessage(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add([]byte(s))
	}
	s := testServer(f)
	if err := s.Unregister("", "slow"); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		a := s.Handle(context.Background(), root, b)
		if a.Body != nil {
			checkAnswer(t, a.Body)
		}
	})
}

// checkAnswer fails unless b is an answer or an array of them.
func checkAnswer(t *testing.T, b []byte) {
	t.Helper()
	list := []json.RawMessage{b}
	if b[0] == '[' {
		list = nil
		if err := json.Unmarshal(b, &list); err != nil || len(list) == 0 {
			t.Fatalf("%v: %s", err, b)
		}
	}
	for _, raw := range list {
		var m map[string]json.RawMessage
		if err := json.Unmarshal(raw, &m); err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		_, hasResult := m["result"]
		_, hasError := m["error"]
		if len(m) != 3 || string(m["jsonrpc"]) != `"2.0"` || m["id"] == nil || hasResult == hasError {
			t.Fatalf("not an answer: %s", raw)
		}
	}
}

// FuzzConnection sends anything in two writes over a socket: every answer is a
// line and well formed, and the server goes on.
func FuzzConnection(f *testing.F) {
	for i, s := range fuzzSeeds {
		f.Add([]byte(s), uint(i))
	}
	s := testServer(f)
	if err := s.Unregister("", "slow"); err != nil {
		f.Fatal(err)
	}
	path := startSocket(f, s, DefaultSocketConfig())
	f.Fuzz(func(t *testing.T, b []byte, cut uint) {
		conn := mustDial(t, path)
		at := int(cut % uint(len(b)+1))
		for _, part := range [][]byte{b[:at], b[at:]} {
			if _, err := conn.Write(part); err != nil {
				break // refused after the first part
			}
		}
		_ = conn.CloseWrite()
		out, err := io.ReadAll(conn)
		if err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if len(out) > 0 && out[len(out)-1] != '\n' {
			t.Fatalf("no line feed at the end of %q", out)
		}
		for line := range bytes.Lines(out) {
			checkAnswer(t, bytes.TrimSuffix(line, []byte("\n")))
		}
		_ = conn.Close()
	})
}
