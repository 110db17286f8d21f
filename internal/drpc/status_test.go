package drpc

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/cairn-project/cairn/internal/errs"
)

func TestStatusOf(t *testing.T) {
	cases := map[Status]error{
		Status_SUCCESS:           nil,
		Status_FAILURE:           errors.New("plain"),
		Status_DEADLINE_EXCEEDED: fmt.Errorf("wrapped: %w", context.DeadlineExceeded),
		Status_SUBMITTED:         Submitted("op"),
		Status_UNAVAILABLE:       errs.New(errs.NoLeader, ""),
	}
	for want, err := range cases {
		if have := StatusOf(err); have != want {
			t.Errorf("%v is status %v, want %v", err, have, want)
		}
	}
	for n := range Status_name {
		if have := StatusOf(fmt.Errorf("wrapped: %w", Fail(Status(n), "x"))); have != Status(n) {
			t.Errorf("a failure of status %d is %v", n, have)
		}
	}
	if StatusOf(Fail(-1, "")) != -1 {
		t.Error("a status of no name is not kept")
	}
}

// TestFailureOfSuccess: a failure that says success is one, without a body.
func TestFailureOfSuccess(t *testing.T) {
	resp := respond(3, []byte("dropped"), Fail(Status_SUCCESS, "no text either"), "")
	if resp.Sequence != 3 || resp.Status != Status_SUCCESS || resp.Body != nil || resp.Text != "" {
		t.Errorf("answered %v", resp)
	}
}

// TestErrOfOlderServers: a status without a code becomes the nearest one.
func TestErrOfOlderServers(t *testing.T) {
	for n := range Status_name {
		resp := &Response{Status: Status(n)}
		err := resp.Err()
		if n < 2 {
			if err != nil {
				t.Errorf("status %d is the error %v", n, err)
			}
			continue
		}
		if back := StatusOf(err); back != Status(n) && n != 3 && n != 5 && n != 7 { // those have no code of their own
			t.Errorf("status %d became %s, which is status %d", n, errs.CodeOf(err), back)
		}
	}
	if err := (&Response{Status: 77}).Err(); !errors.Is(err, errs.Internal) {
		t.Errorf("a status of the future is %v", err)
	}
}

func TestTextIsBounded(t *testing.T) {
	e := errs.New(errs.Invalid, string(pattern(maxText+100)))
	for range maxErrata + 10 {
		e.Errata = append(e.Errata, errs.Erratum{Field: "f", Msg: string(pattern(maxText + 1))})
	}
	resp := respond(1, nil, e, "")
	if len(resp.Text) != maxText || len(resp.Errata) != maxErrata || len(resp.Errata[0].Msg) != maxText {
		t.Errorf("text of %d bytes, %d errata of %d", len(resp.Text), len(resp.Errata), len(resp.Errata[0].Msg))
	}
}
