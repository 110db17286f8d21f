package nodelink_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/nomadtest"
)

// greeted says a hello to a host and returns why it was refused, nil if it was not.
func greeted(t *testing.T, h *nodelink.Host, hello any) *nodelink.Refusal {
	t.Helper()
	far, near := nomadtest.Sessions()
	go h.Serve(context.Background(), near, nodelink.From{Remote: "r"})
	t.Cleanup(func() { far.Close() })
	frame, answer, err := nomadtest.ServeOldLink(far, hello)
	if err != nil {
		t.Fatal(err)
	}
	if frame == 2 {
		return nil
	}
	r := new(nodelink.Refusal)
	if err := json.Unmarshal(answer, r); err != nil || frame != 3 || r.Help == "" {
		t.Fatal(frame, string(answer), err)
	}
	return r
}

func TestRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newHost(t, func(c *nodelink.HostConfig) {
			c.Admit = func(_ context.Context, h *nodelink.Hello) *nodelink.Refusal {
				if h.Secret != "s" {
					return &nodelink.Refusal{Reason: nodelink.BadIdentity, Help: "who?"}
				}
				return nil
			}
		})
		if r := greeted(t, h, nomadtest.OldHello(hello())); r != nil {
			t.Fatal(r)
		}
		for why, c := range map[nodelink.Reason]struct {
			status int
			change map[string]any
		}{
			nodelink.Retired:     {410, map[string]any{"Protocol": 0, "Oldest": 0}},
			nodelink.TooNew:      {501, map[string]any{"Protocol": 9, "Oldest": 9}},
			nodelink.Superseded:  {409, map[string]any{"Epoch": 2}},
			nodelink.BadIdentity: {403, map[string]any{"Secret": "other"}},
			nodelink.WrongRegion: {421, map[string]any{"Region": "moon"}},
			nodelink.Malformed:   {400, map[string]any{"NodeID": ""}},
		} {
			old := nomadtest.OldHello(hello())
			for k, v := range c.change {
				old[k] = v
			}
			if r := greeted(t, h, old); r == nil || r.Reason != why || r.HTTPStatus() != c.status {
				t.Errorf("%s: %+v", why, r)
			}
		}
		h.Leave()
		if r := greeted(t, h, nomadtest.OldHello(hello())); r == nil || r.Reason != nodelink.Leaving || r.RetryAfter == 0 || r.HTTPStatus() != 503 {
			t.Errorf("leaving: %+v", r)
		}
		time.Sleep(time.Minute)
	})
}

// A later registration pushes an earlier one out, and a call in flight on that
// ends with the news that it may have run; only one agent has the node.
func TestKickWithCallInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		running := make(chan struct{}, 1)
		l, _, links, ended := piped(t, nodelink.Handlers{
			"Node.Identity": func(ctx context.Context, _ *nodelink.Call) (any, error) {
				running <- struct{}{}
				<-ctx.Done()
				return nil, ctx.Err()
			},
		}, nil)
		result := make(chan nodelink.Outcome)
		go func() { o, _ := outcome(t.Context(), l, "Node.Identity"); result <- o }()
		<-running
		next := hello()
		next.Epoch++
		next.Instance = "other"
		host := nodelink.NewHost(nodelink.HostConfig{Region: "global", Links: links})
		if r := greeted(t, host, nomadtest.OldHello(next)); r != nil {
			t.Fatal(r)
		}
		if o := <-result; o != nodelink.MayHaveRun {
			t.Errorf("in flight: %q", o)
		}
		r := new(nodelink.Refusal)
		if err := <-ended; !errors.As(err, &r) || r.Reason != nodelink.Superseded {
			t.Errorf("the older agent ended with %v", err)
		}
		if now := links.Get("n"); now == nil || now.Epoch() != next.Epoch || links.Kicks() != 1 {
			t.Errorf("held: %v after %d kicks", now, links.Kicks())
		}
		if r := greeted(t, host, nomadtest.OldHello(hello())); r == nil || r.Reason != nodelink.Superseded {
			t.Errorf("the older one again: %v", r)
		}
		links.Kick("n")
		time.Sleep(time.Minute)
	})
}

// Links that push each other out are reported once a minute.
func TestStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, links := newHost(t, nil)
		var storms []string
		links.Storm = func(node, older, newer string) { storms = append(storms, fmt.Sprint(node, older, newer)) }
		for i := range 20 {
			next := hello()
			next.Instance = fmt.Sprint(i)
			if r := greeted(t, h, nomadtest.OldHello(next)); r != nil {
				t.Fatal(r)
			}
		}
		synctest.Wait()
		if len(storms) != 1 || storms[0] != "nrr" {
			t.Errorf("reported %q", storms)
		}
		links.Kick("n")
		time.Sleep(time.Minute)
	})
}

// A link lives while both sides say so, and ends at its age between calls.
func TestAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		l, _, links, ended := piped(t, nodelink.Handlers{
			"Node.Ping": func(context.Context, *nodelink.Call) (any, error) { <-release; return nil, nil },
		}, func(c *nodelink.HostConfig) { c.MaxAge = 10 * time.Minute })
		time.Sleep(7 * time.Minute) // its age is 7.5 to 12.5 minutes
		if links.Get("n") != l {
			t.Fatal("the link did not live")
		}
		result := make(chan nodelink.Outcome)
		go func() { o, _ := outcome(t.Context(), l, "Node.Ping"); result <- o }()
		time.Sleep(10 * time.Minute)
		close(release)
		if o := <-result; o != "" {
			t.Errorf("the call in flight ended with %q", o)
		}
		r := new(nodelink.Refusal)
		if err := <-ended; !errors.As(err, &r) || r.Reason != nodelink.MaxAge {
			t.Errorf("ended with %v", err)
		}
	})
}

// A side that falls silent loses the link at the other.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := oldAgent(t, func(string) (byte, []byte) { return 7, []byte("{}") })
		time.Sleep(29 * time.Second)
		select {
		case <-l.Done():
			t.Fatal("ended too early")
		default:
		}
		<-l.Done()
	})
	synctest.Test(t, func(t *testing.T) {
		far, near := nomadtest.Sessions()
		go func() {
			control, err := near.Accept()
			if err != nil {
				return
			}
			_, _, _ = nomadtest.ReadLinkFrame(control)
			_ = nomadtest.WriteLinkFrame(control, 2, []byte(`{"Protocol":2,"PingInterval":1000000000}`))
			for err == nil {
				_, _, err = nomadtest.ReadLinkFrame(control)
			}
		}()
		began := time.Now()
		if err := newAgent(t, nil).Serve(t.Context(), far, nil); err == nil || time.Since(began) != 3*time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}

// The dialler begins quickly, slows down, more so where it was refused, and never stops.
func TestDialer(t *testing.T) {
	for name, c := range map[string]struct {
		err      error
		min, max int // dials within an hour
	}{
		"down":    {errors.New("connection refused"), 80, 260},
		"retired": {&nodelink.Refusal{Reason: nodelink.Retired, Help: "h", RetryAfter: time.Minute}, 8, 40},
		"leaving": {&nodelink.Refusal{Reason: nodelink.Leaving, Help: "h", RetryAfter: 10 * time.Second}, 80, 260},
		"too old": {&nodelink.Refusal{Reason: nodelink.MaxAge, Help: "h"}, 12_000, 36_000},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				dials, told := 0, 0
				d := nodelink.Dialer{Agent: newAgent(t, nil), Dial: func(context.Context) (mux.Session, error) { dials++; return nil, c.err },
					OnState: func(s nodelink.State) {
						if !s.Up && errors.Is(s.Err, c.err) {
							told++
						}
					}}
				d.Run(ctx)
				if dials < c.min || dials > c.max || told != dials {
					t.Errorf("%d dials, %d times told", dials, told)
				}
			})
		})
	}
}

// A pause ends when what was refused may be taken.
func TestDialerDialsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		again, dials := make(chan struct{}), make(chan time.Time, 100)
		d := nodelink.Dialer{Agent: newAgent(t, nil), Again: again, Dial: func(context.Context) (mux.Session, error) {
			dials <- time.Now()
			return nil, &nodelink.Refusal{Reason: nodelink.BadIdentity, Help: "h", RetryAfter: time.Minute}
		}}
		ended := make(chan struct{})
		go func() { defer close(ended); d.Run(ctx) }()
		for range 3 {
			<-dials
			asked := time.Now()
			again <- struct{}{}
			if at := <-dials; !at.Equal(asked) {
				t.Errorf("dialled again %s later", at.Sub(asked))
			}
			time.Sleep(time.Second)
			again <- struct{}{}
		}
		cancel()
		<-ended
	})
}

// An agent whose server leaves dials another one at once.
func TestServerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, _ := newHost(t, nil)
		second, _ := newHost(t, func(c *nodelink.HostConfig) { c.ServerName = "other" })
		hosts, ups := []*nodelink.Host{first, second}, make(chan string, 10)
		d := nodelink.Dialer{Agent: newAgent(t, nil), Dial: func(context.Context) (mux.Session, error) {
			far, near := nomadtest.Sessions()
			go hosts[0].Serve(t.Context(), near, nodelink.From{})
			hosts = hosts[1:]
			return far, nil
		}, OnState: func(s nodelink.State) {
			if s.Up {
				ups <- s.Welcome.ServerName
			}
		}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); d.Run(ctx) }()
		<-ups
		began := time.Now()
		first.Leave()
		if up := <-ups; up != "other" || time.Since(began) > time.Second {
			t.Errorf("linked to %s after %s", up, time.Since(began))
		}
		cancel()
		<-ended
	})
}

// An agent whose link an operator ended links again after the pause that it was told,
// as it does at the next time; one whose link a newer one pushed out keeps away longer.
func TestDialerAfterKick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, links := newHost(t, nil)
		ups := make(chan time.Time, 100)
		d := nodelink.Dialer{Agent: newAgent(t, nil), Dial: func(context.Context) (mux.Session, error) {
			far, near := nomadtest.Sessions()
			go h.Serve(t.Context(), near, nodelink.From{})
			return far, nil
		}, OnState: func(s nodelink.State) {
			if s.Up {
				ups <- s.Since
			}
		}}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); d.Run(ctx) }()
		<-ups
		for range 20 {
			synctest.Wait()
			began := time.Now()
			if !links.Kick("n") {
				t.Fatal("no link to end")
			}
			if up := <-ups; up.Sub(began) > 1500*time.Millisecond {
				t.Errorf("linked again after %s", up.Sub(began))
			}
		}
		synctest.Wait()
		began := time.Now()
		_ = linked(t, newAgent(t, nil), func() mux.Session {
			far, near := nomadtest.Sessions()
			go h.Serve(t.Context(), near, nodelink.From{})
			return far
		}(), links)
		if up := <-ups; up.Sub(began) < time.Second {
			t.Errorf("pushed the newer link out after %s", up.Sub(began))
		}
		cancel()
		<-ended
	})
}

// A server that leaves does not wait for agents that are gone one after the other.
func TestServerLeavesAgentsThatDoNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, links := newHost(t, func(c *nodelink.HostConfig) { c.PingInterval = time.Hour })
		for i := range 20 {
			far, near := nomadtest.Sessions()
			defer far.Close()
			go h.Serve(t.Context(), near, nodelink.From{})
			silent := hello()
			silent.NodeID = fmt.Sprint(i)
			b, err := json.Marshal(nomadtest.OldHello(silent))
			if err != nil {
				t.Fatal(err)
			}
			control, err := far.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := nomadtest.WriteLinkFrame(control, 1, b); err != nil {
				t.Fatal(err)
			}
			if frame, answer, err := nomadtest.ReadLinkFrame(control); err != nil || frame != 2 {
				t.Fatal(frame, string(answer), err)
			}
		}
		began := time.Now()
		h.Leave()
		if took := time.Since(began); took > 2*time.Second {
			t.Errorf("took %s", took)
		}
		synctest.Wait()
		if left := links.All(); len(left) != 0 {
			t.Errorf("%d links left", len(left))
		}
	})
}

func TestWebSocketURL(t *testing.T) {
	for base, want := range map[string]string{
		"http://a:4646": "ws://a:4646/v1/node/link/2", "ws://a": "ws://a/v1/node/link/2",
		"https://a/x/": "wss://a/x/v1/node/link/2", "wss://a": "wss://a/v1/node/link/2",
		"mailto://a": "", "a:4646": "", "http://": "",
	} {
		if got, err := nodelink.WebSocketURL(base); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", base, got, err)
		}
	}
}

// The binary messages of a WebSocket are one stream of bytes, whatever their borders,
// and its close is the end of that; anything else ends it with an error.
func TestWebSocketIsAStream(t *testing.T) {
	type end struct {
		text string
		err  error
	}
	ends := make(chan end, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := nodelink.AcceptPort(w, r)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		b, err := io.ReadAll(conn)
		ends <- end{string(b), err}
	}))
	defer srv.Close()
	dial := func() *websocket.Conn {
		ws, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(srv.URL, "http"), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range []string{"hey", " there", "", " champ"} {
			if err := ws.Write(t.Context(), websocket.MessageBinary, []byte(part)); err != nil {
				t.Fatal(err)
			}
		}
		return ws
	}
	if err := dial().Close(websocket.StatusNormalClosure, ""); err != nil {
		t.Error(err)
	}
	if e := <-ends; e.text != "hey there champ" || e.err != nil {
		t.Errorf("%q, %v", e.text, e.err)
	}
	ws := dial()
	if err := ws.Write(t.Context(), websocket.MessageText, []byte("!")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := ws.Read(t.Context()); websocket.CloseStatus(err) != websocket.StatusUnsupportedData {
		t.Errorf("text is answered with %v", err)
	}
	if e := <-ends; e.text != "hey there champ" || e.err == nil {
		t.Errorf("after text: %q, %v", e.text, e.err)
	}
}

// A server that no longer knows the version answers the WebSocket with 410; one
// that cannot be reached has no answer at all.
func TestWebSocketRefused(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		nodelink.RefuseHTTP(w, nodelink.CheckVersion(0, 0))
	}))
	_, err := nodelink.DialWebSocket(t.Context(), srv.URL, nil, mux.SessionConfig{})
	r := new(nodelink.Refusal)
	if !errors.As(err, &r) || r.Reason != nodelink.Retired || r.RetryAfter == 0 {
		t.Errorf("%v", err)
	}
	srv.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) })
	if _, err = nodelink.DialWebSocket(t.Context(), srv.URL, nil, mux.SessionConfig{}); !errors.As(err, &r) || r.Reason != nodelink.Retired {
		t.Errorf("%v", err)
	}
	srv.Close()
	if _, err := nodelink.DialWebSocket(t.Context(), srv.URL, nil, mux.SessionConfig{}); err == nil || errors.As(err, &r) {
		t.Errorf("%v", err)
	}
}
