package structs

import (
	"time"

	"github.com/google/uuid"
)

// NodeRegisterRequest makes a node known, or tells what changed of it.
type NodeRegisterRequest struct {
	Node      *Node
	NodeEvent *NodeEvent
	// CreateNodePool makes the pool that the node names if there is none; the
	// leader decides.
	CreateNodePool bool
	WriteRequest
}

// Validate returns what no store could accept. Whatever a node leaves open gets
// its default.
func (r *NodeRegisterRequest) Validate() error {
	n := r.Node
	switch {
	case n == nil:
		return invalidf("missing node for client registration")
	case uuid.Validate(n.ID) != nil || len(n.ID) != 36:
		return invalidf("the node ID %q is not a UUID", n.ID)
	case uuid.Validate(n.SecretID) != nil:
		return invalidf("missing node secret ID for client registration: it must be a UUID")
	case n.Datacenter == "":
		return invalidf("missing datacenter for client registration")
	case n.Name == "":
		return invalidf("missing node name for client registration")
	case n.NodePool == NodePoolAll:
		return invalidf("node is not allowed to register in node pool %q: it has all nodes anyway", NodePoolAll)
	case !validNodeStatus(n.Status):
		return invalidf("invalid status %q for node", n.Status)
	}
	return ValidateNodePoolName(n.NodePool)
}

func validNodeStatus(s string) bool {
	switch s {
	case NodeStatusInit, NodeStatusReady, NodeStatusDown, NodeStatusDisconnected:
		return true
	}
	return false
}

// NodeDeregisterRequest deletes one node.
type NodeDeregisterRequest struct {
	NodeID string
	WriteRequest
}

// NodeBatchDeregisterRequest deletes nodes, all or none.
type NodeBatchDeregisterRequest struct {
	NodeIDs []string
	// DownBefore above 0 leaves alone the nodes that have not been down since that
	// time or longer, and those that are gone. In seconds of Unix time.
	DownBefore int64
	WriteRequest
}

// Validate returns what no store could accept.
func (r *NodeBatchDeregisterRequest) Validate() error {
	if len(r.NodeIDs) == 0 {
		return invalidf("missing node IDs for client deregistration")
	}
	return nil
}

// NodeServerInfo is a server as nodes are told of it.
type NodeServerInfo struct {
	// RPCAdvertiseAddr is the server port, host:port.
	RPCAdvertiseAddr string
	RPCMajorVersion  int32
	RPCMinorVersion  int32
	Datacenter       string
}

// NodeUpdateStatusRequest is a heartbeat, or tells of another state of the node.
type NodeUpdateStatusRequest struct {
	NodeID string
	// Status is one of the constants of nodes.
	Status string
	// IdentitySigningKeyID is the root key that signed the identity made on this
	// occasion, "" for none; the leader sets it.
	IdentitySigningKeyID string
	// ForceIdentityRenewal asks for a new identity before the old one is due.
	ForceIdentityRenewal bool
	// NodeEvent and UpdatedAt, in Unix seconds, are set by the leader.
	NodeEvent *NodeEvent
	UpdatedAt int64
	WriteRequest
}

// Validate returns what no store could accept.
func (r *NodeUpdateStatusRequest) Validate() error {
	if !validNodeStatus(r.Status) {
		return invalidf("invalid status %q for node", r.Status)
	}
	return nil
}

// NodeUpdateResponse answers what a node tells of itself.
type NodeUpdateResponse struct {
	// HeartbeatTTL is how long the node may be silent, 0 if it need not call.
	HeartbeatTTL    time.Duration
	EvalIDs         []string
	EvalCreateIndex uint64
	// NodeModifyIndex is set when the node was written, as Index is.
	NodeModifyIndex uint64
	// LeaderRPCAddr is the server port of the leader, NumNodes how many nodes
	// there are, Servers the servers of the region that are alive.
	LeaderRPCAddr string
	NumNodes      int32
	Servers       []*NodeServerInfo
	// SchedulingEligibility is that of the node.
	SchedulingEligibility string
	// SignedIdentity is a new identity of the node, nil unless one was due.
	SignedIdentity *string
	// LinkEpoch is that of the node, for the hello of its link.
	LinkEpoch uint64
	WriteMeta
}

// EmitNodeEventsRequest adds events to nodes, by ID.
type EmitNodeEventsRequest struct {
	NodeEvents map[string][]*NodeEvent
	WriteRequest
}

// UpsertNodeEvents is the request of UpsertNodeEventsType.
type UpsertNodeEvents = EmitNodeEventsRequest

// EmitNodeEventsResponse answers EmitNodeEventsRequest.
type EmitNodeEventsResponse struct {
	WriteMeta
}

// NodeEvaluateRequest asks for the work of a node to be placed again.
type NodeEvaluateRequest struct {
	NodeID string
	WriteRequest
}

// NodeListRequest lists nodes.
type NodeListRequest struct {
	// Fields is nil for the usual.
	Fields *NodeStubFields
	QueryOptions
}

// NodeListResponse answers NodeListRequest in order of ID.
type NodeListResponse struct {
	Nodes []*NodeListStub
	QueryMeta
}

// NodeSpecificRequest asks for one node, or something of it.
type NodeSpecificRequest struct {
	NodeID string
	// SecretID proves that the node itself asks, "" where that need not be.
	SecretID string
	QueryOptions
}

// SingleNodeResponse answers NodeSpecificRequest, without the node's secret; nil
// means absent.
type SingleNodeResponse struct {
	Node *Node
	QueryMeta
}
