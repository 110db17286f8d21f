package state

import (
	"maps"
	"slices"
	"time"

	"github.com/cairn-project/cairn/nomad/structs"
)

// sortedKeys returns the keys of a map in order, as maps have none.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// UpdateNodeDrain begins, changes or ends the drain of a node.
func (s *StateStore) UpdateNodeDrain(index uint64, r *structs.NodeUpdateDrainRequest) error {
	return s.write(index, structs.EventNodeDrain, func(tx *Txn) error {
		return changeNode(tx, r.NodeID, func(n *structs.Node) error {
			at := time.Unix(r.UpdatedAt, 0).UTC()
			if r.DrainStrategy != nil {
				beginDrain(n, r, at)
			} else {
				cancelDrain(n, r, at)
			}
			addNodeEvents(tx, n, r.NodeEvent)
			return nil
		})
	})
}

// cancelDrain ends a drain before it is done, if one is on.
func cancelDrain(n *structs.Node, r *structs.NodeUpdateDrainRequest, at time.Time) {
	if n.Draining() {
		endDrain(n, structs.DrainStatusCanceled, at)
		n.LastDrain.AccessorID = r.AccessorID // a copy, as the drain has ended
		if r.Meta != nil {
			n.LastDrain.Meta = maps.Clone(r.Meta)
		}
	}
	if r.MarkEligible {
		setEligibility(n, structs.NodeSchedulingEligible, nil)
	}
}

// beginDrain begins a drain or changes the one that is on, whose start stays.
func beginDrain(n *structs.Node, r *structs.NodeUpdateDrainRequest, at time.Time) {
	strategy, started := *r.DrainStrategy, at
	if n.Draining() {
		strategy.StartedAt = n.DrainStrategy.StartedAt
		if n.LastDrain != nil {
			started = n.LastDrain.StartedAt
		}
	}
	if !n.Draining() {
		n.Ineligibility = nil // the drain is the later word
	}
	n.DrainStrategy = &strategy
	n.SchedulingEligibility = structs.NodeSchedulingIneligible
	n.LastDrain = &structs.DrainMetadata{StartedAt: started, UpdatedAt: at, Status: structs.DrainStatusDraining,
		AccessorID: r.AccessorID, Meta: maps.Clone(r.Meta)}
}

// endDrain ends a drain, if one is on.
func endDrain(n *structs.Node, status structs.DrainStatus, at time.Time) {
	if !n.Draining() {
		return
	}
	n.DrainStrategy = nil
	last := n.LastDrain.Copy()
	if last == nil {
		last = &structs.DrainMetadata{StartedAt: at}
	}
	last.Status, last.UpdatedAt = status, at
	n.LastDrain = last
}

// UpdateNodeDrains ends the drains of nodes that are done, or changes them. Nodes
// that went away in the meantime are left out.
func (s *StateStore) UpdateNodeDrains(index uint64, r *structs.BatchNodeUpdateDrainRequest) error {
	return s.write(index, structs.EventNodeDrain, func(tx *Txn) error {
		at := time.Unix(r.UpdatedAt, 0).UTC()
		for _, id := range sortedKeys(r.Updates) {
			update := r.Updates[id]
			if row := Nodes.read(tx, Key{ID: id}); row == nil || update == nil || update.DrainStrategy == nil && !row.Draining() {
				continue
			}
			err := changeNode(tx, id, func(n *structs.Node) error {
				if update.DrainStrategy != nil {
					beginDrain(n, &structs.NodeUpdateDrainRequest{DrainStrategy: update.DrainStrategy}, at)
				} else {
					endDrain(n, structs.DrainStatusComplete, at)
				}
				if update.MarkEligible && !n.Draining() {
					setEligibility(n, structs.NodeSchedulingEligible, nil)
				}
				addNodeEvents(tx, n, r.NodeEvents[id])
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
}
