package drpc

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// Failure is an error with a status of the protocol, for handlers that need one
// that no code of package errs stands for.
type Failure struct {
	Status Status
	// Text is for the caller.
	Text  string
	cause error // local only
}

// Error returns the text.
func (f *Failure) Error() string {
	if f.Text == "" {
		return strings.ToLower(f.Status.String())
	}
	return f.Text
}

// Unwrap returns the local cause, nil for none.
func (f *Failure) Unwrap() error { return f.cause }

// Fail returns an error that is answered with the status and the text.
func Fail(status Status, text string) error { return &Failure{Status: status, Text: text} }

func failf(status Status, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	// Package proto writes a space of another kind into its errors, in some builds.
	text := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	return &Failure{Status: status, Text: text, cause: errors.Unwrap(err)}
}

// submitted is the outcome of a call whose work goes on.
type submitted struct{ operation string }

func (s *submitted) Error() string { return "submitted as operation " + s.operation }

// Submitted is what a handler returns when the work goes on after the answer:
// status SUBMITTED, with the operation that a client can ask about.
func Submitted(operation string) error { return &submitted{operation} }

// StatusOf returns the status that an error is answered with.
func StatusOf(err error) Status {
	var f *Failure
	var s *submitted
	switch {
	case err == nil:
		return Status_SUCCESS
	case errors.As(err, &f):
		return f.Status
	case errors.As(err, &s):
		return Status_SUBMITTED
	}
	return Status(errs.CodeOf(err).Surface().DRPC)
}

// Bounds on what an error may say, so that an answer about a failure is small.
const (
	maxText   = 4 << 10
	maxErrata = 64
)

// respond builds the answer to a call. A body goes out with SUCCESS only.
// Errors without a code are answered as "internal error" plus the id, under
// which the caller of respond logs the cause.
func respond(sequence int64, body []byte, err error, id string) *Response {
	r := &Response{Sequence: sequence, Status: StatusOf(err)}
	var f *Failure
	var s *submitted
	switch {
	case err == nil:
		r.Body = body
	case errors.As(err, &f):
		if f.Status != Status_SUCCESS {
			r.Text = clean(f.Error())
		}
	case errors.As(err, &s):
		r.Operation = clean(s.operation)
	default:
		r.describe(errs.From(err, id))
	}
	return r
}

func (r *Response) describe(e *errs.Error) {
	r.Text, r.Code, r.Executed = clean(e.Error()), string(e.Code), string(e.Executed)
	r.RetryAfterMs = e.RetryAfter.Milliseconds()
	for _, d := range e.Errata[:min(len(e.Errata), maxErrata)] {
		r.Errata = append(r.Errata, &Erratum{Field: clean(d.Field), Msg: clean(d.Msg)})
	}
}

// clean makes a text fit for a protobuf string: UTF-8 and of bounded length.
func clean(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	return strings.ToValidUTF8(s, "")
}

// codes gives the statuses that came without a code, from an older server, the nearest one.
var codes = map[Status]errs.Code{
	Status_FAILURE:                  errs.Internal,
	Status_UNKNOWN_MODULE:           errs.Unsupported,
	Status_UNKNOWN_METHOD:           errs.Unsupported,
	Status_FAILED_UNMARSHAL_CALL:    errs.Invalid,
	Status_FAILED_UNMARSHAL_PAYLOAD: errs.Invalid,
	Status_FAILED_MARSHAL:           errs.Internal,
	Status_PERMISSION_DENIED:        errs.PermissionDenied,
	Status_DEADLINE_EXCEEDED:        errs.Deadline,
	Status_UNAVAILABLE:              errs.Unavailable,
	Status_TOO_LARGE:                errs.TooLarge,
}

// Err returns the failure that a response reports as an *errs.Error, the one
// that the handler made; nil for SUCCESS and SUBMITTED.
func (r *Response) Err() error {
	if r.Status == Status_SUCCESS || r.Status == Status_SUBMITTED {
		return nil
	}
	e := &errs.Error{Code: errs.Code(r.Code), Msg: r.Text, Executed: errs.Executed(r.Executed)}
	if e.Code == "" {
		e.Code = errs.Internal
		if c, ok := codes[r.Status]; ok {
			e.Code = c
		}
	}
	if e.Msg == "" {
		e.Msg = "the agent answered " + strings.ToLower(r.Status.String())
	}
	if r.RetryAfterMs > 0 && r.RetryAfterMs <= int64(time.Hour/time.Millisecond)*24 {
		e.RetryAfter = time.Duration(r.RetryAfterMs) * time.Millisecond
	}
	for _, d := range r.Errata {
		e.Errata = append(e.Errata, errs.Erratum{Field: d.GetField(), Msg: d.GetMsg()})
	}
	return e
}
