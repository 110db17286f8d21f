package structs

import (
	"time"
	"unicode/utf8"
)

// MaxNodeReason bounds the reason of a change of a node, in bytes.
const MaxNodeReason = 1024

// NodeIneligibility is what was said when a node was made ineligible. It is
// forgotten when the node becomes eligible, and when a drain begins.
type NodeIneligibility struct {
	// Reason is why, in the words of whoever asked for it.
	Reason string `json:",omitempty"`
	// Until is when the leader makes the node eligible again, in whole seconds; zero
	// for not by itself. A node that drains then waits for the end of the drain.
	Until time.Time `json:",omitzero"`
	// Since is when it was said.
	Since time.Time
	// AccessorID is of the token that asked for it, "" while access control is off.
	AccessorID string `json:",omitempty"`
}

// Ends reports whether the node becomes eligible by itself.
func (i *NodeIneligibility) Ends() bool { return i != nil && !i.Until.IsZero() }

// Same reports whether two say the same, whoever said it and when.
func (i *NodeIneligibility) Same(o *NodeIneligibility) bool {
	if i == nil || o == nil {
		return i == o
	}
	return i.Reason == o.Reason && i.Until.Equal(o.Until)
}

// ParseUntil reads when something is to end: a time such as 2030-01-02T15:04:05Z, or a
// duration from now such as 2h.
func ParseUntil(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil {
		if d <= 0 {
			return time.Time{}, invalidf("the duration %q is not above 0", text)
		}
		return now.Add(d), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, invalidf("%q is neither a time such as 2030-01-02T15:04:05Z nor a duration such as 2h", text)
	}
	return at, nil
}

// NodeUpdateEligibilityRequest says whether work may be placed on a node.
type NodeUpdateEligibilityRequest struct {
	NodeID string
	// Eligibility is one of the constants of nodes.
	Eligibility string
	// Reason is kept with a node that is ineligible, and with the event; "" for none.
	Reason string
	// Until is when the leader makes an ineligible node eligible again, zero for not
	// by itself. It is rounded up to a second.
	Until time.Time `json:",omitzero"`
	// NodeEvent and UpdatedAt, in Unix seconds, are set by the leader.
	NodeEvent *NodeEvent
	UpdatedAt int64
	// AccessorID is of the caller's token, set by the leader.
	AccessorID string
	// Due above 0 makes only a node eligible whose time was up then, in Unix seconds;
	// others stay as they are. The leader sets it.
	Due int64
	WriteRequest
}

// Validate returns what no store could accept.
func (r *NodeUpdateEligibilityRequest) Validate() error {
	switch {
	case r.Eligibility != NodeSchedulingEligible && r.Eligibility != NodeSchedulingIneligible:
		return invalidf("invalid scheduling eligibility %q: must be %s or %s", r.Eligibility, NodeSchedulingEligible, NodeSchedulingIneligible)
	case len(r.Reason) > MaxNodeReason:
		return invalidf("the reason has %d bytes, at most %d are taken: say it shorter", len(r.Reason), MaxNodeReason)
	case !utf8.ValidString(r.Reason):
		return invalidf("the reason is not UTF-8")
	case !r.Until.IsZero() && r.Eligibility == NodeSchedulingEligible:
		return invalidf("only a node that is made ineligible can be so until a time")
	case r.Until.Year() > 9999:
		return invalidf("the time until which the node is ineligible is too far away: leave it out for not by itself")
	}
	return nil
}

// Ineligibility returns what the request says of a node that is made ineligible, nil
// for nothing.
func (r *NodeUpdateEligibilityRequest) Ineligibility() *NodeIneligibility {
	if r.Eligibility != NodeSchedulingIneligible || r.Reason == "" && r.Until.IsZero() {
		return nil
	}
	i := &NodeIneligibility{Reason: r.Reason, Since: time.Unix(r.UpdatedAt, 0).UTC(), AccessorID: r.AccessorID}
	if !r.Until.IsZero() {
		i.Until = r.Until.UTC().Add(time.Second - 1).Truncate(time.Second)
	}
	return i
}

// NodeEligibilityUpdateResponse answers NodeUpdateEligibilityRequest.
type NodeEligibilityUpdateResponse struct {
	NodeModifyIndex uint64
	EvalIDs         []string
	EvalCreateIndex uint64
	WriteMeta
}
