package client

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// ApplyRequest is the argument of Node.Apply. Kind says which of the fields counts.
type ApplyRequest struct {
	// Kind is drain, eligibility, metadata, log_level or gc.
	Kind  string
	Cause Cause
	// Drain begins or changes the drain of the node; with End it ends it.
	Drain *DrainChange `json:",omitempty"`
	// Eligible says whether work may be placed on the node; if not, the message of
	// Cause is kept as the reason.
	Eligible *bool `json:",omitempty"`
	// Metadata sets keys; null hides one of the configuration and forgets any other.
	Metadata map[string]*string `json:",omitempty"`
	// LogLevel is trace, debug, info, warn or error, until the agent ends.
	LogLevel string `json:",omitempty"`
}

// DrainChange is a change of the drain of a node.
type DrainChange struct {
	// End ends the drain; MarkEligible lets work be placed again then.
	End, MarkEligible bool
	// Deadline is how long work may take to move: 0 for ever, below 0 for not at all.
	Deadline         time.Duration
	IgnoreSystemJobs bool
}

// ApplyReply answers Node.Apply. Op.Status tells how the operation ended.
type ApplyReply struct{ OperationID string }

// change prepares an operation, or says what is wrong with the request.
type change func(*Client, *ApplyRequest) (func(context.Context) (string, error), error)

// changes are the kinds of Node.Apply.
var changes = map[string]change{
	"drain":       (*Client).changeDrain,
	"eligibility": (*Client).changeEligibility,
	"metadata":    (*Client).changeMetadata,
	"log_level":   (*Client).changeLogLevel,
	"gc":          (*Client).collect,
}

// applyKinds returns what the agent can change.
func applyKinds() []string { return slices.Sorted(maps.Keys(changes)) }

// maxCause bounds the texts of a cause, in bytes.
const maxCause = 1024

func (c *Client) apply(_ context.Context, call *nodelink.Call, r *ApplyRequest) (*ApplyReply, error) {
	prepare := changes[r.Kind]
	switch {
	case prepare == nil:
		return nil, errs.Newf(errs.Invalid, "unknown kind %q of change: must be one of %v", r.Kind, applyKinds())
	case len(r.Cause.User) > maxCause || len(r.Cause.Message) > maxCause:
		return nil, errs.Newf(errs.Invalid, "the cause exceeds %d bytes: say it shorter", maxCause)
	}
	run, err := prepare(c, r)
	if err != nil {
		return nil, err
	}
	r.Cause.Caller = call.Caller
	id, err := c.operations.begin(r.Kind, r.Cause, run)
	if err != nil {
		return nil, err
	}
	c.logger.Info("a change of the node was asked for", "kind", r.Kind, "operation", id, "user", r.Cause.User, "message", r.Cause.Message, "accessor_id", call.Caller)
	return &ApplyReply{id}, nil
}

func (c *Client) changeDrain(r *ApplyRequest) (func(context.Context) (string, error), error) {
	if r.Drain == nil {
		return nil, errs.New(errs.Invalid, "a change of kind drain needs Drain")
	}
	args := &structs.NodeUpdateDrainRequest{NodeID: c.identity.nodeID, MarkEligible: r.Drain.MarkEligible,
		Meta: map[string]string{"user": r.Cause.User, "message": r.Cause.Message}}
	if !r.Drain.End {
		args.DrainStrategy = &structs.DrainStrategy{DrainSpec: structs.DrainSpec{Deadline: r.Drain.Deadline, IgnoreSystemJobs: r.Drain.IgnoreSystemJobs}}
	}
	return func(ctx context.Context) (string, error) {
		args.Region, args.AuthToken = c.config.Region, c.identity.secretID
		reply := &structs.NodeDrainUpdateResponse{}
		if err := c.RPC(ctx, "Node.UpdateDrain", args, reply); err != nil {
			return "", err
		}
		return "the servers took the drain", c.pull(ctx, reply.NodeModifyIndex)
	}, nil
}

func (c *Client) changeEligibility(r *ApplyRequest) (func(context.Context) (string, error), error) {
	if r.Eligible == nil {
		return nil, errs.New(errs.Invalid, "a change of kind eligibility needs Eligible")
	}
	args := &structs.NodeUpdateEligibilityRequest{NodeID: c.identity.nodeID, Eligibility: structs.NodeSchedulingIneligible, Reason: r.Cause.Message}
	if *r.Eligible {
		args.Eligibility = structs.NodeSchedulingEligible
	}
	return func(ctx context.Context) (string, error) {
		args.Region, args.AuthToken = c.config.Region, c.identity.secretID
		reply := &structs.NodeEligibilityUpdateResponse{}
		if err := c.RPC(ctx, "Node.UpdateEligibility", args, reply); err != nil {
			return "", err
		}
		return "the node is " + args.Eligibility, c.pull(ctx, reply.NodeModifyIndex)
	}, nil
}

func (c *Client) changeMetadata(r *ApplyRequest) (func(context.Context) (string, error), error) {
	if len(r.Metadata) == 0 {
		return nil, errs.New(errs.Invalid, "a change of kind metadata needs Metadata")
	}
	if err := checkMetadata(r.Metadata); err != nil {
		return nil, err
	}
	return func(context.Context) (string, error) {
		if err := c.meta.apply(r.Metadata); err != nil {
			return "", err
		}
		c.register()
		return "the metadata is kept", nil
	}, nil
}

func (c *Client) changeLogLevel(r *ApplyRequest) (func(context.Context) (string, error), error) {
	level := hclog.LevelFromString(r.LogLevel)
	if level == hclog.NoLevel {
		return nil, errs.Newf(errs.Invalid, "LogLevel %q: must be trace, debug, info, warn, error or off", r.LogLevel)
	}
	return func(context.Context) (string, error) {
		c.config.Logger.SetLevel(level) // all loggers of the agent share it
		return "the agent logs at " + level.String(), nil
	}, nil
}

// collect forgets operations that have ended, and what is left of writes that a crash
// cut off.
func (c *Client) collect(*ApplyRequest) (func(context.Context) (string, error), error) {
	return func(context.Context) (string, error) {
		return "collected", errors.Join(c.operations.forget(), c.state.sweep(sweepAge))
	}, nil
}
