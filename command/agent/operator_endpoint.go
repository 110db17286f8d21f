package agent

import (
	"net/http"

	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// replicationAccepted tells which cluster is copied from now on, and which was before.
type replicationAccepted struct {
	ClusterID string
	Before    string
}

func operatorRoutes() []route {
	id := param{name: "id", kind: "string", summary: "Raft ID of the server"}
	address := param{name: "address", kind: "string", summary: "Raft address of the server"}
	return append(snapshotRoutes(), []route{
		plain[structs.RaftConfigurationResponse](doc{methods: "GET", pattern: "/v1/operator/raft/configuration",
			rpc: "Operator.RaftGetConfiguration", summary: "Show the Raft peers."}),
		plain[structs.ReplicationStatusResponse](doc{methods: "GET", pattern: "/v1/operator/replication",
			rpc: "Operator.ReplicationStatus", summary: "Show how this region copies what the authoritative region owns."}),
		write(doc{methods: "PUT POST", pattern: "/v1/operator/replication/accept", rpc: "Operator.ReplicationAccept",
			summary: "Copy from the authoritative region although it is another cluster than before. What it does not have is deleted here."},
			asIs[structs.ReplicationAcceptRequest],
			func(_ *request, p *structs.ReplicationAcceptResponse) (replicationAccepted, error) {
				return replicationAccepted{p.ClusterID, p.Before}, nil
			}),
		local[nothing](doc{methods: "DELETE", pattern: "/v1/operator/raft/peer", rpc: "Operator.RaftRemovePeerByID",
			summary: "Remove a Raft peer by its ID.", params: []param{id}, region: true}, removePeer),
		local[structs.LeadershipTransferResponse](doc{methods: "PUT POST", pattern: "/v1/operator/raft/transfer-leadership",
			rpc: "Operator.TransferLeadershipToPeer", summary: "Hand leadership to another server.",
			params: []param{id, address}, region: true}, transferLeadership),
	}...)
}

func removePeer(r *request) error {
	args := &structs.RaftPeerByIDRequest{ID: raft.ServerID(r.query.Get("id"))}
	r.writeOptions(&args.WriteRequest)
	switch {
	case r.has("address"):
		return errs.New(errs.Invalid, "a peer is removed by its id, not by its address")
	case args.ID == "":
		return errs.New(errs.Invalid, "missing id of the peer to remove")
	}
	reply := &structs.GenericResponse{}
	if err := r.api.server.RPC(r.Context(), "Operator.RaftRemovePeerByID", args, reply); err != nil {
		return err
	}
	return r.writeJSON(http.StatusOK, nothing{})
}

func transferLeadership(r *request) error {
	args := &structs.RaftPeerRequest{ID: raft.ServerID(r.query.Get("id")), Address: raft.ServerAddress(r.query.Get("address"))}
	r.writeOptions(&args.WriteRequest)
	if (args.ID == "") == (args.Address == "") {
		return errs.New(errs.Invalid, "must specify exactly one of id and address")
	}
	reply := &structs.LeadershipTransferResponse{}
	if err := r.api.server.RPC(r.Context(), "Operator.TransferLeadershipToPeer", args, reply); err != nil {
		return err
	}
	return r.writeJSON(http.StatusOK, reply)
}
