package drpc

import (
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// TestBytesOfAUserAreBounded: many sessions do not hold more than one may.
func TestBytesOfAUserAreBounded(t *testing.T) {
	g := newGate()
	s := start(t, module5(t, g.handle, echo), func(c *Config) { c.MaxMessage, c.MaxBytesPerUID = 1000, 2000 })
	one, two := connect(t, s.path), connect(t, s.path)
	for i := range int64(2) {
		mustSend(t, one, &Call{Module: 5, Method: 1, Sequence: i, Body: pattern(900)})
		<-g.entered
	}
	long := &Call{Module: 5, Method: 2, Sequence: 7, Body: pattern(900)}
	if resp := mustAsk(t, two, long, true); resp.Sequence != 7 || !errors.Is(resp.Err(), errs.Busy) {
		t.Errorf("a call beyond the share was answered %v", resp)
	}
	close(g.release)
	mustRead(t, one)
	mustRead(t, one)
	one.Close()
	for { // the share is free a moment after the answers
		resp := mustAsk(t, two, long, true)
		if resp.Status == Status_SUCCESS {
			break
		}
		if !errors.Is(resp.Err(), errs.Busy) {
			t.Fatalf("answered %v", resp)
		}
	}
	two.Close()
	for s.shareOf(os.Getuid()) != nil { // until the last session is gone
		time.Sleep(time.Millisecond)
	}
}

func (s *Server) shareOf(uid int) *share {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shares[uid]
}

// TestUnfinishedMessagesCount: so do messages that are still coming in, and
// what they held is free once their peer is gone.
func TestUnfinishedMessagesCount(t *testing.T) {
	s := start(t, module5(t, echo), func(c *Config) { c.MaxMessage, c.MaxBytesPerUID = 200_000, 210_000 })
	long := mustEncode(t, &Call{Module: 5, Method: 1, Sequence: 1, Body: pattern(150_000)})
	one, two, watch := connect(t, s.path), connect(t, s.path), connect(t, s.path)
	mustAsk(t, watch, &Call{Sequence: 1}, false)
	share := s.shareOf(os.Getuid())
	if err := one.packets.write(frameAt(nil, long, 0)); err != nil {
		t.Fatal(err)
	}
	for share.bytes.Load() < ChunkCapacity {
		time.Sleep(time.Millisecond)
	}
	if err := two.packets.write(frameAt(nil, long, 0)); err != nil {
		t.Fatal(err)
	}
	if resp := mustRead(t, two); resp.Sequence != -1 || resp.Status != Status_UNAVAILABLE || !errors.Is(resp.Err(), errs.Busy) {
		t.Errorf("a message beyond the share was answered %v", resp)
	}
	if _, err := two.Read(); !errors.Is(err, io.EOF) {
		t.Errorf("and then %v, want the end", err)
	}
	one.Close()
	for share.bytes.Load() != 0 {
		time.Sleep(time.Millisecond)
	}
	resp, _, err := ask(connect(t, s.path), Message{Data: long, Framed: true})
	if err != nil || len(resp.Body) != 150_000 {
		t.Errorf("after it left: %v with %d bytes, %v", resp.GetStatus(), len(resp.GetBody()), err)
	}
}

// TestUnfinishedMessageRunsOutOfTime: the peer that holds it is let go.
func TestUnfinishedMessageRunsOutOfTime(t *testing.T) {
	closed := make(chan struct{})
	s := start(t, module5(t, echo), func(c *Config) {
		c.MessageTimeout = 20 * time.Millisecond
		c.Closed = func(*Session) { close(closed) }
	})
	l := connect(t, s.path)
	long := mustEncode(t, &Call{Module: 5, Method: 1, Sequence: 1, Body: pattern(150_000)})
	if err := l.packets.write(frameAt(nil, long, 0)); err != nil {
		t.Fatal(err)
	}
	<-closed
}

// TestUnfinishedPacketRunsOutOfTime: on a stream a packet comes in parts, too.
func TestUnfinishedPacketRunsOutOfTime(t *testing.T) {
	for name, begun := range map[string][]byte{
		"part of the length": {0, 0}, "a length": {0, 0, 0, 5}, "part of a packet": {0, 0, 0, 5, 0x18}, "part of one too long": append([]byte{0x40, 0, 0, 0}, pattern(2*MaxPacket)...),
	} {
		closed := make(chan struct{})
		s := start(t, module5(t, echo), func(c *Config) {
			c.Stream, c.MessageTimeout = true, 20*time.Millisecond
			c.Closed = func(*Session) { close(closed) }
		})
		l := connect(t, s.path)
		_, err := l.conn.Write(begun) // of a long one the server may be tired before it is written
		if err != nil && len(begun) < MaxPacket {
			t.Errorf("%s: %v", name, err)
		}
		<-closed
	}
}

// TestIdleSessionStays: the time is for messages, not for sessions.
func TestIdleSessionStays(t *testing.T) {
	for name, stream := range map[string]bool{"packets": false, "stream": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			staysIdle(t, stream)
		})
	}
}

func staysIdle(t *testing.T, stream bool) {
	s := start(t, module5(t, echo), func(c *Config) { c.Stream, c.MessageTimeout = stream, time.Second })
	l := connect(t, s.path)
	for i := range int64(2) {
		long := &Call{Module: 5, Method: 1, Sequence: i, Body: pattern(150_000)}
		if resp := mustAsk(t, l, long, true); len(resp.Body) != 150_000 {
			t.Fatalf("answered %v", resp.Status)
		}
		time.Sleep(time.Duration(1-i) * 1100 * time.Millisecond)
	}
}
