package agent

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/drpc/agentpb"
	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/structs"
)

// agentModule is module 2. root is the logger whose level is that of all.
func (s *agentSockets) agentModule(root hclog.Logger) socketModule {
	return socketModule{id: 2, name: "agent", peers: anyPeer, methods: []socketMethod{
		socketCall(201, "ping", "Answers.",
			func(context.Context, *drpc.Request, *agentpb.PingRequest) (*agentpb.PingReply, error) {
				return &agentpb.PingReply{NodeName: s.config.NodeName, Version: nomad.Version}, nil
			}),
		socketCall(202, "get attach info", "Returns where the cluster is; from memory, with its age, while no server answers.",
			func(ctx context.Context, _ *drpc.Request, _ *agentpb.AttachInfoRequest) (*agentpb.AttachInfo, error) {
				return s.attach.get(ctx)
			}),
		socketCall(203, "health", "Tells whether the agent works, and why not.", s.health),
		socketCall(204, "prepare shutdown", "Takes no more work, tells the workloads, and says how far they are.", s.prepareShutdown).privileged(),
		socketCall(205, "set log level", "Changes the log level until the agent is reloaded or restarted.",
			func(_ context.Context, req *drpc.Request, in *agentpb.LogLevelRequest) (*agentpb.LogLevelReply, error) {
				return s.setLogLevel(root, req.Peer, in.Level)
			}).privileged(),
		socketCall(206, "describe", "Lists modules and methods, with the types of their payloads.",
			func(_ context.Context, req *drpc.Request, _ *agentpb.DescribeRequest) (*agentpb.Description, error) {
				return describeModules(s.modules, req.Peer)
			}),
		socketCall(207, "list sessions", "Lists who is connected to the agent's sockets.",
			func(context.Context, *drpc.Request, *agentpb.SessionsRequest) (*agentpb.Sessions, error) {
				return s.sessions(), nil
			}).privileged(),
		socketCall(208, "ping workloads", "Asks the workloads over their own sockets whether they are there, and sets their log level.", s.pingWorkloads).privileged(),
	}}
}

func (s *agentSockets) setLogLevel(root hclog.Logger, peer drpc.Peer, text string) (*agentpb.LogLevelReply, error) {
	level := hclog.LevelFromString(text)
	if level == hclog.NoLevel {
		return nil, errs.Newf(errs.Invalid, "log level %q: must be trace, debug, info, warn, error or off", text)
	}
	before := root.GetLevel()
	root.SetLevel(level)
	root.Info("log level changed over the agent socket", "peer", peer.String(), "before", before.String(), "now", level.String())
	return &agentpb.LogLevelReply{Before: before.String()}, nil
}

func (s *agentSockets) sessions() *agentpb.Sessions {
	out := &agentpb.Sessions{}
	for _, server := range s.servers {
		for _, session := range server.Sessions() {
			p, l := session.Peer(), s.workloads.of(session)
			out.Sessions = append(out.Sessions, &agentpb.SessionInfo{
				Socket: server.Path(), Id: session.ID(), Uid: uint32(p.UID), Gid: uint32(p.GID), Pid: int32(p.PID),
				AgeMs: time.Since(session.Opened()).Milliseconds(), Calls: int32(session.Calls()),
				Name: l.name, Health: l.health, HealthText: l.text, Locks: int32(s.locks.count(session)),
			})
		}
	}
	return out
}

const (
	// attachFresh is how long servers and leader are answered from memory.
	attachFresh = time.Second
	// attachTimeout bounds the question who they are.
	attachTimeout = 2 * time.Second
)

// attachCache remembers which servers there are.
type attachCache struct {
	sockets *agentSockets

	// latest asks who they are.
	latest question

	mu      sync.Mutex
	tried   time.Time // when the last question ended, answered or not; guarded by mu
	asked   time.Time // when the below was true, zero for never; guarded by mu, and so are they
	servers []string
	leader  string
	// namespaces are those that may be seen without a token.
	namespaces []string
}

func newAttachCache(s *agentSockets) *attachCache {
	c := &attachCache{sockets: s}
	c.latest = question{sockets: s, ask: c.ask, limit: attachTimeout}
	return c
}

// get returns what is known, after a look for newer things.
func (c *attachCache) get(ctx context.Context) (*agentpb.AttachInfo, error) {
	c.mu.Lock()
	known, due := !c.asked.IsZero(), time.Since(c.tried) > attachFresh
	c.mu.Unlock()
	switch {
	case !known:
		if err := c.latest.answered(ctx); err != nil {
			return nil, err
		}
	case due:
		wait, cancel := briefly(ctx)
		_ = c.latest.answered(wait) // memory has an answer
		cancel()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sockets
	return &agentpb.AttachInfo{
		Region: s.config.Region, Datacenter: s.config.Datacenter, NodeId: s.server.NodeID(), NodeName: s.config.NodeName,
		Servers: c.servers, Leader: c.leader, LeaderKnown: c.leader != "",
		HttpAddress: s.httpURL, AgentSocket: s.path, AdminSocket: s.admin, AgeMs: time.Since(c.asked).Milliseconds(),
		Namespaces: c.namespaces, Link: s.link(),
	}, nil
}

// ask asks for servers, leader and namespaces.
func (c *attachCache) ask(ctx context.Context) error {
	defer func() {
		c.mu.Lock()
		c.tried = time.Now()
		c.mu.Unlock()
	}()
	var servers []string
	var leader string
	args := structs.GenericRequest{}
	args.AllowStale = true
	if err := c.sockets.call(ctx, "Status.Peers", &args, &servers); err != nil {
		return err
	}
	if err := c.sockets.call(ctx, "Status.Leader", &args, &leader); err != nil {
		return err
	}
	names, err := c.sockets.openNamespaces(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked, c.servers, c.leader = time.Now(), servers, leader
	if err == nil { // else those of before
		c.namespaces = names
	}
	return nil
}

// maxOpenNamespaces bounds how many namespaces a workload is told of: the answer has to fit into a message.
const maxOpenNamespaces = 1000

// openNamespaces returns the namespaces that may be seen without a token, none where
// access control lets nobody see any.
func (s *agentSockets) openNamespaces(ctx context.Context) ([]string, error) {
	args, reply := &structs.NamespaceListRequest{}, &structs.NamespaceListResponse{}
	args.AllowStale = true
	if err := s.call(ctx, "Namespace.ListNamespaces", args, reply); err != nil {
		return nil, err
	}
	var out []string
	for _, ns := range reply.Namespaces[:min(len(reply.Namespaces), maxOpenNamespaces)] {
		out = append(out, ns.Name)
	}
	return out, nil
}
