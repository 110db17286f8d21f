package jsonrpc

import (
	"errors"
	"fmt"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// Detail is one entry of error.data.
type Detail struct {
	// Code says what is wrong; its meaning depends on the code of the error.
	Code int `json:"code"`
	// Message is for people, in lower case.
	Message string `json:"message"`
	// Field is the place in the request as a JSON pointer or a name, "" for the whole.
	Field string `json:"field,omitempty"`
	// Kind is the product's own code, set where the error came from errs.
	Kind errs.Code `json:"kind,omitempty"`
	// Limit is the limit that was exceeded.
	Limit int64 `json:"limit,omitempty"`
	// RetryAfterMS says when to try again, in milliseconds.
	RetryAfterMS int64 `json:"retry_after_ms,omitempty"`
	// Executed says whether a call that got no answer in time may have taken effect.
	Executed errs.Executed `json:"executed,omitempty"`
}

// Error is the error of an answer. Handlers may return one to choose code and
// details themselves; the client returns one for every error of the server. It
// is immutable once returned.
type Error struct {
	// Code is one of the codes of this package, of errs, or of a method.
	Code int `json:"code"`
	// Message is for people and never empty.
	Message string `json:"message"`
	// Data lists every problem, nil when Message says it all.
	Data []Detail `json:"data,omitempty"`
}

// Failed is the error of a method that ran and failed, with the details that
// scripts go by. A method documents the codes it uses as Method.Errata.
func Failed(details ...Detail) *Error {
	return &Error{Code: CodeExecution, Message: "error during execution", Data: details}
}

// InvalidParams is the error for parameters that are wrong in a way no schema can say.
func InvalidParams(field, msg string) *Error {
	return &Error{Code: CodeInvalidParams, Message: "invalid params",
		Data: []Detail{{Code: ErrataParams, Field: field, Message: msg}}}
}

// Error returns the text for people, with the first detail.
func (e *Error) Error() string {
	if len(e.Data) == 0 || e.Data[0].Message == e.Message {
		return fmt.Sprintf("%s (%d)", e.Message, e.Code)
	}
	return fmt.Sprintf("%s (%d): %s", e.Message, e.Code, e.Data[0].Message)
}

// Unwrap returns the error as the product's own, so that errors.Is with a code
// of errs holds on both sides of the connection.
func (e *Error) Unwrap() error { return e.Coded() }

// Coded returns the product's own form of e.
func (e *Error) Coded() *errs.Error {
	out := errs.New(e.kind(), e.Message)
	for i, d := range e.Data {
		if d.RetryAfterMS > 0 {
			out.RetryAfter = time.Duration(d.RetryAfterMS) * time.Millisecond
		}
		if d.Executed != "" {
			out.Executed = d.Executed
		}
		if i == 0 && d.Kind != "" && d.Message == e.Message {
			continue
		}
		out.Errata = append(out.Errata, errs.Erratum{Field: d.Field, Msg: d.Message})
	}
	return out
}

// kind finds the code of errs: the one that was sent along, or the one whose row
// in the table has this number.
func (e *Error) kind() errs.Code {
	for _, d := range e.Data {
		if d.Kind != "" {
			return d.Kind
		}
	}
	switch e.Code {
	case CodeParse, CodeInvalidRequest:
		return errs.Invalid
	case CodeBatchTooLarge:
		return errs.TooLarge
	case CodeExecution:
		return errs.Internal
	case CodeUnauthorized:
		if len(e.Data) > 0 && e.Data[0].Code == ErrataNoCredentials {
			return errs.Unauthenticated
		}
		return errs.PermissionDenied
	}
	for _, c := range errs.Codes() {
		if c.Surface().JSONRPC == e.Code {
			return c
		}
	}
	return errs.Internal
}

// fromError gives err the form of an answer. fault is true for an error without
// a code: the caller logs it beside the ID, which is all that is sent.
func fromError(err error, requestID string) (e *Error, fault bool) {
	if errors.As(err, &e) {
		return e.complete(), false
	}
	var coded *errs.Error
	if errs.CodeOf(err) == errs.Internal && !errors.As(err, &coded) && !errors.Is(err, errs.Internal) {
		return &Error{Code: CodeExecution, Message: "error during execution, request " + requestID}, true
	}
	c := errs.From(err, requestID)
	code, detail := c.Code.Surface().JSONRPC, c.Code.Surface().Detail
	if detail == 0 {
		detail = code
	}
	first := Detail{Code: detail, Message: c.Error(), Kind: c.Code, RetryAfterMS: roundUp(c.RetryAfter), Executed: c.Executed}
	out := &Error{Code: code, Message: c.Error(), Data: []Detail{first}}
	for _, d := range c.Errata {
		out.Data = append(out.Data, Detail{Code: detail, Message: d.Msg, Field: d.Field})
	}
	return out, false
}

// complete makes sure that an error of a handler says something.
func (e *Error) complete() *Error {
	if e.Message != "" {
		return e
	}
	c := *e
	c.Message = fmt.Sprintf("error %d", e.Code)
	return &c
}

// roundUp returns whole milliseconds, so that no wait becomes none.
func roundUp(d time.Duration) int64 {
	return int64((d + time.Millisecond - 1) / time.Millisecond)
}

// invalidRequest is the answer to a value that is no request.
func invalidRequest(details ...Detail) *Error {
	return &Error{Code: CodeInvalidRequest, Message: "invalid request", Data: details}
}

// requestDetail is one problem of a request.
func requestDetail(code int, field string) Detail {
	return Detail{Code: code, Message: requestErrata[code], Field: field}
}

// tooLarge is the error for what exceeds a limit.
func tooLarge(code int, msg string, limit int) *Error {
	return &Error{Code: code, Message: msg, Data: []Detail{{Code: ErrataLimit, Message: msg, Limit: int64(limit)}}}
}

// busy is the error for calls that are refused for the time being. They were not run.
func busy(msg string, retry time.Duration) *Error {
	return &Error{Code: CodeBusy, Message: msg,
		Data: []Detail{{Code: ErrataRetry, Message: msg, RetryAfterMS: roundUp(retry), Executed: errs.ExecutedNo}}}
}
