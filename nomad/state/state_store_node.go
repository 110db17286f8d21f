package state

import (
	"iter"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Nodes is the table of nodes, by ID, and by secret as values. Events leave the
// secrets out.
var Nodes = newTable("nodes", structs.NodeSnapshot,
	func(n *structs.Node) Key { return Key{ID: n.ID} },
	func(a *acl.ACL, _ *structs.Node) bool { return a.AllowNodeRead() },
	events[structs.Node]{
		topic:   structs.TopicNode,
		payload: func(n *structs.Node) structs.EventPayload { return n.WithoutSecret() },
		row:     sameRow[structs.Node],
		follows: follower((*acl.ACL).AllowNodeRead),
	}).withValue(func(n *structs.Node) string { return n.SecretID }).
	withOrder(nodesByPool).withOrder(nodesBySigningKey).withOrder(nodesByReturn).
	searchedBy(search[structs.Node]{
		context: structs.SearchNodes,
		name:    func(n *structs.Node) string { return n.Name },
		scope:   func(n *structs.Node) []string { return []string{n.ID} },
		uuids:   true,
	})

// nodesByPool has the nodes of each pool in order of ID.
var nodesByPool = newIndex("node_pool", func(n *structs.Node) Key { return Key{n.NodePool, n.ID} }, nil)

// nodesBySigningKey has the nodes that hold an identity by the key that signed it.
var nodesBySigningKey = newIndex("signing_key", func(n *structs.Node) Key { return Key{n.IdentitySigningKeyID, n.ID} },
	func(n *structs.Node) bool { return n.IdentitySigningKeyID != "" })

var errNodeNotFound = errs.New(errs.NotFound, "node not found")

// accountNode books a change of a node; before and after are nil for none.
func (tx *Txn) accountNode(before, after *structs.Node) {
	if before != nil {
		tx.add(poolNodes, before.NodePool, -1)
	}
	if after != nil {
		tx.add(poolNodes, after.NodePool, 1)
	}
}

// UpsertNode makes a node known or takes what its agent tells of it. What is the
// servers' stays: status, eligibility, drain and events. The secret of a known
// node must be the same.
func (s *StateStore) UpsertNode(index uint64, r *structs.NodeRegisterRequest) error {
	return s.write(index, "NodeRegistration", func(tx *Txn) error {
		if r.Node == nil || r.Node.ID == "" || r.Node.SecretID == "" || structs.ValidateNodePoolName(r.Node.NodePool) != nil {
			return errs.New(errs.Invalid, "a node without an ID, a secret or a proper node pool cannot be stored")
		}
		row := r.Node.Copy()
		before := Nodes.read(tx, Key{ID: row.ID})
		if other := Nodes.readBy(tx, row.SecretID); other != nil && other.ID != row.ID {
			return errs.New(errs.Conflict, "another node has the same secret ID: give every agent a data directory of its own")
		}
		if before != nil && before.SecretID != row.SecretID {
			return errs.New(errs.PermissionDenied, "node secret ID does not match")
		}
		mergeNode(tx, row, before, r.NodeEvent)
		if r.CreateNodePool && NodePools.read(tx, Key{ID: row.NodePool}) == nil {
			upsertNodePool(tx, &structs.NodePool{Name: row.NodePool})
		}
		Nodes.put(tx, row)
		return nil
	})
}

// mergeNode gives a node that an agent described what only servers write; before
// is nil for a new one.
func mergeNode(tx *Txn, row, before *structs.Node, event *structs.NodeEvent) {
	row.CreateIndex, row.ModifyIndex = tx.opIndex, tx.opIndex
	fenceLink(tx, row, before)
	row.Events, row.DrainStrategy, row.LastDrain, row.Ineligibility, row.LastMissedHeartbeatIndex = nil, nil, nil, nil, 0
	if before == nil {
		if row.SchedulingEligibility == "" {
			row.SchedulingEligibility = structs.NodeSchedulingEligible
		}
		addNodeEvents(tx, row, event)
		return
	}
	row.CreateIndex = before.CreateIndex
	row.Status, row.StatusDescription, row.StatusUpdatedAt = before.Status, before.StatusDescription, before.StatusUpdatedAt
	row.SchedulingEligibility, row.Ineligibility = before.SchedulingEligibility, before.Ineligibility
	row.DrainStrategy, row.LastDrain = before.DrainStrategy, before.LastDrain
	row.LastMissedHeartbeatIndex, row.Events = before.LastMissedHeartbeatIndex, before.Events
	if row.IdentitySigningKeyID == "" {
		row.IdentitySigningKeyID = before.IdentitySigningKeyID
	}
	if before.Status == structs.NodeStatusDown {
		addNodeEvents(tx, row, event)
	}
}

// fenceLink gives the link of a process that registers for the first time an epoch
// above all earlier ones. An agent that does not serve the link changes nothing.
func fenceLink(tx *Txn, row, before *structs.Node) {
	row.LinkEpoch = 0
	switch {
	case row.LinkInstance == "" && before != nil:
		row.LinkInstance, row.LinkEpoch = before.LinkInstance, before.LinkEpoch
	case row.LinkInstance == "":
	case before != nil && before.LinkInstance == row.LinkInstance:
		row.LinkEpoch = before.LinkEpoch
	default:
		row.LinkEpoch = tx.opIndex
	}
}

// addNodeEvents appends events to a row of the transaction, and drops the oldest.
func addNodeEvents(tx *Txn, row *structs.Node, list ...*structs.NodeEvent) {
	all := make([]*structs.NodeEvent, 0, len(row.Events)+len(list))
	all = append(all, row.Events...)
	for _, e := range list {
		if e != nil {
			e = e.Copy()
			e.CreateIndex = tx.opIndex
			all = append(all, e)
		}
	}
	row.Events = all[max(0, len(all)-structs.MaxNodeEvents):]
}

// changeNode changes a copy of one node, which must exist.
func changeNode(tx *Txn, id string, change func(*structs.Node) error) error {
	before := Nodes.read(tx, Key{ID: id})
	if before == nil {
		return errNodeNotFound
	}
	row := *before // what change replaces is not shared, the rest nobody writes to
	row.ModifyIndex = tx.opIndex
	if err := change(&row); err != nil {
		return err
	}
	Nodes.put(tx, &row)
	return nil
}

// UpdateNodeStatus sets the status of a node.
func (s *StateStore) UpdateNodeStatus(index uint64, r *structs.NodeUpdateStatusRequest) error {
	return s.write(index, "NodeStreamEvent", func(tx *Txn) error {
		return changeNode(tx, r.NodeID, func(n *structs.Node) error {
			n.Status, n.StatusUpdatedAt = r.Status, r.UpdatedAt
			switch r.Status {
			case structs.NodeStatusDown:
				n.LastMissedHeartbeatIndex = tx.opIndex
			case structs.NodeStatusReady:
				n.LastMissedHeartbeatIndex = 0
			}
			if r.IdentitySigningKeyID != "" {
				n.IdentitySigningKeyID = r.IdentitySigningKeyID
			}
			addNodeEvents(tx, n, r.NodeEvent)
			return nil
		})
	})
}

// UpsertNodeEvents adds events to nodes, all or none.
func (s *StateStore) UpsertNodeEvents(index uint64, r *structs.EmitNodeEventsRequest) error {
	return s.write(index, "NodeStreamEvent", func(tx *Txn) error {
		for _, id := range sortedKeys(r.NodeEvents) {
			err := changeNode(tx, id, func(n *structs.Node) error {
				addNodeEvents(tx, n, r.NodeEvents[id]...)
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteNode deletes one node.
func (s *StateStore) DeleteNode(index uint64, r *structs.NodeDeregisterRequest) error {
	return s.deleteNodes(index, &structs.NodeBatchDeregisterRequest{NodeIDs: []string{r.NodeID}})
}

// DeleteNodes deletes nodes, all or none; or those of them that are down for long.
func (s *StateStore) DeleteNodes(index uint64, r *structs.NodeBatchDeregisterRequest) error {
	return s.deleteNodes(index, r)
}

func (s *StateStore) deleteNodes(index uint64, r *structs.NodeBatchDeregisterRequest) error {
	return s.write(index, structs.EventNodeDeregistration, func(tx *Txn) error {
		for _, id := range r.NodeIDs {
			n := Nodes.read(tx, Key{ID: id})
			switch {
			case n != nil && (r.DownBefore <= 0 || n.DownBefore(r.DownBefore)):
				Nodes.drop(tx, Key{ID: id})
			case r.DownBefore <= 0:
				return errNodeNotFound
			}
		}
		return nil
	})
}

// Node returns a node with its secret, nil if there is none of the ID.
func (sn *Snapshot) Node(ws memdb.WatchSet, id string) *structs.Node {
	return Nodes.get(sn, ws, Key{ID: id})
}

// NodeBySecret returns the node that has the secret, nil if there is none.
func (sn *Snapshot) NodeBySecret(ws memdb.WatchSet, secret string) *structs.Node {
	if secret == "" {
		return nil
	}
	return Nodes.getBy(sn, ws, secret)
}

// NodeQuery selects nodes.
type NodeQuery struct {
	// Prefix is of the ID.
	Prefix string
	// Pool is "" or the pool of all for the nodes of every pool.
	Pool string
	// From is the ID that the list begins with, "" for its beginning.
	From    string
	Reverse bool
}

// Nodes yields the nodes of the query in order of ID.
func (sn *Snapshot) Nodes(ws memdb.WatchSet, q NodeQuery) iter.Seq[*structs.Node] {
	if q.Pool == "" || q.Pool == structs.NodePoolAll {
		in := within("", q.Prefix)
		Nodes.watch(sn, ws, in)
		return Nodes.scan(sn, in, Key{ID: q.From}, q.Reverse)
	}
	Nodes.watch(sn, ws, everything)
	from := Key{}
	if q.From != "" {
		from = Key{q.Pool, q.From}
	}
	return Nodes.scanBy(sn, nodesByPool, within(q.Pool, q.Prefix), from, q.Reverse)
}

// AllNodes yields every node in order of ID.
func (sn *Snapshot) AllNodes() iter.Seq[*structs.Node] {
	return Nodes.scan(sn, everything, Key{}, false)
}

// NodesSignedBy yields the nodes whose identity the root key signed.
func (sn *Snapshot) NodesSignedBy(keyID string) iter.Seq[*structs.Node] {
	return Nodes.scanBy(sn, nodesBySigningKey, within(keyID, ""), Key{}, false)
}

// NodeCount returns how many nodes there are.
func (sn *Snapshot) NodeCount() int {
	n := 0
	for row := range poolNodes.scan(sn, everything, Key{}, false) {
		n += row.N
	}
	return n
}
