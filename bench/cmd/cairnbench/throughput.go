package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-project/cairn/bench/cluster"
	"github.com/cairn-project/cairn/bench/load"
)

// throughput measures writes, and reads of a cluster of several servers.
func (b *bench) throughput(_ context.Context, system string, c *cluster.Cluster) error {
	leader := c.Leader()
	if leader < 0 {
		return errors.New("the leader is gone")
	}
	names := keys("bench", keySpace)
	n := len(c.Servers)
	if err := fill(c, leader, names); err != nil {
		return err
	}
	all, done, err := open(c, clients, leader)
	if err != nil {
		return err
	}
	defer done()
	res, err := b.take(writers(all, names))
	if err != nil {
		return err
	}
	b.results.addRate(workWrites(n), system, res)

	if res, err = b.take(writers(all[:1], names)); err != nil {
		return err
	}
	b.results.add(workWriteP50(n), system, res.Latency(0.5).Seconds()*1e3)
	b.results.add(workWriteP99(n), system, res.Latency(0.99).Seconds()*1e3)
	if n == 1 {
		return nil
	}
	if res, err = b.take(readers(all, names, false)); err != nil {
		return err
	}
	b.results.addRate(workReads, system, res)
	return b.stale(system, c, leader, names)
}

func (b *bench) stale(system string, c *cluster.Cluster, leader int, names []string) error {
	var followers []int
	for i := range c.Servers {
		if i != leader {
			followers = append(followers, i)
		}
	}
	kvs, done, err := open(c, clients, followers...)
	if err != nil {
		return err
	}
	defer done()
	res, err := b.take(readers(kvs, names, true))
	if err != nil {
		return err
	}
	b.results.addRate(workStale, system, res)
	return nil
}

// take runs the workers. A run in which more than one operation in a hundred
// failed measures nothing.
func (b *bench) take(workers []load.Worker) (load.Result, error) {
	res := load.Run(workers, b.warmup, b.duration)
	if res.Ops == 0 || res.Errors*100 > res.Ops {
		return res, fmt.Errorf("%d operations, %d errors, such as: %s", res.Ops, res.Errors, res.FirstError)
	}
	return res, nil
}
