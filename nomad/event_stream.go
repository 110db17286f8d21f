package nomad

import (
	"context"
	"errors"
	"time"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/stream"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// eventRecheck is how long the rights of a subscriber that gets events are taken for
	// granted while no token, policy or role changes: identities end by themselves.
	eventRecheck = time.Second
	// eventChunk is about how many bytes are gathered before they are sent.
	eventChunk = 64 << 10
)

// StreamEvents sends the events that are asked for, as whole lines of JSON, until ctx
// ends, send fails or the caller may not see them any more. The first line is empty and
// is sent when nothing speaks against the request. send must not keep what it gets.
// The error may be a *stream.EndedError once events were sent.
func (s *Server) StreamEvents(ctx context.Context, r *structs.EventStreamRequest, send func([]byte) error) error {
	if r.Region != "" && r.Region != s.config.Region {
		return s.eventsOfRegion(ctx, r, send)
	}
	f := &eventFeed{srv: s, req: r, send: send}
	if err := f.open(ctx); err != nil {
		return err
	}
	defer f.sub.Close()
	bound, end := s.untilDrain(ctx)
	err := f.run(bound)
	if drained := end(); drained {
		err = errEventsStop
	}
	return &stream.EndedError{NextIndex: f.sub.Seen() + 1, Cause: err}
}

// eventFeed feeds one subscriber. It belongs to one goroutine.
type eventFeed struct {
	srv  *Server
	req  *structs.EventStreamRequest
	send func([]byte) error
	sub  *stream.Subscription
	id   *auth.Identity
	// checked is when id was found out.
	checked time.Time
	buf     []byte
}

// open finds out who asks, and subscribes.
func (f *eventFeed) open(ctx context.Context) (err error) {
	if !f.srv.config.EnableEventBroker {
		return errs.New(errs.Invalid, "this server keeps no events: enable_event_broker is false in its configuration")
	}
	if err := f.srv.catchUp.wait(ctx, f.srv.config.RPCHoldTimeout); err != nil {
		return err
	}
	if f.id, err = f.srv.authenticate(ctx, f.req.AuthToken); err != nil {
		return f.srv.countUnknown(err)
	}
	if err := f.allowed(); err != nil {
		return err
	}
	if err := checkTopics(f.req.Topics); err != nil {
		return err
	}
	f.checked = time.Now()
	f.sub, err = f.srv.broker.Subscribe(stream.SubscribeRequest{
		Topics: f.req.Topics, Namespace: f.req.RequestNamespace(), Index: f.req.Index, Owner: ownerOf(f.id),
		Visible: func(e *structs.Event) bool { return seesEvent(f.id, e) }, Check: f.check,
	})
	return err
}

// ownerOf names who a subscription counts for, "" for callers who share a name.
func ownerOf(id *auth.Identity) string {
	if id.Token == nil || id.Token.AccessorID == auth.DisabledAccessor {
		return ""
	}
	return id.Token.AccessorID
}

func (f *eventFeed) allowed() error {
	if mayFollow(f.id.ACL, f.id, f.req) {
		return nil
	}
	f.srv.countDenial(f.id.ACL, func(a *acl.ACL) { mayFollow(a, f.id, f.req) })
	return errPermissionDenied
}

// check finds out again who asks, if that may have changed.
func (f *eventFeed) check(changed bool) error {
	if !changed && time.Since(f.checked) < eventRecheck {
		return nil
	}
	id, err := f.srv.identify(context.Background(), f.req.AuthToken)
	if err != nil {
		return f.srv.countUnknown(err)
	}
	f.id, f.checked = id, time.Now()
	return f.allowed()
}

// run sends until something ends it.
func (f *eventFeed) run(ctx context.Context) error {
	f.buf = append(f.buf, stream.HeartbeatLine...)
	if gap := f.sub.Missed(); gap != nil {
		f.buf = stream.AppendOther(f.buf, &structs.EventStreamLine{Gap: &structs.EventGap{After: gap.After, Before: gap.Before}})
	}
	for {
		if err := f.flush(); err != nil {
			return err
		}
		if err := f.fill(ctx); err != nil {
			if lost := f.flush(); lost != nil {
				return lost
			}
			return err
		}
	}
}

// fill waits for events, or for the time of a heartbeat, and gathers what there is.
func (f *eventFeed) fill(ctx context.Context) error {
	quiet, cancel := context.WithTimeout(ctx, f.patience())
	defer cancel()
	events, err := f.sub.Next(quiet)
	if err != nil && ctx.Err() == nil && errors.Is(err, errs.Deadline) {
		f.buf = append(f.buf, stream.HeartbeatLine...)
		return f.check(true)
	}
	for err == nil && len(events.Events) > 0 {
		if f.buf, err = events.AppendLine(f.buf); err != nil || len(f.buf) >= eventChunk {
			break
		}
		events, err = f.sub.Poll(ctx)
	}
	return err
}

// patience is how long to wait for events before the subscriber hears of something
// else: that the stream lives, or that its token has expired.
func (f *eventFeed) patience() time.Duration {
	if t := f.id.Token; t != nil && t.ExpirationTime != nil {
		return min(stream.Heartbeat, max(time.Until(*t.ExpirationTime), time.Millisecond))
	}
	return stream.Heartbeat
}

func (f *eventFeed) flush() error {
	if len(f.buf) == 0 {
		return nil
	}
	err := f.send(f.buf)
	if f.buf = f.buf[:0]; cap(f.buf) > 4*eventChunk {
		f.buf = nil
	}
	return err
}

// eventPublisher returns where the store sends its events, nil for nowhere.
func (s *Server) eventPublisher() state.Publisher {
	if !s.config.EnableEventBroker {
		return nil
	}
	return s.broker.Publish
}

// resetEvents forgets the events from before a restore.
func (s *Server) resetEvents(index uint64) { s.broker.Reset(index, errRestored) }

// errRestored ends streams whose past is gone.
var errRestored = errs.New(errs.PreconditionFailed, "the server has restored a snapshot: read the state again, then follow the events from its index")
