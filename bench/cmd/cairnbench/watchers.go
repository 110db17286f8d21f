package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/cairn-project/cairn/bench/cluster"
	"github.com/cairn-project/cairn/bench/httpc"
	"github.com/cairn-project/cairn/bench/load"
)

const (
	commitClients = 8 // writers while the idle watchers sit there
	wakeLimit     = 60 * time.Second
	wakes         = 3 // writes to the key that all watch
)

// watch measures what watchers cost the writers and how soon they wake.
func (b *bench) watch(ctx context.Context, system string, c *cluster.Cluster) error {
	names := keys("bench", keySpace)
	idle := keys("idle", b.watchers)
	if err := fill(c, 0, append(idle, names...)); err != nil {
		return err
	}
	without, err := b.commitP99(c, names)
	if err != nil {
		return err
	}
	flock, err := newFlock(ctx, c.HTTP[0], idle)
	if err != nil {
		return err
	}
	time.Sleep(b.settle)
	with, err := b.commitP99(c, names)
	if woken := flock.close(); err == nil && woken > len(idle)/100 {
		err = fmt.Errorf("%d of %d watchers woke though nobody wrote their keys", woken, len(idle))
	}
	if err != nil {
		return err
	}
	b.results.add(workCommitWithout, system, without.Seconds()*1e3)
	b.results.add(workCommitRatio, system, with.Seconds()/without.Seconds())
	return b.wake(ctx, system, c)
}

func (b *bench) commitP99(c *cluster.Cluster, names []string) (time.Duration, error) {
	kvs, done, err := open(c, commitClients, 0)
	if err != nil {
		return 0, err
	}
	defer done()
	res, err := b.take(writers(kvs, names))
	return res.Latency(0.99), err
}

// wake lets all watch one key and writes it.
func (b *bench) wake(ctx context.Context, system string, c *cluster.Cluster) error {
	const key = "watched/key"
	kv, err := c.Open(0)
	if err != nil {
		return err
	}
	defer kv.Close()
	v := newValue(1)
	if err := kv.Put(key, v.bytes()); err != nil {
		return err
	}
	flock, err := newFlock(ctx, c.HTTP[0], slices.Repeat([]string{key}, b.watchers))
	if err != nil {
		return err
	}
	defer flock.close()
	for range wakes {
		time.Sleep(b.settle)
		start := time.Now()
		if err := kv.Put(key, v.bytes()); err != nil {
			return err
		}
		awake, err := flock.collect(ctx, start, b.watchers)
		if err != nil {
			return err
		}
		b.results.add(workWakeP50, system, load.Quantile(awake, 0.5).Seconds()*1e3)
		b.results.add(workWakeP99, system, load.Quantile(awake, 0.99).Seconds()*1e3)
	}
	return nil
}

// flock is a set of watchers, one connection each.
type flock struct {
	cancel context.CancelFunc
	woken  chan time.Time // one per wake-up
	failed chan error     // one slot
	wg     sync.WaitGroup

	mu    sync.Mutex
	again chan struct{} // closed when those that woke may ask again
}

// newFlock opens a watcher of each name and returns once each has read its key.
func newFlock(ctx context.Context, addr string, names []string) (*flock, error) {
	ctx, cancel := context.WithCancel(ctx)
	f := &flock{cancel: cancel, woken: make(chan time.Time, 4*len(names)), failed: make(chan error, 1), again: make(chan struct{})}
	var ready sync.WaitGroup
	ready.Add(len(names))
	dialing := make(chan struct{}, 100) // the server's accept queue is short
	for _, name := range names {
		dialing <- struct{}{}
		f.wg.Go(func() {
			client := httpc.New(addr, 10*time.Minute)
			resp, err := client.Do("GET", "/v1/var/"+name, nil)
			<-dialing
			ready.Done()
			if err == nil && resp.Status != 200 {
				err = fmt.Errorf("watch %s: status %d", name, resp.Status)
			}
			if err != nil {
				f.fail(err)
				return
			}
			f.follow(ctx, client, name, resp.Index)
		})
	}
	ready.Wait()
	select {
	case err := <-f.failed:
		f.close()
		return nil, err
	default:
		return f, nil
	}
}

func (f *flock) fail(err error) {
	select {
	case f.failed <- err:
	default:
	}
}

// follow asks again and again until ctx ends. A watcher that woke waits for
// collect, so that new questions do not delay the answers still under way.
func (f *flock) follow(ctx context.Context, client *httpc.Client, name string, index uint64) {
	defer client.Close()
	stop := context.AfterFunc(ctx, client.Interrupt)
	defer stop()
	target := []byte("/v1/var/" + name + "?wait=300s&index=")
	base := len(target)
	for ctx.Err() == nil {
		target = strconv.AppendUint(target[:base], index, 10)
		resp, err := client.Do("GET", string(target), nil)
		if ctx.Err() != nil {
			return
		}
		if err == nil && resp.Status != 200 {
			err = fmt.Errorf("watch %s: status %d", name, resp.Status)
		}
		if err != nil {
			f.fail(err)
			return
		}
		if resp.Index <= index {
			continue
		}
		index = resp.Index
		gate := f.gate()
		f.woken <- time.Now()
		select {
		case <-gate:
		case <-ctx.Done():
		}
	}
}

// gate returns the channel that collect will close.
func (f *flock) gate() chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.again
}

// collect waits until n watchers are awake and returns how long each took, sorted.
func (f *flock) collect(ctx context.Context, start time.Time, n int) ([]time.Duration, error) {
	limit := time.After(wakeLimit)
	out := make([]time.Duration, 0, n)
	for len(out) < n {
		select {
		case at := <-f.woken:
			out = append(out, at.Sub(start))
		case err := <-f.failed:
			return nil, err
		case <-limit:
			return nil, fmt.Errorf("%d of %d watchers are awake after %s", len(out), n, wakeLimit)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	f.mu.Lock()
	close(f.again)
	f.again = make(chan struct{})
	f.mu.Unlock()
	slices.Sort(out)
	return out, nil
}

// close ends all watchers and returns how many wake-ups nobody collected.
func (f *flock) close() int {
	n := len(f.woken)
	f.cancel()
	f.wg.Wait()
	return n
}
