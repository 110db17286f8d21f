package mux

import (
	"strconv"

	"github.com/cairn-project/cairn/internal/tlsconf"
)

// Protocol is the first byte of a connection, or of a stream of a multiplex v2
// session. Those up to 6 are the values of HashiCorp Nomad's server port.
type Protocol byte

// The protocols. ProtoTLS is followed by a handshake and, unless that chose a
// protocol by name, another first byte.
const (
	ProtoRPC         Protocol = 1
	ProtoRaft        Protocol = 2
	ProtoMultiplex   Protocol = 3
	ProtoTLS         Protocol = 4
	ProtoStreaming   Protocol = 5
	ProtoMultiplexV2 Protocol = 6
	ProtoSnapshot    Protocol = 7
	ProtoJoin        Protocol = 8
	ProtoNodeLink    Protocol = 9
	// protoHello begins a TLS record with a ClientHello: TLS without the byte in front.
	protoHello Protocol = 22
	// ProtoGRPC begins the HTTP/2 connection preface; the handler reads it again.
	ProtoGRPC Protocol = 'P'
)

// JoinALPN is the name of ProtoJoin, the only protocol that may be open to peers
// without a certificate.
const JoinALPN = "cairn/join"

// Access says which certificates open a protocol within TLS.
type Access int

// The accesses. Everyone is for what only leads to another protocol.
const (
	Everyone Access = iota
	// Servers are the servers of this region.
	Servers
	// Agents are the servers of any region and the clients of this one.
	Agents
	// Members are agents and the CLI of this region.
	Members
)

// String describes a in the documents.
func (a Access) String() string {
	switch a {
	case Servers:
		return "server of the same region"
	case Agents:
		return "server of any region, client of the same"
	case Members:
		return "server of any region, client or CLI of the same"
	}
	return "any"
}

// Allows reports whether a peer may use a protocol of a server of the region.
func (a Access) Allows(p tlsconf.Peer, region string) bool {
	switch a {
	case Everyone:
		return true
	case Servers:
		return p.Has(tlsconf.RoleServer, region)
	case Members:
		if p.Has(tlsconf.RoleCLI, region) {
			return true
		}
	}
	return p.Has(tlsconf.RoleServer, "") || p.Has(tlsconf.RoleClient, region)
}

// Row describes one protocol of the port.
type Row struct {
	// Protocol is its first byte, Name what logs and metrics call it.
	Protocol Protocol
	Name     string
	// ALPN is its name in a TLS handshake (RFC 7301), "" if it has none.
	ALPN string
	// Stream is true where a stream of a multiplex v2 session may begin with it.
	Stream bool
	// Access says who may use it within TLS.
	Access Access
	// Carries is what it is for.
	Carries string
}

// Table lists the protocols of the port in order of their bytes. The documents
// show it; the bytes and the names are frozen.
var Table = []Row{
	{ProtoRPC, "rpc", "cairn/rpc", true, Agents, "calls, pipelined, in the format of net/rpc over MessagePack"},
	{ProtoRaft, "raft", "cairn/raft", false, Servers, "consensus; heartbeats have a connection of their own"},
	{ProtoMultiplex, "multiplex", "cairn/multiplex", false, Agents, "yamux session, each stream is `rpc`"},
	{ProtoTLS, "tls", "", false, Everyone, "TLS handshake, then a protocol by ALPN or by another first byte"},
	{ProtoStreaming, "streaming", "cairn/streaming", true, Agents, "one streaming call"},
	{ProtoMultiplexV2, "multiplex-v2", "cairn/multiplex-v2", false, Agents, "yamux session, each stream begins with a byte"},
	{ProtoSnapshot, "snapshot", "cairn/snapshot", false, Servers, "one snapshot for a server that lags behind"},
	{ProtoJoin, "join", JoinALPN, false, Everyone, "the first certificate of an agent that shows a join token; within TLS only"},
	{ProtoNodeLink, "node-link", "cairn/node-link", false, Agents, "link of a node agent: yamux session over which the server calls the agent"},
	{protoHello, "tls-hello", "", false, Everyone, "TLS handshake without a byte in front"},
	{ProtoGRPC, "grpc", "h2", false, Members, "HTTP/2 preface: gRPC health, reflection and status"},
}

// row returns the row of p, nil for a byte that stands for nothing.
func row(p Protocol) *Row {
	for i := range Table {
		if Table[i].Protocol == p {
			return &Table[i]
		}
	}
	return nil
}

// byALPN returns the row of a name, nil for none.
func byALPN(name string) *Row {
	for i := range Table {
		if name != "" && Table[i].ALPN == name {
			return &Table[i]
		}
	}
	return nil
}

// ALPN returns the names of all protocols, for the accepting side of TLS.
func ALPN() []string {
	var out []string
	for _, r := range Table {
		if r.ALPN != "" {
			out = append(out, r.ALPN)
		}
	}
	return out
}

// String names p for logs and metrics.
func (p Protocol) String() string {
	if r := row(p); r != nil {
		return r.Name
	}
	return "unknown-" + strconv.Itoa(int(p))
}
