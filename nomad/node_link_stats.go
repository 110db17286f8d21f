package nomad

import (
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// linkStats counts the calls to agents. The zero value is ready.
type linkStats struct {
	moved atomic.Uint64

	mu    sync.Mutex
	calls map[linkCall]uint64 // guarded by mu
}

// linkCall is a method of the table and how a call of it ended.
type linkCall struct{ method, outcome string }

func (c *linkStats) count(method, outcome string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.calls == nil {
		c.calls = map[linkCall]uint64{}
	}
	c.calls[linkCall{method, outcome}]++
}

// collect sends the values of the metrics of links.
func (l *nodeLinks) collect(ch chan<- prometheus.Metric) {
	versions := map[int]int{}
	for _, link := range l.held.All() {
		versions[link.Info().Protocol]++
	}
	for v, n := range versions {
		ch <- prometheus.MustNewConstMetric(descLinks, prometheus.GaugeValue, float64(n), strconv.Itoa(v))
	}
	ch <- prometheus.MustNewConstMetric(descLinkKicks, prometheus.CounterValue, float64(l.held.Kicks()))
	ch <- prometheus.MustNewConstMetric(descLinkMoved, prometheus.CounterValue, float64(l.stats.moved.Load()))
	l.stats.mu.Lock()
	defer l.stats.mu.Unlock()
	for c, n := range l.stats.calls {
		ch <- prometheus.MustNewConstMetric(descLinkCalls, prometheus.CounterValue, float64(n), c.method, c.outcome)
	}
}

// signal wakes everybody who waits for the next change.
type signal struct {
	mu sync.Mutex
	ch chan struct{} // guarded by mu
}

func newSignal() *signal { return &signal{ch: make(chan struct{})} }

// next returns a channel that is closed with the next change.
func (s *signal) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ch
}

func (s *signal) raise() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.ch)
	s.ch = make(chan struct{})
}
