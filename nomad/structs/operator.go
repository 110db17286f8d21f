package structs

import "github.com/hashicorp/raft"

// RaftConfigurationResponse shows the Raft peers as one server sees them.
type RaftConfigurationResponse struct {
	Servers []*RaftServer
	// Index is the Raft index of the configuration.
	Index uint64
}

// RaftServer is one Raft peer.
type RaftServer struct {
	ID      raft.ServerID
	Node    string
	Address raft.ServerAddress
	Leader  bool
	Voter   bool
	// RaftProtocol is the version of the Raft protocol, "3".
	RaftProtocol string
}

// RaftPeerByIDRequest removes a Raft peer.
type RaftPeerByIDRequest struct {
	ID raft.ServerID
	WriteRequest
}

// RaftPeerRequest names a Raft peer by ID or by address, never both.
type RaftPeerRequest struct {
	ID      raft.ServerID
	Address raft.ServerAddress
	WriteRequest
}

// LeadershipTransferResponse says what became of a transfer of leadership.
type LeadershipTransferResponse struct {
	From RaftIDAddress
	To   RaftIDAddress
	Noop bool
	WriteMeta
}

// RaftIDAddress names a Raft peer.
type RaftIDAddress struct {
	Address raft.ServerAddress
	ID      raft.ServerID
}
