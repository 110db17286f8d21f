package agent

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/nomad/structs"
)

// maxTracked bounds the peers of a kind that are shown.
const maxTracked = 1000

// trackerInfo is the result of get_connection_tracker_info.
type trackerInfo struct {
	// Server counts what other servers and callers of this one have under way, Peers
	// are those with a connection, to this server or from it.
	Server map[string]string `json:"server_rpc"`
	Peers  []trackedPeer     `json:"server_rpc_peers"`
	// SocketConnections are those of the operator node's socket, AgentSessions those of
	// each of the agent's sockets, by path. LocalPeers are the users behind both.
	SocketConnections int            `json:"socket_connections"`
	AgentSessions     map[string]int `json:"agent_sessions"`
	LocalPeers        []trackedUser  `json:"local_peers"`
	Calls             jsonrpc.Stats  `json:"calls"`
	// NodeLinks are those that this server has, Incomplete says why not all is shown.
	NodeLinks  []trackedLink `json:"node_links"`
	Incomplete string        `json:"incomplete,omitempty"`
}

// trackedPeer is who calls this server, or whom it calls.
type trackedPeer struct {
	Remote string `json:"remote"`
	// Direction is in or out. Server is true of those in that proved to be one.
	Direction string `json:"direction"`
	Server    bool   `json:"server"`
	// Connections are open, or streams of one, and Calls under way on them.
	Connections int `json:"connections"`
	Calls       int `json:"calls"`
}

// trackedUser is a user of this machine with connections to a socket of the agent.
type trackedUser struct {
	Socket string `json:"socket"`
	// UID is -1 where the kernel could not say.
	UID         int `json:"uid"`
	Connections int `json:"connections"`
	// Calls are under way; of the operator node's socket they are not counted by user.
	Calls int `json:"calls"`
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
		LocalPeers: n.localUsers(), Calls: n.rpc.Stats(), NodeLinks: []trackedLink{}}
	if s := n.sockets.Load(); s != nil {
		for _, server := range s.servers {
			sessions := server.Sessions()
			out.AgentSessions[server.Path()] = len(sessions)
			out.LocalPeers = append(out.LocalPeers, usersOf(server.Path(), sessions)...)
		}
	}
	var all int
	if out.Peers, all = n.serverPeers(); all > len(out.Peers) {
		out.Incomplete = "server_rpc_peers: too many to show"
	}
	if !n.config.Server.Enabled {
		return out, nil
	}
	args, reply := &structs.NodeLinkListRequest{Local: true}, &structs.NodeLinkListResponse{}
	args.AuthToken, args.AllowStale = jsonrpc.CallerOf(ctx).Token, true
	if err := n.server.RPC(ctx, "NodeLink.List", args, reply); err != nil {
		out.Incomplete = strings.TrimPrefix(out.Incomplete+"; node links: "+err.Error(), "; ")
		return out, nil
	}
	for _, l := range reply.Links {
		out.NodeLinks = append(out.NodeLinks, trackedLink{Node: l.NodeID, Remote: l.Remote, Transport: l.Transport, Since: l.Since})
	}
	return out, nil
}

// serverPeers returns the peers of the server's RPC, not more than are shown, and
// how many there are.
func (n *rpcNode) serverPeers() ([]trackedPeer, int) {
	in, out := n.server.RPCPeers()
	all := make([]trackedPeer, 0, len(in)+len(out))
	for _, p := range out {
		all = append(all, trackedPeer{Remote: p.Addr, Direction: "out", Server: true, Connections: p.Conns, Calls: p.Calls})
	}
	for _, p := range in {
		all = append(all, trackedPeer{Remote: p.Remote, Direction: "in", Server: p.Server, Connections: p.Conns, Calls: p.Calls})
	}
	return all[:min(len(all), maxTracked)], len(all)
}

// localUsers returns the users that are connected to the operator node's socket.
func (n *rpcNode) localUsers() []trackedUser {
	out := []trackedUser{}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.socket == nil {
		return out
	}
	for uid, conns := range n.socket.Users() {
		out = append(out, trackedUser{Socket: n.socket.Path(), UID: int(uid), Connections: conns})
	}
	slices.SortFunc(out, func(a, b trackedUser) int { return cmp.Compare(a.UID, b.UID) })
	return out
}

// usersOf returns the users behind sessions.
func usersOf(path string, sessions []*drpc.Session) []trackedUser {
	users := map[int]trackedUser{}
	for _, s := range sessions {
		uid := s.Peer().UID
		u := users[uid]
		users[uid] = trackedUser{Socket: path, UID: uid, Connections: u.Connections + 1, Calls: u.Calls + s.Calls()}
	}
	return slices.SortedFunc(maps.Values(users), func(a, b trackedUser) int { return cmp.Compare(a.UID, b.UID) })
}
