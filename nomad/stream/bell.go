package stream

import (
	"sync"
	"sync/atomic"
	"time"
)

// Where many wait, they are woken crowdPace after the event for each of them, and at
// most maxPace after it: a subscriber then reads several batches at once.
const (
	crowd     = 32
	crowdPace = 10 * time.Microsecond
	maxPace   = 10 * time.Millisecond
)

// bell wakes those who wait for events. Ringing costs the publisher a few atomic
// operations, and a goroutine when somebody waits for the topics.
type bell struct {
	wanted atomic.Uint32 // topics that somebody waits for
	rung   atomic.Uint32 // topics to wake for
	waking atomic.Bool   // a goroutine is on its way

	mu     sync.Mutex
	groups map[mask]*group // under mu: who waits, by topics
}

// group waits for the same topics.
type group struct {
	ch      chan struct{}
	waiting int
}

// ring tells of events of the topics, which are in the list already.
func (b *bell) ring(topics mask) {
	if b.wanted.Load()&uint32(topics) == 0 {
		return
	}
	b.rung.Or(uint32(topics))
	if !b.waking.Swap(true) {
		go b.wake()
	}
}

func (b *bell) wake() {
	if n := b.waiting(); n > crowd {
		time.Sleep(min(time.Duration(n)*crowdPace, maxPace))
	}
	b.waking.Store(false)
	topics := mask(b.rung.Swap(0))
	b.mu.Lock()
	defer b.mu.Unlock()
	for m, g := range b.groups {
		if m&topics != 0 {
			delete(b.groups, m)
			close(g.ch)
		}
	}
	b.noteLocked()
}

// noteLocked sets wanted; the caller holds mu.
func (b *bell) noteLocked() {
	var all mask
	for m := range b.groups {
		all |= m
	}
	b.wanted.Store(uint32(all))
}

func (b *bell) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for _, g := range b.groups {
		n += g.waiting
	}
	return n
}

// listen returns a channel that is closed after the next event of the topics. An
// event that was published before is not heard: look again after listen. leave ends
// the wait.
func (b *bell) listen(topics mask) *group {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.groups == nil {
		b.groups = map[mask]*group{}
	}
	g := b.groups[topics]
	if g == nil {
		g = &group{ch: make(chan struct{})}
		b.groups[topics] = g
		b.noteLocked()
	}
	g.waiting++
	return g
}

func (b *bell) leave(topics mask, g *group) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if g.waiting--; g.waiting == 0 && b.groups[topics] == g {
		delete(b.groups, topics)
		b.noteLocked()
	}
}
