package h1

import (
	"sync/atomic"
	"time"
)

// phase is what a connection does.
type phase uint64

const (
	// fresh waits for the first byte of all.
	fresh phase = iota
	// heading waits for the rest of a head.
	heading
	// idle waits for the next request.
	idle
	// receiving serves a request whose body has not arrived.
	receiving
	// serving serves a request that has arrived; nobody reads the connection.
	serving
	// watched serves a request, and conn.watch reads the connection.
	watched
	// left is no longer the loop's: closed, hijacked or handed over.
	left
)

// state is a phase and the time of the server's clock at which it began. The
// loop moves freely; others only by compare-and-swap, so that nobody closes a
// connection that has just become busy.
type state struct{ v atomic.Uint64 }

const phaseBits = 3

func pack(p phase, at int64) uint64 { return uint64(at)<<phaseBits | uint64(p) }

// swap moves to p and returns the phase before.
func (s *state) swap(p phase, at int64) phase {
	return phase(s.v.Swap(pack(p, at)) & (1<<phaseBits - 1))
}

// load returns the phase, the time it began in milliseconds, and the value to
// pass to move.
func (s *state) load() (p phase, since int64, v uint64) {
	v = s.v.Load()
	return phase(v & (1<<phaseBits - 1)), int64(v >> phaseBits), v
}

// move changes the phase if v is still the state.
func (s *state) move(v uint64, p phase) bool {
	return s.v.CompareAndSwap(v, v&^(1<<phaseBits-1)|uint64(p))
}

// clock is the time as the janitor last saw it. Reading it costs nothing.
type clock struct {
	start time.Time
	// now is in milliseconds since start.
	now atomic.Int64
	// doubt is until when requests may be older than they look, as now.
	doubt atomic.Int64
	// date is the value of the Date header for the current second.
	date   atomic.Pointer[string]
	second int64 // owned by who calls update, one at a time
}

// dateFormat is IMF-fixdate of RFC 9110, section 5.6.7.
const dateFormat = "Mon, 02 Jan 2006 15:04:05 GMT"

func (k *clock) update(now time.Time) {
	ms := now.Sub(k.start).Milliseconds()
	if ms-k.now.Swap(ms) > standstill {
		k.doubt.Store(ms + doubtful)
	}
	if s := now.Unix(); s != k.second {
		k.second = s
		date := now.UTC().Format(dateFormat)
		k.date.Store(&date)
	}
}
