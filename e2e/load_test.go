package e2e

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load is a number of writers that put a new variable each time, through one
// server after the other.
type load struct {
	t    *testing.T
	stop chan struct{}
	wg   sync.WaitGroup
	// count is how many writes were acknowledged so far.
	count atomic.Int64

	mu     sync.Mutex
	acked  map[string]string // guarded by mu: path to value
	failed int               // guarded by mu: writes with an error, applied or not
}

// startLoad begins to write through all servers; end stops it.
func startLoad(t *testing.T, writers int, servers []*agent) *load {
	l := &load{t: t, stop: make(chan struct{}), acked: map[string]string{}}
	for w := range writers {
		l.wg.Go(func() { l.write(w, servers) })
	}
	return l
}

func (l *load) write(w int, servers []*agent) {
	for n := 0; ; n++ {
		select {
		case <-l.stop:
			return
		default:
		}
		path, value := fmt.Sprintf("load/w%d/%d", w, n), fmt.Sprintf("%d-%d", w, n)
		server := servers[(w+n)%len(servers)]
		var err error
		took := server.timed(func() { _, err = putBy(server.patient(), path, value) })
		if took > callLimit {
			l.t.Errorf("a write through %s hung for %v: %v", server.name, took, err)
		}
		l.note(path, value, err)
		if err != nil {
			time.Sleep(20 * time.Millisecond) // a dead server refuses at once
		}
	}
}

func (l *load) note(path, value string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err == nil {
		l.acked[path] = value
		l.count.Add(1)
		return
	}
	l.failed++
}

// more waits until another n writes were acknowledged.
func (l *load) more(n int64) {
	l.t.Helper()
	want := l.count.Load() + n
	eventually(l.t, fmt.Sprintf("another %d writes are acknowledged", n), func() bool { return l.count.Load() >= want })
}

// end stops the writers and returns every acknowledged write.
func (l *load) end() map[string]string {
	l.t.Helper()
	close(l.stop)
	l.wg.Wait()
	l.t.Logf("%d writes acknowledged, %d failed", len(l.acked), l.failed)
	return l.acked
}

// verify reads every acknowledged write back through a server.
func verify(t *testing.T, a *agent, acked map[string]string, stale bool) {
	t.Helper()
	paths := make(chan string)
	var wg sync.WaitGroup
	var lost atomic.Int64
	for range 8 {
		wg.Go(func() {
			for path := range paths {
				have, err := a.read(path, stale)
				if (err != nil || have != acked[path]) && lost.Add(1) < 10 {
					t.Errorf("%s: acknowledged write %s=%q reads as %q, %v", a.name, path, acked[path], have, err)
				}
			}
		})
	}
	for path := range acked {
		paths <- path
	}
	close(paths)
	wg.Wait()
	if n := lost.Load(); n > 0 {
		t.Errorf("%s: %d of %d acknowledged writes are not there", a.name, n, len(acked))
	}
}

// caughtUp waits until a server's own copy holds what it lacked.
func caughtUp(t *testing.T, a *agent, path, value string) {
	t.Helper()
	eventually(t, a.name+" catches up", func() bool {
		have, err := a.read(path, true)
		return err == nil && have == value
	})
}

// verifyAll fails unless every server has everything acknowledged once it has
// caught up with a last write.
func (c *cluster) verifyAll(acked map[string]string) {
	c.t.Helper()
	c.servers[0].mustPut("end/mark", "1")
	for _, a := range c.servers {
		caughtUp(c.t, a, "end/mark", "1")
		verify(c.t, a, acked, true)
	}
}
