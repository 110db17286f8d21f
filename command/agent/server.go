package agent

import (
	"context"
	"encoding/json"
	"io"
	"net"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/pool"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// caller answers calls in the name of a user.
type caller interface {
	// RPC runs method in this process or where it belongs. args and reply are
	// pointers; the error carries an errs code.
	RPC(ctx context.Context, method string, args, reply any) error
	// Authorize returns the rights of a secret, for routes the agent answers itself.
	Authorize(ctx context.Context, secret string) (*acl.ACL, error)
	// Charge counts a request of a client, and refuses it when a rate is used up. RPC
	// does not.
	Charge(ctx context.Context, r nomad.Charged) error
	// Refused counts a call that the agent refused for want of right.
	Refused(rights *acl.ACL, right func(*acl.ACL) bool)
	// RightsOf returns the rights of policies and roles by their names.
	RightsOf(policies, roles []string) (*acl.ACL, error)
}

// gossiper is the gossip pool of the server.
type gossiper interface {
	Join(addrs []string) (int, error)
	ForceLeave(node string, prune bool) error
	LocalMember() *structs.AgentMember
	// GossipKeys does something with a gossip key on all members.
	GossipKeys(ctx context.Context, op structs.GossipKeyOp, key string) (*structs.GossipKeyResponse, error)
}

// replicator copies from another region.
type replicator interface {
	// SetReplicationToken replaces the secret with which it does.
	SetReplicationToken(secret string)
}

// runner is the life of the server.
type runner interface {
	// Ready returns nil once the server can serve reads and writes.
	Ready() error
	Stats() map[string]map[string]string
	// SetLimits replaces the limits of requests.
	SetLimits(nomad.LimitConfig)
	// Leave takes the server out of the cluster before it stops.
	Leave(ctx context.Context) error
	// Shutdown stops the server; its place in the cluster stays.
	Shutdown() error
}

// ending says when the server cannot go on, and prepares its end.
type ending interface {
	// Drain makes the server unhealthy while it still answers, and hands its duties
	// over. It reports whether other servers carry on.
	Drain() bool
	// Failed is closed then, and Err says why.
	Failed() <-chan struct{}
	Err() error
}

// storekeeper looks after what the server keeps for Raft.
type storekeeper interface {
	// VerifyLog and VerifySnapshots read everything against its checksums.
	VerifyLog(ctx context.Context) (*nomad.StorageCheck, error)
	VerifySnapshots(ctx context.Context) (*nomad.StorageCheck, error)
	// CompactLog takes a snapshot and shortens the log, and reports whether there was
	// something to do.
	CompactLog() (bool, error)
	// LogBounds returns the ends of the log.
	LogBounds() (first, last uint64, err error)
}

// living is the life of the server, what it copies and keeps meanwhile, and its end.
type living interface {
	runner
	replicator
	storekeeper
	ending
}

// known is who the server is, who the agent is to it, and who is connected with it.
type known interface {
	// NodeID is a UUID.
	NodeID() string
	// AgentSecret is the secret by which the server knows this process.
	AgentSecret() string
	// RPCPeers returns who calls the server, and whom it calls.
	RPCPeers() (in []wire.Peer, out []pool.Peer)
}

// linker takes the links of node agents, and uses them.
type linker interface {
	// LinkRefusal returns why a link of a version cannot be taken now, nil if it can.
	LinkRefusal(version int) *nodelink.Refusal
	// ServeLink takes a link and returns when it has ended. It owns the session.
	ServeLink(ctx context.Context, s mux.Session, from nodelink.From)
	// ServeNodePort takes a node agent that comes over HTTP and returns when its
	// connection has ended. It owns conn.
	ServeNodePort(conn net.Conn)
	// StreamNode calls a streaming method of a node's agent; its data goes to w.
	StreamNode(ctx context.Context, r *structs.NodeCallRequest, w io.Writer) (json.RawMessage, error)
}

// eventSource serves the events of changes.
type eventSource interface {
	// StreamEvents sends lines of events until ctx ends or it returns why it ends.
	StreamEvents(ctx context.Context, r *structs.EventStreamRequest, send func([]byte) error) error
}

// archiver saves the state, and restores it.
type archiver interface {
	// SaveSnapshot returns an archive, which the caller closes.
	SaveSnapshot(ctx context.Context, r *structs.SnapshotSaveRequest) (*structs.SnapshotSaveResponse, io.ReadCloser, error)
	// RestoreSnapshot has the archive that body gives take the place of the state.
	RestoreSnapshot(ctx context.Context, r *structs.SnapshotRestoreRequest, body io.Reader) (*structs.SnapshotRestoreResponse, error)
}

// streaming is what lasts longer than a call.
type streaming interface {
	linker
	eventSource
	archiver
}

// server is what the agent needs of a *nomad.Server.
type server interface {
	caller
	gossiper
	living
	known
	streaming
}

// startFunc starts a server.
type startFunc func(*nomad.Config) (server, error)

// startServer starts the real one.
func startServer(c *nomad.Config) (server, error) {
	s, err := nomad.NewServer(c)
	if err != nil {
		return nil, err
	}
	return s, nil
}
