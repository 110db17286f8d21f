package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/cairn-project/cairn/bench/cluster"
	"github.com/cairn-project/cairn/bench/load"
)

const (
	outageLimit = 2 * time.Minute
	retryPause  = 2 * time.Millisecond
	writePause  = 20 * time.Millisecond
)

// restart measures how long a server with a full snapshot takes to the first read.
func (b *bench) restart(ctx context.Context, system string, c *cluster.Cluster) error {
	names := keys("restart", b.variables)
	start := time.Now()
	if err := fill(c, 0, names); err != nil {
		return err
	}
	fmt.Fprintf(b.log, "restart: %d variables in %s\n", len(names), time.Since(start).Round(time.Millisecond))
	if err := awaitSnapshot(ctx, c, time.Now()); err != nil {
		return err
	}
	c.Kill(0)
	start = time.Now()
	if err := c.Run(0); err != nil {
		return err
	}
	err := until(ctx, func() error {
		return once(c, 0, func(kv cluster.KV) error { return kv.Get(names[len(names)-1], false) })
	})
	if err != nil {
		return err
	}
	b.results.add(workRestart, system, time.Since(start).Seconds())
	b.results.note(workRestart, fmt.Sprintf("%d variables", b.variables))
	return nil
}

// awaitSnapshot writes a little until the server has a snapshot from after since.
func awaitSnapshot(ctx context.Context, c *cluster.Cluster, since time.Time) error {
	kv, err := c.Open(0)
	if err != nil {
		return err
	}
	defer kv.Close()
	worker := writers([]cluster.KV{kv}, keys("late", 10))
	for time.Since(since) < outageLimit {
		if err := ctx.Err(); err != nil {
			return err
		}
		load.Run(worker, 0, 500*time.Millisecond)
		if snapshotAfter(c.Dir(0), since) {
			return nil
		}
	}
	return fmt.Errorf("no snapshot within %s", outageLimit)
}

// snapshotAfter looks for a finished snapshot as the Raft library names them:
// a directory below "snapshots" without the ending of one under way.
func snapshotAfter(dir string, since time.Time) bool {
	found := false
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || filepath.Base(filepath.Dir(path)) != "snapshots" || strings.HasSuffix(path, ".tmp") {
			return nil
		}
		if info, err := d.Info(); err == nil && info.ModTime().After(since) {
			found = true
		}
		return nil
	})
	return found
}

// failover kills the leader again and again.
func (b *bench) failover(ctx context.Context, system string, c *cluster.Cluster) error {
	for n := range b.failovers {
		if err := c.Await(ctx); err != nil {
			return err
		}
		time.Sleep(b.settle)
		leader := c.Leader()
		if leader < 0 {
			return errors.New("the leader is gone")
		}
		start := time.Now()
		c.Kill(leader)
		if err := firstWrite(ctx, c, (leader+1)%len(c.Servers), n); err != nil {
			return err
		}
		b.results.add(workFailover, system, time.Since(start).Seconds())
		if err := c.Run(leader); err != nil {
			return err
		}
	}
	return nil
}

// firstWrite returns when the server has answered a write. New writes begin all
// the time, as a server may sit on one that came too early until it times out.
func firstWrite(ctx context.Context, c *cluster.Cluster, server, try int) error {
	ctx, cancel := context.WithTimeout(ctx, outageLimit)
	defer cancel()
	tick := time.NewTicker(writePause)
	defer tick.Stop()
	answers := make(chan error, outageLimit/writePause+1)
	var last error
	for n := 0; ; n++ {
		v := newValue(1000*try + n)
		go func() {
			answers <- once(c, server, func(kv cluster.KV) error { return kv.Put("bench/failover", v.bytes()) })
		}()
		for more := true; more; {
			select {
			case err := <-answers:
				if err == nil {
					return nil
				}
				last = err
			case <-tick.C:
				more = false
			case <-ctx.Done():
				return fmt.Errorf("no write within %s: %w", outageLimit, last)
			}
		}
	}
}

// once does op on a client of its own.
func once(c *cluster.Cluster, server int, op func(cluster.KV) error) error {
	kv, err := c.Open(server)
	if err != nil {
		return err
	}
	defer kv.Close()
	return op(kv)
}

// until repeats op until it works.
func until(ctx context.Context, op func() error) error {
	ctx, cancel := context.WithTimeout(ctx, outageLimit)
	defer cancel()
	for {
		err := op()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("still failing after %s: %w", outageLimit, err)
		case <-time.After(retryPause):
		}
	}
}
