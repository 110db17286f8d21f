package structs

import "net"

// MembersResponse lists the members of the gossip pool, as one server sees them.
type MembersResponse struct {
	ServerName   string
	ServerRegion string
	ServerDC     string
	Members      []*AgentMember
}

// AgentMember is one member of the gossip pool.
type AgentMember struct {
	Name string
	Addr net.IP
	Port uint16
	Tags map[string]string
	// Status is alive, leaving, left or failed.
	Status      string
	ProtocolMin uint8
	ProtocolMax uint8
	ProtocolCur uint8
	DelegateMin uint8
	DelegateMax uint8
	DelegateCur uint8
}

// ReadIndexResponse tells a server how far it must have applied the log before
// what it serves is as new as the moment of the call.
type ReadIndexResponse struct {
	// RaftIndex is the last entry of the log that reached the leader's store.
	RaftIndex uint64
	QueryMeta
}

// ReadIndexRequest asks the leader for a confirmed index.
type ReadIndexRequest struct {
	QueryOptions
}

// RegionIndexResponse tells how far the store of a region is, at the least.
type RegionIndexResponse struct{ Index uint64 }

// ClusterResponse tells which cluster a server belongs to.
type ClusterResponse struct {
	// ClusterID is "" for a server that holds no state yet.
	ClusterID string
}
