package mux

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/tlsconf"
)

// holder loads certificates of one authority, which is made on first use.
type holder struct {
	t       *testing.T
	dir     string
	ca, key []byte
}

func newHolder(t *testing.T) *holder {
	t.Helper()
	h := &holder{t: t, dir: t.TempDir()}
	var err error
	if h.ca, h.key, err = tlsconf.NewAuthority(tlsconf.AuthoritySpec{Lifetime: time.Hour}); err != nil {
		t.Fatal(err)
	}
	h.write("ca.pem", h.ca)
	return h
}

func (h *holder) write(name string, data []byte) string {
	h.t.Helper()
	path := filepath.Join(h.dir, name)
	if err := os.WriteFile(path, data, 0o600); err != nil {
		h.t.Fatal(err)
	}
	return path
}

func (h *holder) source(role tlsconf.Role, region string) *tlsconf.Source {
	h.t.Helper()
	cert, key, err := tlsconf.Issue(h.ca, h.key, tlsconf.RoleCert(role, region, time.Hour))
	if err != nil {
		h.t.Fatal(err)
	}
	name := fmt.Sprintf("%s-%s", role, region)
	s, err := tlsconf.Load(tlsconf.Settings{CAFile: filepath.Join(h.dir, "ca.pem"),
		CertFile: h.write(name+".pem", cert), KeyFile: h.write(name+"-key.pem", key)})
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

// protocols are those of Table that lead to a handler.
func protocols() []Row {
	var out []Row
	for _, r := range Table {
		if r.Protocol != ProtoTLS && r.Protocol != protoHello {
			out = append(out, r)
		}
	}
	return out
}

// The ways to a protocol within TLS.
var ways = map[string]func(ctx context.Context, addr string, r Row, conf *tls.Config) (net.Conn, error){
	"byte, then name": func(ctx context.Context, addr string, r Row, conf *tls.Config) (net.Conn, error) {
		raw, err := net.Dial("tcp", addr)
		if err != nil {
			return nil, err
		}
		return Select(ctx, raw, r.Protocol, conf)
	},
	"hello, then name": func(_ context.Context, addr string, r Row, conf *tls.Config) (net.Conn, error) {
		conf.NextProtos = []string{"unheard-of", r.ALPN}
		return tls.Dial("tcp", addr, conf)
	},
	"hello, then byte": func(_ context.Context, addr string, r Row, conf *tls.Config) (net.Conn, error) {
		conn, err := tls.Dial("tcp", addr, conf)
		if err == nil && r.Protocol != ProtoGRPC {
			_, err = conn.Write([]byte{byte(r.Protocol)})
		}
		return conn, err
	},
	"byte, then byte": func(ctx context.Context, addr string, r Row, conf *tls.Config) (net.Conn, error) {
		raw, err := net.Dial("tcp", addr)
		if err != nil {
			return nil, err
		}
		if err := writeProtocol(raw, ProtoTLS); err != nil {
			return nil, err
		}
		conn := tls.Client(raw, conf)
		if err = conn.HandshakeContext(ctx); err == nil && r.Protocol != ProtoGRPC {
			_, err = conn.Write([]byte{byte(r.Protocol)})
		}
		return conn, err
	},
}

// try reports whether a connection that was dialed is served under the name.
func try(t *testing.T, conn net.Conn, r Row) bool {
	t.Helper()
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(20 * time.Second))
	name := r.Name
	switch r.Protocol {
	case ProtoGRPC:
		if _, err := io.WriteString(conn, preface); err != nil {
			return false
		}
		got := make([]byte, len("grpc:")+len(preface))
		_, err := io.ReadFull(conn, got)
		return err == nil && string(got) == "grpc:"+preface
	case ProtoStreaming:
		name = "stream"
	case ProtoMultiplex, ProtoMultiplexV2:
		s, err := Client(conn, SessionConfig{})
		if err != nil {
			return false
		}
		defer s.Close()
		st, err := s.Open(t.Context())
		if err != nil {
			return false
		}
		if r.Protocol == ProtoMultiplexV2 {
			st.Write([]byte{byte(ProtoRPC)})
		}
		conn, name = st, "rpc"
	}
	if _, err := io.WriteString(conn, "hello"); err != nil {
		return false
	}
	got := make([]byte, len(name)+6)
	_, err := io.ReadFull(conn, got)
	return err == nil && string(got) == name+":hello"
}

// Who may use what, on every protocol and by every way to it.
func TestEveryProtocolWantsItsRoles(t *testing.T) {
	const server, foreign, client, foreignClient, cli, foreignCLI, nobody = "server.global", "server.eu", "client.global", "client.eu", "cli.global", "cli.eu", "nobody.global"
	allowed := map[Protocol]string{
		ProtoRPC:         server + " " + foreign + " " + client,
		ProtoRaft:        server,
		ProtoMultiplex:   server + " " + foreign + " " + client,
		ProtoStreaming:   server + " " + foreign + " " + client,
		ProtoMultiplexV2: server + " " + foreign + " " + client,
		ProtoSnapshot:    server,
		ProtoNodeLink:    server + " " + foreign + " " + client,
		ProtoGRPC:        server + " " + foreign + " " + client + " " + cli,
		ProtoJoin:        strings.Join([]string{server, foreign, client, foreignClient, cli, foreignCLI, nobody}, " "),
	}
	h := newHolder(t)
	m := New(Config{TLS: h.source(tlsconf.RoleServer, "global").Server(true, ALPN()...), RequireTLS: true, Region: "global"})
	addr := serve(t, m)
	refused := uint64(0)
	for _, holder := range []string{server, foreign, client, foreignClient, cli, foreignCLI, nobody} {
		role, region, _ := strings.Cut(holder, ".")
		source := h.source(tlsconf.Role(role), region)
		for _, r := range protocols() {
			for way, dial := range ways {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				conn, err := dial(ctx, addr, r, source.Client("global"))
				cancel()
				want := strings.Contains(allowed[r.Protocol], holder)
				if got := err == nil && try(t, conn, r); got != want {
					t.Errorf("%s with the certificate of %s, %s: served %v, want %v (%v)", r.Name, holder, way, got, want, err)
				}
				if !want {
					refused++
				}
			}
		}
	}
	if n := m.Stats().Refused[RefusedRole]; n != refused {
		t.Errorf("%d counted as refused for their role, want %d", n, refused)
	}
	for _, r := range protocols() {
		if try(t, dial(t, addr, clearBytes(r)...), r) {
			t.Errorf("%s is served in clear", r.Name)
		}
	}
}

func clearBytes(r Row) []byte {
	if r.Protocol == ProtoGRPC {
		return nil // its byte is part of the preface
	}
	return []byte{byte(r.Protocol)}
}

func TestEveryProtocolInClear(t *testing.T) {
	addr := serve(t, New(Config{Region: "global"}))
	for _, r := range protocols() {
		if got := try(t, dial(t, addr, clearBytes(r)...), r); got != (r.Protocol != ProtoJoin) {
			t.Errorf("%s in clear: served %v", r.Name, got)
		}
	}
}

// A proxy may cut the preface anywhere, and other HTTP has another port.
func TestPreface(t *testing.T) {
	m := New(Config{})
	addr := serve(t, m)
	conn := dial(t, addr)
	for _, b := range []byte(preface) {
		conn.Write([]byte{b})
	}
	mustRead(t, conn, "grpc:"+preface)
	for n, text := range []string{"PUT /v1/jobs HTTP/1.1\r\n\r\n", "PRI * HTTP/1.1\r\n\r\nxx\r\n\r\n"} {
		mustClose(t, dial(t, addr, []byte(text)...))
		for m.Stats().Refused[RefusedUnknown] != uint64(n+1) {
			time.Sleep(time.Millisecond)
		}
	}
}

// TLS within TLS is refused with and without the byte.
func TestTLSWithinTLS(t *testing.T) {
	h := newHolder(t)
	source := h.source(tlsconf.RoleServer, "global")
	m := New(Config{TLS: source.Server(true, ALPN()...), Region: "global"})
	addr := serve(t, m)
	for n, first := range [][]byte{{byte(ProtoTLS)}, {byte(protoHello), 3, 1}} {
		conn, err := tls.Dial("tcp", addr, source.Client("global"))
		if err != nil {
			t.Fatal(err)
		}
		conn.Write(first)
		mustClose(t, conn)
		conn.Close()
		for m.Stats().Refused[RefusedTLS] != uint64(n+1) {
			time.Sleep(time.Millisecond)
		}
	}
	if conn, err := tls.Dial("tcp", addr, func() *tls.Config {
		c := source.Client("global")
		c.NextProtos = []string{"unheard-of"}
		return c
	}()); err == nil {
		conn.Close()
		t.Error("an unknown name was agreed upon")
	}
}

// A peer that asks for a protocol and then says nothing is closed by the server,
// on every protocol, though handlers may wait for long. One that spoke may rest.
func TestSilenceAfterTheFirstByte(t *testing.T) {
	m := New(Config{SilenceTimeout: 100 * time.Millisecond})
	m.Handle(ProtoStreaming, func(_ context.Context, conn net.Conn, _ Info) {
		defer conn.Close()
		for { // as handlers do that have idle limits of their own
			conn.SetReadDeadline(time.Now().Add(time.Hour))
			if _, err := conn.Read(make([]byte, 1)); !isTimeout(err) {
				return
			}
		}
	})
	addr := serve(t, m)
	var sess Session
	spoken := inTime(t, tcp(addr, byte(ProtoRPC)))
	inTime(t, onSession(addr, &sess))
	for _, r := range protocols() {
		conn := dial(t, addr, clearBytes(r)...)
		if r.Protocol == ProtoGRPC {
			continue // silent before its preface, which is another test
		}
		if _, err := io.Copy(io.Discard, conn); err != nil {
			t.Errorf("%s: %v, want the end", r.Name, err)
		}
	}
	mustClose(t, open(t, sess, byte(ProtoRPC)))
	mustClose(t, open(t, sess, byte(ProtoStreaming)))
	for _, text := range []string{"second", "third"} { // long after the limit
		mustAnswer(t, spoken, "rpc", text)
	}
	inTime(t, func() (net.Conn, error) { // the session is alive
		st, err := sess.Open(context.Background())
		if err == nil {
			_, err = st.Write([]byte{byte(ProtoRPC)})
		}
		return st, err
	})
}

func TestExpectantKeepsTheHandlersDeadline(t *testing.T) {
	ours, theirs := net.Pipe()
	defer ours.Close()
	defer theirs.Close()
	conn := expect(ours, time.Hour, func() { t.Error("called silent") })
	conn.SetReadDeadline(time.Now().Add(-time.Second))
	if _, err := conn.Read(make([]byte, 1)); !os.IsTimeout(err) {
		t.Errorf("an earlier deadline: %v", err)
	}
	conn.SetDeadline(time.Time{})
	go theirs.Write([]byte{1})
	if _, err := conn.Read(make([]byte, 1)); err != nil {
		t.Error(err)
	}
	conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := conn.Read(make([]byte, 1)); !os.IsTimeout(err) {
		t.Errorf("a deadline after the first data: %v", err)
	}
}

// A handler that reads on after a time-out, as one that has idle limits of its
// own does, is told that it is over.
func TestExpectantEndsHandlersThatReadOn(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	told := 0
	conn := expect(ours, 20*time.Millisecond, func() { told++ })
	for range 2 {
		conn.SetReadDeadline(time.Now().Add(time.Hour))
		if _, err := conn.Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			t.Errorf("%v, want an error that is no time-out", err)
		}
	}
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}

const portDocument = "../../docs/server-port.md"

// The document shows the table of protocols as it is.
func TestDocumentShowsTheTable(t *testing.T) {
	var b strings.Builder
	fmt.Fprintf(&b, "| byte | protocol | ALPN | on a stream | certificate within TLS | carries |\n| --- | --- | --- | --- | --- | --- |\n")
	for _, r := range Table {
		stream, alpn := "no", "none"
		if r.Stream {
			stream = "yes"
		}
		if r.ALPN != "" {
			alpn = "`" + r.ALPN + "`"
		}
		fmt.Fprintf(&b, "| %d | `%s` | %s | %s | %s | %s |\n", r.Protocol, r.Name, alpn, stream, r.Access, r.Carries)
	}
	text, err := os.ReadFile(portDocument)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "\n"+b.String()) {
		t.Errorf("%s does not show this table:\n%s", portDocument, b.String())
	}
}
