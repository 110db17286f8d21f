package nomadtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/memberlist"
)

// inFabric runs f in a bubble. Forgotten goroutines fail the test: the bubble
// cannot end.
func inFabric(t *testing.T, f func(t *testing.T, fab *Fabric)) {
	synctest.Test(t, func(t *testing.T) {
		// Time stands still once the bubble's first goroutine has ended, and
		// probes of memberlist end only when theirs is up.
		defer time.Sleep(time.Minute)
		fab := NewFabric()
		defer fab.Close()
		f(t, fab)
	})
}

const hostA, hostB, hostC = "10.0.0.1:4647", "10.0.0.2:4647", "10.0.0.3:4647"

// connect returns both ends of a connection from one host to another.
func connect(t *testing.T, fab *Fabric, from, to string) (dialed, accepted net.Conn) {
	t.Helper()
	l, err := fab.Listen(to)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dialed, err = fab.Dial(context.Background(), from, to)
	if err != nil {
		t.Fatal(err)
	}
	accepted, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return dialed, accepted
}

func mustSend(t *testing.T, from, to net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(from, text); err != nil {
		t.Fatalf("send %q: %v", text, err)
	}
	mustReceive(t, to, text)
}

func mustReceive(t *testing.T, conn net.Conn, want string) {
	t.Helper()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Fatalf("got %q and %v, want %q", got, err, want)
	}
}

// nothingWithin expects that conn has nothing to read for d.
func nothingWithin(t *testing.T, conn net.Conn, d time.Duration) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(d))
	defer conn.SetReadDeadline(time.Time{})
	n, err := conn.Read(make([]byte, 1))
	if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %d bytes and %v, want a timeout", n, err)
	}
}

func TestConnectionsCarryBytesBothWays(t *testing.T) {
	inFabric(t, func(t *testing.T, fab *Fabric) {
		a, b := connect(t, fab, hostA, hostB)
		if b.RemoteAddr().String() != a.LocalAddr().String() || a.RemoteAddr().String() != hostB {
			t.Errorf("addresses: %v to %v, seen as %v", a.LocalAddr(), a.RemoteAddr(), b.RemoteAddr())
		}
		mustSend(t, a, b, "there")
		mustSend(t, b, a, "and back")

		big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // four times the buffer
		go func() {
			a.Write(big)
			a.Close()
		}()
		got, err := io.ReadAll(b)
		if err != nil || !bytes.Equal(got, big) {
			t.Errorf("%d bytes and %v arrived of %d", len(got), err, len(big))
		}
		if _, err := b.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write to a closed peer: %v", err)
		}
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("read after close: %v", err)
		}
	})
}

func TestDialWithoutListener(t *testing.T) {
	inFabric(t, func(t *testing.T, fab *Fabric) {
		if _, err := fab.Dial(context.Background(), hostA, hostB); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody listens: %v", err)
		}
		l, err := fab.Listen(hostB)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fab.Listen(hostB); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("second listener: %v", err)
		}
		early, err := fab.Dial(context.Background(), hostA, hostB)
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		if _, err := early.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("connection nobody accepted: %v", err)
		}
		if _, err := fab.Dial(context.Background(), hostA, hostB); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("closed listener: %v", err)
		}
	})
}

func TestDeadlinesWakeWhoWaits(t *testing.T) {
	inFabric(t, func(t *testing.T, fab *Fabric) {
		a, b := connect(t, fab, hostA, hostB)
		start := time.Now()
		nothingWithin(t, a, time.Minute)
		if d := time.Since(start); d != time.Minute {
			t.Errorf("read gave up after %v", d)
		}
		a.SetWriteDeadline(time.Now().Add(time.Minute))
		n, err := a.Write(make([]byte, 2*pipeBuffer))
		if n != pipeBuffer || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("wrote %d bytes: %v", n, err)
		}

		blocked := make(chan error, 1)
		go func() {
			_, err := a.Read(make([]byte, 1))
			blocked <- err
		}()
		synctest.Wait()
		a.SetReadDeadline(time.Now())
		if err := <-blocked; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("deadline set while reading: %v", err)
		}
		b.Close()
	})
}

func TestCutHoldsWhatIsSentUntilHealed(t *testing.T) {
	inFabric(t, func(t *testing.T, fab *Fabric) {
		a, b := connect(t, fab, hostA, hostB)
		a.Write([]byte("arrived,"))
		fab.Cut(hostA, hostB)
		if _, err := a.Write([]byte("held")); err != nil {
			t.Fatalf("write to a cut peer: %v", err)
		}
		mustReceive(t, b, "arrived,")
		nothingWithin(t, b, time.Hour)
		a.Close()
		nothingWithin(t, b, time.Hour) // the end is held, too
		if _, err := b.Write([]byte("x")); err != nil {
			t.Errorf("write to a peer that closed behind a cut: %v", err)
		}
		fab.Heal(hostA, hostB)
		mustReceive(t, b, "held")
		if _, err := b.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("end of the stream: %v", err)
		}
	})
}

func TestDialAcrossACut(t *testing.T) {
	inFabric(t, func(t *testing.T, fab *Fabric) {
		if _, err := fab.Listen(hostB); err != nil {
			t.Fatal(err)
		}
		fab.Cut(hostA, hostB)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := fab.Dial(ctx, hostA, hostB); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial across a cut: %v", err)
		}
		time.AfterFunc(time.Hour, fab.HealAll)
		start := time.Now()
		if _, err := fab.Dial(context.Background(), hostA, hostB); err != nil || time.Since(start) != time.Hour {
			t.Errorf("dial after %v: %v", time.Since(start), err)
		}
	})
}

func TestIsolateKnowsHostsToCome(t *testing.T) {
	inFabric(t, func(t *testing.T, fab *Fabric) {
		ab, ba := connect(t, fab, hostA, hostB)
		fab.Isolate(hostA)
		ac := make(chan net.Conn, 1)
		l, err := fab.Listen(hostC)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			c, _ := fab.Dial(context.Background(), hostA, hostC)
			ac <- c
		}()
		bc, err := fab.Dial(context.Background(), hostB, hostC)
		if err != nil {
			t.Fatal(err)
		}
		cb, _ := l.Accept()
		mustSend(t, bc, cb, "others still talk")
		ab.Write([]byte("x"))
		nothingWithin(t, ba, time.Minute)
		fab.Heal(hostA, hostB)
		mustReceive(t, ba, "x")
		select {
		case <-ac:
			t.Error("an isolated host reached another")
		default:
		}
		fab.HealAll()
		if c := <-ac; c == nil {
			t.Error("dial failed after healing")
		}
	})
}

func TestDelay(t *testing.T) {
	inFabric(t, func(t *testing.T, fab *Fabric) {
		a, b := connect(t, fab, hostA, hostB)
		fab.Delay(hostA, hostB, 100*time.Millisecond)
		start := time.Now()
		mustSend(t, a, b, "slow")
		mustSend(t, b, a, "slow")
		if d := time.Since(start); d != 200*time.Millisecond {
			t.Errorf("there and back took %v", d)
		}
		a.Write([]byte("on its way"))
		fab.Delay(hostA, hostB, 0)
		a.Write([]byte(" and behind it"))
		mustReceive(t, b, "on its way and behind it")
	})
}

func TestCrashResetsConnections(t *testing.T) {
	inFabric(t, func(t *testing.T, fab *Fabric) {
		a, b := connect(t, fab, hostA, hostB)
		other, third := connect(t, fab, hostA, hostC)
		l, err := fab.Listen(hostB)
		if err != nil {
			t.Fatal(err)
		}
		fab.Crash(hostB)
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("peer of a crashed host: %v", err)
		}
		if _, err := a.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write to a crashed host: %v", err)
		}
		if _, err := b.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write on a crashed host: %v", err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept on a crashed host: %v", err)
		}
		mustSend(t, other, third, "unharmed")
		if _, err := fab.Dial(context.Background(), hostB, hostC); !errors.Is(err, syscall.ENETDOWN) {
			t.Errorf("dial from a crashed host: %v", err)
		}
		if _, err := fab.Dial(context.Background(), hostA, hostB); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("dial to a crashed host: %v", err)
		}
		a, b = connect(t, fab, hostA, hostB)
		mustSend(t, a, b, "up again")
	})
}

func TestCloseFreesEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fab := NewFabric()
		a, b := connect(t, fab, hostA, hostB)
		l, err := fab.Listen(hostC)
		if err != nil {
			t.Fatal(err)
		}
		fab.Cut(hostA, hostC)
		ended := make(chan string, 4)
		go func() { a.Read(make([]byte, 1)); ended <- "read" }()
		go func() { b.Write(make([]byte, 2*pipeBuffer)); ended <- "write" }()
		go func() { l.Accept(); ended <- "accept" }()
		go func() { fab.Dial(context.Background(), hostA, hostC); ended <- "dial" }()
		a.SetReadDeadline(time.Now().Add(time.Hour))
		fab.Close()
		fab.Close()
		for range 4 {
			<-ended
		}
		if _, err := fab.Listen(hostA); !errors.Is(err, net.ErrClosed) {
			t.Errorf("listen on a closed fabric: %v", err)
		}
	})
}

// gossiper starts one member of a gossip pool.
func gossiper(t *testing.T, fab *Fabric, name, addr string) *memberlist.Memberlist {
	t.Helper()
	cfg := memberlist.DefaultLANConfig()
	cfg.Name = name
	cfg.Transport = fab.Transport(addr)
	cfg.LogOutput = io.Discard
	m, err := memberlist.Create(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// eventually lets time pass until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 600 {
		if ok() {
			return
		}
		time.Sleep(time.Second)
		synctest.Wait()
	}
	t.Fatalf("never came: %s", what)
}

func TestGossipConvergesAndNoticesACrash(t *testing.T) {
	inFabric(t, func(t *testing.T, fab *Fabric) {
		fab.Drop(0.1)
		fab.Delay("10.0.0.1", "10.0.0.2", 5*time.Millisecond)
		var ms []*memberlist.Memberlist
		for i := range 3 {
			m := gossiper(t, fab, fmt.Sprintf("m%d", i), fmt.Sprintf("10.0.0.%d:4648", i+1))
			defer m.Shutdown()
			ms = append(ms, m)
		}
		for _, m := range ms[1:] {
			if _, err := m.Join([]string{"10.0.0.1:4648"}); err != nil {
				t.Fatal(err)
			}
		}
		members := func(want int, of ...*memberlist.Memberlist) func() bool {
			return func() bool {
				for _, m := range of {
					if m.NumMembers() != want {
						return false
					}
				}
				return true
			}
		}
		eventually(t, "three members", members(3, ms...))
		fab.Crash("10.0.0.3")
		eventually(t, "two members", members(2, ms[:2]...))
		ms[2].Shutdown()

		again := gossiper(t, fab, "m2", "10.0.0.3:4648")
		defer again.Shutdown()
		if _, err := again.Join([]string{"10.0.0.2:4648"}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "three members after the restart", members(3, ms[0], ms[1], again))
		fab.Isolate("10.0.0.3")
		eventually(t, "two members after the partition", members(2, ms[:2]...))
	})
}
