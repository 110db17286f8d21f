package nomad

import (
	"bytes"
	"context"
	"net"
	"slices"
	"testing"

	"github.com/cairn-project/cairn/internal/pool"
	"github.com/cairn-project/cairn/internal/wire"
)

func TestBodyIsPassedOnByteForByte(t *testing.T) {
	// Fields that this version does not know, and numbers wider than they need be.
	body := wire.Raw("\x83\xa3New\xd3\x00\x00\x00\x00\x00\x00\x00\x01\xa6Region\xd9\x06global\xa4More\xc4\x02\xff\x00")
	got := make(chan *wire.Call, 1)
	leader := wire.NewServer(func(_ context.Context, c *wire.Call) (any, error) {
		copied := *c
		copied.Body = slices.Clone(c.Body)
		got <- &copied
		return wire.Raw("\x81\xa1x\xcd\x00\x01"), nil
	}, wire.DefaultLimits(), nil)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p := pool.New(pool.Config{Dial: func(context.Context, string) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			if _, err := far.Read(make([]byte, 1)); err != nil { // the byte of the protocol
				return
			}
			leader.ServeConn(ctx, far, nil)
		}()
		return near, nil
	}})
	defer p.Close()

	s := &Server{config: DefaultConfig(), pool: p, leaders: newLeaderWatch()}
	s.leaders.set("leader:4647", "id")
	var reply wire.Raw
	c := &call{methodInfo: methods["Variables.Read"], args: body, reply: &reply}
	from := wire.WithCall(ctx, &wire.Call{Method: c.name, Hops: 1, RequestID: "r-1"})
	if err := s.forwardLeader(from, c, s.leaders.current()); err != nil {
		t.Fatal(err)
	}
	call := <-got
	if !bytes.Equal(call.Body, body) {
		t.Errorf("the leader got %x, want %x", call.Body, body)
	}
	if call.Hops != 2 || call.RequestID != "r-1" {
		t.Errorf("the leader got %d hops and request %q", call.Hops, call.RequestID)
	}
	if string(reply) != "\x81\xa1x\xcd\x00\x01" {
		t.Errorf("the answer came back as %x", reply)
	}
}
