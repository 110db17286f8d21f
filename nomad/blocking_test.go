package nomad_test

import (
	"context"
	"testing"
	"time"

	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

func TestReadOfNoTableNeverBlocks(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		start := time.Now()
		req := &structs.GenericRequest{QueryOptions: structs.QueryOptions{MinQueryIndex: 1000}}
		if err := c.Nodes[0].RPC(context.Background(), "Operator.RaftGetConfiguration", req, &structs.RaftConfigurationResponse{}); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > time.Second {
			t.Fatalf("blocked for %v", took)
		}
	})
}

func TestBlockingQueryEndsWithItsServer(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		index := mustPut(t, c.Nodes[0], "app/db", "1")
		n := c.Follower()
		c.WaitReady()
		ended := make(chan time.Time, 1)
		go func() {
			_, _ = n.Get(context.Background(), "app/db", structs.QueryOptions{MinQueryIndex: index + 9, AllowStale: true})
			ended <- time.Now()
		}()
		time.Sleep(time.Second)
		stopping := time.Now()
		c.Stop(n)
		if took := (<-ended).Sub(stopping); took > 5*time.Second {
			t.Fatalf("the query outlived its server by %v", took)
		}
	})
}
