package mux

import "strconv"

// Protocol is the first byte of a connection, or of a stream of a multiplex v2
// session. The values are those of HashiCorp Nomad's server port.
type Protocol byte

// The protocols. ProtoTLS is followed by a handshake and another first byte.
const (
	ProtoRPC         Protocol = 1
	ProtoRaft        Protocol = 2
	ProtoMultiplex   Protocol = 3
	ProtoTLS         Protocol = 4
	ProtoStreaming   Protocol = 5
	ProtoMultiplexV2 Protocol = 6
)

// String names p for logs and metrics.
func (p Protocol) String() string {
	switch p {
	case ProtoRPC:
		return "rpc"
	case ProtoRaft:
		return "raft"
	case ProtoMultiplex:
		return "multiplex"
	case ProtoTLS:
		return "tls"
	case ProtoStreaming:
		return "streaming"
	case ProtoMultiplexV2:
		return "multiplex-v2"
	}
	return "unknown-" + strconv.Itoa(int(p))
}
