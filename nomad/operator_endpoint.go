package nomad

import (
	"context"

	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Operator answers the RPCs on consensus itself.
type Operator struct{ srv *Server }

var operatorRaftConfiguration = newRead("Operator.RaftGetConfiguration", nil,
	delegated[structs.GenericRequest](acl.RaftRead),
	func(v *view, _ *structs.GenericRequest, reply *structs.RaftConfigurationResponse) error {
		v.srv.raftConfiguration(reply)
		return nil
	})

func (s *Server) raftConfiguration(reply *structs.RaftConfigurationResponse) {
	f := s.raft.GetConfiguration()
	leader, _ := s.raft.LeaderWithID()
	names := map[string]string{}
	for _, srv := range s.router.InRegion(s.config.Region) {
		names[srv.ID] = srv.Name
	}
	reply.Index = f.Index()
	for _, p := range f.Configuration().Servers {
		name := names[string(p.ID)]
		if name == "" {
			name = "(unknown)"
		}
		reply.Servers = append(reply.Servers, &structs.RaftServer{
			ID: p.ID, Node: name, Address: p.Address, Leader: p.Address == leader,
			Voter: p.Suffrage == raft.Voter, RaftProtocol: raftProtocolVersion,
		})
	}
}

var operatorRemovePeer = newLeader("Operator.RaftRemovePeerByID",
	delegated[structs.RaftPeerByIDRequest](acl.RaftWrite),
	func(_ context.Context, c *leaderCall, r *structs.RaftPeerByIDRequest, _ *structs.GenericResponse) error {
		if r.ID == "" {
			return errs.New(errs.Invalid, "a peer ID is needed")
		}
		conf := c.srv.raft.GetConfiguration().Configuration()
		if !containsServer(conf, string(r.ID)) {
			if c.again() { // the first try, which this server leads after, removed it
				return nil
			}
			return errs.Newf(errs.NotFound, "id %q was not found in the Raft configuration", r.ID)
		}
		if len(voters(conf)) == 1 && isVoter(conf, string(r.ID)) {
			return errs.Newf(errs.PreconditionFailed, "%q is the last server with a vote: add another one first", r.ID)
		}
		if err := c.srv.raft.RemoveServer(r.ID, 0, membershipTimeout).Error(); err != nil {
			return raftError(err)
		}
		c.srv.logger.Warn("removed raft peer on request", "id", r.ID)
		return nil
	})

var operatorTransfer = newLeader("Operator.TransferLeadershipToPeer",
	delegated[structs.RaftPeerRequest](acl.RaftWrite),
	func(_ context.Context, c *leaderCall, r *structs.RaftPeerRequest, reply *structs.LeadershipTransferResponse) error {
		to, err := c.srv.transferTarget(r)
		if err != nil {
			return err
		}
		addr, id := c.srv.raft.LeaderWithID()
		reply.To = structs.RaftIDAddress{Address: to.Address, ID: to.ID}
		if to.ID == id && c.again() { // the first try made it the leader, nobody knows of whom
			return nil
		}
		reply.From = structs.RaftIDAddress{Address: addr, ID: id}
		if reply.Noop = to.ID == id; reply.Noop {
			return nil
		}
		if err := c.srv.raft.LeadershipTransferToServer(to.ID, to.Address).Error(); err != nil {
			return errs.Newf(errs.Unavailable, "leadership was not handed over: %w", err)
		}
		return nil
	})

// transferTarget finds the voter that the request names.
func (s *Server) transferTarget(r *structs.RaftPeerRequest) (raft.Server, error) {
	if (r.ID == "") == (r.Address == "") {
		return raft.Server{}, errs.New(errs.Invalid, "give either the ID or the address of the new leader")
	}
	for _, p := range s.raft.GetConfiguration().Configuration().Servers {
		if p.ID != r.ID && p.Address != r.Address {
			continue
		}
		if p.Suffrage != raft.Voter {
			return raft.Server{}, errs.Newf(errs.PreconditionFailed, "server %q has no vote and cannot lead", p.ID)
		}
		return p, nil
	}
	return raft.Server{}, errs.Newf(errs.NotFound, "%s%s is not a Raft peer", r.ID, r.Address)
}

var _ = operatorsOnly(operatorRemovePeer.methodInfo, operatorTransfer.methodInfo, operatorReplicationAccept.methodInfo)

// RaftGetConfiguration shows the Raft peers.
func (o *Operator) RaftGetConfiguration(ctx context.Context, args *structs.GenericRequest, reply *structs.RaftConfigurationResponse) error {
	return operatorRaftConfiguration.serve(ctx, o.srv, args, reply)
}

// RaftRemovePeerByID removes a Raft peer for good.
func (o *Operator) RaftRemovePeerByID(ctx context.Context, args *structs.RaftPeerByIDRequest, reply *structs.GenericResponse) error {
	return operatorRemovePeer.serve(ctx, o.srv, args, reply)
}

// TransferLeadershipToPeer hands leadership to another voter.
func (o *Operator) TransferLeadershipToPeer(ctx context.Context, args *structs.RaftPeerRequest, reply *structs.LeadershipTransferResponse) error {
	return operatorTransfer.serve(ctx, o.srv, args, reply)
}
