package jsonrpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cairn-project/cairn/internal/errs"
)

// TestErrorsSurviveTheConnection makes every error of the product in a handler
// and compares it with what the client returns, after one hop and after two.
func TestErrorsSurviveTheConnection(t *testing.T) {
	s := testServer(t)
	client := &Client{Path: startSocket(t, s, DefaultSocketConfig())}
	defer client.Close()
	for _, code := range errs.Codes() {
		name := "fail_" + string(code)
		want := errs.New(code, "text of "+name).WithErrata(errs.Erratum{Field: "a", Msg: "one"}, errs.Erratum{Msg: "two"}).WithRetryAfter(3 * time.Second)
		if code == errs.Unavailable {
			want.Executed = errs.ExecutedUnknown
		}
		mustRegister(t, s,
			Method{Name: name, Handler: always(nil, fmt.Errorf("%w", want))},
			Method{Name: name + "_twice", Handler: func(ctx context.Context, _ json.RawMessage) (any, error) {
				return nil, client.Call(ctx, name, nil, nil)
			}})
		for _, method := range []string{name, name + "_twice"} {
			var got *errs.Error
			err := client.Call(context.Background(), method, nil, nil)
			if !errors.Is(err, code) || !errors.As(err, &got) {
				t.Errorf("%s: %v", method, err)
				continue
			}
			if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(errs.Error{})); diff != "" {
				t.Errorf("%s:\n%s", method, diff)
			}
			var e *Error
			if errors.As(err, &e); e.Code != code.Surface().JSONRPC {
				t.Errorf("%s: code %d, want %d", method, e.Code, code.Surface().JSONRPC)
			}
		}
	}
}

func TestCodesAgreeWithTheTable(t *testing.T) {
	for code, want := range map[errs.Code]int{errs.Invalid: CodeInvalidParams, errs.Busy: CodeBusy, errs.TooLarge: CodeTooLarge,
		errs.Deadline: CodeTimeout, errs.NoLeader: CodeNoLeader, errs.Internal: CodeInternal, errs.Unsupported: CodeMethodNotFound} {
		if got := code.Surface().JSONRPC; got != want {
			t.Errorf("%s is %d, want %d", code, got, want)
		}
		if got := (&Error{Code: want, Message: "x"}).Coded().Code; got != code {
			t.Errorf("%d is %s, want %s", want, got, code)
		}
	}
	for code, want := range map[int]errs.Code{CodeParse: errs.Invalid, CodeInvalidRequest: errs.Invalid, CodeBatchTooLarge: errs.TooLarge,
		CodeExecution: errs.Internal, CodeUnauthorized: errs.PermissionDenied, 4711: errs.Internal} {
		if got := (&Error{Code: code}).Coded().Code; got != want {
			t.Errorf("%d is %s, want %s", code, got, want)
		}
	}
}

func TestErrorsAlwaysSaySomething(t *testing.T) {
	s := testServer(t)
	mustRegister(t, s, Method{Name: "mute", Handler: always(nil, &Error{Code: 77})})
	if got := ask(t, s, root, call("mute")).Error; got.Message != "error 77" {
		t.Errorf("%+v", got)
	}
	if got := Failed(Detail{Code: 1, Message: "already draining"}).Error(); got != "error during execution (9): already draining" {
		t.Error(got)
	}
}
