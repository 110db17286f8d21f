package stream

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// anyKey asks for every key of a topic.
const anyKey = "*"

// SubscribeRequest selects events. The subscription keeps it; it must not be
// changed.
type SubscribeRequest struct {
	// Topics maps a topic, or structs.TopicAll, to the keys wanted of it; "*"
	// stands for all, as does an empty list. No topics means all of them.
	Topics map[structs.Topic][]string
	// Namespace restricts events that have one; "" and "*" restrict nothing.
	Namespace string
	// Index is where to begin: at the oldest batch kept for 0, else at the first
	// event with that logical index or a greater one.
	Index uint64
	// Owner is who is bound to have few subscriptions, "" for nobody.
	Owner string
	// Visible judges one event, nil shows all. It runs in the subscriber's goroutine.
	Visible func(*structs.Event) bool
	// Check runs before the events of a batch are judged, changed if some of them
	// may have changed what Visible says. Its error ends the subscription. It may be nil.
	Check func(changed bool) error
}

// Events are those of one logical index.
type Events struct {
	Index  uint64
	Events []Event
}

// GapError is returned when events were dropped before the subscriber read
// them. The state itself has to be read again.
type GapError struct {
	// After is the logical index of the last event that the subscriber had the
	// chance to see, 0 for none; Before that of the first that is still there, 0
	// when there is none.
	After, Before uint64
}

// Error implements error.
func (e *GapError) Error() string {
	return fmt.Sprintf("events between index %d and %d were dropped before they were read: read the state again, then subscribe from its index",
		e.After, e.Before)
}

// Unwrap gives the error its code for callers of other transports.
func (e *GapError) Unwrap() error { return errs.New(errs.PreconditionFailed, e.Error()) }

// Subscription is one reader's place in the stream. Next belongs to one
// goroutine at a time; Close may be called from anywhere.
type Subscription struct {
	broker *Broker
	req    SubscribeRequest
	wanted mask
	era    *era
	at     atomic.Pointer[link] // the last link read; nil once closed
	// from is what of the batch of at was taken, up to its end if unread is false.
	from   int
	unread bool
	// seen is the index up to which nothing was missed.
	seen   uint64
	missed *GapError
	out    []Event
	done   chan struct{}
	close  sync.Once
}

// begin takes the place of the request's index.
func (s *Subscription) begin() {
	at := s.broker.start(s.req.Index)
	lost := s.broker.lost.last(s.wanted) // after the place was taken, so that none is overlooked
	s.at.Store(at)
	if s.req.Index == 0 {
		s.seen = s.broker.lost.last(everything)
		return
	}
	s.seen = s.req.Index - 1
	if lost > s.seen {
		s.missed = &GapError{After: s.seen, Before: s.broker.first()}
		s.seen = lost
	}
}

// Missed returns what was dropped of the events that were asked for before the
// subscription began, nil for nothing.
func (s *Subscription) Missed() *GapError { return s.missed }

// Seen returns the index up to which Next returned what there was to see.
func (s *Subscription) Seen() uint64 { return s.seen }

// Close ends the subscription: a Next that waits returns, and the batches that it
// held on to may go. It may be called twice.
func (s *Subscription) Close() {
	s.close.Do(func() {
		close(s.done)
		s.at.Store(nil)
		s.broker.leave(s.req.Owner)
	})
}

// Next returns the selected events of the next logical index that has any; they
// are valid until the next call. It waits for them; ctx, Close of either side and a gap
// end the wait with an error. After a gap the subscription is of no use.
func (s *Subscription) Next(ctx context.Context) (Events, error) { return s.next(ctx, true) }

// Poll is Next without waiting: it returns no events when there are none now.
func (s *Subscription) Poll(ctx context.Context) (Events, error) { return s.next(ctx, false) }

func (s *Subscription) next(ctx context.Context, wait bool) (Events, error) {
	for {
		at := s.at.Load()
		if err := s.over(ctx, at); err != nil {
			return Events{}, err
		}
		if s.unread {
			if e := s.take(at); len(e.Events) > 0 {
				return e, nil
			}
			continue
		}
		if !wait && at.next.Load() == nil {
			return Events{}, nil
		}
		if err := s.advance(ctx, at); err != nil {
			return Events{}, err
		}
	}
}

func (s *Subscription) over(ctx context.Context, at *link) error {
	select {
	case <-s.era.over:
		return s.era.why
	default:
	}
	switch {
	case at == nil:
		return errs.New(errs.Unavailable, "the subscription is closed")
	case ctx.Err() != nil:
		return errs.Wrap(errs.Deadline, "no event came in time", ctx.Err())
	}
	return nil
}

// take cuts the events of the next index off the batch and returns those that
// the request selects.
func (s *Subscription) take(at *link) Events {
	index, end := at.batch[s.from].Index, s.from+1
	for end < len(at.batch) && at.batch[end].Index == index {
		end++
	}
	s.out = s.out[:0]
	for i := s.from; i < end && index >= s.req.Index; i++ {
		if s.wants(&at.batch[i]) {
			s.out = append(s.out, Event{Event: &at.batch[i], link: at, at: i})
		}
	}
	s.from, s.unread, s.seen = end, end < len(at.batch), max(s.seen, index)
	return Events{Index: index, Events: s.out}
}

func (s *Subscription) wants(e *structs.Event) bool {
	if ns := s.req.Namespace; e.Namespace != "" && ns != "" && ns != structs.AllNamespacesSentinel && ns != e.Namespace {
		return false
	}
	if !s.matches(e.Topic, e) && !s.matches(structs.TopicAll, e) {
		return false
	}
	return s.req.Visible == nil || s.req.Visible(e)
}

func (s *Subscription) matches(topic structs.Topic, e *structs.Event) bool {
	keys, ok := s.req.Topics[topic]
	if !ok {
		return false
	}
	if len(keys) == 0 {
		return true
	}
	for _, k := range keys {
		if k == anyKey || k == e.Key || slices.Contains(e.FilterKeys, k) {
			return true
		}
	}
	return false
}

// advance moves to the next batch, waiting for one if there is none.
func (s *Subscription) advance(ctx context.Context, at *link) error {
	next := at.next.Load()
	switch {
	case next == nil:
		s.wait(ctx, at)
		return nil
	case next == gap:
		return s.skip(at)
	case !s.at.CompareAndSwap(at, next):
		return nil // closed just now; over says so
	}
	if s.req.Check != nil {
		if err := s.req.Check(next.topics&rights != 0); err != nil {
			return err
		}
	}
	if s.from, s.unread = 0, next.topics&s.wanted != 0; !s.unread {
		s.seen = max(s.seen, next.index)
	}
	return nil
}

// wait returns after the next event of the topics at the latest.
func (s *Subscription) wait(ctx context.Context, at *link) {
	topics := s.wanted
	if s.req.Check != nil {
		topics |= rights
	}
	g := s.broker.bell.listen(topics)
	defer s.broker.bell.leave(topics, g)
	if at.next.Load() != nil {
		return
	}
	select {
	case <-g.ch:
	case <-s.done:
	case <-s.era.over:
	case <-ctx.Done():
	}
}

// skip goes on behind a gap if nothing that was wanted fell into it.
func (s *Subscription) skip(at *link) error {
	first := s.broker.oldest.Load()
	lost := s.broker.lost.last(s.wanted) // after the place was taken, so that none is overlooked
	if lost > s.seen {
		s.broker.stats.lost.Add(1)
		return &GapError{After: s.seen, Before: s.broker.first()}
	}
	if s.at.CompareAndSwap(at, first) && s.req.Check != nil {
		return s.req.Check(true) // a change of rights may have been in it
	}
	return nil
}

// first returns the index of the oldest event in the list, 0 for none.
func (b *Broker) first() uint64 {
	for {
		switch next := b.oldest.Load().next.Load(); next {
		case gap: // cut off just now
		case nil:
			return 0
		default:
			return next.batch[0].Index
		}
	}
}
