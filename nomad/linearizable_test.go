package nomad_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// registerOp is one operation on one key. Written values are unique, so the
// index that a CAS expects stands for the value that was read with it.
type registerOp struct {
	key, kind string // read, write, cas
	old, new  string
}

// registerResult is what came of it.
type registerResult struct {
	value   string // of a read
	swapped bool   // of a cas
	unknown bool   // it may have happened, now or later
}

var registerModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byKey := map[string][]porcupine.Operation{}
		for _, op := range history {
			key := op.Input.(registerOp).key
			byKey[key] = append(byKey[key], op)
		}
		var out [][]porcupine.Operation
		for _, ops := range byKey {
			out = append(out, ops)
		}
		return out
	},
	Init: func() any { return "" },
	Step: func(state, input, output any) (bool, any) {
		op, res := input.(registerOp), output.(registerResult)
		switch {
		case op.kind == "read":
			return res.value == state, state
		case op.kind == "write":
			return true, op.new
		case res.unknown && state != op.old:
			return true, state
		case res.unknown:
			return true, op.new
		case res.swapped:
			return state == op.old, op.new
		}
		return state != op.old, state
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v %+v", input, output) },
}

// history collects operations in the order of one clock.
type history struct {
	clock atomic.Int64
	mu    sync.Mutex
	ops   []porcupine.Operation
	known int
}

func (h *history) add(op porcupine.Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
	if !op.Output.(registerResult).unknown {
		h.known++
	}
}

// registerClient works on keys through all nodes in turn.
type registerClient struct {
	id   int
	rng  *rand.Rand
	h    *history
	node func(i int) nomadtest.Node
}

func (cl *registerClient) run(ctx context.Context) {
	type seen struct {
		value string
		index uint64
	}
	last := map[string]seen{}
	for i := 0; ctx.Err() == nil; i++ {
		n := cl.node(cl.rng.IntN(3))
		op := registerOp{key: fmt.Sprintf("app/%d", cl.rng.IntN(2)), kind: "read", new: fmt.Sprintf("%d-%d", cl.id, i)}
		switch r := cl.rng.IntN(10); {
		case r < 3:
			op.kind = "write"
		case r < 6 && last[op.key].index > 0:
			op.kind, op.old = "cas", last[op.key].value
		}
		called := cl.h.clock.Add(1)
		callCtx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
		var res registerResult
		var err error
		if op.kind == "read" {
			var got *structs.VariablesReadResponse
			if got, err = n.Get(callCtx, op.key, structs.QueryOptions{}); err == nil && got.Data != nil {
				res.value = got.Data.Items["v"]
				last[op.key] = seen{res.value, got.Data.ModifyIndex}
			}
		} else {
			res.swapped, err = cl.apply(callCtx, n, op, last[op.key].index)
		}
		cancel()
		returned := cl.h.clock.Add(1)
		switch {
		case err == nil:
		case op.kind == "read" || errs.NotSent(err):
			time.Sleep(50 * time.Millisecond)
			continue // without effect
		default:
			res.unknown, returned = true, 1<<62
		}
		cl.h.add(porcupine.Operation{ClientId: cl.id, Input: op, Output: res, Call: called, Return: returned})
		time.Sleep(time.Duration(cl.rng.IntN(int(60 * time.Millisecond))))
	}
}

func (cl *registerClient) apply(ctx context.Context, n nomadtest.Node, op registerOp, index uint64) (bool, error) {
	req := &structs.VariablesApplyRequest{Op: structs.VarOpSet, Var: &structs.VariableDecrypted{
		VariableMetadata: structs.VariableMetadata{Path: op.key}, Items: structs.VariableItems{"v": op.new},
	}}
	if op.kind == "cas" {
		req.Op, req.Var.ModifyIndex = structs.VarOpCAS, index
	}
	var reply structs.VariablesApplyResponse
	err := n.RPC(ctx, "Variables.Apply", req, &reply)
	return err == nil && reply.Result == structs.VarOpResultOk, err
}

// torment breaks and mends the cluster at random until end.
func torment(c *nomadtest.Cluster, rng *rand.Rand, locked func(func()), end time.Time) {
	for time.Now().Before(end) {
		n, other := c.Nodes[rng.IntN(3)], c.Nodes[rng.IntN(3)]
		pause := time.Duration(rng.IntN(int(3 * time.Second)))
		switch rng.IntN(4) {
		case 0:
			c.Fabric.Isolate(n.Host)
		case 1:
			if n != other {
				c.Fabric.Cut(n.Host, other.Host)
			}
		case 2:
			for _, l := range c.Nodes {
				if l.IsLeader() {
					c.Fabric.Isolate(l.Host)
				}
			}
		case 3:
			locked(func() { c.Crash(n) })
			time.Sleep(pause)
			locked(func() { c.Restart(n) })
		}
		time.Sleep(pause)
		c.Fabric.HealAll()
		time.Sleep(time.Duration(rng.IntN(int(2 * time.Second))))
	}
}

// lockedNodes gives the nodes of a cluster whose servers are stopped and started under a
// lock. It is no mutex: the clock of a bubble stands still while somebody waits for one.
func lockedNodes(c *nomadtest.Cluster) (locked func(func()), node func(int) nomadtest.Node) {
	lock := make(chan struct{}, 1)
	locked = func(f func()) {
		lock <- struct{}{}
		defer func() { <-lock }()
		f()
	}
	return locked, func(i int) (n nomadtest.Node) {
		locked(func() { n = *c.Nodes[i] })
		return n
	}
}

func TestHistoryUnderFaultsIsLinearizable(t *testing.T) {
	for _, seed := range []uint64{1, 2, 3} {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			h := &history{}
			nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
				locked, node := lockedNodes(c)
				ctx, cancel := context.WithCancel(context.Background())
				var clients sync.WaitGroup
				for id := range 5 {
					cl := &registerClient{id: id, rng: rand.New(rand.NewPCG(seed, uint64(id))), h: h, node: node}
					clients.Go(func() { cl.run(ctx) })
				}
				torment(c, rand.New(rand.NewPCG(seed, 99)), locked, time.Now().Add(time.Minute))
				c.WaitLeader()
				time.Sleep(5 * time.Second)
				cancel()
				clients.Wait()
			}, func(conf *nomad.Config) {
				conf.Raft.SnapshotThreshold, conf.Raft.SnapshotInterval, conf.Raft.TrailingLogs = 64, time.Second, 16
			})
			if h.known < 500 {
				t.Fatalf("seed %d: only %d operations succeeded", seed, h.known)
			}
			if res := porcupine.CheckOperationsTimeout(registerModel, h.ops, 20*time.Second); res != porcupine.Ok {
				t.Fatalf("seed %d: the history of %d operations is %s", seed, len(h.ops), res)
			}
			t.Logf("%d operations, %d with a known outcome", len(h.ops), h.known)
		})
	}
}
