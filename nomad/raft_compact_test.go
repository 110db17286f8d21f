package nomad_test

import (
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// TestCompactLog: entries that a snapshot has go, on one server alone, and what
// they wrote stays; what is left is whole.
func TestCompactLog(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		var last uint64
		for i := range 30 {
			last = mustPut(t, c.WaitLeader(), "app/db", strconv.Itoa(i))
		}
		c.WaitReady()
		synctest.Wait()
		n, other := c.Follower(), c.WaitLeader()
		if ok, err := n.CompactLog(); err != nil || !ok {
			t.Fatalf("compacting: %t, %v", ok, err)
		}
		if first, end, err := n.LogBounds(); err != nil || first != end-1 || end < last {
			t.Errorf("the log is %d to %d of %d writes, %v", first, end, last, err)
		}
		if first, _, err := other.LogBounds(); err != nil || first != 1 {
			t.Errorf("the log of another server begins at %d, %v", first, err)
		}
		if ok, err := n.CompactLog(); err != nil || ok {
			t.Errorf("again: %t, %v", ok, err)
		}
		log, err := n.VerifyLog(t.Context())
		snapshots, snapshotErr := n.VerifySnapshots(t.Context())
		if err != nil || snapshotErr != nil || log.Problems != nil || log.Items == 0 || snapshots.Items != 1 || snapshots.Problems != nil {
			t.Errorf("%+v %v, %+v %v", log, err, snapshots, snapshotErr)
		}
		c.Crash(n)
		c.Restart(n)
		mustPut(t, c.WaitLeader(), "app/other", "2")
		c.WaitReady()
		for path, want := range map[string]string{"app/db": "29", "app/other": "2"} {
			got, err := n.Get(t.Context(), path, structs.QueryOptions{})
			if err != nil || got.Data == nil || got.Data.Items["v"] != want {
				t.Errorf("%s is %+v after a restart, %v", path, got, err)
			}
		}
	}, func(conf *nomad.Config) { conf.Raft.TrailingLogs, conf.Raft.SnapshotThreshold = 2, 1<<40 })
}
