package limit

import (
	"sync/atomic"
	"time"
)

// Rate is how many requests may come.
type Rate struct {
	// PerSecond is the lasting rate, 0 for no bound.
	PerSecond float64
	// Burst is how many may come at once after a pause, 0 for as many as in a second.
	Burst int
}

// The bounds of a Rate that keep its sums within 64 bits.
const (
	MinPerSecond = 0.001
	MaxPerSecond = 1e6
	MaxBurst     = 1e6
)

// pace is a Rate in the units of a meter; every is 0 for no bound.
type pace struct {
	// every is the time in nanoseconds that pays for one request.
	every int64
	// depth is the time that can be saved up.
	depth int64
}

func (r Rate) pace() pace {
	if r.PerSecond <= 0 {
		return pace{}
	}
	every := max(1, int64(float64(time.Second)/r.PerSecond))
	burst := int64(r.Burst)
	if burst <= 0 {
		burst = max(1, int64(r.PerSecond))
	}
	return pace{every, every * burst}
}

// meter is a token bucket in one word, so that callers share it without a lock:
// the time up to which what was saved has been spent (the generic cell rate
// algorithm of ITU-T I.371). The rate may differ from call to call.
type meter struct{ spent atomic.Int64 }

// take pays for one request at now, in nanoseconds. It returns 0, or how long to
// wait until there is enough, and then takes nothing.
func (m *meter) take(now int64, p pace) time.Duration {
	for {
		old := m.spent.Load()
		next := max(old, now) + p.every
		if wait := next - now - p.depth; wait > 0 {
			return time.Duration(wait)
		}
		if m.spent.CompareAndSwap(old, next) {
			return 0
		}
	}
}

// giveBack undoes a take.
func (m *meter) giveBack(p pace) { m.spent.Add(-p.every) }
