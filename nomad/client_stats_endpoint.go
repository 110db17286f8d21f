package nomad

import (
	"context"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// ClientStats answers the RPCs on the use of nodes, which their agents know.
type ClientStats struct{ srv *Server }

var clientStats = newLocal("ClientStats.Stats", readsNodes[structs.NodeSpecificRequest],
	func(ctx context.Context, s *Server, r *structs.NodeSpecificRequest, reply *structs.ClientStatsResponse) error {
		if r.NodeID == "" {
			return errs.New(errs.Invalid, "missing node ID")
		}
		if _, err := s.knownNode(ctx, r.NodeID); err != nil {
			return err
		}
		return s.onNode(ctx, r.NodeID, "ClientStats.Stats", r, reply, &reply.HostStats)
	})

func init() { statusHasNodeConn.serversOnly = true }

var statusHasNodeConn = newLocal("Status.HasNodeConn", anyone[structs.NodeSpecificRequest],
	func(_ context.Context, s *Server, r *structs.NodeSpecificRequest, reply *structs.NodeConnQueryResponse) error {
		reply.Linked = s.links.held.Get(r.NodeID) != nil
		reply.Session = s.nodeConns.session(r.NodeID) != nil
		reply.Connected = reply.Linked || reply.Session
		return nil
	})

// Stats tells how busy a node is.
func (c *ClientStats) Stats(ctx context.Context, args *structs.NodeSpecificRequest, reply *structs.ClientStatsResponse) error {
	return clientStats.serve(ctx, c.srv, args, reply)
}

// HasNodeConn answers whether a node's agent is connected to this server.
func (s *Status) HasNodeConn(ctx context.Context, args *structs.NodeSpecificRequest, reply *structs.NodeConnQueryResponse) error {
	return statusHasNodeConn.serve(ctx, s.srv, args, reply)
}
