package nomad_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// create writes a variable that must not exist yet.
func create(ctx context.Context, n *nomadtest.Node, path, token string) (*structs.VariablesApplyResponse, error) {
	req := &structs.VariablesApplyRequest{Op: structs.VarOpCAS, Var: &structs.VariableDecrypted{
		VariableMetadata: structs.VariableMetadata{Path: path}, Items: structs.VariableItems{"v": path},
	}, WriteRequest: structs.WriteRequest{IdempotencyToken: token}}
	var reply structs.VariablesApplyResponse
	err := n.RPC(ctx, "Variables.Apply", req, &reply)
	return &reply, err
}

// creators create variables through the nodes, each a tenth of a second after the
// last was answered, until the function that they return is called. A variable that exists
// already was created twice: each has a path of its own.
func creators(t *testing.T, nodes []*nomadtest.Node) (stop func() (paths []string)) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var all []string
	end := make(chan struct{})
	for i, n := range nodes {
		wg.Go(func() {
			for j := 0; ; j++ {
				path := fmt.Sprintf("app/%d/%d", i, j)
				out, err := create(context.Background(), n, path, "")
				if err != nil {
					t.Errorf("%s through %s: %v", path, n.Host, err)
				} else if out.Result != structs.VarOpResultOk {
					t.Errorf("%s through %s was applied twice: %s", path, n.Host, out.Result)
				}
				mu.Lock()
				all = append(all, path)
				mu.Unlock()
				select {
				case <-end:
					return
				case <-time.After(100 * time.Millisecond):
				}
			}
		})
	}
	return func() []string {
		close(end)
		wg.Wait()
		return all
	}
}

func others(c *nomadtest.Cluster, n *nomadtest.Node) (out []*nomadtest.Node) {
	for _, o := range c.Nodes {
		if o != n {
			out = append(out, o, o, o, o)
		}
	}
	return out
}

func verifyCreated(t *testing.T, n *nomadtest.Node, paths []string) {
	t.Helper()
	for _, p := range paths {
		if got, err := n.Get(context.Background(), p, structs.QueryOptions{}); err != nil || got.Data == nil || got.Data.CreateIndex != got.Data.ModifyIndex {
			t.Errorf("%s: %+v, %v", p, got.Data, err)
		}
	}
}

func TestWritesThroughFollowersOutliveTheLeader(t *testing.T) {
	for name, lose := range map[string]func(*nomadtest.Cluster, *nomadtest.Node){
		"crash": func(c *nomadtest.Cluster, n *nomadtest.Node) { c.Crash(n) },
		"cut":   func(c *nomadtest.Cluster, n *nomadtest.Node) { c.Fabric.Isolate(n.Host) },
	} {
		t.Run(name, func(t *testing.T) {
			nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
				old := c.WaitLeader()
				stop := creators(t, others(c, old))
				time.Sleep(time.Second)
				lose(c, old)
				time.Sleep(5 * time.Second)
				paths := stop()
				verifyCreated(t, others(c, old)[0], paths)
			})
		})
	}
}

func TestWriteThatLostItsAnswerIsAppliedOnce(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		old, through := c.WaitLeader(), c.Follower()
		c.Fabric.Delay(old.Host, through.Host, 200*time.Millisecond) // answers are on their way when the leader is cut off
		stop := creators(t, []*nomadtest.Node{through, through, through, through, through, through})
		time.Sleep(3300 * time.Millisecond) // a round takes half a second: asked at 3.0, applied at 3.2, answered at 3.4
		c.Fabric.Isolate(old.Host)
		time.Sleep(5 * time.Second)
		verifyCreated(t, through, stop())
	})
}

func TestIdempotencyTokenNamesOneRequest(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		leader, follower := c.WaitLeader(), c.Follower()
		first, err := create(context.Background(), follower, "app/db", "token-1")
		if err != nil || first.Result != structs.VarOpResultOk {
			t.Fatalf("%+v, %v", first, err)
		}
		c.Crash(leader)
		c.WaitLeader()
		again, err := create(context.Background(), follower, "app/db", "token-1")
		if err != nil || again.Result != structs.VarOpResultOk || again.Index != first.Index || again.Output.ModifyIndex != first.Output.ModifyIndex {
			t.Errorf("sent again under its token: %+v, %v", again, err)
		}
		other, err := create(context.Background(), follower, "app/db", "token-2")
		if err != nil || other.Result == structs.VarOpResultOk {
			t.Errorf("another token: %+v, %v", other, err)
		}
	})
}
