package nomad

import (
	"context"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/nomad/structs"
)

var operatorReplicationStatus = newRead("Operator.ReplicationStatus", nil,
	delegated[structs.GenericRequest](acl.RaftRead),
	func(v *view, _ *structs.GenericRequest, reply *structs.ReplicationStatusResponse) error {
		reply.Region, reply.Tables = v.srv.config.Region, []*structs.ReplicatedTable{}
		if v.srv.federated() {
			reply.AuthoritativeRegion = v.srv.config.AuthoritativeRegion
		}
		if p := v.srv.replication.Load(); p != nil {
			reply.Tables = p.status()
		}
		return nil
	})

// ReplicationStatus tells how the region copies what the authoritative one owns.
func (o *Operator) ReplicationStatus(ctx context.Context, args *structs.GenericRequest, reply *structs.ReplicationStatusResponse) error {
	return operatorReplicationStatus.serve(ctx, o.srv, args, reply)
}
