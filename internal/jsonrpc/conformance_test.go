package jsonrpc

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// conformanceCase is one case of the data files: a message for a fresh server
// and what must come back.
type conformanceCase struct {
	Name    string           `json:"name"`
	Level   string           `json:"level"` // set in files of other protocols
	Uses    []string         `json:"uses"`
	Setup   conformanceSetup `json:"setup"`
	Send    *string          `json:"send"`
	SendHex *string          `json:"send_hex"`
	SendGen *struct {
		Parts []json.RawMessage `json:"parts"`
	} `json:"send_gen"`
	Expect json.RawMessage `json:"expect"`
}

type conformanceSetup struct {
	Peer          string `json:"peer"`
	MaxMessage    int    `json:"max_message"`
	MaxBatch      int    `json:"max_batch"`
	CallTimeoutMS int    `json:"call_timeout_ms"`
	StrictIDs     bool   `json:"strict_ids"`
}

// UnmarshalJSON refuses keys that the runner does not know: a case passes only
// on the server that it asks for.
func (s *conformanceSetup) UnmarshalJSON(raw []byte) error {
	type plain conformanceSetup
	return strict(raw, (*plain)(s))
}

// ours reports whether a case is one of this protocol.
func (c *conformanceCase) ours() bool {
	return c.Level == "" && c.Expect != nil && (c.Send != nil || c.SendHex != nil || c.SendGen != nil)
}

// message builds the bytes to send from the one source that is given.
func (c *conformanceCase) message() ([]byte, error) {
	sources := 0
	var out []byte
	var err error
	if c.Send != nil {
		sources++
		out = []byte(*c.Send)
	}
	if c.SendHex != nil {
		sources++
		out, err = hex.DecodeString(*c.SendHex)
	}
	if c.SendGen != nil {
		sources++
		for _, raw := range c.SendGen.Parts {
			var text string
			var times int
			if err := json.Unmarshal(raw, &[]any{&text, &times}); err != nil {
				return nil, err
			}
			out = append(out, strings.Repeat(text, times)...)
		}
	}
	if sources != 1 {
		return nil, errors.New("a case has exactly one of send, send_hex and send_gen")
	}
	return out, err
}

// loadConformance reads every file of a directory that holds cases of this protocol.
func loadConformance(t *testing.T, dir string) []conformanceCase {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	var out []conformanceCase
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var cases []conformanceCase
		if err := json.Unmarshal(raw, &cases); err != nil {
			if strings.Contains(filepath.Base(name), "jsonrpc") {
				t.Fatalf("%s: %v", name, err)
			}
			continue // another kind of file
		}
		if !slices.ContainsFunc(cases, func(c conformanceCase) bool { return c.ours() }) {
			continue
		}
		for _, c := range cases {
			if !c.ours() {
				t.Fatalf("%s: %q states no message or no expectation", name, c.Name)
			}
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		t.Fatalf("no case in %s", dir)
	}
	return out
}

func conformanceDir(t *testing.T) string {
	if dir := os.Getenv("CONFORMANCE_DIR"); dir != "" {
		return dir
	}
	return "testdata"
}

// TestConformance runs every case over both transports. CONFORMANCE_DIR names
// another directory of cases.
func TestConformance(t *testing.T) {
	for _, c := range loadConformance(t, conformanceDir(t)) {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			msg, err := c.message()
			if err != nil {
				t.Fatal(err)
			}
			want, err := parseExpectation(c.Expect)
			if err != nil {
				t.Fatal(err)
			}
			t.Run("http", func(t *testing.T) {
				if err := want.check(overHTTP(t, conformanceServer(t, &c), c.Setup.Peer, msg)); err != nil {
					t.Error(err)
				}
			})
			if !oneMessage(msg, conformanceServer(t, &c).cfg) {
				return
			}
			t.Run("socket", func(t *testing.T) {
				s := conformanceServer(t, &c)
				if err := want.check(overSocket(t, s, c.Setup.Peer, msg, want.Close && !awaitsMore(msg, s.cfg))); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// oneMessage reports whether a stream of these bytes is one message or one
// violation. Nothing at all is no message there, and values one after another are several.
func oneMessage(msg []byte, cfg Config) bool {
	f := framer{r: bytes.NewReader(msg), max: cfg.MaxMessage, maxDepth: cfg.MaxDepth}
	n := 0
	for {
		_, err := f.next()
		if err == io.EOF {
			return n == 1
		}
		n++
		if err != nil {
			return n == 1
		}
	}
}

// awaitsMore reports whether a server has to wait for the rest of a message, or
// for the end of the stream, before it can say anything.
func awaitsMore(msg []byte, cfg Config) bool {
	more := false
	stream := io.MultiReader(bytes.NewReader(msg), readerFunc(func() { more = true }))
	f := framer{r: stream, max: cfg.MaxMessage, maxDepth: cfg.MaxDepth}
	_, _ = f.next()
	return more
}

// readerFunc is an end of a stream that tells when it is reached.
type readerFunc func()

func (f readerFunc) Read([]byte) (int, error) {
	f()
	return 0, io.EOF
}

// received is what came back on a transport.
type received struct {
	body   []byte
	status int  // of HTTP, 0 on the socket
	closed bool // the server closed the connection by itself
}

func mustPeer(t *testing.T, name, transport string) Caller {
	t.Helper()
	c := Caller{Transport: transport}
	switch name {
	case "", "privileged":
		c.Peer = &PeerCred{UID: 0}
	case "ordinary":
		c.Peer = &PeerCred{UID: 4_000_000_000, GID: 4_000_000_000}
	case "unknown":
	default:
		t.Fatalf("unknown peer %q", name)
	}
	return c
}

func overHTTP(t *testing.T, s *Server, peer string, msg []byte) received {
	t.Helper()
	caller := mustPeer(t, peer, TransportHTTP)
	srv := httptest.NewServer(s.HTTP(func(*http.Request) Caller { return caller }))
	defer srv.Close()
	res, err := http.Post(srv.URL, "application/json", bytes.NewReader(msg))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return received{body: body, status: res.StatusCode, closed: true}
}

// overSocket sends a message. If keepOpen, it leaves it to the server to end the connection.
func overSocket(t *testing.T, s *Server, peer string, msg []byte, keepOpen bool) received {
	t.Helper()
	caller := mustPeer(t, peer, TransportSocket)
	cfg := DefaultSocketConfig()
	cfg.Identify = func(*net.UnixConn) Caller { return caller }
	conn := mustDial(t, startSocket(t, s, cfg))
	if _, err := conn.Write(msg); err != nil {
		t.Fatal(err)
	}
	if !keepOpen {
		if err := conn.CloseWrite(); err != nil {
			t.Fatal(err)
		}
	}
	body, err := io.ReadAll(conn)
	return received{body: body, closed: err == nil}
}

// startSocket serves s on a socket until the test ends and returns its path.
func startSocket(t testing.TB, s *Server, cfg SocketConfig) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "jsonrpc")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Path = filepath.Join(dir, "s")
	sock, err := s.Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- sock.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(dir)
	})
	return cfg.Path
}

// mustDial connects; no read or write of the test waits for ever.
func mustDial(t testing.TB, path string) *net.UnixConn {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	t.Cleanup(func() { _ = conn.Close() })
	return conn.(*net.UnixConn)
}
