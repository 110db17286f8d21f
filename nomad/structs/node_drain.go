package structs

import (
	"maps"
	"time"
)

// DrainSpec says how work is to be moved off a node.
type DrainSpec struct {
	// Deadline is how long work may take to move before it is stopped: 0 for
	// ever, below 0 for not at all.
	Deadline time.Duration
	// IgnoreSystemJobs leaves the work that runs on every node.
	IgnoreSystemJobs bool
}

// DrainStrategy is a drain that has begun.
type DrainStrategy struct {
	DrainSpec
	// ForceDeadline is when what is left is stopped, zero for never.
	ForceDeadline time.Time
	StartedAt     time.Time
}

// DrainStatus is how far a drain is.
type DrainStatus string

// The states of a drain.
const (
	DrainStatusDraining DrainStatus = "draining"
	DrainStatusComplete DrainStatus = "complete"
	DrainStatusCanceled DrainStatus = "canceled"
)

// DrainMetadata is what is remembered of a drain.
type DrainMetadata struct {
	StartedAt time.Time
	UpdatedAt time.Time
	Status    DrainStatus
	// AccessorID is of the token that asked for it last, "" while access control is off.
	AccessorID string
	// Meta is free for whoever asks for the drain.
	Meta map[string]string
}

// Copy returns a deep copy; nil gives nil.
func (d *DrainMetadata) Copy() *DrainMetadata {
	if d == nil {
		return nil
	}
	c := *d
	c.Meta = maps.Clone(d.Meta)
	return &c
}

// Begin returns the strategy of a drain that begins at start.
func (s *DrainSpec) Begin(start time.Time) *DrainStrategy {
	d := &DrainStrategy{DrainSpec: *s, StartedAt: start.UTC()}
	if s.Deadline > 0 {
		d.ForceDeadline = d.StartedAt.Add(s.Deadline)
	}
	return d
}

// NodeUpdateDrainRequest begins, changes or ends the drain of a node.
type NodeUpdateDrainRequest struct {
	NodeID string
	// DrainStrategy is nil to end the drain.
	DrainStrategy *DrainStrategy
	// MarkEligible lets work be placed again when a drain ends.
	MarkEligible bool
	// NodeEvent and UpdatedAt, in Unix seconds, are set by the leader.
	NodeEvent *NodeEvent
	UpdatedAt int64
	// Meta is kept with the drain.
	Meta map[string]string
	// AccessorID is of the caller's token, set by the leader.
	AccessorID string
	// Caller is who asks, in words, for the operation of the drain.
	Caller string `codec:"Caller" json:"-"`
	WriteRequest
}

// DrainUpdate is the change of the drain of one node in a batch.
type DrainUpdate struct {
	DrainStrategy *DrainStrategy
	MarkEligible  bool
}

// BatchNodeUpdateDrainRequest changes the drains of several nodes, by ID; the
// leader ends drains by it. Nodes that are gone are left out.
type BatchNodeUpdateDrainRequest struct {
	Updates    map[string]*DrainUpdate
	NodeEvents map[string]*NodeEvent
	// UpdatedAt is in Unix seconds.
	UpdatedAt int64
	WriteRequest
}

// NodeDrainUpdateResponse answers NodeUpdateDrainRequest.
type NodeDrainUpdateResponse struct {
	NodeModifyIndex uint64
	EvalIDs         []string
	EvalCreateIndex uint64
	// OperationID is of the operation that shows how far a drain is, "" for none.
	OperationID string `codec:"OperationID" json:"-"`
	WriteMeta
}
