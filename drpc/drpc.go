// Package drpc is the client of an agent's local sockets: calls of a method of
// a module over a Unix socket, with the caller's identity proven by the kernel.
// Listen is the other half, for programs that the agent calls.
//
//	c := drpc.NewClient("/run/cairn/agent.sock", drpc.Options{})
//	if err := c.Connect(ctx); err != nil { ... }
//	defer c.Close()
//	resp, err := c.SendMsg(ctx, &drpc.Call{Module: 2, Method: 201})
//	if err == nil {
//		err = resp.Err()
//	}
//
// A Client makes any number of calls at the same time over one connection.
// What a process holds through the agent, a lock for instance, belongs to the
// connection that took it and is given back when that connection ends.
package drpc

import (
	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/internal/errs"
)

// Call asks for one method of one module. The client chooses its sequence, and
// its timeout from the context's deadline.
type Call = drpc.Call

// Response is the answer to one Call. Err returns the failure that it reports.
type Response = drpc.Response

// Erratum is one detail of a failure.
type Erratum = drpc.Erratum

// Error is the type of every error of this package, for errors.As. Its Code is
// for errors.Is; its Executed says of a call that was lost whether it ran.
type Error = errs.Error

// Code is a class of failure, itself usable as the target of errors.Is.
type Code = errs.Code

// Status is how a call ended.
type Status = drpc.Status

// The statuses.
const (
	StatusSuccess                = drpc.Status_SUCCESS
	StatusSubmitted              = drpc.Status_SUBMITTED
	StatusFailure                = drpc.Status_FAILURE
	StatusUnknownModule          = drpc.Status_UNKNOWN_MODULE
	StatusUnknownMethod          = drpc.Status_UNKNOWN_METHOD
	StatusFailedUnmarshalCall    = drpc.Status_FAILED_UNMARSHAL_CALL
	StatusFailedUnmarshalPayload = drpc.Status_FAILED_UNMARSHAL_PAYLOAD
	StatusFailedMarshal          = drpc.Status_FAILED_MARSHAL
	StatusPermissionDenied       = drpc.Status_PERMISSION_DENIED
	StatusDeadlineExceeded       = drpc.Status_DEADLINE_EXCEEDED
	StatusUnavailable            = drpc.Status_UNAVAILABLE
	StatusTooLarge               = drpc.Status_TOO_LARGE
)

// The codes that an answer can bring. Those of a failed connection are
// Unavailable, and Deadline where the context ended.
const (
	Invalid            = errs.Invalid
	NotFound           = errs.NotFound
	Conflict           = errs.Conflict
	PermissionDenied   = errs.PermissionDenied
	Unauthenticated    = errs.Unauthenticated
	PreconditionFailed = errs.PreconditionFailed
	TooLarge           = errs.TooLarge
	RateLimited        = errs.RateLimited
	Busy               = errs.Busy
	NoLeader           = errs.NoLeader
	NoPath             = errs.NoPath
	Unavailable        = errs.Unavailable
	Unsupported        = errs.Unsupported
	Deadline           = errs.Deadline
	Internal           = errs.Internal
)
