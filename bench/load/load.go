// Package load runs closed-loop load: a fixed number of workers that each have
// one request under way at any time.
package load

import (
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	failurePause = 10 * time.Millisecond
	eachTries    = 500
)

// Worker does one operation per call, on its own connection.
type Worker func() error

// Result is what a run showed.
type Result struct {
	Ops     int
	Errors  int
	Elapsed time.Duration
	// FirstError is the text of one error, "" for none.
	FirstError string
	// ClientCPU is the processor time of this process, all threads.
	ClientCPU time.Duration

	latencies []time.Duration // sorted
}

// Rate is operations per second that succeeded.
func (r Result) Rate() float64 {
	if r.Elapsed <= 0 {
		return 0
	}
	return float64(r.Ops) / r.Elapsed.Seconds()
}

// Latency returns the latency that the share q of operations stayed within,
// 0.5 for the median; 0 without operations.
func (r Result) Latency(q float64) time.Duration { return Quantile(r.latencies, q) }

// Quantile returns the value that the share q of sorted stays within (nearest rank).
func Quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	i := int(q*float64(len(sorted))+0.999999) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// Median returns the middle of values, the mean of the two middle ones of an
// even number; values is left as it was.
func Median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	s := slices.Clone(values)
	slices.Sort(s)
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2
}

// tally is what one worker counted.
type tally struct {
	errors    int
	first     error
	latencies []time.Duration
}

// Run lets the workers go for warmup, uncounted, and then for d. An operation
// counts where it ends.
func Run(workers []Worker, warmup, d time.Duration) Result {
	return While(workers, warmup, func() { time.Sleep(d) })
}

// While is Run for as long as work takes.
func While(workers []Worker, warmup time.Duration, work func()) Result {
	var stage atomic.Int32 // 0 warm-up, 1 counted, 2 over
	tallies := make([]tally, len(workers))
	var wg sync.WaitGroup
	for i, w := range workers {
		wg.Go(func() { tallies[i] = runOne(w, &stage) })
	}
	time.Sleep(warmup)
	cpu, start := cpuTime(), time.Now()
	stage.Store(1)
	work()
	stage.Store(2)
	res := Result{Elapsed: time.Since(start), ClientCPU: cpuTime() - cpu}
	wg.Wait()
	for _, t := range tallies {
		res.add(t)
	}
	slices.Sort(res.latencies)
	return res
}

// Each lets the workers do n operations together, as fast as they go. An
// operation is tried again and again; one that never works ends them all.
func Each(workers []Worker, n int) Result {
	var left atomic.Int64
	left.Store(int64(n))
	tallies := make([]tally, len(workers))
	var wg sync.WaitGroup
	start := time.Now()
	for i, w := range workers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if !tallies[i].do(w, eachTries) {
					left.Store(0)
				}
			}
		})
	}
	wg.Wait()
	res := Result{Elapsed: time.Since(start)}
	for _, t := range tallies {
		res.add(t)
	}
	slices.Sort(res.latencies)
	return res
}

func runOne(w Worker, stage *atomic.Int32) tally {
	t := tally{latencies: make([]time.Duration, 0, 1<<14)}
	for stage.Load() < 2 {
		before := len(t.latencies)
		t.do(w, 1)
		switch stage.Load() {
		case 0:
			t.latencies, t.errors = t.latencies[:0], 0
		case 2: // ended too late to count
			t.latencies = t.latencies[:before]
		}
	}
	return t
}

// do runs one operation until it works, tries times at most, and reports
// whether it did. It pauses after a failure, so that a broken server does not
// turn the run into a loop of dials.
func (t *tally) do(w Worker, tries int) bool {
	for range tries {
		start := time.Now()
		err := w()
		if err == nil {
			t.latencies = append(t.latencies, time.Since(start))
			return true
		}
		t.errors++
		t.first = err
		time.Sleep(failurePause)
	}
	return false
}

func (r *Result) add(t tally) {
	r.Ops += len(t.latencies)
	r.Errors += t.errors
	r.latencies = append(r.latencies, t.latencies...)
	if t.first != nil {
		r.FirstError = t.first.Error()
	}
}

// cpuTime returns the processor time this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
