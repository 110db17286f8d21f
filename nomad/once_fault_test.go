package nomad_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// writesUnderFaults is how many writes the test below makes; CAIRN_SOAK_WRITES
	// asks for another number.
	writesUnderFaults = 4000
	// faultWriters is how many make them, and faultPause the longest pause of each.
	faultWriters = 24
	faultPause   = 100 * time.Millisecond
	// triesUnderFaults bounds how often a write is sent.
	triesUnderFaults = 1000
)

// fate is what a client knows of a write.
type fate int

const (
	written    fate = iota // answered
	notWritten             // refused, and nothing can have happened
	unknown                // the answer was lost
)

// faultWriter writes paths of its own through whichever server it finds.
type faultWriter struct {
	rng  *rand.Rand
	node func(int) nomadtest.Node
}

// write makes one write. With a token it is sent until it is answered, without one once.
func (w *faultWriter) write(path, token string) (f fate, tries int, err error) {
	for tries = 1; ; tries++ {
		n := w.node(w.rng.IntN(3))
		ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
		req := &structs.VariablesApplyRequest{Op: structs.VarOpSet, Var: &structs.VariableDecrypted{
			VariableMetadata: structs.VariableMetadata{Path: path}, Items: structs.VariableItems{"v": path},
		}, WriteRequest: structs.WriteRequest{IdempotencyToken: token}}
		var reply structs.VariablesApplyResponse
		err = n.RPC(ctx, "Variables.Apply", req, &reply)
		cancel()
		switch {
		case err == nil:
			return written, tries, nil
		case token != "" && tries < triesUnderFaults:
			time.Sleep(time.Duration(w.rng.Int64N(int64(faultPause))))
		case token == "" && errs.NotSent(err):
			return notWritten, tries, err
		default:
			return unknown, tries, err
		}
	}
}

// Servers crash and come back, and are cut off from each other with all that is on
// its way, while clients write. A write that is sent again under its token is applied
// once; of the others those that were answered are there, those of which an error says
// that nothing was done are not, and none was applied twice.
func TestWritesUnderFaultsAreAppliedOnce(t *testing.T) {
	total := int64(writesUnderFaults)
	if text := os.Getenv("CAIRN_SOAK_WRITES"); text != "" {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		total = n
	}
	seed := uint64(time.Now().UnixNano())
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		locked, node := lockedNodes(c)
		var next, again atomic.Int64
		var mu sync.Mutex
		fates := map[string]fate{}
		var writers sync.WaitGroup
		for id := range faultWriters {
			w := &faultWriter{rng: rand.New(rand.NewPCG(seed, uint64(id))), node: node}
			writers.Go(func() {
				for i := next.Add(1); i <= total && !t.Failed(); i = next.Add(1) {
					path, token := fmt.Sprintf("fault/%d", i), ""
					if i%2 == 0 {
						token = path
					}
					f, tries, err := w.write(path, token)
					if token != "" && f != written {
						t.Errorf("%s after %d tries: %v", path, tries, err)
					}
					again.Add(int64(tries - 1))
					mu.Lock()
					fates[path] = f
					mu.Unlock()
					time.Sleep(time.Duration(w.rng.Int64N(int64(faultPause))))
				}
			})
		}
		done := make(chan struct{})
		go func() {
			writers.Wait()
			close(done)
		}()
		began := time.Now()
		for rng := rand.New(rand.NewPCG(seed, 99)); !waited(done); {
			torment(c, rng, locked, time.Now().Add(10*time.Second))
		}
		c.WaitLeader()
		time.Sleep(5 * time.Second) // what was on its way has arrived
		count := verifyFates(t, c.WaitLeader(), fates)
		t.Logf("seed %d: %d writes and %d more tries in %v: %d answered, %d refused, %d unknown",
			seed, len(fates), again.Load(), time.Since(began).Round(time.Second), count[written], count[notWritten], count[unknown])
	}, func(conf *nomad.Config) {
		conf.Raft.SnapshotThreshold, conf.Raft.SnapshotInterval, conf.Raft.TrailingLogs = 256, 5*time.Second, 64
	})
}

// waited reports whether done is closed.
func waited(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// verifyFates compares the store with what clients know, and counts.
func verifyFates(t *testing.T, n *nomadtest.Node, fates map[string]fate) (count [3]int) {
	t.Helper()
	for path, f := range fates {
		count[f]++
		got, err := n.Get(context.Background(), path, structs.QueryOptions{})
		if err != nil && !errors.Is(err, errs.NotFound) {
			t.Fatal(err)
		}
		switch there := err == nil && got.Data != nil; {
		case !there && f == written:
			t.Errorf("%s was answered and is lost", path)
		case there && f == notWritten:
			t.Errorf("%s is there although its error says that nothing was done", path)
		case there && got.Data.CreateIndex != got.Data.ModifyIndex:
			t.Errorf("%s was applied twice, at %d and %d", path, got.Data.CreateIndex, got.Data.ModifyIndex)
		case there && got.Data.Items["v"] != path:
			t.Errorf("%s reads as %v", path, got.Data.Items)
		}
	}
	return count
}
