package wire

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
)

func TestDrainIsToldToOurKindOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c, s := pair(t, func(_ context.Context, call *Call) (any, error) {
			if call.Method == "A.Block" {
				<-release
			}
			return "answer", nil
		}, Limits{})
		result := make(chan error, 1)
		go func() {
			var reply string
			err := c.Call(t.Context(), "A.Block", nil, &reply, CallOptions{})
			if reply != "answer" {
				t.Errorf("the call under way got %q", reply)
			}
			result <- err
		}()
		synctest.Wait()
		if closed(c.Draining()) {
			t.Error("asked to move before the server drains")
		}
		s.Drain()
		s.Drain()
		synctest.Wait()
		if !closed(c.Draining()) {
			t.Error("not asked to move")
		}
		if err := c.Call(t.Context(), "A.Quick", nil, nil, CallOptions{}); err != nil {
			t.Errorf("a call all the same: %v", err)
		}
		close(release)
		if err := <-result; err != nil {
			t.Errorf("the call under way: %v", err)
		}
	})
}

func TestConnectionsDuringADrainAreToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := pair(t, echo, Limits{})
		s.Drain()
		if err := c.Call(t.Context(), "A.Echo", nil, nil, CallOptions{}); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if !closed(c.Draining()) {
			t.Error("not asked to move")
		}
	})
}

// To a peer of package net/rpc an answer to no call would be one to its first.
func TestDrainLeavesPlainClientsAlone(t *testing.T) {
	near, far := net.Pipe()
	s := serve(t, addHandler, Limits{}, far)
	c := plainClient(t, near)
	s.Drain()
	var got Sum
	if err := c.Call("Arith.Add", &sum, &got); err != nil || got.Total != 5 {
		t.Errorf("%d, %v", got.Total, err)
	}
}
