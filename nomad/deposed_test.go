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

func TestDeposedLeaderAcknowledgesNoUnchangedWrite(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		old := c.WaitLeader()
		mustPut(t, old, "app/db", "old")
		term := old.Leadership()
		c.Fabric.Isolate(old.Host)
		mustPut(t, c.WaitLeader(), "app/db", "new")
		time.Sleep(time.Second)
		old.PretendLeadership(term)
		defer old.PretendLeadership(nil)
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if out, err := old.Put(ctx, "app/db", structs.VariableItems{"v": "old"}); err == nil {
			t.Fatalf("a deposed leader acknowledged a write that it did not commit: %+v", out)
		}
	})
}

func TestReadAtALeaderThatLosesItsMajorityEndsWithTheHold(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		old := c.WaitLeader()
		mustPut(t, old, "app/db", "old")
		c.Fabric.Isolate(old.Host)
		start := time.Now()
		_, err := old.Get(context.Background(), "app/db", structs.QueryOptions{})
		if !errors.Is(err, errs.NoLeader) {
			t.Fatalf("got %v, want no leader", err)
		}
		if took := time.Since(start); took > 7*time.Second {
			t.Fatalf("the read hung for %v", took)
		}
	})
}
