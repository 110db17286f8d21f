package e2e

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
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
	undisturbed(t, c.servers, func(try int) error {
		c.leader()
		return c.holdBesideLists(try)
	})
}

// holdBesideLists holds locks while others list, and returns what went wrong with
// the locks.
func (c *cluster) holdBesideLists(try int) error {
	var lists atomic.Int64
	var enough atomic.Bool
	var load sync.WaitGroup
	for w := range 100 {
		load.Go(func() {
			client := c.servers[w%3].limitedTo(20 * time.Second)
			for !enough.Load() {
				if _, _, err := client.Variables().PrefixList("app/", nil); err == nil {
					lists.Add(1)
				}
			}
		})
	}
	var holders sync.WaitGroup
	lost := make([]error, 9)
	for i := range lost {
		holders.Go(func() { lost[i] = hold(c.servers[i%3], fmt.Sprintf("lock/%d/%d", try, i)) })
	}
	holders.Wait()
	enough.Store(true)
	load.Wait()
	if lists.Load() == 0 {
		c.t.Error("no list was answered: the locks had no company")
	}
	c.t.Logf("%d lists meanwhile", lists.Load())
	return errors.Join(lost...)
}

// hold takes a lock and renews it eight times, in time.
func hold(a *agent, path string) error {
	vars := a.limitedTo(10 * time.Second).Variables()
	v := api.NewVariable(path)
	v.Lock = &api.VariableLock{TTL: "10s", LockDelay: "1s"}
	held, _, err := vars.AcquireLock(v, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for range 8 {
		time.Sleep(500 * time.Millisecond)
		if _, _, err := vars.RenewLock(held, nil); err != nil {
			return fmt.Errorf("renew %s: %w", path, err)
		}
	}
	return nil
}

const (
	// tries is how often undisturbed tries before it believes the machine to be busy.
	tries = 3
	// strangersShare is which part of the processors others may take before a failure
	// says more of them than of the servers.
	strangersShare = 0.2
)

// undisturbed fails for what fails while the agents and this test have the machine
// for themselves. What fails while others keep it busy is tried again.
func undisturbed(t *testing.T, agents []*agent, f func(try int) error) {
	t.Helper()
	for try := range tries {
		all, strangers := processors(t, agents)
		err := f(try)
		allNow, strangersNow := processors(t, agents)
		share := (strangersNow - strangers) / (allNow - all)
		t.Logf("others took %.0f %% of the processors", 100*share)
		if err == nil {
			return
		}
		if share < strangersShare {
			t.Error(err)
			return
		}
		t.Logf("in spite of others: %v", err)
	}
}

// processors returns how much time the processors of the machine had so far, and how
// much of it went to others than the agents and this test, in the same unit.
func processors(t *testing.T, agents []*agent) (all, strangers float64) {
	t.Helper()
	fields := func(path string) []string {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), " ") // a name, or "cpu"
		line, _, _ := strings.Cut(rest, "\n")
		return strings.Fields(line)
	}
	sum := func(of []string) (total float64) {
		for _, text := range of {
			n, err := strconv.ParseFloat(text, 64)
			if err != nil {
				t.Fatal(err)
			}
			total += n
		}
		return total
	}
	cpu := fields("/proc/stat") // user nice system idle iowait irq softirq steal
	strangers = sum(cpu[:3]) + sum(cpu[7:8])
	strangers -= sum(fields("/proc/self/stat")[12:14]) // user system
	for _, a := range agents {
		strangers -= sum(fields(fmt.Sprintf("/proc/%d/stat", a.cmd.Process.Pid))[12:14])
	}
	return sum(cpu[:8]), strangers
}
