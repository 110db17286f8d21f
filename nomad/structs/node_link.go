package structs

import (
	"encoding/json"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// NodeLinkChange says that the link of a node came to a server, or left it.
type NodeLinkChange struct {
	NodeID string
	// Epoch is the fencing epoch of the link.
	Epoch uint64
	Up    bool
}

// NodeLinkUpdateRequest tells another server which links the sender has. It says
// nothing to the log: it is lost with the server that it was told to.
type NodeLinkUpdateRequest struct {
	// ServerID is the sender, Boot is random since its start.
	ServerID string
	Boot     string
	// From and To are the numbers of the change that the receiver has and of the last
	// one; with Full the changes are all links instead of what happened between.
	From, To uint64
	Full     bool
	Changes  []NodeLinkChange
	QueryOptions
}

// NodeLinkUpdateResponse answers it.
type NodeLinkUpdateResponse struct {
	// Resync asks for all links, since From is not what the receiver has.
	Resync bool
	QueryMeta
}

// NodeCallRequest calls a method of a node's agent.
type NodeCallRequest struct {
	// ServerID names a server instead of a node, for streams that servers have too.
	ServerID string
	NodeID   string
	// Method is "Service.Method" of the agent, Body its argument, JSON.
	Method string
	Body   json.RawMessage
	// Revision is the lowest revision of the method that will do, 0 for any.
	Revision int
	// Timeout bounds the call, Wait the time to wait for a link; 0 for the defaults.
	Timeout time.Duration
	Wait    time.Duration
	// Trace names the call in the logs, Caller is set by the server that has the link, Passed
	// are the names of the servers that passed the call on.
	Trace  string
	Caller string
	Passed []string
	QueryOptions
}

// NodeCallResponse is the reply of an agent, or how the call ended without one.
type NodeCallResponse struct {
	// Result is JSON; it is nil if Failure is set.
	Result  json.RawMessage
	Failure *NodeCallFailure
	// Server is the name of the server that has the link.
	Server string
	QueryMeta
}

// NodeCallFailure is how a call to an agent ended that has no result. It goes over
// every hop as it is.
type NodeCallFailure struct {
	// Outcome is the class of the failure, Kind what an application error is about.
	Outcome string
	Kind    string `json:",omitempty"`
	// Code is that of an application error where its kind alone does not say it.
	Code string `json:",omitempty"`
	// Help is for people, Text for developers.
	Help   string
	Text   string         `json:",omitempty"`
	Errata []errs.Erratum `json:",omitempty"`
	// RetryAfter is when to try again, 0 for unknown.
	RetryAfter time.Duration `json:",omitempty"`
	// Executed is what the agent says of a call that it could not end: no, yes or unknown.
	Executed string `json:",omitempty"`
	// Hint is the address of the server that may have the link.
	Hint string `json:",omitempty"`
}

// NodeNotifyRequest has the agent of a node look at what the servers say of it. The
// token is the secret of the node, which servers know.
type NodeNotifyRequest struct {
	NodeID string
	// Index is of the change that the agent is to see.
	Index uint64
	QueryOptions
}

// NodeLinkListRequest lists the links of the region.
type NodeLinkListRequest struct {
	// NodeID asks for the link of one node, "" for all.
	NodeID string
	// Local asks for those of the server that answers only.
	Local bool
	QueryOptions
}

// NodeLinkListResponse answers it.
type NodeLinkListResponse struct {
	Links []*NodeLinkInfo
	// Unreachable are the names of the servers that did not say which links they have.
	Unreachable []string
	QueryMeta
}

// NodeLinkInfo describes a link.
type NodeLinkInfo struct {
	NodeID string
	// Server is the name of the server that has the link, Remote the address of the
	// agent, Transport what it dialled over.
	Server    string
	Remote    string
	Transport string
	// Protocol is the version, Build that of the agent, Methods and Kinds what it
	// announced.
	Protocol int
	Build    string
	Epoch    uint64
	Instance string
	Session  string
	Since    time.Time
	// Running is how many calls run over the link.
	Running int
	Methods map[string]int
	Kinds   []string
}

// NodeLinkKickRequest ends the link of a node, which will dial again.
type NodeLinkKickRequest struct {
	NodeID string
	QueryOptions
}

// NodeLinkKickResponse says whether there was a link, and at which server.
type NodeLinkKickResponse struct {
	Kicked bool
	Server string
	QueryMeta
}
