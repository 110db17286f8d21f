package stream

import (
	"context"
	"fmt"
	"slices"
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
	// Visible judges one event, nil shows all. It runs in the subscriber's goroutine.
	Visible func(*structs.Event) bool
}

// Events are those of one logical index.
type Events struct {
	Index  uint64
	Events []structs.Event
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
	at     atomic.Pointer[link] // the last link read; nil once closed
	// batch holds what is left of the batch being read.
	batch []structs.Event
	seen  uint64
	done  chan struct{}
	ended atomic.Bool
}

// Close ends the subscription: a Next that waits returns, and the batches that it
// held on to may go. It may be called twice.
func (s *Subscription) Close() {
	if !s.ended.Swap(true) {
		close(s.done)
		s.at.Store(nil)
	}
}

// Next returns the selected events of the next logical index that has any. It
// waits for them; ctx, Close of either side and a gap end the wait with an
// error. After a gap the subscription is of no use.
func (s *Subscription) Next(ctx context.Context) (Events, error) {
	for {
		if err := s.over(ctx); err != nil {
			return Events{}, err
		}
		if len(s.batch) > 0 {
			if e := s.take(); len(e.Events) > 0 {
				return e, nil
			}
			continue
		}
		if err := s.advance(ctx); err != nil {
			return Events{}, err
		}
	}
}

func (s *Subscription) over(ctx context.Context) error {
	switch {
	case s.ended.Load():
		return errs.New(errs.Unavailable, "the subscription is closed")
	case s.broker.down.Load():
		return errs.New(errs.Unavailable, "the event stream of this server is closed: subscribe at another server")
	case ctx.Err() != nil:
		return errs.Wrap(errs.Deadline, "no event came in time", ctx.Err())
	}
	return nil
}

// take cuts the events of the next index off the batch and returns those that
// the request selects.
func (s *Subscription) take() Events {
	index, n := s.batch[0].Index, 1
	for n < len(s.batch) && s.batch[n].Index == index {
		n++
	}
	group := s.batch[:n]
	s.batch = s.batch[n:]
	s.seen = index
	if index < s.req.Index {
		return Events{}
	}
	return Events{Index: index, Events: s.selected(group)}
}

// selected returns group itself if all of it is wanted.
func (s *Subscription) selected(group []structs.Event) []structs.Event {
	for i := range group {
		if s.wants(&group[i]) {
			continue
		}
		out := slices.Clone(group[:i])
		for j := i + 1; j < len(group); j++ {
			if s.wants(&group[j]) {
				out = append(out, group[j])
			}
		}
		return out
	}
	return group[:len(group):len(group)]
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
func (s *Subscription) advance(ctx context.Context) error {
	at := s.at.Load()
	if at == nil {
		return nil // closed just now; over says so
	}
	next := at.next.Load()
	if next == nil {
		select {
		case <-at.ready:
		case <-s.done:
		case <-s.broker.closed:
		case <-ctx.Done():
		}
		return nil
	}
	if next == gap {
		return s.lost()
	}
	if s.at.CompareAndSwap(at, next) {
		s.batch = next.batch
	}
	return nil
}

func (s *Subscription) lost() error {
	e := &GapError{After: s.seen}
	for {
		first := s.broker.oldest.Load().next.Load()
		if first == gap { // cut off just now
			continue
		}
		if first != nil {
			e.Before = first.batch[0].Index
		}
		return e
	}
}
