package nomad_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// lock runs a lock operation on app/leader through n.
func lock(n *nomadtest.Node, op structs.VarOp, l *structs.VariableLock, items structs.VariableItems) (*structs.VariablesApplyResponse, error) {
	req := &structs.VariablesApplyRequest{Op: op, Var: &structs.VariableDecrypted{
		VariableMetadata: structs.VariableMetadata{Path: "app/leader", Lock: l}, Items: items,
	}}
	var reply structs.VariablesApplyResponse
	err := n.RPC(context.Background(), "Variables.Apply", req, &reply)
	return &reply, err
}

func mustAcquire(t *testing.T, n *nomadtest.Node, ttl, delay time.Duration) string {
	t.Helper()
	out, err := lock(n, structs.VarOpLockAcquire, &structs.VariableLock{TTL: ttl, LockDelay: delay}, structs.VariableItems{"holder": "me"})
	if err != nil || out.Result != structs.VarOpResultOk {
		t.Fatalf("acquire: %+v, %v", out, err)
	}
	if out.Output == nil || out.Output.LockID() == "" {
		t.Fatalf("acquire gave no lock ID: %+v", out.Output)
	}
	return out.Output.LockID()
}

func renew(n *nomadtest.Node, id string) error {
	req := &structs.VariablesRenewLockRequest{Path: "app/leader", LockID: id}
	return n.RPC(context.Background(), "Variables.RenewLock", req, &structs.VariablesRenewLockResponse{})
}

func held(t *testing.T, n *nomadtest.Node) bool {
	t.Helper()
	got, err := n.Get(context.Background(), "app/leader", structs.QueryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return got.Data.Lock != nil
}

func TestLockKeepsOthersOut(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		id := mustAcquire(t, c.Nodes[0], time.Minute, 15*time.Second)
		if out, err := lock(c.Nodes[1], structs.VarOpLockAcquire, &structs.VariableLock{TTL: time.Minute}, nil); err != nil || !out.IsConflict() {
			t.Fatalf("a second holder got %+v, %v", out, err)
		}
		if out, err := lock(c.Nodes[1], structs.VarOpSet, nil, structs.VariableItems{"holder": "you"}); err != nil || !out.IsConflict() {
			t.Fatalf("a write without the lock got %+v, %v", out, err)
		}
		if out, err := lock(c.Nodes[2], structs.VarOpSet, &structs.VariableLock{ID: id}, structs.VariableItems{"holder": "still me"}); err != nil || out.IsConflict() {
			t.Fatalf("a write with the lock got %+v, %v", out, err)
		}
		if out, err := lock(c.Nodes[2], structs.VarOpLockRelease, &structs.VariableLock{ID: id}, nil); err != nil || out.IsConflict() {
			t.Fatalf("release got %+v, %v", out, err)
		}
		if held(t, c.Nodes[0]) {
			t.Fatal("still held after the release")
		}
	})
}

func TestRenewedLockStaysAndSilentOneGoes(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		n := c.Nodes[0]
		id := mustAcquire(t, n, 10*time.Second, 15*time.Second)
		for range 20 {
			time.Sleep(10 * time.Second)
			if err := renew(n, id); err != nil {
				t.Fatalf("renew: %v", err)
			}
		}
		time.Sleep(21 * time.Second)
		if !held(t, n) {
			t.Fatal("let go before the delay was over")
		}
		if err := renew(n, id); !errors.Is(err, errs.Conflict) {
			t.Fatalf("renewing a lost lock: %v", err)
		}
		time.Sleep(15 * time.Second)
		if held(t, n) {
			t.Fatal("still held after TTL and delay")
		}
		if err := renew(n, id); !errors.Is(err, errs.Conflict) {
			t.Fatalf("renewing a lock that is gone: %v", err)
		}
	})
}

func TestLockOutlivesItsLeader(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		id := mustAcquire(t, c.Follower(), 10*time.Second, time.Second)
		time.Sleep(15 * time.Second)
		c.Crash(c.WaitLeader())
		n := c.WaitLeader()
		time.Sleep(10 * time.Second)
		if err := renew(n, id); err != nil {
			t.Fatalf("the new leader did not give the holder a full TTL: %v", err)
		}
		time.Sleep(30 * time.Second)
		if held(t, n) {
			t.Fatal("a silent holder keeps its lock under the new leader")
		}
	})
}

func TestRefusedLockRequests(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		n := c.Nodes[0]
		for name, tc := range map[string]struct {
			op   structs.VarOp
			lock *structs.VariableLock
			want errs.Code
		}{
			"acquire without lock":   {structs.VarOpLockAcquire, nil, errs.Invalid},
			"TTL too short":          {structs.VarOpLockAcquire, &structs.VariableLock{TTL: time.Second}, errs.Invalid},
			"release without ID":     {structs.VarOpLockRelease, &structs.VariableLock{}, errs.Invalid},
			"release of nothing":     {structs.VarOpLockRelease, &structs.VariableLock{ID: "x"}, errs.NotFound},
			"lock in a plain create": {structs.VarOpSet, &structs.VariableLock{ID: "x"}, errs.Invalid},
		} {
			var items structs.VariableItems
			if tc.op == structs.VarOpSet {
				items = structs.VariableItems{"a": "b"}
			}
			if _, err := lock(n, tc.op, tc.lock, items); !errors.Is(err, tc.want) {
				t.Errorf("%s: got %v, want %s", name, err, tc.want)
			}
		}
		if err := renew(n, "x"); !errors.Is(err, errs.NotFound) {
			t.Errorf("renewing nothing: %v", err)
		}
	})
}
