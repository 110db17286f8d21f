package nomad

import (
	"context"
	"strings"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
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

// operatorReplicationAccept is for a region that was made anew on purpose: what is not
// there any more is deleted here.
var operatorReplicationAccept = newLeader("Operator.ReplicationAccept",
	delegated[structs.ReplicationAcceptRequest](acl.RaftWrite),
	func(ctx context.Context, c *leaderCall, _ *structs.ReplicationAcceptRequest, reply *structs.ReplicationAcceptResponse) error {
		s := c.srv
		if !s.copies() {
			return errs.New(errs.PreconditionFailed, "this region copies nothing: ask one that has another authoritative_region than itself")
		}
		region, ids, meta := s.config.AuthoritativeRegion, s.clustersOf(s.config.AuthoritativeRegion), s.state.Snapshot().ClusterMetadata(nil)
		switch {
		case len(ids) == 0 || meta == nil:
			return errs.Newf(errs.Unavailable, "no server of the region %q is alive and says which cluster it is of: try again when one is", region)
		case len(ids) > 1:
			return errs.Newf(errs.PreconditionFailed, "servers of %d clusters say that they are of the region %q (%s): stop those that are not to be copied", len(ids), region, strings.Join(ids, ", "))
		}
		reply.ClusterID, reply.Before = ids[0], meta.Copies
		if reply.Index = meta.ModifyIndex; meta.Copies == ids[0] {
			return nil
		}
		res, err := s.noteCopied(ctx, &structs.ClusterCopiesRequest{ClusterID: ids[0], Before: meta.Copies})
		if err != nil {
			return err
		}
		s.logger.Warn("copies from another cluster from now on", "region", region, "cluster", ids[0], "before", meta.Copies, "by", caller(c))
		reply.Index = res.index
		return nil
	})

// ReplicationAccept has the region copy from a cluster that took the place of another.
func (o *Operator) ReplicationAccept(ctx context.Context, args *structs.ReplicationAcceptRequest, reply *structs.ReplicationAcceptResponse) error {
	return operatorReplicationAccept.serve(ctx, o.srv, args, reply)
}

// ReplicationStatus tells how the region copies what the authoritative one owns.
func (o *Operator) ReplicationStatus(ctx context.Context, args *structs.GenericRequest, reply *structs.ReplicationStatusResponse) error {
	return operatorReplicationStatus.serve(ctx, o.srv, args, reply)
}
