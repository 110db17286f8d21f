package drpc

import (
	"maps"
	"sync"
	"time"
)

// throttle lets one log line per second through, so that a peer that breaks
// the rules all day does not fill the disk. The zero value is ready.
type throttle struct {
	mu      sync.Mutex
	last    time.Time
	skipped int
}

// allow reports whether to log now, and how many lines were left out before.
func (t *throttle) allow() (skipped int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := time.Now(); now.Sub(t.last) >= time.Second {
		skipped, t.last, t.skipped = t.skipped, now, 0
		return skipped, true
	}
	t.skipped++
	return 0, false
}

// maxThrottled is for how many users lines are counted apart.
const maxThrottled = 256

// throttles is a throttle for each user, so that one who breaks the rules all day hides
// nobody else. The zero value is ready.
type throttles struct {
	mu    sync.Mutex
	byUID map[int]*throttle // guarded by mu
	// others is for those for whom there was no room.
	others throttle
}

// allow is that of the user's throttle.
func (t *throttles) allow(uid int) (skipped int, ok bool) { return t.of(uid).allow() }

func (t *throttles) of(uid int) *throttle {
	t.mu.Lock()
	defer t.mu.Unlock()
	if one := t.byUID[uid]; one != nil {
		return one
	}
	if len(t.byUID) >= maxThrottled {
		maps.DeleteFunc(t.byUID, func(_ int, one *throttle) bool { return one.quiet() })
	}
	if len(t.byUID) >= maxThrottled {
		return &t.others
	}
	if t.byUID == nil {
		t.byUID = map[int]*throttle{}
	}
	one := &throttle{}
	t.byUID[uid] = one
	return one
}

// quiet reports that a throttle has nothing to remember.
func (t *throttle) quiet() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.skipped == 0 && time.Since(t.last) >= time.Second
}
