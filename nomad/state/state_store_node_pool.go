package state

import (
	"iter"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// NodePools is the table of node pools, by name.
var NodePools = newTable("node_pools", structs.NodePoolSnapshot,
	func(n *structs.NodePool) Key { return Key{ID: n.Name} },
	func(a *acl.ACL, n *structs.NodePool) bool { return a.AllowNodePoolRead(n.Name) },
	events[structs.NodePool]{
		topic:   structs.TopicNodePool,
		payload: func(n *structs.NodePool) structs.EventPayload { return n },
		row:     sameRow[structs.NodePool],
		follows: follower(func(a *acl.ACL) bool {
			return a.AllowNodePoolSearch(acl.NodePoolRead) || a.AllowOperatorCapability(acl.ReplicationRead)
		}),
	}).searchedBy(search[structs.NodePool]{
	context: structs.SearchNodePools,
	name:    func(n *structs.NodePool) string { return n.Name },
})

// poolNodes is the number of nodes by pool.
var poolNodes = newCounter("node_pool_nodes")

// UpsertNodePools creates or updates node pools, all or none. The built-in ones
// are refused.
func (s *StateStore) UpsertNodePools(index uint64, r *structs.NodePoolUpsertRequest) error {
	return s.write(index, "NodePoolUpserted", func(tx *Txn) error {
		for _, n := range r.NodePools {
			if n == nil || structs.ValidateNodePoolName(n.Name) != nil {
				return errs.New(errs.Invalid, "a node pool without a proper name cannot be stored")
			}
			if structs.IsBuiltinNodePool(n.Name) {
				return errs.Newf(errs.PreconditionFailed, "modifying node pool %q is not allowed: it is built in", n.Name)
			}
			upsertNodePool(tx, n)
		}
		return nil
	})
}

func upsertNodePool(tx *Txn, n *structs.NodePool) {
	row := n.Copy()
	if row.NodeIdentityTTL == 0 {
		row.NodeIdentityTTL = structs.DefaultNodeIdentityTTL
	}
	row.CreateIndex, row.ModifyIndex = tx.opIndex, tx.opIndex
	if before := NodePools.read(tx, Key{ID: n.Name}); before != nil {
		row.CreateIndex = before.CreateIndex
	}
	NodePools.put(tx, row)
}

func putBuiltinNodePools(tx *Txn) error {
	for _, n := range structs.BuiltinNodePools() {
		upsertNodePool(tx, n)
	}
	return nil
}

// DeleteNodePools deletes node pools, all or none. Built-in ones, absent ones and
// those that still have nodes are refused.
func (s *StateStore) DeleteNodePools(index uint64, r *structs.NodePoolDeleteRequest) error {
	return s.write(index, "NodePoolDeleted", func(tx *Txn) error {
		for _, name := range r.Names {
			if err := deleteNodePool(tx, name); err != nil {
				return err
			}
		}
		return nil
	})
}

func deleteNodePool(tx *Txn, name string) error {
	if structs.IsBuiltinNodePool(name) {
		return errs.Newf(errs.PreconditionFailed, "deleting node pool %q is not allowed: it is built in", name)
	}
	if NodePools.read(tx, Key{ID: name}) == nil {
		return errs.Newf(errs.NotFound, "node pool %q not found", name)
	}
	if n := tx.count(poolNodes, name); n > 0 {
		return errs.Newf(errs.PreconditionFailed, "node pool %q has %d nodes: move or purge them first", name, n)
	}
	NodePools.drop(tx, Key{ID: name})
	return nil
}

// NodePool returns a node pool, nil if there is none of the name.
func (sn *Snapshot) NodePool(ws memdb.WatchSet, name string) *structs.NodePool {
	return NodePools.get(sn, ws, Key{ID: name})
}

// NodePoolQuery selects node pools.
type NodePoolQuery struct {
	Prefix string
	// From is the name the list begins with, "" for its beginning.
	From    string
	Reverse bool
}

// NodePools yields the node pools of the query in order of name.
func (sn *Snapshot) NodePools(ws memdb.WatchSet, q NodePoolQuery) iter.Seq[*structs.NodePool] {
	in := within("", q.Prefix)
	NodePools.watch(sn, ws, in)
	return NodePools.scan(sn, in, Key{ID: q.From}, q.Reverse)
}

// restoreNodePools stores the built-in pools where a snapshot has none.
func (re *restorer) restoreNodePools(sn *Snapshot) {
	for _, n := range structs.BuiltinNodePools() {
		if NodePools.get(sn, nil, Key{ID: n.Name}) != nil {
			continue
		}
		n.CreateIndex, n.ModifyIndex = 1, 1
		seal(n)
		impossible(re.w.Insert(NodePools.info.Name, n))
		re.last[NodePools.at] = max(re.last[NodePools.at], 1)
	}
}
