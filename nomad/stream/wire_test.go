package stream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/msgp"
	"github.com/cairn-project/cairn/nomad/structs"
)

// between relays a request to answer and returns what came and how it ended.
func between(t *testing.T, ctx context.Context, r *structs.EventStreamRequest, answer func(context.Context, *structs.EventStreamRequest, func([]byte) error) error) (string, error) {
	t.Helper()
	near, far := net.Pipe()
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = Serve(context.Background(), far, answer) // a peer that hung up is no news
	}()
	var got bytes.Buffer
	err := Relay(ctx, near, r, func(b []byte) error {
		got.Write(b)
		return nil
	})
	<-served
	return got.String(), err
}

func TestRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := &structs.EventStreamRequest{Topics: map[structs.Topic][]string{structs.TopicNode: {"a", "b"}}, Index: 9,
			QueryOptions: structs.QueryOptions{Namespace: "*", AuthToken: "secret"}}
		got, err := between(t, t.Context(), want, func(_ context.Context, r *structs.EventStreamRequest, send func([]byte) error) error {
			if diff := cmp.Diff(want, r); diff != "" {
				t.Error(diff)
			}
			if err := errors.Join(send([]byte("{}\n")), send([]byte("{\"Index\":1}\n"))); err != nil {
				t.Error(err)
			}
			time.Sleep(Heartbeat)
			return &EndedError{NextIndex: 12, Cause: errs.New(errs.PermissionDenied, "no more")}
		})
		var ended *EndedError
		if got != "{}\n{\"Index\":1}\n" || !errors.As(err, &ended) || ended.NextIndex != 12 || !errors.Is(err, errs.PermissionDenied) || err.Error() != "no more" {
			t.Errorf("%q, %v", got, err)
		}
		_, err = between(t, t.Context(), want, func(context.Context, *structs.EventStreamRequest, func([]byte) error) error {
			return errs.New(errs.Invalid, "never")
		})
		if errors.As(err, &ended) || !errors.Is(err, errs.Invalid) {
			t.Errorf("a refusal: %v", err)
		}
	})
}

func TestRelayEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := between(t, ctx, &structs.EventStreamRequest{}, func(ctx context.Context, _ *structs.EventStreamRequest, _ func([]byte) error) error {
			<-ctx.Done() // the other side hung up
			return ctx.Err()
		})
		if !errors.Is(err, errs.Deadline) {
			t.Errorf("a caller that went away: %v", err)
		}
		began := time.Now()
		near, far := net.Pipe()
		go func() { _, _ = readRequest(far) }()
		err = Relay(t.Context(), near, &structs.EventStreamRequest{}, func([]byte) error { return nil })
		if !errors.Is(err, errs.Unavailable) || time.Since(began) != silence {
			t.Errorf("a silent peer: %v after %v", err, time.Since(began))
		}
		for name, garbage := range map[string]string{"no message": "\xc1", "another message": "\xa1x", "a cut one": "\x81\xa5"} {
			near, far := net.Pipe()
			go func() {
				_, _ = readRequest(far)
				_, _ = far.Write([]byte(garbage))
				far.Close()
			}()
			if err := Relay(t.Context(), near, &structs.EventStreamRequest{}, func([]byte) error { return nil }); !errors.Is(err, errs.Unavailable) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

func TestServeAnswersGarbage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		go func() { _, _ = near.Write([]byte("\xa1x")) }()
		go func() { _ = Serve(t.Context(), far, nil) }()
		b, _, err := msgp.ReadValue(bufio.NewReader(near), nil, maxMessage)
		if err != nil {
			t.Fatal(err)
		}
		if done, err := pass(b, nil); !done || !errors.Is(err, errs.Invalid) {
			t.Errorf("%v, %v", done, err)
		}
	})
}

func TestEndedLine(t *testing.T) {
	for want, err := range map[string]error{
		`{"Error":{"Code":"unavailable","Message":"a <b>","NextIndex":4}}` + "\n": &EndedError{NextIndex: 4, Cause: errs.New(errs.Unavailable, "a <b>")},
		`{"Error":{"Code":"invalid","Message":"no","NextIndex":0}}` + "\n":        errs.New(errs.Invalid, "no"),
	} {
		if got := string(EndedLine(err)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func FuzzMessages(f *testing.F) {
	for _, v := range []any{
		&structs.EventStreamRequest{Topics: map[structs.Topic][]string{"Node": {"*"}}, Index: 5},
		&structs.EventStreamWrapper{Event: &structs.EventJson{Data: []byte("{}\n")}},
		&structs.EventStreamWrapper{Error: &structs.EventStreamError{Code: errs.Invalid, Message: "no", NextIndex: 3}},
	} {
		b, err := msgp.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := readRequest(bytes.NewReader(b)); err != nil && !errors.Is(err, errs.Invalid) || err == nil && r == nil {
			t.Errorf("a request: %v, %v", r, err)
		}
		sent := false
		done, err := pass(b, func([]byte) error { sent = true; return nil })
		if done != (err != nil) || sent && done {
			t.Errorf("a message: done %v, sent %v, %v", done, sent, err)
		}
	})
}
