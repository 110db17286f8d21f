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
	res, cpu, err := b.takeCPU(c, writers(all, names))
	if err != nil {
		return err
	}
	b.results.addRate(workWrites(n), system, res)
	b.results.add(workWriteCPU(n), system, cpu)

	if res, err = b.take(writers(all[:1], names)); err != nil {
		return err
	}
	b.results.add(workWriteP50(n), system, res.Latency(0.5).Seconds()*1e3)
	b.results.add(workWriteP99(n), system, res.Latency(0.99).Seconds()*1e3)
	if n == 1 {
		return nil
	}
	if res, cpu, err = b.takeCPU(c, readers(all, names, false)); err != nil {
		return err
	}
	b.results.addRate(workReads, system, res)
	b.results.add(workReadCPU, system, cpu)
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

// takeCPU is take, and returns what one operation cost all servers together, in
// microseconds of processor time.
func (b *bench) takeCPU(c *cluster.Cluster, workers []load.Worker) (res load.Result, micros float64, err error) {
	load.Run(workers, 0, b.warmup)
	before, err := c.CPU()
	if err != nil {
		return res, 0, err
	}
	if res, err = counts(load.Run(workers, 0, b.duration)); err != nil {
		return res, 0, err
	}
	after, err := c.CPU()
	return res, float64((after - before).Microseconds()) / float64(res.Ops), err
}

// take runs the workers.
func (b *bench) take(workers []load.Worker) (load.Result, error) {
	return counts(load.Run(workers, b.warmup, b.duration))
}

// counts refuses a run in which more than one operation in a hundred failed: it
// measures nothing.
func counts(res load.Result) (load.Result, error) {
	if res.Ops == 0 || res.Errors*100 > res.Ops {
		return res, fmt.Errorf("%d operations, %d errors, such as: %s", res.Ops, res.Errors, res.FirstError)
	}
	return res, nil
}
