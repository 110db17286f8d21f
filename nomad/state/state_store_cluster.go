package state

import (
	"strings"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Cluster is the table of the one row that the cluster knows about itself.
var Cluster = newTable("cluster_meta", structs.ClusterMetadataSnapshot,
	func(*structs.ClusterMetadata) Key { return Key{ID: "cluster"} },
	func(a *acl.ACL, _ *structs.ClusterMetadata) bool { return a.IsManagement() },
	noEvents[structs.ClusterMetadata]()).notSearched()

// SetClusterMetadata gives the cluster its ID. Giving it again changes nothing;
// another ID is refused.
func (s *StateStore) SetClusterMetadata(index uint64, r *structs.ClusterMetadataRequest) error {
	return s.write(index, "", func(tx *Txn) error {
		if r.ClusterID == "" {
			return errs.New(errs.Invalid, "a cluster ID is needed")
		}
		if old := Cluster.read(tx, Key{ID: "cluster"}); old != nil {
			if old.ClusterID == r.ClusterID {
				return nil
			}
			return errs.Newf(errs.Conflict, "the cluster has the ID %q already", old.ClusterID)
		}
		Cluster.put(tx, &structs.ClusterMetadata{
			ClusterID: strings.Clone(r.ClusterID), CreateTime: r.CreateTime,
			CreateIndex: tx.opIndex, ModifyIndex: tx.opIndex,
		})
		return nil
	})
}

// SetCopiedCluster notes which cluster is copied, if that is what was noted before.
func (s *StateStore) SetCopiedCluster(index uint64, r *structs.ClusterCopiesRequest) error {
	return s.write(index, "", func(tx *Txn) error {
		row := Cluster.read(tx, Key{ID: "cluster"}).Copy()
		switch {
		case row == nil || r.ClusterID == "":
			return errs.New(errs.Invalid, "a cluster that has an ID copies one that has an ID")
		case row.Copies != r.Before:
			return errs.Newf(errs.Conflict, "the cluster that is copied is %q, not %q", row.Copies, r.Before)
		}
		row.Copies, row.ModifyIndex = strings.Clone(r.ClusterID), tx.opIndex
		Cluster.put(tx, row)
		return nil
	})
}

// ClusterMetadata returns what the cluster knows about itself, nil before its first leader.
func (sn *Snapshot) ClusterMetadata(ws memdb.WatchSet) *structs.ClusterMetadata {
	return Cluster.get(sn, ws, Key{ID: "cluster"})
}
