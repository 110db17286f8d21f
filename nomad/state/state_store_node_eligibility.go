package state

import (
	"fmt"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// nodesByReturn has the nodes that become eligible by themselves in order of when,
// without those that drain.
var nodesByReturn = newIndex("return", func(n *structs.Node) Key {
	return Key{fmt.Sprintf("%020d", n.Ineligibility.Until.Unix()), n.ID}
}, func(n *structs.Node) bool { return n.Ineligibility.Ends() && !n.Draining() })

// UpdateNodeEligibility says whether work may be placed on a node. A node that
// drains stays as it is. With Due nothing happens to a node whose time is not up.
func (s *StateStore) UpdateNodeEligibility(index uint64, r *structs.NodeUpdateEligibilityRequest) error {
	return s.write(index, structs.EventNodeEligibility, func(tx *Txn) error {
		if r.Due > 0 {
			n := Nodes.read(tx, Key{ID: r.NodeID})
			if n == nil || n.Draining() || !n.Ineligibility.Ends() || n.Ineligibility.Until.Unix() > r.Due {
				return nil
			}
		}
		return changeNode(tx, r.NodeID, func(n *structs.Node) error {
			if n.Draining() && r.Eligibility == structs.NodeSchedulingEligible {
				return errs.New(errs.PreconditionFailed, "cannot set the node's scheduling eligibility to eligible while it is draining: end the drain first")
			}
			setEligibility(n, r.Eligibility, r.Ineligibility())
			addNodeEvents(tx, n, r.NodeEvent)
			return nil
		})
	})
}

// setEligibility says whether work may be placed on a node, and if not what was said
// of that, nil for nothing.
func setEligibility(n *structs.Node, eligibility string, why *structs.NodeIneligibility) {
	n.SchedulingEligibility, n.Ineligibility = eligibility, why
}

// NodesToReturn calls visit for the nodes that are ineligible until a time, the
// earliest first, as long as it returns true. Those that drain are left out.
func (sn *Snapshot) NodesToReturn(visit func(*structs.Node) bool) {
	for n := range Nodes.scanBy(sn, nodesByReturn, everything, Key{}, false) {
		if !visit(n) {
			return
		}
	}
}
