package stream

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// DefaultSize is how many batches a broker keeps unless told otherwise, the
// default of event_buffer_size.
const DefaultSize = 100

// The bounds of subscriptions, in all and by owner.
const (
	DefaultMaxSubscriptions = 8192
	DefaultMaxPerOwner      = 2048
)

// Broker keeps the last batches of events. Publish and Reset belong to one
// goroutine at a time, the rest may be called from anywhere.
type Broker struct {
	size   int
	count  int                  // batches in the list; the publisher's
	oldest atomic.Pointer[link] // the link before the oldest batch
	newest atomic.Pointer[link]
	era    atomic.Pointer[era]
	lost   lost
	bell   bell
	stats  counters

	mu     sync.Mutex
	open   int            // under mu: subscriptions
	owners map[string]int // under mu: subscriptions by owner
}

// era is a time in which subscriptions can live. Its end is final.
type era struct {
	over chan struct{}
	why  error // set before over is closed
}

// link is a place in the list. next is set once, and replaced by gap.
type link struct {
	// batch, the topics in it and the index of its last event are empty in the first link.
	batch  []structs.Event
	topics mask
	index  uint64
	next   atomic.Pointer[link]

	once    sync.Once
	encoded []encoded // by event of batch, once it was asked for
}

// gap takes the place of next before a batch that the broker has cut off, so
// that a slow subscriber keeps one link alive and not all that follow it.
var gap = &link{}

// New returns a broker that keeps at most size batches, DefaultSize if size is
// not above 0.
func New(size int) *Broker {
	if size <= 0 {
		size = DefaultSize
	}
	b := &Broker{size: size, owners: map[string]int{}}
	b.era.Store(&era{over: make(chan struct{})})
	first := &link{}
	b.oldest.Store(first)
	b.newest.Store(first)
	return b
}

// Publish appends the events of one transaction, in order of index. It never
// blocks. The broker keeps the slice; nobody may change it or its payloads.
func (b *Broker) Publish(events []structs.Event) {
	if len(events) == 0 || b.closed() {
		return
	}
	l := &link{batch: events, index: events[len(events)-1].Index}
	for i := range events {
		l.topics |= maskOf(events[i].Topic)
	}
	last := b.newest.Load()
	b.newest.Store(l)
	last.next.Store(l)
	b.count++
	for ; b.count > b.size; b.count-- {
		before := b.oldest.Load()
		next := before.next.Load()
		b.lost.drop(next.batch)
		b.oldest.Store(next)
		before.next.Store(gap)
	}
	b.stats.published.Add(uint64(len(events)))
	b.bell.ring(l.topics)
}

// Reset forgets all events and ends every subscription with why: what the store
// holds, up to index, did not come about by events. New subscriptions are taken.
func (b *Broker) Reset(index uint64, why error) {
	first := &link{index: index}
	old := b.oldest.Load()
	b.lost.reset(index)
	b.count = 0
	b.newest.Store(first)
	b.oldest.Store(first)
	old.next.Store(gap)
	b.begin(&era{over: make(chan struct{})}, why)
}

// begin replaces the era, unless the broker is closed.
func (b *Broker) begin(next *era, why error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now := b.era.Load(); now.why == nil {
		b.era.Store(next)
		now.why = why
		close(now.over)
	}
}

// errClosed ends the subscriptions of a broker that closes, and refuses new ones.
var errClosed = errs.New(errs.Unavailable, "the event stream of this server is closed: subscribe at another server")

// Close ends every subscription and refuses new ones. It may be called twice.
func (b *Broker) Close() {
	end := &era{over: make(chan struct{}), why: errClosed}
	close(end.over)
	b.begin(end, errClosed)
}

func (b *Broker) closed() bool {
	select {
	case <-b.era.Load().over:
		return true
	default:
		return false
	}
}

// Subscribe returns a subscription to the events that the request selects. It must
// be closed.
func (b *Broker) Subscribe(req SubscribeRequest) (*Subscription, error) {
	if b.closed() {
		return nil, errClosed
	}
	if len(req.Topics) == 0 {
		req.Topics = map[structs.Topic][]string{structs.TopicAll: {anyKey}}
	}
	if err := b.admit(req.Owner); err != nil {
		return nil, err
	}
	s := &Subscription{broker: b, req: req, era: b.era.Load(), done: make(chan struct{})}
	for topic := range req.Topics {
		s.wanted |= maskOf(topic)
	}
	s.begin()
	return s, nil
}

// fullRetry is when a subscriber above a bound may come back: streams are long.
const fullRetry = 10 * time.Second

// admit counts a subscription, or refuses it.
func (b *Broker) admit(owner string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.open >= DefaultMaxSubscriptions:
		return errs.Newf(errs.Busy, "%d clients follow the events of this server: ask another server, or share a stream", b.open).WithRetryAfter(fullRetry)
	case owner != "" && b.owners[owner] >= DefaultMaxPerOwner:
		return errs.Newf(errs.RateLimited, "%d clients follow the events of this server with this token: share a stream, or close some", b.owners[owner]).WithRetryAfter(fullRetry)
	}
	b.open++
	if owner != "" {
		b.owners[owner]++
	}
	return nil
}

func (b *Broker) leave(owner string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open--
	if b.owners[owner]--; b.owners[owner] <= 0 {
		delete(b.owners, owner)
	}
}

// start returns the link before the first batch to read: the oldest one, or the
// first with an event of the index or above.
func (b *Broker) start(index uint64) *link {
	l := b.oldest.Load()
	for {
		switch next := l.next.Load(); {
		case next == gap: // cut off just now
			l = b.oldest.Load()
		case next == nil || next.index >= index:
			return l
		default:
			l = next
		}
	}
}
