package structs

import (
	"fmt"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// OperationState says how far an operation or a step of it is.
type OperationState string

// The states. The last three are final; unreachable is a failure of the way to
// whoever should have done it.
const (
	OperationQueued      OperationState = "queued"
	OperationRunning     OperationState = "running"
	OperationSucceeded   OperationState = "succeeded"
	OperationFailed      OperationState = "failed"
	OperationUnreachable OperationState = "unreachable"
)

// Done reports whether nothing more will happen.
func (s OperationState) Done() bool { return s != OperationQueued && s != OperationRunning }

// OperationKindDrain is the kind of the drains of nodes, which the leader runs.
const OperationKindDrain = "drain"

// Bounds of operations.
const (
	// MaxOperations is how many are kept.
	MaxOperations = 100
	// MaxOperationSteps bounds the steps and their parts together.
	MaxOperationSteps = 256
	// MaxOperationText bounds each text, in bytes.
	MaxOperationText = 1024
	maxOperationID   = 128
)

// Operation is a piece of long work that concerns the whole region.
type Operation struct {
	ID string
	// Token is what whoever asked for it chose to find it again, "" for nothing.
	Token string
	Kind  string
	Name  string
	// NodeID is the node that it is about, "" for none.
	NodeID string
	// Caller is who asked for it, in words, AccessorID that of their token, Reason why.
	Caller     string
	AccessorID string
	Reason     string
	// Agent is the name of the agent that runs it, "" for the leader of the region,
	// whoever that is. Expires is when it is lost unless the agent has said how it ended.
	Agent   string
	Expires time.Time

	State    OperationState
	Message  string
	Created  time.Time
	Finished time.Time
	Steps    []*OperationStep

	CreateIndex uint64
	ModifyIndex uint64
}

// OperationStep is a part of an operation.
type OperationStep struct {
	Name     string
	State    OperationState
	Message  string
	Created  time.Time
	Finished time.Time
	Parts    []*OperationPart
}

// OperationPart is a part of a step.
type OperationPart struct {
	Name    string
	State   OperationState
	Message string
}

// Copy returns a deep copy; nil gives nil.
func (o *Operation) Copy() *Operation {
	if o == nil {
		return nil
	}
	c := *o
	c.Steps = nil
	for _, s := range o.Steps {
		sc := *s
		sc.Parts = nil
		for _, p := range s.Parts {
			pc := *p
			sc.Parts = append(sc.Parts, &pc)
		}
		c.Steps = append(c.Steps, &sc)
	}
	return &c
}

// Lost reports whether the agent that ran the operation is gone: it had to say how
// that ended, and has not.
func (o *Operation) Lost(now time.Time) bool {
	return o.Agent != "" && !o.State.Done() && now.After(o.Expires)
}

// Step returns the step of a name, which is added if it is missing.
func (o *Operation) Step(name string) *OperationStep {
	for _, s := range o.Steps {
		if s.Name == name {
			return s
		}
	}
	s := &OperationStep{Name: name, State: OperationQueued, Created: o.Created}
	o.Steps = append(o.Steps, s)
	return s
}

// Finish ends the operation. Steps that have not ended fail with it, or succeed if
// it did.
func (o *Operation) Finish(state OperationState, message string, at time.Time) {
	o.State, o.Message, o.Finished = state, message, at
	for _, s := range o.Steps {
		if s.State.Done() {
			continue
		}
		s.State, s.Finished = OperationSucceeded, at
		if state != OperationSucceeded {
			s.State, s.Message = OperationFailed, "the operation ended before"
		}
	}
}

// Validate returns every problem at once.
func (o *Operation) Validate() error {
	if o == nil {
		return invalidf("operation is missing")
	}
	var wrong []errs.Erratum
	bad := func(when bool, field, format string, args ...any) {
		if when {
			wrong = append(wrong, errs.Erratum{Field: field, Msg: fmt.Sprintf(format, args...)})
		}
	}
	bad(o.ID == "" || len(o.ID) > maxOperationID, "ID", "the ID must have 1 to %d bytes", maxOperationID)
	bad(len(o.Token) > maxOperationID, "Token", "the token must have at most %d bytes", maxOperationID)
	bad(o.Kind == "" || o.Name == "", "Kind", "an operation needs a kind and a name")
	bad(!o.State.known(), "State", "unknown state %q", o.State)
	bad(o.State.Done() == o.Finished.IsZero(), "Finished", "an operation has an end if it has ended, and none before")
	long, steps := longest(o.Kind, o.Name, o.Caller, o.Reason, o.Agent, o.Message, o.NodeID, o.AccessorID), len(o.Steps)
	for _, s := range o.Steps {
		if s == nil {
			return invalidf("a step of the operation is missing")
		}
		bad(!s.State.known(), "Steps", "unknown state %q", s.State)
		long, steps = max(long, longest(s.Name, s.Message)), steps+len(s.Parts)
		for _, p := range s.Parts {
			if p == nil {
				return invalidf("a part of a step of the operation is missing")
			}
			bad(!p.State.known(), "Steps", "unknown state %q", p.State)
			long = max(long, longest(p.Name, p.Message))
		}
	}
	bad(long > MaxOperationText, "Message", "a text has %d bytes, at most %d are taken", long, MaxOperationText)
	bad(steps > MaxOperationSteps, "Steps", "there are %d steps, at most %d are taken", steps, MaxOperationSteps)
	return errataError("invalid operation", wrong)
}

func (s OperationState) known() bool {
	switch s {
	case OperationQueued, OperationRunning, OperationSucceeded, OperationFailed, OperationUnreachable:
		return true
	}
	return false
}

// longest returns the length of the longest text, in bytes.
func longest(texts ...string) (n int) {
	for _, t := range texts {
		n = max(n, len(t))
	}
	return n
}

// OperationUpsertResponse answers OperationUpsertRequest.
type OperationUpsertResponse struct {
	WriteMeta
}

// OperationListRequest lists operations, the newest first. Empty fields match all.
type OperationListRequest struct {
	ID    string
	Token string
	Kind  string
	// NodeID asks for those about a node.
	NodeID string
	QueryOptions
}

// OperationListResponse answers it.
type OperationListResponse struct {
	Operations []*Operation
	QueryMeta
}
