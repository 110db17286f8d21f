package nodelink_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/nomadtest"
)

// hello is that of the agent in these tests.
func hello() nodelink.Hello {
	return nodelink.Hello{Region: "global", NodeID: "n", Secret: "s", Epoch: 3, Instance: "i", Build: "1.0.0", Kinds: nomadtest.LinkKinds}
}

// newHost returns a host and its links, and where to wait for one.
func newHost(t *testing.T, change func(*nodelink.HostConfig)) (*nodelink.Host, *nodelink.Links) {
	t.Helper()
	links := nodelink.NewLinks()
	cfg := nodelink.HostConfig{ServerID: "server", ServerName: "srv", Region: "global", Links: links}
	if change != nil {
		change(&cfg)
	}
	return nodelink.NewHost(cfg), links
}

func newAgent(t *testing.T, h nodelink.Handlers) *nodelink.Agent {
	t.Helper()
	a, err := nodelink.NewAgent(nodelink.AgentConfig{Hello: hello, Handlers: h})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// transports make both ends of a session and serve the host's; the far end is the
// agent's.
var transports = map[string]func(t *testing.T, h *nodelink.Host) mux.Session{
	"pipe": func(t *testing.T, h *nodelink.Host) mux.Session {
		far, near := nomadtest.Sessions()
		go h.Serve(t.Context(), near, nodelink.From{Remote: "pipe"})
		return far
	},
	"port": overPort,
	"websocket": func(t *testing.T, h *nodelink.Host) mux.Session {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s, err := nodelink.AcceptWebSocket(w, r, mux.SessionConfig{})
			if err != nil {
				t.Error(err)
				return
			}
			h.Serve(context.Background(), s, nodelink.From{Remote: r.RemoteAddr, Transport: "websocket"})
		}))
		t.Cleanup(srv.Close)
		s, err := nodelink.DialWebSocket(t.Context(), srv.URL, nil, mux.SessionConfig{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	},
}

// overPort dials the protocol of the link on a shared port.
func overPort(t *testing.T, h *nodelink.Host) mux.Session {
	t.Helper()
	m := mux.New(mux.Config{})
	m.Handle(mux.ProtoNodeLink, func(ctx context.Context, conn net.Conn, info mux.Info) {
		s, err := mux.Server(conn, mux.SessionConfig{})
		if err != nil {
			t.Error(err)
			return
		}
		h.Serve(ctx, s, nodelink.From{Remote: info.Remote.String(), Transport: "port"})
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() { defer close(served); _ = m.Serve(ctx, l) }()
	t.Cleanup(func() { cancel(); l.Close(); <-served })
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := nodelink.DialPort(t.Context(), conn, nil, mux.SessionConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// linked serves an agent on a session and waits for its link.
func linked(t *testing.T, a *nodelink.Agent, s mux.Session, links *nodelink.Links) *nodelink.Link {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	up, down := make(chan struct{}), make(chan error, 1)
	go func() { down <- a.Serve(ctx, s, func(nodelink.Welcome) { close(up) }) }()
	t.Cleanup(func() { cancel(); <-down })
	select {
	case <-up:
	case err := <-down:
		down <- err
		t.Fatal(err)
	}
	return links.Get("n")
}

// over calls over a link.
func over(l *nodelink.Link) nomadtest.LinkCaller {
	return func(ctx context.Context, r *nodelink.Request, w io.Writer) (json.RawMessage, error) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		if w != nil {
			return l.Stream(ctx, r, w)
		}
		return l.Call(ctx, r)
	}
}

func TestBattery(t *testing.T) {
	t.Run("direct", func(t *testing.T) { nomadtest.LinkBattery(t, 2, newAgent(t, nomadtest.LinkHandlers()).Direct) })
	for name, open := range transports {
		t.Run(name, func(t *testing.T) {
			h, links := newHost(t, nil)
			l := linked(t, newAgent(t, nomadtest.LinkHandlers()), open(t, h), links)
			nomadtest.LinkBattery(t, 2, over(l))
		})
		t.Run(name+" version 1", func(t *testing.T) {
			h, links := newHost(t, nil)
			s := open(t, h)
			t.Cleanup(func() { s.Close() })
			if frame, answer, err := nomadtest.ServeOldLink(s, nomadtest.OldHello(hello())); err != nil || frame != 2 {
				t.Fatal(frame, string(answer), err)
			}
			nomadtest.LinkBattery(t, 1, over(links.Get("n")))
		})
	}
}
