package wire

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

type status struct{ calls int }

func (s *status) Ping(_ context.Context, args *Sum, reply *Sum) error {
	s.calls++
	if args.A < 0 {
		return errors.New("negative")
	}
	reply.Total = args.A + 1
	return nil
}

func (s *status) Leader(context.Context, *struct{}, *string) error { return nil }

// Close is no call.
func (s *status) Close() error { return nil }

type noReply struct{ status }

func (noReply) Apply(context.Context, *Sum) error { return nil }

type byValue struct{ status }

func (byValue) Apply(context.Context, Sum, *Sum) error { return nil }

type noContext struct{ status }

func (noContext) Apply(*Sum, *Sum) error { return nil }

type noError struct{ status }

func (noError) Apply(context.Context, *Sum, *Sum) {}

type nothing struct{}

func TestRegistry(t *testing.T) {
	r := NewRegistry()
	s := &status{}
	if err := r.Register("Status", s); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"Status.Leader", "Status.Ping"}, r.Names()); diff != "" {
		t.Error(diff)
	}
	m, ok := r.Lookup("Status.Ping")
	if !ok || m.Name != "Status.Ping" {
		t.Fatalf("lookup: %+v, %v", m, ok)
	}
	args, reply := m.NewArgs().(*Sum), m.NewReply().(*Sum)
	args.A = 4
	if err := m.Invoke(t.Context(), args, reply); err != nil || reply.Total != 5 || s.calls != 1 {
		t.Errorf("got %d, %v after %d calls", reply.Total, err, s.calls)
	}
	args.A = -1
	if err := m.Invoke(t.Context(), args, reply); err == nil || err.Error() != "negative" {
		t.Errorf("error: %v", err)
	}
	for _, name := range []string{"Status.Close", "Status.Nope", "Ping", ""} {
		if _, ok := r.Lookup(name); ok {
			t.Errorf("%q is there", name)
		}
	}
	for want, endpoint := range map[string]any{
		"A.Apply: want func": &noReply{}, "B.Apply: want func": &byValue{}, "C.Apply: want func": &noContext{},
		"D.Apply: want func": &noError{}, "E: wire.nothing has no method": nothing{}, "F\": needs": nil,
	} {
		if err := r.Register(want[:1], endpoint); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%T: %v, want %s", endpoint, err, want)
		}
	}
	if err := r.Register("Status", &status{}); err == nil || !strings.Contains(err.Error(), "taken") {
		t.Errorf("twice: %v", err)
	}
	if n := len(r.Names()); n != 2 {
		t.Errorf("%d methods after the failures", n)
	}
}
