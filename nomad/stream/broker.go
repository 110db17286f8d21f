package stream

import (
	"sync/atomic"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// DefaultSize is how many batches a broker keeps unless told otherwise, the
// default of event_buffer_size.
const DefaultSize = 100

// Broker keeps the last batches of events. Publish belongs to one goroutine at a
// time, the rest may be called from anywhere.
type Broker struct {
	size   int
	count  int                  // batches in the list; the publisher's
	oldest atomic.Pointer[link] // the link before the oldest batch
	newest atomic.Pointer[link]
	closed chan struct{}
	down   atomic.Bool
}

// link is a place in the list. next is set once, and before ready is closed.
type link struct {
	// batch and index, that of its last event, are empty in the first link.
	batch []structs.Event
	index uint64
	next  atomic.Pointer[link]
	ready chan struct{}
}

// gap takes the place of next before a batch that the broker has cut off, so
// that a slow subscriber keeps one link alive and not all that follow it.
var gap = newLink()

func newLink() *link { return &link{ready: make(chan struct{})} }

// New returns a broker that keeps at most size batches, DefaultSize if size is
// not above 0.
func New(size int) *Broker {
	if size <= 0 {
		size = DefaultSize
	}
	b := &Broker{size: size, closed: make(chan struct{})}
	first := newLink()
	b.oldest.Store(first)
	b.newest.Store(first)
	return b
}

// Publish appends the events of one transaction, in order of index. It never
// blocks. The broker keeps the slice; nobody may change it or its payloads.
func (b *Broker) Publish(events []structs.Event) {
	if len(events) == 0 || b.down.Load() {
		return
	}
	l := newLink()
	l.batch, l.index = events, events[len(events)-1].Index
	last := b.newest.Load()
	b.newest.Store(l)
	last.next.Store(l)
	b.count++
	for ; b.count > b.size; b.count-- {
		before := b.oldest.Load()
		b.oldest.Store(before.next.Swap(gap))
	}
	close(last.ready)
}

// Close ends every subscription and refuses new ones. It may be called twice.
func (b *Broker) Close() {
	if !b.down.Swap(true) {
		close(b.closed)
	}
}

// Subscribe returns a subscription to the events that the request selects.
func (b *Broker) Subscribe(req SubscribeRequest) (*Subscription, error) {
	if b.down.Load() {
		return nil, errs.New(errs.Unavailable, "the event stream of this server is closed: ask another server")
	}
	if len(req.Topics) == 0 {
		req.Topics = map[structs.Topic][]string{structs.TopicAll: {anyKey}}
	}
	s := &Subscription{broker: b, req: req, done: make(chan struct{})}
	s.at.Store(b.start(req.Index))
	return s, nil
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
