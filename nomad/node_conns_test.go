package nomad

import (
	"context"
	"net"
	"testing"
	"testing/synctest"

	"github.com/cairn-project/cairn/internal/msgp"
	"github.com/cairn-project/cairn/nomad/structs"
)

// fakeSession ends when end is closed.
type fakeSession struct{ end chan struct{} }

func (f *fakeSession) Open(context.Context) (net.Conn, error) { return nil, net.ErrClosed }
func (f *fakeSession) Done() <-chan struct{}                  { return f.end }

func TestNodeIsReachedOverTheSessionItUsedLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, first, second := newNodeConns(), &fakeSession{make(chan struct{})}, &fakeSession{make(chan struct{})}
		for range 3 {
			n.hold("a", first)
			n.hold("a", second)
		}
		n.hold("b", first)
		if n.session("a") != second || n.session("b") != first || n.session("c") != nil {
			t.Error("another session")
		}
		close(first.end)
		synctest.Wait()
		if n.session("a") != second || n.session("b") != nil {
			t.Error("the end of a session touched another, or was not noticed")
		}
		close(second.end)
		synctest.Wait()
		if len(n.held) != 0 || len(n.nodes) != 0 {
			t.Errorf("left over: %v %v", n.held, n.nodes)
		}
	})
}

func FuzzNodeOf(f *testing.F) {
	for _, v := range []any{
		&structs.NodeRegisterRequest{Node: &structs.Node{ID: "x", Meta: map[string]string{"ID": "y"}}},
		&structs.NodeUpdateStatusRequest{NodeID: "x"}, &structs.NodeRegisterRequest{},
	} {
		b, err := msgp.Append(nil, v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := nodeOf(b); len(got) > len(b) {
			t.Errorf("%q is longer than what it is read from", got)
		}
	})
}

func TestNodeOf(t *testing.T) {
	for want, v := range map[string]any{
		"x": &structs.NodeRegisterRequest{Node: &structs.Node{ID: "x", Meta: map[string]string{"ID": "y"}}},
		"z": &structs.NodeUpdateStatusRequest{NodeID: "z", WriteRequest: structs.WriteRequest{AuthToken: "t"}},
	} {
		b, err := msgp.Append(nil, v)
		if err != nil || nodeOf(b) != want {
			t.Errorf("%q, %v; want %q", nodeOf(b), err, want)
		}
	}
}
