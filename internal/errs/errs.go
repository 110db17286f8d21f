// Package errs holds the one error type of Cairn. An Error keeps its meaning
// over every transport: Raft results, RPC, HTTP, JSON-RPC and dRPC all carry
// the same code, text and details.
package errs

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Code names a class of failure. Codes are append-only strings that appear on
// the wire. A Code is itself an error, so errors.Is(err, errs.NotFound) holds
// locally and after any number of hops.
type Code string

// The codes. Their HTTP status, JSON-RPC code and dRPC status are in table.go.
const (
	// Invalid: the request is malformed or breaks a rule that no retry changes.
	Invalid Code = "invalid"
	// NotFound: the object named does not exist.
	NotFound Code = "not_found"
	// Conflict: the object changed since the caller looked, or somebody else holds it.
	Conflict Code = "conflict"
	// PermissionDenied: the caller is known and may not do this.
	PermissionDenied Code = "permission_denied"
	// Unauthenticated: the caller could not be identified.
	Unauthenticated Code = "unauthenticated"
	// PreconditionFailed: the state of the cluster forbids the operation now.
	PreconditionFailed Code = "precondition_failed"
	// TooLarge: a message, value or batch exceeds a limit.
	TooLarge Code = "too_large"
	// RateLimited: the caller used up its share; RetryAfter says when to come back.
	RateLimited Code = "rate_limited"
	// Busy: the server is short of some resource; RetryAfter says when to come back.
	Busy Code = "busy"
	// NoLeader: the region has no leader at present.
	NoLeader Code = "no_leader"
	// NoPath: no server of the region asked for is known.
	NoPath Code = "no_path"
	// Unavailable: a transport failed; Executed says whether the call may have run.
	Unavailable Code = "unavailable"
	// Unsupported: this server, version or agent cannot serve the call.
	Unsupported Code = "unsupported"
	// Deadline: the caller's time was up or it went away.
	Deadline Code = "deadline"
	// Internal: a fault of ours; the cause is in the local log only.
	Internal Code = "internal"
)

// Error makes a Code usable as the target of errors.Is.
func (c Code) Error() string { return string(c) }

// Executed says whether a call that failed in transport may have taken effect.
type Executed string

// The three answers. The zero value means that the question does not arise.
const (
	// ExecutedNo: the call was provably not sent, so it is safe to send it again.
	ExecutedNo Executed = "no"
	// ExecutedYes: the call took effect although its answer was lost.
	ExecutedYes Executed = "yes"
	// ExecutedUnknown: the call was sent and its answer never came.
	ExecutedUnknown Executed = "unknown"
)

// Erratum is one detail of a failure, for requests that are wrong in several
// places at once.
type Erratum struct {
	// Field is the path of the offending field, "" for the request as a whole.
	Field string `json:",omitempty"`
	// Msg says what is wrong, in lower case.
	Msg string
}

// Error is a failure with a meaning. It is immutable once returned.
type Error struct {
	Code Code
	// Msg is for people: lower case, and says what to do next where there is something to do.
	Msg string
	// Errata lists every problem found, nil when Msg says it all.
	Errata []Erratum
	// RetryAfter is how long to wait before trying again, 0 for unknown.
	RetryAfter time.Duration
	// Executed is set on transport failures only.
	Executed Executed

	cause error // local only, never encoded
}

// New returns an error with the code and the text.
func New(code Code, msg string) *Error { return &Error{Code: code, Msg: msg} }

// Newf is New with a format. What %w verbs wrap is kept as the local cause.
func Newf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	e := &Error{Code: code, Msg: err.Error()}
	switch err.(type) {
	case interface{ Unwrap() error }, interface{ Unwrap() []error }:
		e.cause = err
	}
	return e
}

// Wrap gives a code to an error of a library. The text sent to callers is msg
// alone; the cause stays local and is reachable through errors.Is and As.
func Wrap(code Code, msg string, cause error) *Error {
	return &Error{Code: code, Msg: msg, cause: cause}
}

// Gone says that nobody waits for the answer any more; cause is that of the context.
func Gone(cause error) *Error { return Wrap(Deadline, "the caller went away", cause) }

// Lost reports a transport failure. executed says whether the call may have run.
func Lost(executed Executed, msg string, cause error) *Error {
	return &Error{Code: Unavailable, Msg: msg, Executed: executed, cause: cause}
}

// WithErrata returns a copy of e that carries the details.
func (e *Error) WithErrata(errata ...Erratum) *Error {
	c := *e
	c.Errata = append(append([]Erratum(nil), e.Errata...), errata...)
	return &c
}

// WithRetryAfter returns a copy of e that says when to try again.
func (e *Error) WithRetryAfter(d time.Duration) *Error {
	c := *e
	c.RetryAfter = d
	return &c
}

// Error returns the text for people.
func (e *Error) Error() string {
	if e.Msg == "" {
		return string(e.Code)
	}
	return e.Msg
}

// Is reports whether target is e's code.
func (e *Error) Is(target error) bool {
	code, ok := target.(Code)
	return ok && code == e.Code
}

// Unwrap returns the local cause, nil on errors that came over a wire.
func (e *Error) Unwrap() error { return e.cause }

// CodeOf returns the code of err: "" for nil, Deadline for the end of a context,
// Internal for any other error without one.
func CodeOf(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	var c Code
	if errors.As(err, &c) {
		return c
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return Deadline
	}
	return Internal
}

// From returns err as an *Error. Errors without a code become Internal with
// their text kept local: the caller logs it beside the request ID it reports.
func From(err error, requestID string) *Error {
	if err == nil {
		return nil
	}
	if own, ok := err.(interface{ Coded() *Error }); ok { // the form of a protocol, whose text has its numbers
		return own.Coded()
	}
	var e *Error
	if errors.As(err, &e) {
		if err == error(e) {
			return e
		}
		c := *e // keep what was wrapped around it
		c.Msg = err.Error()
		return &c
	}
	if c := CodeOf(err); c != Internal {
		return &Error{Code: c, Msg: err.Error(), cause: err}
	}
	return &Error{Code: Internal, Msg: "internal error, request " + requestID, cause: err}
}

// NotSent reports whether err proves that the call never reached a server, so
// that sending it again cannot apply it twice.
func NotSent(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Executed == ExecutedNo
}
