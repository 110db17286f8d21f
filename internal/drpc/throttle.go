package drpc

import (
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
