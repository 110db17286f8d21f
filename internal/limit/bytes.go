package limit

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// Bytes bounds what requests hold that are being read or answered, over all
// connections of a process. It is safe for concurrent use, and a nil *Bytes has no
// bound.
type Bytes struct {
	max     int64
	used    atomic.Int64
	refused atomic.Uint64
}

// NewBytes returns a budget of max bytes, 0 for no bound.
func NewBytes(max int64) *Bytes { return &Bytes{max: max} }

// Hold is what one request has of a budget, nothing at first. It is not safe for
// concurrent use.
type Hold struct {
	// Of is the budget.
	Of *Bytes
	n  int64
}

// Grow reserves n more bytes, before they are allocated, and reports whether there was
// room: if not it reserves nothing. A request that is alone may exceed the budget, or
// one as large as that could never be taken.
func (h *Hold) Grow(n int) bool {
	b := h.Of
	if b == nil {
		return true
	}
	used := b.used.Add(int64(n))
	if b.max <= 0 || used <= b.max || used == h.n+int64(n) {
		h.n += int64(n)
		return true
	}
	b.used.Add(-int64(n))
	b.refused.Add(1)
	return false
}

// Release gives everything back.
func (h *Hold) Release() {
	if h.n != 0 {
		h.Of.used.Add(-h.n)
		h.n = 0
	}
}

// Used returns how many bytes are reserved, Refused how often there was no room.
func (b *Bytes) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// Refused returns how often there was no room.
func (b *Bytes) Refused() uint64 {
	if b == nil {
		return 0
	}
	return b.refused.Load()
}

// bytesRetry is when a request for which there was no room may come back, give or take half.
const bytesRetry = time.Second

// Err is the error of a request for which there was no room.
func (b *Bytes) Err() error {
	return errs.Newf(errs.Busy, "the requests that this server has in hand fill the %d bytes of limits.max_request_bytes: try again later, ask another server, or send less at once", b.max).
		WithRetryAfter(bytesRetry/2 + rand.N(bytesRetry))
}
