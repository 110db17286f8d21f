package agent

import (
	"context"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/nomad/structs"
)

// caller answers calls in the name of a user.
type caller interface {
	// RPC runs method in this process or where it belongs. args and reply are
	// pointers; the error carries an errs code.
	RPC(ctx context.Context, method string, args, reply any) error
	// Authorize returns the rights of a secret, for routes the agent answers itself.
	Authorize(ctx context.Context, secret string) (*acl.ACL, error)
}

// gossiper is the gossip pool of the server.
type gossiper interface {
	Join(addrs []string) (int, error)
	ForceLeave(node string, prune bool) error
	LocalMember() *structs.AgentMember
}

// runner is the life of the server.
type runner interface {
	// Ready returns nil once the server can serve reads and writes.
	Ready() error
	Stats() map[string]map[string]string
	// Leave takes the server out of the cluster before it stops.
	Leave(ctx context.Context) error
	// Shutdown stops the server; its place in the cluster stays.
	Shutdown() error
}

// server is what the agent needs of a *nomad.Server.
type server interface {
	caller
	gossiper
	runner
}
