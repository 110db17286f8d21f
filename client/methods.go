package client

import (
	"context"
	"runtime"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// handlers are the methods that the agent serves over its link. Who may call them
// stands in nodelink.Methods, and servers enforce it.
func (c *Client) handlers() nodelink.Handlers {
	return nodelink.Handlers{
		"Node.Ping":           nodelink.Handle(c.ping),
		"Node.Version":        nodelink.Handle(c.version),
		"Node.Export":         nodelink.Handle(c.export),
		"Node.Apply":          nodelink.Handle(c.apply),
		"Op.Status":           nodelink.Handle(c.operationStatus),
		"Node.SyncStatus":     nodelink.Handle(c.syncStatus),
		"Node.NotifyChange":   nodelink.Handle(c.notifyChange),
		"Node.Identity":       nodelink.Handle(c.nodeIdentity),
		"ClientStats.Stats":   nodelink.Handle(c.linkStats),
		"Agent.Host":          nodelink.Handle(c.hostData),
		"Agent.Profile":       nodelink.Handle(c.profile),
		"Agent.Monitor":       nodelink.Handle(c.monitor),
		"Agent.MonitorExport": nodelink.Handle(c.exportLog),
		"FS.List":             nodelink.Handle(c.fsList),
		"FS.Stat":             nodelink.Handle(c.fsStat),
		"FS.Read":             nodelink.Handle(c.fsRead),
		"FS.Stream":           nodelink.Handle(c.fsStream),
	}
}

// nothing is the argument of methods without one.
type nothing struct{}

// PingReply answers Node.Ping.
type PingReply struct {
	// Time is the agent's.
	Time time.Time
	// Ready says whether servers take the node's heartbeats, Problem why not.
	Ready   bool
	Problem string `json:",omitempty"`
}

func (c *Client) ping(context.Context, *nodelink.Call, *nothing) (*PingReply, error) {
	out := &PingReply{Time: time.Now().UTC(), Ready: true}
	if err := c.Ready(); err != nil {
		out.Ready, out.Problem = false, err.Error()
	}
	return out, nil
}

// VersionReply answers Node.Version.
type VersionReply struct {
	Version string
	// Go is the version of the compiler, OS and Arch what the agent was built for.
	Go, OS, Arch string
	// Protocol is the version of the link that the agent speaks, Methods what it
	// serves there, by revision.
	Protocol int
	Methods  map[string]int
}

func (c *Client) version(context.Context, *nodelink.Call, *nothing) (*VersionReply, error) {
	out := &VersionReply{Version: c.config.Version, Go: runtime.Version(), OS: runtime.GOOS, Arch: runtime.GOARCH,
		Protocol: nodelink.NewestVersion, Methods: map[string]int{}}
	for name := range c.handlers() {
		out.Methods[name] = nodelink.Lookup(name).Revision
	}
	return out, nil
}

// ExportReply answers Node.Export: all that the agent keeps or was told, without secrets.
type ExportReply struct {
	Node       *structs.Node
	Metadata   structs.NodeMetaResponse
	Operations []Operation
	Servers    []string
	Stats      map[string]string
}

func (c *Client) export(context.Context, *nodelink.Call, *nothing) (*ExportReply, error) {
	out := &ExportReply{Node: c.describe().WithoutSecret(), Operations: c.operations.all(), Servers: c.servers.candidates(), Stats: c.Stats()}
	c.mu.Lock()
	out.Node.SchedulingEligibility = c.life.eligibility
	c.mu.Unlock()
	c.fillMeta(&out.Metadata)
	return out, nil
}

// OperationRequest is the argument of Op.Status.
type OperationRequest struct{ OperationID string }

func (c *Client) operationStatus(_ context.Context, _ *nodelink.Call, r *OperationRequest) (*Operation, error) {
	op, err := c.operations.get(r.OperationID)
	return &op, err
}

// SyncRequest is the argument of Node.SyncStatus.
type SyncRequest struct {
	// Index is the logical index that the agent is to have seen.
	Index uint64
}

// SyncReply answers it.
type SyncReply struct {
	// Seen is the index up to which the agent knows what the servers say of the node.
	Seen uint64
	// Behind is true while that is below the index asked for.
	Behind bool
	// Pending are the operations that have not ended.
	Pending []string
	// Drain is how far the programs of the node are that leave because it drains, nil
	// where the agent knows of none.
	Drain *nodelink.DrainProgress `json:",omitempty"`
}

func (c *Client) syncStatus(_ context.Context, _ *nodelink.Call, r *SyncRequest) (*SyncReply, error) {
	c.mu.Lock()
	out := &SyncReply{Seen: c.life.seen, Pending: []string{}}
	c.mu.Unlock()
	out.Drain = c.leaving()
	out.Behind = out.Seen < r.Index
	for _, op := range c.operations.all() {
		if !op.Status.ended() {
			out.Pending = append(out.Pending, op.ID)
		}
	}
	return out, nil
}

// ChangeNotice is the argument of Node.NotifyChange: what changed on the servers.
type ChangeNotice struct {
	// Kind is node or servers; others are for agents to come, and ignored.
	Kind string
	// Index is the logical index of the change, 0 for unknown.
	Index uint64
}

func (c *Client) notifyChange(ctx context.Context, _ *nodelink.Call, r *ChangeNotice) (*SyncReply, error) {
	switch r.Kind {
	case "node":
		if err := c.pull(ctx, r.Index); err != nil {
			return nil, err
		}
	case "servers": // the next heartbeat tells of them
		c.wake()
	case "":
		return nil, errs.New(errs.Invalid, "a change needs a Kind: node or servers")
	default:
		c.logger.Info("ignored news of a change of a kind that this agent does not know", "kind", r.Kind[:min(len(r.Kind), maxShownKind)])
	}
	return c.syncStatus(ctx, nil, &SyncRequest{r.Index})
}

// maxShownKind bounds what the log shows of a kind, in bytes.
const maxShownKind = 64

// pull asks the servers what they know of the node, as of the index at least.
func (c *Client) pull(ctx context.Context, index uint64) error {
	args, reply := &structs.NodeSpecificRequest{NodeID: c.identity.nodeID}, &structs.SingleNodeResponse{}
	args.Region, args.AuthToken = c.config.Region, c.identity.secretID
	if err := c.RPC(ctx, "Node.GetNode", args, reply); err != nil {
		return err
	}
	if reply.Node == nil {
		c.register()
		return errs.New(errs.NotFound, "the servers do not know the node: it registers again")
	}
	c.follow(reply.Node)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.life.eligibility, c.life.seen = reply.Node.SchedulingEligibility, max(c.life.seen, reply.Index, reply.Node.ModifyIndex)
	if reply.Index >= index {
		c.life.seen = max(c.life.seen, index)
	}
	return nil
}

func (c *Client) linkStats(ctx context.Context, _ *nodelink.Call, _ *structs.NodeSpecificRequest) (*structs.HostStats, error) {
	return c.host.stats(ctx)
}
