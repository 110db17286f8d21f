package e2e

import (
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestPutOnOneReadOnAnother(t *testing.T) {
	c := newCluster(t, nil)
	one, two, three := c.servers[0], c.servers[1], c.servers[2]
	for i := range 20 {
		one.mustPut("app/db", strconv.Itoa(i))
		two.mustRead("app/db", strconv.Itoa(i))
		three.mustRead("app/db", strconv.Itoa(i))
	}
}

// A leader that dies without a word costs neither an acknowledged write nor a
// call that hangs, and catches up when it is back.
func TestLeaderKilledUnderLoad(t *testing.T) {
	c := newCluster(t, nil)
	l := startLoad(t, 6, c.servers)
	l.more(100)
	for range 2 {
		old := c.leader()
		old.kill()
		c.leader(old)
		l.more(100)
		old.start()
		old.ready()
		l.more(100)
	}
	acked := l.end()
	c.verifyAll(acked)
	verify(t, c.leader(), acked, false)
}

// A leader that stands still is replaced, and once it moves again it follows.
func TestLeaderFrozenUnderLoad(t *testing.T) {
	c := newCluster(t, nil)
	l := startLoad(t, 6, c.servers)
	l.more(100)
	for range 3 {
		old := c.leader()
		old.freeze()
		c.leader(old)
		time.Sleep(time.Second) // writes to the frozen one wait meanwhile
		old.resume()
		l.more(200)
	}
	acked := l.end()
	c.verifyAll(acked)
}

// A default read is never older than what was acknowledged before it was sent,
// whichever server gets it and whatever that server slept through.
func TestDefaultReadsAreNeverStale(t *testing.T) {
	c := newCluster(t, nil)
	c.servers[0].mustPut("clock", "0")
	stop := make(chan struct{})
	var acked atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() { tick(c, &acked, stop) })
	for _, a := range c.servers {
		for range 4 {
			wg.Go(func() { watchClock(t, a, &acked, stop) })
		}
	}
	for range 4 {
		old := c.leader()
		old.freeze()
		c.leader(old)
		before := acked.Load()
		eventually(t, "the clock goes on", func() bool { return acked.Load() > before+5 })
		old.resume()
		eventually(t, "the clock goes on", func() bool { return acked.Load() > before+20 })
	}
	close(stop)
	wg.Wait()
	if acked.Load() < 50 {
		t.Errorf("only %d writes: the test saw next to nothing", acked.Load())
	}
}

// tick counts a variable up. Only this goroutine writes it.
func tick(c *cluster, acked *atomic.Int64, stop chan struct{}) {
	for n := int64(1); ; n++ {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			// A short limit: a frozen server must not hold the clock.
			server := c.servers[(int(n)+i)%3]
			if _, err := putBy(server.quick(), "clock", strconv.FormatInt(n, 10)); err == nil {
				break
			}
		}
		acked.Store(n)
		time.Sleep(2 * time.Millisecond)
	}
}

// watchClock reads the variable from one server and compares it with what was
// acknowledged before the read.
func watchClock(t *testing.T, a *agent, acked *atomic.Int64, stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		least := acked.Load()
		var text string
		var err error
		if took := a.timed(func() { text, err = readBy(a.patient(), "clock", false) }); took > callLimit {
			t.Errorf("a read from %s hung for %v: %v", a.name, took, err)
		}
		if err != nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if have, err := strconv.ParseInt(text, 10, 64); err != nil || have < least {
			t.Errorf("a default read from %s gave %q although %d was acknowledged before", a.name, text, least)
			return
		}
	}
}

// A server that is asked to stop hands its leadership over and ends well.
func TestGracefulStopUnderLoad(t *testing.T) {
	c := newCluster(t, nil)
	l := startLoad(t, 6, c.servers)
	l.more(100)
	for range 2 {
		old := c.leader()
		if code := old.interrupt(); code != 0 {
			t.Errorf("%s ended with exit code %d", old.name, code)
		}
		c.leader(old)
		l.more(100)
		old.start()
		old.ready()
	}
	acked := l.end()
	c.verifyAll(acked)
}

func TestFullRestartKeepsEverything(t *testing.T) {
	for _, backend := range []string{"wal", "boltdb"} {
		t.Run(backend, func(t *testing.T) {
			c := newCluster(t, settings{
				"raft_logstore":           settings{"backend": backend},
				"raft_snapshot_threshold": 64, "raft_snapshot_interval": "1s", "raft_trailing_logs": 16,
			})
			l := startLoad(t, 6, c.servers)
			l.more(400)
			acked := l.end()
			for _, a := range c.servers { // no chance to clean up
				a.kill()
			}
			c.startAll()
			for _, a := range c.servers {
				verify(t, a, acked, false)
			}
			for _, a := range c.servers { // and with a chance
				a.interrupt()
			}
			c.startAll()
			verify(t, c.servers[0], acked, false)
			c.servers[1].mustPut("after/restart", "yes")
		})
	}
}

// A server that was away while the log moved on gets a snapshot.
func TestLaggardGetsASnapshot(t *testing.T) {
	c := newCluster(t, settings{
		"raft_snapshot_threshold": 64, "raft_snapshot_interval": "1s", "raft_trailing_logs": 16,
	})
	leader := c.leader()
	away := c.others(leader)[0]
	away.kill()
	acked := map[string]string{}
	old := find(t, leader.dataDir(), "state.bin")
	for i := 0; ; i++ {
		path := fmt.Sprintf("while/away/%d", i)
		leader.mustPut(path, "x")
		acked[path] = "x"
		if now := find(t, leader.dataDir(), "state.bin"); i > 200 && len(now) > 0 && !slices.Contains(old, now[0]) {
			break // the log before it is gone
		}
	}
	away.start()
	away.ready()
	leader.mustPut("end/mark", "1")
	caughtUp(t, away, "end/mark", "1")
	verify(t, away, acked, true)
}
