package stream

import "sync/atomic"

// counters count what a broker did.
type counters struct{ published, lost atomic.Uint64 }

// Stats is what a broker did and holds.
type Stats struct {
	// Subscriptions is how many are open, Published how many events there were, Lost
	// how many subscriptions ended because they fell behind.
	Subscriptions   int
	Published, Lost uint64
	// Oldest is the index of the first event that is kept, 0 for none.
	Oldest uint64
}

// Stats returns what the broker did and holds.
func (b *Broker) Stats() Stats {
	b.mu.Lock()
	open := b.open
	b.mu.Unlock()
	return Stats{Subscriptions: open, Published: b.stats.published.Load(), Lost: b.stats.lost.Load(), Oldest: b.first()}
}
