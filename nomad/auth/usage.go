package auth

import (
	"sync"
	"sync/atomic"
	"time"
)

// UsageResolution is how exactly the last use of a token is known.
const UsageResolution = time.Minute

// Usage remembers when tokens were last used, in the memory of one server. Noting
// a use takes no lock and allocates nothing but for the first use of a token. It
// is safe for concurrent use.
type Usage struct {
	// since is the minute from which on no use is missing.
	since atomic.Int64
	// last maps accessors to *atomic.Int64, the minute of the last use.
	last sync.Map
}

// NewUsage returns a memory that begins at now.
func NewUsage(now time.Time) *Usage {
	u := &Usage{}
	u.since.Store(Minute(now))
	return u
}

// Minute counts whole minutes since the epoch.
func Minute(t time.Time) int64 { return t.Unix() / int64(UsageResolution/time.Second) }

// timeOf is the reverse of Minute.
func timeOf(minute int64) time.Time {
	return time.Unix(minute*int64(UsageResolution/time.Second), 0).UTC()
}

// Note remembers that the token of the accessor was used at now.
func (u *Usage) Note(accessor string, now time.Time) { u.raise(accessor, Minute(now)) }

// raise writes only when the minute changes, so that busy processors do not fight
// for the place.
func (u *Usage) raise(accessor string, minute int64) {
	v, ok := u.last.Load(accessor)
	if !ok {
		v, _ = u.last.LoadOrStore(accessor, new(atomic.Int64))
	}
	at := v.(*atomic.Int64)
	for {
		old := at.Load()
		if old >= minute || at.CompareAndSwap(old, minute) {
			return
		}
	}
}

// Last returns when the token was last used, to the minute; nil for never since Since.
func (u *Usage) Last(accessor string) *time.Time {
	v, ok := u.last.Load(accessor)
	if !ok {
		return nil
	}
	at := timeOf(v.(*atomic.Int64).Load())
	return &at
}

// Since returns from when on no use is missing.
func (u *Usage) Since() time.Time { return timeOf(u.since.Load()) }

// Export returns the last uses from after on, in minutes since the epoch by accessor.
func (u *Usage) Export(after int64) map[string]int64 {
	out := map[string]int64{}
	u.last.Range(func(k, v any) bool {
		if at := v.(*atomic.Int64).Load(); at >= after {
			out[k.(string)] = at
		}
		return true
	})
	return out
}

// Merge adds what another server exported. since is its Since once all of its uses
// were merged, the zero time before.
func (u *Usage) Merge(last map[string]int64, since time.Time) {
	for accessor, minute := range last {
		u.raise(accessor, minute)
	}
	if since.IsZero() {
		return
	}
	minute := Minute(since)
	for {
		old := u.since.Load()
		if old <= minute || u.since.CompareAndSwap(old, minute) {
			return
		}
	}
}

// Forget drops the tokens that are not kept, so that memory is bounded by the
// tokens there are.
func (u *Usage) Forget(kept func(accessor string) bool) {
	u.last.Range(func(k, _ any) bool {
		if !kept(k.(string)) {
			u.last.Delete(k)
		}
		return true
	})
}
