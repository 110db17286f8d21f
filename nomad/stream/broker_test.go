package stream

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func event(index uint64, topic structs.Topic, ns, key string) structs.Event {
	return structs.Event{Topic: topic, Key: key, Namespace: ns, Index: index}
}

func variable(index uint64, key string) structs.Event {
	return event(index, structs.TopicVariable, "default", key)
}

func subscribe(t *testing.T, b *Broker, req SubscribeRequest) *Subscription {
	t.Helper()
	s, err := b.Subscribe(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// drain returns what the subscription has now, as "index:key" texts.
func drain(t *testing.T, s *Subscription) []string {
	t.Helper()
	var out []string
	for {
		e, err := s.Poll(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(e.Events) == 0 {
			return out
		}
		for _, ev := range e.Events {
			if ev.Index != e.Index {
				t.Errorf("an event of index %d came with those of %d", ev.Index, e.Index)
			}
			out = append(out, fmt.Sprintf("%d:%s", e.Index, ev.Key))
		}
	}
}

func TestSelection(t *testing.T) {
	published := [][]structs.Event{
		{variable(2, "a"), variable(2, "b")},
		{variable(3, "a"), event(4, structs.TopicNamespace, "", "prod"), variable(5, "c")},
		{event(6, structs.TopicVariable, "prod", "a")},
	}
	published[0][1].FilterKeys = []string{"friend"}
	topics := func(topic structs.Topic, keys ...string) map[structs.Topic][]string {
		return map[structs.Topic][]string{topic: keys}
	}
	for name, tc := range map[string]struct {
		req  SubscribeRequest
		want []string
	}{
		"everything":      {SubscribeRequest{}, []string{"2:a", "2:b", "3:a", "4:prod", "5:c", "6:a"}},
		"from an index":   {SubscribeRequest{Index: 4}, []string{"4:prod", "5:c", "6:a"}},
		"from the future": {SubscribeRequest{Index: 9}, nil},
		"a topic":         {SubscribeRequest{Topics: topics(structs.TopicNamespace)}, []string{"4:prod"}},
		"a key":           {SubscribeRequest{Topics: topics(structs.TopicVariable, "c", "a")}, []string{"2:a", "3:a", "5:c", "6:a"}},
		"a filter key":    {SubscribeRequest{Topics: topics(structs.TopicAll, "friend")}, []string{"2:b"}},
		"any key":         {SubscribeRequest{Topics: topics(structs.TopicNamespace, "*")}, []string{"4:prod"}},
		"a namespace":     {SubscribeRequest{Namespace: "prod"}, []string{"4:prod", "6:a"}},
		"all namespaces":  {SubscribeRequest{Namespace: "*", Index: 6}, []string{"6:a"}},
		"what is visible": {SubscribeRequest{Visible: func(e *structs.Event) bool { return e.Key != "a" }},
			[]string{"2:b", "4:prod", "5:c"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := New(10)
				for _, batch := range published {
					b.Publish(batch)
				}
				if diff := cmp.Diff(tc.want, drain(t, subscribe(t, b, tc.req))); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestNextWaitsForPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New(4)
		var wg sync.WaitGroup
		for range 5 {
			s := subscribe(t, b, SubscribeRequest{})
			wg.Go(func() {
				start := time.Now()
				e, err := s.Next(t.Context())
				if err != nil || e.Index != 7 || time.Since(start) != time.Hour {
					t.Errorf("after %v: %v, %v", time.Since(start), e, err)
				}
			})
		}
		time.Sleep(time.Hour)
		b.Publish([]structs.Event{variable(7, "a")})
		wg.Wait()
	})
}

func TestNextEnds(t *testing.T) {
	for name, tc := range map[string]struct {
		end  func(b *Broker, s *Subscription, cancel func())
		code errs.Code
	}{
		"with its context":  {func(_ *Broker, _ *Subscription, cancel func()) { cancel() }, errs.Deadline},
		"with Close":        {func(_ *Broker, s *Subscription, _ func()) { s.Close(); s.Close() }, errs.Unavailable},
		"with the broker's": {func(b *Broker, _ *Subscription, _ func()) { b.Close(); b.Close() }, errs.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := New(4)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				s := subscribe(t, b, SubscribeRequest{})
				var err error
				done := make(chan struct{})
				go func() {
					defer close(done)
					_, err = s.Next(ctx)
				}()
				synctest.Wait()
				tc.end(b, s, cancel)
				<-done
				if !errors.Is(err, tc.code) {
					t.Errorf("ended with %v, want code %s", err, tc.code)
				}
				if _, again := s.Next(ctx); !errors.Is(again, tc.code) {
					t.Errorf("the next Next said %v", again)
				}
			})
		})
	}
}

func TestClosedBrokerRefuses(t *testing.T) {
	b := New(4)
	b.Close()
	b.Publish([]structs.Event{variable(1, "a")})
	if _, err := b.Subscribe(SubscribeRequest{}); !errors.Is(err, errs.Unavailable) {
		t.Errorf("a closed broker said %v", err)
	}
}

func TestSlowSubscriberIsToldOfTheGap(t *testing.T) {
	b := New(3)
	s := subscribe(t, b, SubscribeRequest{})
	for i := range uint64(3) {
		b.Publish([]structs.Event{variable(i+1, "a")})
	}
	if e, err := s.Next(t.Context()); err != nil || e.Index != 1 {
		t.Fatalf("first: %v, %v", e, err)
	}
	for i := range uint64(10) {
		b.Publish([]structs.Event{variable(i+4, "a")})
	}
	_, err := s.Next(t.Context())
	var gap *GapError
	if !errors.As(err, &gap) || *gap != (GapError{After: 1, Before: 11}) {
		t.Fatalf("the lost range is %v, %+v", err, gap)
	}
	if !errors.Is(err, errs.PreconditionFailed) {
		t.Error("the error has no code")
	}
	if got := len(drain(t, subscribe(t, b, SubscribeRequest{}))); got != 3 {
		t.Errorf("a new subscription finds %d batches of 3", got)
	}
}

func TestSlowSubscriberPinsNothing(t *testing.T) {
	b := New(2)
	s := subscribe(t, b, SubscribeRequest{})
	freed := make(chan struct{}, 100)
	for i := range uint64(100) {
		payload := new([1 << 16]byte)
		runtime.AddCleanup(payload, func(int) { freed <- struct{}{} }, 0)
		e := variable(i+1, "a")
		e.Payload = payload
		b.Publish([]structs.Event{e})
	}
	for range 95 {
		runtime.GC()
		select {
		case <-freed:
		case <-time.After(10 * time.Second):
			t.Fatal("batches that were dropped stay in memory")
		}
	}
	runtime.KeepAlive(s)
	runtime.KeepAlive(b)
}

// TestPublishBesideReaders is for the race detector: every reader sees every
// index in order, or learns of a gap.
func TestPublishBesideReaders(t *testing.T) {
	const last = 5000
	b := New(64)
	var wg sync.WaitGroup
	for range 8 {
		s := subscribe(t, b, SubscribeRequest{})
		wg.Go(func() {
			for prev := uint64(0); prev < last; {
				e, err := s.Next(t.Context())
				var gap *GapError
				if errors.As(err, &gap) {
					if gap.After != prev {
						t.Errorf("gap after %d, was at %d", gap.After, prev)
					}
					return
				}
				if err != nil || e.Index != prev+1 {
					t.Errorf("after %d came %d, %v", prev, e.Index, err)
					return
				}
				prev = e.Index
			}
		})
	}
	for i := uint64(1); i <= last; i++ {
		b.Publish([]structs.Event{variable(i, "a")})
	}
	wg.Wait()
}

func BenchmarkPublish(b *testing.B) {
	br := New(100)
	batch := []structs.Event{variable(1, "a")}
	b.ReportAllocs()
	for b.Loop() {
		br.Publish(batch)
	}
}
