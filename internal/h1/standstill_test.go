package h1

import (
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-project/cairn/internal/presence"
)

// gated is a connection whose reads wait for a gate, as those of a process that
// stands still do.
type gated struct {
	*net.TCPConn
	gate <-chan struct{}
}

func (g gated) Read(b []byte) (int, error) {
	<-g.gate
	return g.TCPConn.Read(b)
}

// A request that waited while the process stood still is not served as if its
// client were still there.
func TestRequestsOfThoseWhoGaveUp(t *testing.T) {
	for name, giveUp := range map[string]bool{"gone": true, "there": false} {
		t.Run(name, func(t *testing.T) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			client, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			accepted, err := ln.Accept()
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan bool, 1)
			s := New(newHTTP(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				ended <- r.Context().Err() != nil
			})))
			s.clock.doubt.Store(time.Hour.Milliseconds())
			gate := make(chan struct{})
			s.start(t.Context(), gated{accepted.(*net.TCPConn), gate})
			if _, err := io.WriteString(client, put("/clock", "6")); err != nil {
				t.Fatal(err)
			}
			if giveUp {
				_ = client.Close()
			}
			close(gate)
			if got := <-ended; got != giveUp {
				t.Errorf("the request's context has ended: %t", got)
			}
			_ = s.Close()
		})
	}
}

func TestAStandstillIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var k clock
		k.start = time.Now()
		k.update(time.Now())
		if k.stood() {
			t.Error("at the start")
		}
		time.Sleep(tick)
		if k.stood() {
			t.Error("one tick later")
		}
		time.Sleep(5 * tick)
		if !k.stood() {
			t.Error("not noticed before the clock moves")
		}
		k.update(time.Now())
		if !k.stood() {
			t.Error("not noticed after the clock has moved")
		}
		for range 20 {
			time.Sleep(tick)
			k.update(time.Now())
		}
		if k.stood() {
			t.Error("never forgotten")
		}
	})
}

// A handler learns at once that its client has left, before anybody watches.
func TestHandlersMayAskForTheClient(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked, left := make(chan bool), make(chan struct{})
	s := New(newHTTP(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		ctx := context.WithoutCancel(r.Context()) // what the watch finds does not count
		asked <- presence.Left(ctx)
		<-left
		for !presence.Left(ctx) {
			runtime.Gosched()
		}
		asked <- true
	})))
	go func() { _ = s.Serve(ln) }()
	defer s.Close()
	client, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(client, put("/clock", "6")); err != nil {
		t.Fatal(err)
	}
	if <-asked {
		t.Error("a client that waits has left")
	}
	_ = client.Close()
	close(left)
	if !<-asked {
		t.Error("a client that left is there")
	}
}
