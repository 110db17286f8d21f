package stream

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func node(index uint64) structs.Event { return event(index, structs.TopicNode, "", "n") }

func only(topic structs.Topic) map[structs.Topic][]string {
	return map[structs.Topic][]string{topic: nil}
}

func TestNothingIsMissedOfAQuietTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(3)
		s := subscribe(t, b, SubscribeRequest{Topics: only(structs.TopicNode)})
		b.Publish([]structs.Event{node(1)})
		if diff := cmp.Diff([]string{"1:n"}, drain(t, s)); diff != "" {
			t.Fatal(diff)
		}
		for i := range uint64(20) {
			b.Publish([]structs.Event{variable(i+2, "a")})
		}
		b.Publish([]structs.Event{node(22)})
		if diff := cmp.Diff([]string{"22:n"}, drain(t, s)); diff != "" {
			t.Error(diff)
		}
		for i := range uint64(20) {
			b.Publish([]structs.Event{node(i + 23)})
		}
		var gap *GapError
		if _, err := s.Next(t.Context()); !errors.As(err, &gap) || *gap != (GapError{After: 22, Before: 40}) {
			t.Errorf("events of the topic were lost and it says %v", err)
		}
	})
}

func TestMissedBeforeTheBegin(t *testing.T) {
	b := New(2)
	for i := range uint64(10) {
		b.Publish([]structs.Event{variable(i+1, "a")})
	}
	for name, tc := range map[string]struct {
		req  SubscribeRequest
		want *GapError
	}{
		"from the oldest":            {SubscribeRequest{}, nil},
		"an index that is gone":      {SubscribeRequest{Index: 4}, &GapError{After: 3, Before: 9}},
		"the last that is gone":      {SubscribeRequest{Index: 8}, &GapError{After: 7, Before: 9}},
		"the first that is there":    {SubscribeRequest{Index: 9}, nil},
		"one that is to come":        {SubscribeRequest{Index: 99}, nil},
		"gone, but of other topics":  {SubscribeRequest{Index: 4, Topics: only(structs.TopicNode)}, nil},
		"a topic that nobody knows":  {SubscribeRequest{Index: 4, Topics: only("Job")}, nil},
		"gone, of one of two topics": {SubscribeRequest{Index: 4, Topics: map[structs.Topic][]string{structs.TopicNode: nil, structs.TopicVariable: {"b"}}}, &GapError{After: 3, Before: 9}},
	} {
		if diff := cmp.Diff(tc.want, subscribe(t, b, tc.req).Missed()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(4)
		b.Publish([]structs.Event{variable(1, "a")})
		old := subscribe(t, b, SubscribeRequest{Index: 2})
		end := errs.New(errs.PreconditionFailed, "restored")
		done := make(chan error)
		go func() {
			_, err := old.Next(t.Context())
			done <- err
		}()
		synctest.Wait()
		b.Reset(50, end)
		if err := <-done; err != end {
			t.Errorf("ended with %v", err)
		}
		all, late := subscribe(t, b, SubscribeRequest{}), subscribe(t, b, SubscribeRequest{Index: 7, Topics: only(structs.TopicNode)})
		if diff := cmp.Diff(&GapError{After: 6}, late.Missed()); diff != "" {
			t.Error(diff)
		}
		b.Publish([]structs.Event{variable(51, "b")})
		if diff := cmp.Diff([]string{"51:b"}, drain(t, all)); diff != "" {
			t.Error(diff)
		}
		b.Close()
		b.Reset(60, end)
		if _, err := b.Subscribe(SubscribeRequest{}); !errors.Is(err, errs.Unavailable) {
			t.Errorf("a reset opened a closed broker: %v", err)
		}
	})
}

func TestSubscriptionsAreBounded(t *testing.T) {
	b := New(4)
	var open []*Subscription
	for range DefaultMaxPerOwner {
		open = append(open, subscribe(t, b, SubscribeRequest{Owner: "ada"}))
	}
	if _, err := b.Subscribe(SubscribeRequest{Owner: "ada"}); !errors.Is(err, errs.RateLimited) || errs.From(err, "").RetryAfter == 0 {
		t.Errorf("one too many of one owner: %v", err)
	}
	for range DefaultMaxSubscriptions - DefaultMaxPerOwner {
		subscribe(t, b, SubscribeRequest{})
	}
	if _, err := b.Subscribe(SubscribeRequest{Owner: "bob"}); !errors.Is(err, errs.Busy) || errs.From(err, "").RetryAfter == 0 {
		t.Errorf("one too many: %v", err)
	}
	open[0].Close()
	open[0].Close()
	subscribe(t, b, SubscribeRequest{Owner: "bob"})
	if got := b.Stats().Subscriptions; got != DefaultMaxSubscriptions {
		t.Errorf("%d subscriptions are open", got)
	}
}

func TestCheckEndsASubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(10)
		revoked := errs.New(errs.PermissionDenied, "revoked")
		var asked []bool
		s := subscribe(t, b, SubscribeRequest{Topics: only(structs.TopicVariable), Check: func(changed bool) error {
			asked = append(asked, changed)
			if changed {
				return revoked
			}
			return nil
		}})
		done := make(chan error)
		go func() {
			for {
				if _, err := s.Next(t.Context()); err != nil {
					done <- err
					return
				}
			}
		}()
		synctest.Wait()
		b.Publish([]structs.Event{variable(1, "a")})
		synctest.Wait()
		b.Publish([]structs.Event{node(2)})
		synctest.Wait()
		b.Publish([]structs.Event{event(3, structs.TopicACLToken, "", "t")})
		if err := <-done; err != revoked {
			t.Errorf("ended with %v", err)
		}
		if diff := cmp.Diff([]bool{false, false, true}, asked); diff != "" {
			t.Error(diff)
		}
	})
}

func TestACrowdIsWoken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(10)
		var got atomic.Int64
		var wg sync.WaitGroup
		for i := range 500 {
			req := SubscribeRequest{}
			if i%2 == 0 {
				req.Topics = only(structs.TopicVariable)
			}
			s := subscribe(t, b, req)
			wg.Go(func() {
				for range 3 {
					if e, err := s.Next(t.Context()); err != nil || len(e.Events) != 1 {
						t.Errorf("%v, %v", e, err)
					}
					got.Add(1)
				}
			})
		}
		synctest.Wait()
		for i := range uint64(3) {
			b.Publish([]structs.Event{variable(i+1, "a")})
		}
		began := time.Now()
		wg.Wait()
		if took := time.Since(began); took > 2*maxPace || got.Load() != 1500 {
			t.Errorf("%d events came within %v", got.Load(), took)
		}
	})
}

func TestPollDoesNotWait(t *testing.T) {
	b := New(4)
	s := subscribe(t, b, SubscribeRequest{Topics: only(structs.TopicNode)})
	b.Publish([]structs.Event{variable(1, "a")})
	b.Publish([]structs.Event{node(2)})
	b.Publish([]structs.Event{variable(3, "a")})
	if e, err := s.Poll(t.Context()); err != nil || e.Index != 2 {
		t.Errorf("%v, %v", e, err)
	}
	if e, err := s.Poll(t.Context()); err != nil || len(e.Events) != 0 {
		t.Errorf("%v, %v", e, err)
	}
	if s.Seen() != 3 {
		t.Errorf("seen up to %d", s.Seen())
	}
}

// counted counts how often it became JSON.
type counted struct{ times *atomic.Int64 }

func (c counted) EventObject() (string, any) {
	c.times.Add(1)
	return "Thing", map[string]string{"Text": "<&>"}
}

func TestEveryEventBecomesJSONOnce(t *testing.T) {
	b := New(4)
	var times atomic.Int64
	a, c := variable(7, "a"), variable(7, "c")
	a.Payload, c.Payload, a.FilterKeys = counted{&times}, counted{&times}, []string{"k"}
	b.Publish([]structs.Event{a, c})
	const line = `{"Topic":"Variable","Type":"","Key":"%s","Namespace":"default","FilterKeys":%s,"Index":7,"Payload":{"Thing":{"Text":"<&>"}}}`
	first, second := fmt.Sprintf(line, "a", `["k"]`), fmt.Sprintf(line, "c", "null")
	for want, req := range map[string]SubscribeRequest{
		first + "," + second: {},
		second:               {Topics: map[structs.Topic][]string{structs.TopicVariable: {"c"}}},
	} {
		for range 3 {
			e, err := subscribe(t, b, req).Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			got, err := e.AppendLine([]byte("x"))
			if want := `x{"Index":7,"Events":[` + want + "]}\n"; err != nil || string(got) != want {
				t.Errorf("%v, %s", err, strings.TrimSpace(string(got)))
			}
		}
	}
	if times.Load() != 2 {
		t.Errorf("two events became JSON %d times", times.Load())
	}
}
