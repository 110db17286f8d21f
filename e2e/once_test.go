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
	id   string // of its own in the paths
	stop chan struct{}
	wg   sync.WaitGroup

	mu      sync.Mutex
	paths   []string      // guarded by mu: of all writes that were answered
	last    time.Time     // guarded by mu
	gap     time.Duration // guarded by mu
	longest time.Duration // guarded by mu: of one write
}

func startSteady(t *testing.T, servers []*agent) *steady {
	s := &steady{t: t, id: strconv.FormatInt(time.Now().UnixNano(), 36), stop: make(chan struct{}), last: time.Now()}
	s.wg.Go(func() {
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-s.stop:
				return
			case <-tick.C:
				s.wg.Go(func() { s.write(servers[n%len(servers)], fmt.Sprintf("steady/%s/%d", s.id, n)) })
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

// more waits until another n writes were answered.
func (s *steady) more(n int) {
	s.t.Helper()
	count := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.paths)
	}
	want := count() + n
	eventually(s.t, fmt.Sprintf("another %d writes are answered", n), func() bool { return count() >= want })
}

// end stops the writes and returns when all are answered.
func (s *steady) end() {
	close(s.stop)
	s.wg.Wait()
	s.t.Logf("%d writes, longest pause between answers %v, longest write %v", len(s.paths), s.gap.Round(time.Millisecond), s.longest.Round(time.Millisecond))
}

// verifyCreated fails unless each path was written, once.
func (c *cluster) verifyCreated(paths []string) {
	c.t.Helper()
	a := c.leader()
	next := make(chan string)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for path := range next {
				v, _, err := a.api.Variables().Peek(path, nil)
				if err != nil || v == nil || v.CreateIndex != v.ModifyIndex || v.Items["v"] != path {
					c.t.Errorf("%s: %+v, %v", path, v, err)
				}
			}
		})
	}
	for _, path := range paths {
		next <- path
	}
	close(next)
	wg.Wait()
}

const (
	// killedGap and stoppedGap are how long writes may pause for a leader that was
	// killed, and for one that was told to stop.
	killedGap, stoppedGap = 1500 * time.Millisecond, 200 * time.Millisecond
	// electionLimit is how long a call may outlive an election.
	electionLimit = time.Second
)

// Whoever writes through a follower sees a pause when the leader dies, no error.
func TestWritesThroughFollowersOutliveTheLeader(t *testing.T) {
	for _, lost := range []struct {
		how   string
		lose  func(*agent)
		limit time.Duration
	}{
		{"killed", (*agent).kill, killedGap},
		{"stopped", func(a *agent) { a.interrupt() }, stoppedGap},
	} {
		t.Run(lost.how, func(t *testing.T) {
			c := newCluster(t, nil)
			within(t, "longest pause", lost.limit, func() time.Duration {
				old := c.leader()
				s := startSteady(t, c.others(old))
				s.more(20)
				lost.lose(old)
				c.leader(old)
				s.more(20)
				s.end()
				c.verifyCreated(s.paths)
				old.start()
				old.ready()
				return s.gap
			})
		})
	}
}

// A leader that stands still keeps no call through the others, and what it was
// sent is applied once although it has it, too.
func TestFrozenLeaderKeepsNoCall(t *testing.T) {
	c := newCluster(t, nil)
	within(t, "the last call ended after the election was seen", electionLimit, func() time.Duration {
		old := c.leader()
		s := startSteady(t, c.others(old))
		s.more(20)
		old.freeze()
		c.leader(old)
		elected := time.Now()
		s.end() // all are answered while it is frozen
		took := time.Since(elected)
		old.resume()
		c.servers[0].mustPut("end/mark", s.id)
		caughtUp(t, old, "end/mark", s.id)
		c.verifyCreated(s.paths)
		return took
	})
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

const (
	// writesUnderFaults is how many writes the test below makes; CAIRN_SOAK_WRITES
	// asks for another number.
	writesUnderFaults = 10_000
	// faultWriters is how many make them.
	faultWriters = 64
)

// A client that sends a write again under its token, to whichever server answers,
// until it gets an answer, has it applied exactly once.
func TestWritesUnderFaultsAreAppliedOnce(t *testing.T) {
	total := int64(writesUnderFaults)
	if text := os.Getenv("CAIRN_SOAK_WRITES"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		total = n
	}
	c := newCluster(t, nil)
	var next, again atomic.Int64
	var mu sync.Mutex
	var paths []string
	var wg sync.WaitGroup
	for range faultWriters {
		wg.Go(func() {
			for i := next.Add(1); i <= total && !t.Failed(); i = next.Add(1) {
				path := fmt.Sprintf("fault/%d", i)
				tries := c.writeSomewhere(path, i%2 == 0)
				again.Add(tries - 1)
				mu.Lock()
				paths = append(paths, path)
				mu.Unlock()
				time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
			}
		})
	}
	done := make(chan struct{})
	go func() {
		wg.Wait()
		close(done)
	}()
	began := time.Now()
	faults := c.faults(done)
	t.Logf("%d writes and %d more tries under %d faults in %v", len(paths), again.Load(), faults, time.Since(began).Round(time.Second))
	c.verifyCreated(paths)
}

// writeSomewhere writes the path, through one server after the other under one token,
// and returns how often it tried. A write that is applied twice shows: the second time
// it finds the path taken if it only creates, and changes its index if it does not.
func (c *cluster) writeSomewhere(path string, create bool) int64 {
	var conflict api.ErrCASConflict
	v := api.NewVariable(path)
	v.Items = api.VariableItems{"v": path}
	opts := &api.WriteOptions{IdempotencyToken: path}
	for tries := int64(1); ; tries++ {
		variables := c.servers[rand.IntN(len(c.servers))].quick().Variables()
		var err error
		if create {
			_, _, err = variables.CheckedCreate(v, opts)
		} else {
			_, _, err = variables.Update(v, opts)
		}
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
