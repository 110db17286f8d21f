package nodelink

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Outcome is the class of how a call ended, the same on every surface.
type Outcome string

// The outcomes. A call that returns no error has a result.
const (
	// Refused: the agent answered with an application error, see Kind.
	Refused Outcome = "application_error"
	// Unsupported: the agent has no such method, kind or revision; nothing was sent.
	Unsupported Outcome = "unsupported"
	// Late: the time was up, or the caller went away.
	Late Outcome = "deadline"
	// Undecodable: the agent answered what nobody understands.
	Undecodable Outcome = "undecodable"
	// NotSent: the link broke before the call was sent.
	NotSent Outcome = "not_sent"
	// MayHaveRun: the link or the stream broke after the call was sent.
	MayHaveRun Outcome = "may_have_run"
	// NoLink: no server of the region has a link to the node.
	NoLink Outcome = "no_link"
	// Moved: the server asked no longer has the link; Hint may say who does.
	Moved Outcome = "moved"
)

// Kind says what an application error is about.
type Kind string

// The kinds.
const (
	User     Kind = "user"
	Missing  Kind = "missing"
	Conflict Kind = "conflict"
	Denied   Kind = "denied"
	Busy     Kind = "busy"
	// Away: what the agent needs for the call cannot be reached; its link is well.
	Away  Kind = "unavailable"
	Fault Kind = "server"
)

// Failure is how a call ended that has no result. It goes over every hop as it is.
type Failure struct {
	Outcome Outcome
	// Kind is set with Refused only.
	Kind Kind `json:",omitempty"`
	// Code is that of an application error where its kind alone does not say it.
	Code errs.Code `json:",omitempty"`
	// Help is for people: what is wrong, and what to do next.
	Help string
	// Text is for developers, "" if there is no more to say.
	Text string `json:",omitempty"`
	// Errata are the details of an application error.
	Errata []errs.Erratum `json:",omitempty"`
	// RetryAfter is when to try again, 0 for unknown.
	RetryAfter time.Duration `json:",omitempty"`
	// Executed is what the agent says of a call that it could not end. What the link
	// knows of that is the outcome.
	Executed errs.Executed `json:",omitempty"`
	// Hint is the address of the server that may have the link, with Moved only.
	Hint string `json:",omitempty"`
}

// Error returns the help.
func (f *Failure) Error() string { return f.Help }

// codes maps the kinds to the codes of package errs.
var codes = map[Kind]errs.Code{
	User: errs.Invalid, Missing: errs.NotFound, Conflict: errs.Conflict, Denied: errs.PermissionDenied, Busy: errs.Busy, Away: errs.Unavailable, Fault: errs.Internal,
}

// Unwrap returns f as an error with a code, so that errors.Is works with the
// codes and every transport carries it.
func (f *Failure) Unwrap() error {
	e := &errs.Error{Code: errs.Internal, Msg: f.Help, Errata: f.Errata, RetryAfter: f.RetryAfter, Executed: f.Executed}
	switch f.Outcome {
	case Refused:
		if c, ok := codes[f.Kind]; ok {
			e.Code = c
		}
		if f.Code != "" && kinds[f.Code] == f.Kind {
			e.Code = f.Code
		}
	case Unsupported:
		e.Code = errs.Unsupported
	case Late:
		e.Code = errs.Deadline
	case NoLink, Moved:
		e.Code, e.Executed = errs.NoPath, errs.ExecutedNo
	case NotSent:
		e.Code, e.Executed = errs.Unavailable, errs.ExecutedNo
	case MayHaveRun:
		e.Code, e.Executed = errs.Unavailable, errs.ExecutedUnknown
	}
	return e
}

// HTTPStatus is the status of the outcome where a call is made over HTTP.
func (f *Failure) HTTPStatus() int {
	switch f.Outcome {
	case Refused:
		switch f.Kind {
		case User:
			return 422
		case Missing:
			return 404
		case Conflict:
			return 409
		case Denied:
			return 403
		case Busy:
			return 429
		case Away:
			return 503
		}
		return 500
	case Unsupported:
		return 501
	case Late:
		return 504
	case Undecodable:
		return 502
	}
	return 503
}

// Again reports whether the call may be made again: not where it may have run,
// unless it is idempotent.
func (f *Failure) Again(idempotent bool) bool {
	switch f.Outcome {
	case NotSent, NoLink, Moved:
		return true
	case Refused:
		return f.Kind == Busy || f.Kind == Conflict || f.Kind == Away && (idempotent || f.Executed == errs.ExecutedNo)
	case Late, MayHaveRun:
		return idempotent
	}
	return false
}

// kinds maps the codes that handlers return to kinds.
var kinds = map[errs.Code]Kind{
	errs.Invalid: User, errs.TooLarge: User, errs.NotFound: Missing, errs.Conflict: Conflict, errs.PreconditionFailed: Conflict,
	errs.PermissionDenied: Denied, errs.Unauthenticated: Denied, errs.Busy: Busy, errs.RateLimited: Busy,
	errs.Unavailable: Away, errs.NoLeader: Away, errs.NoPath: Away,
}

// failed returns the failure that a handler's error is.
func failed(err error, trace string) *Failure {
	if f := new(Failure); errors.As(err, &f) {
		return f
	}
	f := &Failure{Outcome: Refused, Kind: Fault, Help: "the agent failed; its log says more under trace " + trace, Text: err.Error()}
	if e := new(errs.Error); errors.As(err, &e) {
		f.Help, f.Text, f.Errata, f.RetryAfter, f.Executed = errs.From(err, trace).Error(), "", e.Errata, e.RetryAfter, e.Executed
		if cause := e.Unwrap(); cause != nil && !strings.Contains(f.Help, cause.Error()) {
			f.Text = cause.Error()
		}
	}
	switch code := errs.CodeOf(err); code {
	case errs.Deadline:
		f.Outcome, f.Kind = Late, ""
		if !errors.As(err, new(*errs.Error)) {
			f.Help = "the node did not answer in time"
		}
	case errs.Unsupported:
		f.Outcome, f.Kind = Unsupported, ""
	default:
		if kind, ok := kinds[code]; ok {
			f.Kind = kind
			if codes[kind] != code {
				f.Code = code
			}
		}
	}
	return f
}

// ToWire returns the form in which servers tell a failure to each other and to callers.
func ToWire(f *Failure) *structs.NodeCallFailure {
	return &structs.NodeCallFailure{Outcome: string(f.Outcome), Kind: string(f.Kind), Code: string(f.Code), Help: f.Help, Text: f.Text,
		Errata: f.Errata, RetryAfter: f.RetryAfter, Executed: string(f.Executed), Hint: f.Hint}
}

// FromWire returns the failure of its form between servers.
func FromWire(f *structs.NodeCallFailure) *Failure {
	return &Failure{Outcome: Outcome(f.Outcome), Kind: Kind(f.Kind), Code: errs.Code(f.Code), Help: f.Help, Text: f.Text,
		Errata: f.Errata, RetryAfter: f.RetryAfter, Executed: errs.Executed(f.Executed), Hint: f.Hint}
}

// late returns the failure of a call whose context ended.
func late(ctx context.Context) *Failure {
	return &Failure{Outcome: Late, Help: "the node did not answer in time", Text: context.Cause(ctx).Error()}
}
