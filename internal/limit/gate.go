package limit

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The reasons why a Gate lets a request not in.
var (
	// ErrFull says that as many requests of the class wait as may.
	ErrFull = errors.New("too many requests wait")
	// ErrLate says that no place became free in time.
	ErrLate = errors.New("no place became free in time")
)

const (
	// waitersPerPlace is how many requests may wait for each place.
	waitersPerPlace = 4
	// maxWait is how long a request waits for a place.
	maxWait = 2 * time.Second
)

// Gate bounds how many requests of each class run at once. Some more wait, in
// their order, and the rest is refused, so that a class that is overdone takes
// nothing from the others. It is safe for concurrent use.
type Gate struct{ lanes [classes]lane }

// lane is the part of a Gate for one class.
type lane struct {
	places  atomic.Int64
	running atomic.Int64
	// queued is the length of queue, and those about to join it.
	queued     atomic.Int64
	full, late atomic.Uint64

	mu    sync.Mutex
	queue []chan struct{} // closed when the place is there; guarded by mu
	_     [64]byte        // the next lane is on another cache line
}

// NewGate returns a gate with so many places for each class.
func NewGate(places PerClass[int]) *Gate {
	g := &Gate{}
	g.Set(places)
	return g
}

// Set changes how many places there are. Requests that run go on.
func (g *Gate) Set(places PerClass[int]) {
	for _, c := range Classes() {
		g.lanes[c].places.Store(int64(*places.Of(c)))
		g.lanes[c].wake()
	}
}

// Enter waits for a place. Unless it returns an error, Leave must follow. The error
// is ErrFull, ErrLate or that of ctx.
func (g *Gate) Enter(ctx context.Context, c Class) error {
	l := &g.lanes[c]
	if l.queued.Load() == 0 && l.take() {
		return nil
	}
	return l.wait(ctx)
}

// Leave gives the place back.
func (g *Gate) Leave(c Class) {
	l := &g.lanes[c]
	l.running.Add(-1)
	if l.queued.Load() > 0 {
		l.wake()
	}
}

// Park gives the place back for the time in which the request does nothing; Resume
// takes it again, even if there is none. What woke such a request has been promised.
func (g *Gate) Park(c Class) { g.Leave(c) }

// Resume undoes Park.
func (g *Gate) Resume(c Class) { g.lanes[c].running.Add(1) }

// take takes a place if there is one.
func (l *lane) take() bool {
	for {
		n := l.running.Load()
		if n >= l.places.Load() {
			return false
		}
		if l.running.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// wait joins the queue. It counts itself before it looks for a place once more, so
// that whoever leaves meanwhile sees either a free place taken or somebody to wake.
func (l *lane) wait(ctx context.Context) error {
	l.mu.Lock()
	l.queued.Add(1)
	if len(l.queue) == 0 && l.take() {
		l.queued.Add(-1)
		l.mu.Unlock()
		return nil
	}
	if int64(len(l.queue)) >= waitersPerPlace*l.places.Load() {
		l.queued.Add(-1)
		l.mu.Unlock()
		l.full.Add(1)
		return ErrFull
	}
	turn := make(chan struct{})
	l.queue = append(l.queue, turn)
	l.mu.Unlock()
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case <-turn:
		return nil
	case <-timer.C:
		if l.giveUp(turn) {
			l.late.Add(1)
			return ErrLate
		}
	case <-ctx.Done():
		if l.giveUp(turn) {
			return ctx.Err()
		}
	}
	return nil // the place came at the last moment
}

// giveUp leaves the queue, unless the place has been given.
func (l *lane) giveUp(turn chan struct{}) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.Index(l.queue, turn)
	if i < 0 {
		return false
	}
	l.queue = slices.Delete(l.queue, i, i+1)
	l.queued.Add(-1)
	return true
}

// wake gives free places to those who wait.
func (l *lane) wake() {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < len(l.queue) && l.take() {
		close(l.queue[n])
		n++
	}
	l.queue = slices.Delete(l.queue, 0, n)
	l.queued.Add(-int64(n))
}

// Load is what one class of a Gate has to do.
type Load struct {
	Class Class
	// Running and Waiting are now, Full and Late how many were refused since the start.
	Running, Waiting int64
	Full, Late       uint64
}

// Loads returns the load of every class.
func (g *Gate) Loads() []Load {
	out := make([]Load, 0, int(classes))
	for _, c := range Classes() {
		l := &g.lanes[c]
		out = append(out, Load{c, l.running.Load(), l.queued.Load(), l.full.Load(), l.late.Load()})
	}
	return out
}
