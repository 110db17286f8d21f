package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/cairn-project/cairn/bench/cluster"
	"github.com/cairn-project/cairn/bench/load"
)

const (
	valueSize = 256    // bytes of one value, as in the targets
	keySpace  = 10_000 // keys that writes and reads spread over
	clients   = 64
)

// bench is one run of the command.
type bench struct {
	*settings
	opts    cluster.Options
	log     io.Writer // progress
	results *results
}

// all runs the parts asked for. A part that fails does not stop the others.
func (b *bench) all(ctx context.Context, systems []cluster.System) error {
	var failed []error
	part := func(name string, sys cluster.System, n int, opts cluster.Options, m measure) {
		failed = append(failed, b.part(ctx, name, sys, n, opts, m))
	}
	lean, soon := b.opts, b.opts
	lean.Env = []string{"GOGC=10"} // the heap in use is then near the live heap
	soon.SnapshotSoon = true
	for round := range b.rounds {
		for _, n := range []int{1, 3} {
			for i := range systems {
				sys := systems[(i+round)%len(systems)] // nobody is always first
				part("throughput", sys, n, b.opts, b.throughput)
			}
		}
		for _, sys := range ours(systems) {
			part("watchers", sys, 1, b.opts, b.watch)
		}
	}
	for _, sys := range ours(systems) {
		part("memory", sys, 1, lean, b.memory)
		part("restart", sys, 1, soon, b.restart)
		part("archive", sys, 3, b.opts, b.archive)
	}
	for _, sys := range systems {
		part("failover", sys, 3, b.opts, b.failover)
	}
	return errors.Join(failed...)
}

// ours returns our own system, if it is among them.
func ours(systems []cluster.System) []cluster.System {
	return slices.DeleteFunc(slices.Clone(systems), func(s cluster.System) bool {
		_, ok := s.(cluster.Cairn)
		return !ok
	})
}

// measure takes samples from a running cluster.
type measure func(ctx context.Context, system string, c *cluster.Cluster) error

// part runs m on a fresh cluster of n servers, if the part was asked for.
func (b *bench) part(ctx context.Context, name string, sys cluster.System, n int, opts cluster.Options, m measure) error {
	if !slices.Contains(b.only, name) {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	fmt.Fprintf(b.log, "%s: %s, %s\n", name, sys.Name(), servers(n))
	c, err := sys.Start(ctx, n, opts)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", name, sys.Name(), err)
	}
	defer c.Close()
	if err := m(ctx, sys.Name(), c); err != nil {
		return fmt.Errorf("%s, %s, %s: %w", name, sys.Name(), servers(n), err)
	}
	return nil
}

// keys returns the names of n keys.
func keys(prefix string, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("%s/%07d", prefix, i)
	}
	return out
}

// value is a buffer of valueSize bytes that differs at every call, so that no
// system can take a write for a repeat of the one before.
type value struct {
	buf  [valueSize]byte
	next uint64
}

func newValue(worker int) *value {
	v := &value{next: uint64(worker) << 40}
	for i := range v.buf {
		v.buf[i] = 'a' + byte(i%26)
	}
	return v
}

func (v *value) bytes() []byte {
	v.next++
	strconv.AppendUint(v.buf[:0], v.next, 10)
	return v.buf[:]
}

// open returns n clients of the servers, in turn, and what closes them.
func open(c *cluster.Cluster, n int, servers ...int) (kvs []cluster.KV, closeAll func(), err error) {
	closeAll = func() {
		for _, kv := range kvs {
			kv.Close()
		}
	}
	for i := range n {
		kv, err := c.Open(servers[i%len(servers)])
		if err != nil {
			closeAll()
			return nil, nil, err
		}
		kvs = append(kvs, kv)
	}
	return kvs, closeAll, nil
}

// writers returns workers that each write their share of names in turn.
func writers(kvs []cluster.KV, names []string) []load.Worker {
	out := make([]load.Worker, len(kvs))
	for i, kv := range kvs {
		v, n := newValue(i+1), i*len(names)/len(kvs)
		out[i] = func() error {
			n = (n + 1) % len(names)
			return kv.Put(names[n], v.bytes())
		}
	}
	return out
}

// readers returns workers that read names in turn, each from another place on.
func readers(kvs []cluster.KV, names []string, stale bool) []load.Worker {
	out := make([]load.Worker, len(kvs))
	for i, kv := range kvs {
		n := i * len(names) / len(kvs)
		out[i] = func() error {
			n = (n + 1) % len(names)
			return kv.Get(names[n], stale)
		}
	}
	return out
}

// fill writes every name once through the server.
func fill(c *cluster.Cluster, server int, names []string) error {
	kvs, done, err := open(c, clients, server)
	if err != nil {
		return err
	}
	defer done()
	next := make(chan string, len(names))
	for _, name := range names {
		next <- name
	}
	workers := make([]load.Worker, len(kvs))
	for i, kv := range kvs {
		v, pending := newValue(i+1), ""
		workers[i] = func() error {
			if pending == "" {
				pending = <-next
			}
			if err := kv.Put(pending, v.bytes()); err != nil {
				return err
			}
			pending = ""
			return nil
		}
	}
	if res := load.Each(workers, len(names)); res.Ops < len(names) {
		return fmt.Errorf("wrote %d of %d keys: %s", res.Ops, len(names), res.FirstError)
	}
	return nil
}
