package e2e

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
)

// Lists without end take every processor there is, and no lock from who holds it.
func TestListsLeaveRoomForRenewals(t *testing.T) {
	c := newCluster(t, nil)
	var fill sync.WaitGroup
	for w := range 8 {
		fill.Go(func() {
			for i := w; i < 2000; i += 8 {
				c.servers[w%3].mustPut(fmt.Sprintf("app/%d", i), "v")
			}
		})
	}
	fill.Wait()
	var lists atomic.Int64
	var enough atomic.Bool
	var load sync.WaitGroup
	for w := range 100 {
		load.Go(func() {
			client := c.servers[w%3].client(20 * time.Second)
			for !enough.Load() {
				if _, _, err := client.Variables().PrefixList("app/", nil); err == nil {
					lists.Add(1)
				}
			}
		})
	}
	var holders sync.WaitGroup
	for i := range 9 {
		holders.Go(func() { hold(t, c.servers[i%3], fmt.Sprintf("lock/%d", i)) })
	}
	holders.Wait()
	enough.Store(true)
	load.Wait()
	if lists.Load() == 0 {
		t.Error("no list was answered: the locks had no company")
	}
	t.Logf("%d lists meanwhile", lists.Load())
}

// hold takes a lock and renews it eight times, in time.
func hold(t *testing.T, a *agent, path string) {
	vars := a.client(10 * time.Second).Variables()
	v := api.NewVariable(path)
	v.Lock = &api.VariableLock{TTL: "10s", LockDelay: "1s"}
	held, _, err := vars.AcquireLock(v, nil)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	for range 8 {
		time.Sleep(500 * time.Millisecond)
		if _, _, err := vars.RenewLock(held, nil); err != nil {
			t.Errorf("renew %s: %v", path, err)
			return
		}
	}
}
