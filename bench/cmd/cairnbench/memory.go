package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/cairn-project/cairn/bench/cluster"
	"github.com/cairn-project/cairn/bench/httpc"
	"github.com/cairn-project/cairn/bench/load"
)

// memory measures what one variable adds to the heap.
func (b *bench) memory(_ context.Context, system string, c *cluster.Cluster) error {
	before, source, err := lowHeap(c, 2*b.settle)
	if err != nil {
		return err
	}
	if err := fill(c, 0, keys("heap", b.heapVars)); err != nil {
		return err
	}
	after, _, err := lowHeap(c, 2*b.settle)
	if err != nil {
		return err
	}
	fmt.Fprintf(b.log, "memory: %s, %.1f MB before and %.1f MB after %d variables\n", source, before/1e6, after/1e6, b.heapVars)
	b.results.add(workHeap, system, (after-before)/float64(b.heapVars)/1e3)
	b.results.note(workHeap, source+", GOGC=10, lowest within "+(2*b.settle).String())
	return nil
}

// lowHeap returns the lowest figure during d of reads that keep the collector
// busy: what is left right after a collection is the live heap.
func lowHeap(c *cluster.Cluster, d time.Duration) (low float64, source string, err error) {
	kvs, done, err := open(c, 8, 0)
	if err != nil {
		return 0, "", err
	}
	defer done()
	over := make(chan struct{})
	go func() {
		defer close(over)
		load.Run(readers(kvs, []string{"bench/ready"}, true), 0, d)
	}()
	probe := httpc.New(c.HTTP[0], 5*time.Second)
	defer probe.Close()
	for {
		now, src, err := heapBytes(probe, c.Servers[0])
		if err != nil {
			<-over
			return 0, "", err
		}
		if low == 0 || now < low {
			low, source = now, src
		}
		select {
		case <-over:
			return low, source, nil
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// heapBytes asks the server for its heap, and the system for its memory where
// the server does not say.
func heapBytes(probe *httpc.Client, p *cluster.Process) (n float64, source string, err error) {
	if resp, err := probe.Do("GET", "/v1/metrics?format=prometheus", nil); err == nil && resp.Status == 200 {
		const metric = "go_memstats_heap_alloc_bytes"
		if n, ok := promValue(resp.Body, metric); ok {
			return n, metric, nil
		}
	}
	if resp, err := probe.Do("GET", "/v1/metrics", nil); err == nil && resp.Status == 200 {
		if n, name, ok := gaugeValue(resp.Body); ok {
			return n, name, nil
		}
	}
	rss, err := p.RSS()
	return float64(rss), "resident memory", err
}

// promValue finds a metric without labels in the Prometheus text format.
func promValue(text []byte, metric string) (float64, bool) {
	for line := range bytes.Lines(text) {
		if rest, ok := bytes.CutPrefix(line, []byte(metric+" ")); ok {
			n, err := strconv.ParseFloat(string(bytes.TrimSpace(rest)), 64)
			return n, err == nil
		}
	}
	return 0, false
}

// gaugeValue finds the gauge of allocated heap in the JSON of the metrics.
func gaugeValue(text []byte) (n float64, name string, ok bool) {
	var all struct {
		Gauges []struct {
			Name  string
			Value float64
		}
	}
	if json.Unmarshal(text, &all) != nil {
		return 0, "", false
	}
	for _, g := range all.Gauges {
		if strings.HasSuffix(g.Name, "runtime.alloc_bytes") || strings.HasSuffix(g.Name, "runtime.heap_alloc_bytes") {
			return g.Value, g.Name, true
		}
	}
	return 0, "", false
}
