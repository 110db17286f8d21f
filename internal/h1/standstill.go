package h1

import "time"

const (
	// standstill is how far the clock may be behind, in milliseconds, before the
	// process is taken to have stood still: stopped by a signal, or starved.
	standstill = 4 * int64(tick/time.Millisecond)
	// doubtful is for how long after a standstill, in milliseconds, what is read
	// may have been sent before it.
	doubtful = 1000
)

// stood reports whether a request that was just read may have been waiting for
// the process to go on. Its client may have given up since and asked another
// server: the request must not be served late without a look.
func (k *clock) stood() bool {
	now := k.now.Load()
	return now < k.doubt.Load() || time.Since(k.start).Milliseconds()-now > standstill
}
