package wire

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/internal/errs"
)

func addHandler(_ context.Context, c *Call) (any, error) {
	var a Sum
	if err := c.Decode(&a); err != nil {
		return nil, err
	}
	switch c.Method {
	case "Arith.Add":
		a.Total = a.A + a.B
		return &a, nil
	case "Arith.NotFound":
		return nil, errs.New(errs.NotFound, "variable not found")
	case "Arith.Denied":
		return nil, errs.New(errs.PermissionDenied, "Permission denied")
	}
	return nil, UnknownMethod(c.Method)
}

var sum = Sum{A: 2, B: 3, Label: "x", Wait: time.Minute, At: time.Unix(5, 6).UTC(), Blob: []byte{0, 255}}

func TestPlainClientCallsUs(t *testing.T) {
	near, far := net.Pipe()
	serve(t, addHandler, Limits{}, far)
	c := plainClient(t, near)
	var wg sync.WaitGroup
	for i := range 50 {
		wg.Go(func() {
			args, want := sum, sum
			args.A, want.A, want.Total = i, i, i+3
			var got Sum
			if err := c.Call("Arith.Add", &args, &got); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	wg.Wait()
	for method, want := range map[string]string{
		"Arith.NotFound": "RPC Error:: 404,variable not found",
		"Arith.Denied":   "Permission denied",
		"Arith.Nope":     "rpc: can't find method Arith.Nope",
	} {
		var got Sum
		if err := c.Call(method, &sum, &got); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", method, err, want)
		}
	}
	// a body of the wrong sort fails that call and leaves the connection alone
	var got Sum
	if err := c.Call("Arith.Add", "text", &got); err == nil || err.Error() != "RPC Error:: 400,cannot decode the argument of Arith.Add" {
		t.Errorf("wrong argument: %v", err)
	}
	if err := c.Call("Arith.Add", &sum, &got); err != nil || got.Total != 5 {
		t.Errorf("afterwards: %d, %v", got.Total, err)
	}
}

func TestWeCallAPlainServer(t *testing.T) {
	near, far := net.Pipe()
	a := &Arith{block: make(chan struct{})}
	plainServer(t, a, far)
	c := NewClient(near, Limits{})
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range 3 {
		args, want := sum, sum
		args.A, want.A, want.Total = i, i, i+3
		var got Sum
		if err := c.Call(ctx, "Arith.Add", &args, &got, CallOptions{Hops: 1, RequestID: "r1"}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	for text, want := range map[string]*errs.Error{
		"RPC Error:: 404,node not found":                     errs.New(errs.NotFound, "node not found"),
		"rpc error: RPC Error:: 403,denied, twice":           errs.New(errs.PermissionDenied, "denied, twice"),
		"RPC Error:: 418,odd":                                errs.New(errs.Internal, "odd"),
		"RPC Error:: x":                                      errs.New(errs.Internal, "RPC Error:: x"),
		"rpc error: Permission denied":                       errs.New(errs.PermissionDenied, "rpc error: Permission denied"),
		"No cluster leader":                                  errs.New(errs.NoLeader, "No cluster leader"),
		"disk on fire":                                       errs.New(errs.Internal, "disk on fire"),
		"RPC Error:: 400,1 error occurred:\n\t* bad, or not": errs.New(errs.Invalid, "1 error occurred:\n\t* bad, or not"),
	} {
		err := c.Call(ctx, "Arith.Fail", &Sum{Label: text}, nil, CallOptions{})
		var e *errs.Error
		if !errors.As(err, &e) || e.Code != want.Code || e.Msg != want.Msg {
			t.Errorf("%q: %#v", text, err)
		}
	}
	if err := c.Call(ctx, "Arith.Nope", &sum, nil, CallOptions{}); !errors.Is(err, errs.Unsupported) {
		t.Errorf("unknown method: %v", err)
	}
	// no cancellation is sent to a plain server, the call is just forgotten
	short, stop := context.WithTimeout(ctx, 20*time.Millisecond)
	defer stop()
	if err := c.Call(short, "Arith.Block", &sum, nil, CallOptions{}); !errors.Is(err, errs.Deadline) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("blocked: %v", err)
	}
	close(a.block)
	var got Sum
	if err := c.Call(ctx, "Arith.Add", &sum, &got, CallOptions{}); err != nil || got.Total != 5 {
		t.Errorf("afterwards: %d, %v", got.Total, err)
	}
}

func TestErrorsSurvive(t *testing.T) {
	var current error
	c, s := pair(t, func(context.Context, *Call) (any, error) { return nil, current }, Limits{})
	for _, code := range errs.Codes() {
		want := errs.New(code, "text, with a comma").WithErrata(errs.Erratum{Field: "A.b", Msg: "bad"}, errs.Erratum{Msg: "worse"}).WithRetryAfter(3 * time.Second)
		want.Executed = errs.ExecutedNo
		current = want
		err := c.Call(t.Context(), "A.B", nil, nil, CallOptions{})
		got, ok := err.(*errs.Error)
		if !ok {
			t.Fatalf("%s: %v", code, err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(errs.Error{})); diff != "" {
			t.Errorf("%s:\n%s", code, diff)
		}
	}
	current = errors.New("secret cause")
	err := c.Call(t.Context(), "A.B", nil, nil, CallOptions{RequestID: "r7"})
	if !errors.Is(err, errs.Internal) || err.Error() != "internal error, request r7" {
		t.Errorf("an error without a code: %v", err)
	}
	if log := s.logged(); !contains(log, "secret cause", "r7", "A.B") {
		t.Errorf("log lacks the cause:\n%s", log)
	}
	current = errs.New(errs.Invalid, string(make([]byte, 1<<20)))
	if err := c.Call(t.Context(), "A.B", nil, nil, CallOptions{}); !errors.Is(err, errs.Invalid) {
		t.Errorf("a huge error: %v", errs.CodeOf(err))
	}
	current = context.DeadlineExceeded
	if err := c.Call(t.Context(), "A.B", nil, nil, CallOptions{}); !errors.Is(err, errs.Deadline) {
		t.Errorf("the handler's deadline: %v", err)
	}
}

func TestRawPassesThrough(t *testing.T) {
	c, _ := pair(t, echo, Limits{})
	for _, size := range []int{0, 1, 100, 5000, 300_000} {
		in := Raw(appendText(size))
		var out Raw
		if err := c.Call(t.Context(), "A.B", in, &out, CallOptions{}); err != nil {
			t.Fatal(err)
		}
		if string(in) != string(out) {
			t.Errorf("%d bytes: %d came back", len(in), len(out))
		}
	}
	var text string
	if err := c.Call(t.Context(), "A.B", Raw(nil), &text, CallOptions{}); err != nil || text != "" {
		t.Errorf("empty raw: %q, %v", text, err)
	}
	if err := c.Call(t.Context(), "A.B", "number", new(int), CallOptions{}); !errors.Is(err, errs.Internal) {
		t.Errorf("an answer of the wrong sort: %v", err)
	}
}

func TestTypedArgument(t *testing.T) {
	for _, typed := range []any{sum, &sum} {
		var got Sum
		if err := (&Call{Typed: typed}).Decode(&got); err != nil || !cmp.Equal(got, sum) {
			t.Errorf("%T: %v, %v", typed, got, err)
		}
	}
	if err := (&Call{Typed: &sum}).Decode(new(string)); !errors.Is(err, errs.Invalid) {
		t.Errorf("wrong type: %v", err)
	}
	if err := (&Call{Typed: &sum}).Decode(nil); err == nil {
		t.Error("decoded into nil")
	}
}
