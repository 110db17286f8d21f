package agent

import (
	"context"
	"time"

	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/nomad/structs"
)

// trackerInfo is the result of get_connection_tracker_info.
type trackerInfo struct {
	// Server counts what other servers and callers of this one have under way.
	Server map[string]string `json:"server_rpc"`
	// SocketConnections are those of the operator node's socket, AgentSessions those of
	// each of the agent's sockets, by path.
	SocketConnections int            `json:"socket_connections"`
	AgentSessions     map[string]int `json:"agent_sessions"`
	Calls             jsonrpc.Stats  `json:"calls"`
	// NodeLinks are those that this server has, Incomplete says why they are not shown.
	NodeLinks  []trackedLink `json:"node_links"`
	Incomplete string        `json:"incomplete,omitempty"`
}

// trackedLink is the link of one node.
type trackedLink struct {
	Node      string    `json:"node"`
	Remote    string    `json:"remote"`
	Transport string    `json:"transport"`
	Since     time.Time `json:"since"`
}

func (n *rpcNode) trackerInfo(ctx context.Context) (trackerInfo, error) {
	out := trackerInfo{Server: n.server.Stats()["rpc"], SocketConnections: n.connections(), AgentSessions: map[string]int{},
		Calls: n.rpc.Stats(), NodeLinks: []trackedLink{}}
	if s := n.sockets.Load(); s != nil {
		for _, server := range s.servers {
			out.AgentSessions[server.Path()] = len(server.Sessions())
		}
	}
	if !n.config.Server.Enabled {
		return out, nil
	}
	args, reply := &structs.NodeLinkListRequest{Local: true}, &structs.NodeLinkListResponse{}
	args.AuthToken, args.AllowStale = jsonrpc.CallerOf(ctx).Token, true
	if err := n.server.RPC(ctx, "NodeLink.List", args, reply); err != nil {
		out.Incomplete = "node links: " + err.Error()
		return out, nil
	}
	for _, l := range reply.Links {
		out.NodeLinks = append(out.NodeLinks, trackedLink{Node: l.NodeID, Remote: l.Remote, Transport: l.Transport, Since: l.Since})
	}
	return out, nil
}
