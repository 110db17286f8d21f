package nomad_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

func staleRead(n *nomadtest.Node, path string) (string, error) {
	got, err := n.Get(context.Background(), path, structs.QueryOptions{AllowStale: true})
	if err != nil || got.Data == nil {
		return "", err
	}
	return got.Data.Items["v"], nil
}

func TestRestartedServerServesNoOldRead(t *testing.T) {
	for name, snapshots := range map[string]bool{"from the log": false, "from a snapshot": true} {
		t.Run(name, func(t *testing.T) {
			nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
				n := c.Follower()
				mustPut(t, n, "app/db", "before")
				c.Crash(n)
				leader := c.WaitLeader()
				for i := range 200 {
					mustPut(t, leader, "app/fill", fmt.Sprint(i))
				}
				mustPut(t, leader, "app/db", "after")
				time.Sleep(10 * time.Second)

				c.Fabric.Isolate(n.Host)
				c.Restart(n)
				start := time.Now()
				if got, err := staleRead(n, "app/db"); !errors.Is(err, errs.Unavailable) {
					t.Fatalf("read %q, %v before it could know what was committed", got, err)
				}
				if took := time.Since(start); took > 7*time.Second {
					t.Fatalf("refused after %v", took)
				}
				if n.Ready() == nil {
					t.Fatal("says that it is ready")
				}
				c.Fabric.HealAll()
				ok := false
				for end := time.Now().Add(2 * time.Minute); !ok && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
					got, err := staleRead(n, "app/db")
					if ok = err == nil; ok && got != "after" {
						t.Fatalf("read %q after the restart", got)
					}
				}
				if !ok {
					t.Fatal("never caught up")
				}
			}, func(conf *nomad.Config) {
				if snapshots {
					conf.Raft.SnapshotThreshold, conf.Raft.SnapshotInterval, conf.Raft.TrailingLogs = 64, time.Second, 16
				}
			})
		})
	}
}

func TestFollowerCutOffStillServesStaleReadsAndSaysSo(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		mustPut(t, c.Nodes[0], "app/db", "1")
		c.WaitReady()
		n := c.Follower()
		time.Sleep(time.Second)
		c.Fabric.Isolate(n.Host)
		time.Sleep(30 * time.Second)
		got, err := n.Get(context.Background(), "app/db", structs.QueryOptions{AllowStale: true})
		if err != nil || got.Data == nil || got.Data.Items["v"] != "1" {
			t.Fatalf("read %+v, %v", got, err)
		}
		if got.KnownLeader || got.LastContact < 25*time.Second {
			t.Fatalf("says known leader %v, last contact %v", got.KnownLeader, got.LastContact)
		}
	})
}
