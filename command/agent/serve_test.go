package agent

import (
	"context"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/cairn-project/cairn/internal/h1"
)

// waitingServer answers RPCs when their caller goes away.
type waitingServer struct {
	*fakeServer
	began, ended chan struct{}
}

func (s *waitingServer) RPC(ctx context.Context, _ string, _, _ any) error {
	s.began <- struct{}{}
	<-ctx.Done()
	s.ended <- struct{}{}
	return ctx.Err()
}

// Each of the receives below would block for ever if a call outlived its client.
func TestBlockingQueriesEndWithTheirClients(t *testing.T) {
	const clients = 200
	srv := &waitingServer{newFake(), make(chan struct{}), make(chan struct{})}
	a := testAPI(t, srv.fakeServer)
	a.server = srv
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := serveHTTP(t.Context(), ln, a)
	defer s.stop(t.Context(), func() {})
	var conns []net.Conn
	for range clients {
		c, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		if _, err := io.WriteString(c, "GET /v1/var/x?index=9 HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		<-srv.began
	}
	for _, c := range conns {
		_ = c.Close()
	}
	for range clients {
		<-srv.ended
	}
}

func TestConnectionsWithTLSStayWithNetHTTP(t *testing.T) {
	for _, secure := range []bool{false, true} {
		a := testAPI(t, newFake(), func(c *Config) { c.TLSConfig.EnableHTTP = secure })
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s := serveHTTP(t.Context(), ln, a)
		s.stop(t.Context(), func() {})
		if _, plain := s.front.(*h1.Server); plain == secure {
			t.Errorf("TLS %t: served by %T", secure, s.front)
		}
		if _, all := s.front.(*http.Server); all != secure {
			t.Errorf("TLS %t: served by %T", secure, s.front)
		}
	}
}
