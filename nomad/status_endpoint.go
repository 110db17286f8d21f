package nomad

import (
	"context"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Status answers what a server knows of the cluster, with or without a leader.
type Status struct{ srv *Server }

// Region answers the RPCs on regions.
type Region struct{ srv *Server }

var statusPing = newLocal("Status.Ping", anyone[structs.GenericRequest],
	func(context.Context, *Server, *structs.GenericRequest, *struct{}) error { return nil })

var statusLeader = newLocal("Status.Leader", anyone[structs.GenericRequest],
	func(_ context.Context, s *Server, _ *structs.GenericRequest, reply *string) error {
		*reply = s.leaders.current().addr
		return nil
	})

var statusPeers = newLocal("Status.Peers", anyone[structs.GenericRequest],
	func(_ context.Context, s *Server, _ *structs.GenericRequest, reply *[]string) error {
		*reply = []string{}
		for _, p := range s.raft.GetConfiguration().Configuration().Servers {
			*reply = append(*reply, string(p.Address))
		}
		return nil
	})

var statusMembers = newLocal("Status.Members",
	func(a *acl.ACL, _ *structs.GenericRequest) bool { return a.AllowNodeRead() },
	func(_ context.Context, s *Server, _ *structs.GenericRequest, reply *structs.MembersResponse) error {
		*reply = structs.MembersResponse{
			ServerName: s.config.NodeName, ServerRegion: s.config.Region, ServerDC: s.config.Datacenter,
			Members: s.Members(),
		}
		return nil
	})

var statusCluster = newLocal("Status.Cluster", anyone[structs.GenericRequest],
	func(_ context.Context, s *Server, _ *structs.GenericRequest, reply *structs.ClusterResponse) error {
		reply.ClusterID = s.clusterID()
		return nil
	})

var statusReadIndex = newRead("Status.ReadIndex", nil,
	anyone[structs.ReadIndexRequest],
	func(v *view, _ *structs.ReadIndexRequest, reply *structs.ReadIndexResponse) error {
		reply.RaftIndex = v.srv.fsm.seen.Load()
		return nil
	})

var statusRaftStats = newLocal("Status.RaftStats", anyone[structs.GenericRequest],
	func(_ context.Context, s *Server, _ *structs.GenericRequest, reply *structs.RaftStatsResponse) error {
		*reply = s.raftStats()
		return nil
	})

var _ = serversOnly(statusCluster.methodInfo, statusReadIndex.methodInfo, statusRaftStats.methodInfo)

var regionList = newLocal("Region.List", anyone[structs.GenericRequest],
	func(_ context.Context, s *Server, _ *structs.GenericRequest, reply *[]string) error {
		*reply = s.router.Regions()
		return nil
	})

var regionLatest = newLocal("Region.LatestIndex", anyone[structs.GenericRequest],
	func(_ context.Context, s *Server, _ *structs.GenericRequest, reply *structs.RegionIndexResponse) error {
		reply.Index = s.state.LatestIndex()
		return nil
	})

// Ping answers whether the server is there.
func (s *Status) Ping(ctx context.Context, args *structs.GenericRequest, reply *struct{}) error {
	return statusPing.serve(ctx, s.srv, args, reply)
}

// Leader returns the address of the leader, "" when there is none.
func (s *Status) Leader(ctx context.Context, args *structs.GenericRequest, reply *string) error {
	return statusLeader.serve(ctx, s.srv, args, reply)
}

// Peers returns the addresses of the Raft peers.
func (s *Status) Peers(ctx context.Context, args *structs.GenericRequest, reply *[]string) error {
	return statusPeers.serve(ctx, s.srv, args, reply)
}

// Members returns the gossip members as the server sees them.
func (s *Status) Members(ctx context.Context, args *structs.GenericRequest, reply *structs.MembersResponse) error {
	return statusMembers.serve(ctx, s.srv, args, reply)
}

// Cluster returns the ID of the cluster whose state the server holds.
func (s *Status) Cluster(ctx context.Context, args *structs.GenericRequest, reply *structs.ClusterResponse) error {
	return statusCluster.serve(ctx, s.srv, args, reply)
}

// ReadIndex returns how far another server must have applied the log to be as
// new as the moment of the call.
func (s *Status) ReadIndex(ctx context.Context, args *structs.ReadIndexRequest, reply *structs.ReadIndexResponse) error {
	return statusReadIndex.serve(ctx, s.srv, args, reply)
}

// RaftStats returns how far the log of this server is, and when it heard of the leader.
func (s *Status) RaftStats(ctx context.Context, args *structs.GenericRequest, reply *structs.RaftStatsResponse) error {
	return statusRaftStats.serve(ctx, s.srv, args, reply)
}

// List returns the sorted names of the regions known by gossip.
func (r *Region) List(ctx context.Context, args *structs.GenericRequest, reply *[]string) error {
	return regionList.serve(ctx, r.srv, args, reply)
}

// LatestIndex returns a logical index that the store of the region has reached.
func (r *Region) LatestIndex(ctx context.Context, args *structs.GenericRequest, reply *structs.RegionIndexResponse) error {
	return regionLatest.serve(ctx, r.srv, args, reply)
}
