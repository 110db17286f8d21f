package e2e

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"
)

// create writes a variable that must not exist yet, under a token if that is not "".
func (a *agent) create(path, token string) error {
	v := api.NewVariable(path)
	v.Items = api.VariableItems{"v": path}
	_, _, err := a.api.Variables().CheckedCreate(v, &api.WriteOptions{IdempotencyToken: token})
	return err
}

// applied fails for a write that did not take place exactly once.
func applied(t *testing.T, path string, err error) {
	t.Helper()
	var conflict api.ErrCASConflict
	switch {
	case errors.As(err, &conflict):
		t.Errorf("%s was applied twice: %v", path, err)
	case err != nil:
		t.Errorf("%s: %v", path, err)
	}
}

// steady writes 20 variables a second through the servers, whatever becomes of
// the writes before, and keeps the time of the last answer and the longest pause
// between two.
type steady struct {
	t    *testing.T
	stop chan struct{}
	wg   sync.WaitGroup

	mu      sync.Mutex
	paths   []string      // guarded by mu: of all writes that were answered
	last    time.Time     // guarded by mu
	gap     time.Duration // guarded by mu
	longest time.Duration // guarded by mu: of one write
}

func startSteady(t *testing.T, servers []*agent) *steady {
	s := &steady{t: t, stop: make(chan struct{}), last: time.Now()}
	s.wg.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-s.stop:
				return
			case <-tick.C:
				s.wg.Go(func() { s.write(servers[n%len(servers)], fmt.Sprintf("steady/%d", n)) })
			}
		}
	})
	return s
}

func (s *steady) write(a *agent, path string) {
	began := time.Now()
	err := a.create(path, "")
	s.mu.Lock()
	defer s.mu.Unlock()
	applied(s.t, path+" through "+a.name, err)
	now := time.Now()
	s.gap, s.longest, s.last = max(s.gap, now.Sub(s.last)), max(s.longest, now.Sub(began)), now
	s.paths = append(s.paths, path)
}

// end stops the writes and returns when all are answered.
func (s *steady) end() {
	close(s.stop)
	s.wg.Wait()
	s.t.Logf("%d writes, longest pause between answers %v, longest write %v", len(s.paths), s.gap.Round(time.Millisecond), s.longest.Round(time.Millisecond))
}

func (c *cluster) verifyCreated(paths []string) {
	c.t.Helper()
	a := c.leader()
	for _, path := range paths {
		v, _, err := a.api.Variables().Peek(path, nil)
		if err != nil || v == nil || v.CreateIndex != v.ModifyIndex || v.Items["v"] != path {
			c.t.Errorf("%s: %+v, %v", path, v, err)
		}
	}
}

// Whoever writes through a follower sees a pause when the leader dies, no error.
func TestWritesThroughFollowersOutliveTheLeader(t *testing.T) {
	c := newCluster(t, nil)
	old := c.leader()
	s := startSteady(t, c.others(old))
	time.Sleep(time.Second)
	old.kill()
	c.leader(old)
	time.Sleep(time.Second)
	s.end()
	c.verifyCreated(s.paths)
}

// A leader that stands still keeps no call through the others, and what it was
// sent is applied once although it has it, too.
func TestFrozenLeaderKeepsNoCall(t *testing.T) {
	c := newCluster(t, nil)
	old := c.leader()
	s := startSteady(t, c.others(old))
	time.Sleep(time.Second)
	old.freeze()
	c.leader(old)
	elected := time.Now()
	s.end() // all are answered while it is frozen
	t.Logf("the last call ended %v after the election was seen", time.Since(elected).Round(time.Millisecond))
	old.resume()
	c.servers[0].mustPut("end/mark", "1")
	caughtUp(t, old, "end/mark", "1")
	c.verifyCreated(s.paths)
}

// faults kills and freezes servers at random, one at a time, until stop is closed,
// and returns how often.
func (c *cluster) faults(stop chan struct{}) (n int) {
	for {
		select {
		case <-stop:
			return n
		case <-time.After(time.Duration(500+rand.IntN(1000)) * time.Millisecond):
		}
		n++
		victim := c.servers[rand.IntN(len(c.servers))]
		if rand.IntN(2) == 0 {
			victim.kill()
			time.Sleep(time.Duration(rand.IntN(1500)) * time.Millisecond)
			victim.start()
			victim.ready()
			continue
		}
		victim.freeze()
		time.Sleep(time.Duration(rand.IntN(2500)) * time.Millisecond)
		victim.resume()
	}
}

// writesUnderFaults is how many writes the test below makes; CAIRN_E2E_WRITES
// asks for more.
const writesUnderFaults = 2000

// A client that sends a write again under its token, to whichever server answers,
// until it gets an answer, has it applied exactly once.
func TestWritesUnderFaultsAreAppliedOnce(t *testing.T) {
	total := int64(writesUnderFaults)
	if n, err := strconv.ParseInt(os.Getenv("CAIRN_E2E_WRITES"), 10, 64); err == nil {
		total = n
	}
	c := newCluster(t, nil)
	var next, again atomic.Int64
	var mu sync.Mutex
	var paths []string
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := next.Add(1); i <= total && !t.Failed(); i = next.Add(1) {
				path := fmt.Sprintf("fault/%d", i)
				tries := c.createSomewhere(path)
				again.Add(tries - 1)
				mu.Lock()
				paths = append(paths, path)
				mu.Unlock()
				time.Sleep(time.Duration(rand.IntN(100)) * time.Millisecond)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	faults := c.faults(done)
	t.Logf("%d writes and %d more tries under %d faults", len(paths), again.Load(), faults)
	c.verifyCreated(paths)
}

// createSomewhere tries one server after the other and returns how often it tried.
func (c *cluster) createSomewhere(path string) int64 {
	var conflict api.ErrCASConflict
	for tries := int64(1); ; tries++ {
		a := c.servers[rand.IntN(len(c.servers))]
		v := api.NewVariable(path)
		v.Items = api.VariableItems{"v": path}
		_, _, err := a.quick().Variables().CheckedCreate(v, &api.WriteOptions{IdempotencyToken: path})
		if err == nil {
			return tries
		}
		if errors.As(err, &conflict) || tries == 1000 {
			applied(c.t, path, err)
			return tries
		}
		time.Sleep(20 * time.Millisecond)
	}
}
