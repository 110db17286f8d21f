package state

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"pgregory.net/rapid"

	"github.com/cairn-project/cairn/nomad/structs"
)

// drawNodeOp draws from few nodes and pools, so that secrets and pools meet.
func drawNodeOp(t *rapid.T) op {
	pick := func(what string) string { return rapid.SampledFrom([]string{"n1", "n2", "n3"}).Draw(t, what) }
	id, other := pick("node"), pick("other")
	pool := rapid.SampledFrom([]string{"default", "gpu", "arm", "all"}).Draw(t, "pool")
	status := rapid.SampledFrom([]string{structs.NodeStatusReady, structs.NodeStatusDown}).Draw(t, "status")
	run := func(write func(s *StateStore, index uint64) error) op {
		return func(s *StateStore) string { return fmt.Sprint(write(s, s.NextIndex())) }
	}
	kind := rapid.IntRange(0, 11).Draw(t, "node kind")
	switch kind {
	case 0:
		return run(func(s *StateStore, i uint64) error { return s.UpsertNodePools(i, poolsOf("arm", pool)) })
	case 1:
		return run(func(s *StateStore, i uint64) error { return s.DeleteNodePools(i, withoutPools(pool)) })
	case 2:
		return run(func(s *StateStore, i uint64) error { return s.UpdateNodeStatus(i, becoming(id, status)) })
	case 3:
		return run(func(s *StateStore, i uint64) error { return s.UpdateNodeDrain(i, draining(id, time.Hour, int64(i))) })
	case 4:
		updates := map[string]*structs.DrainUpdate{id: {}, other: {MarkEligible: true}}
		return run(func(s *StateStore, i uint64) error {
			return s.UpdateNodeDrains(i, &structs.BatchNodeUpdateDrainRequest{Updates: updates, UpdatedAt: int64(i)})
		})
	case 5:
		return run(func(s *StateStore, i uint64) error {
			return s.DeleteNodes(i, &structs.NodeBatchDeregisterRequest{NodeIDs: []string{id, other}})
		})
	case 6:
		r := &structs.EmitNodeEventsRequest{NodeEvents: map[string][]*structs.NodeEvent{id: {{Message: "x"}}, other: {{Message: "y"}}}}
		return run(func(s *StateStore, i uint64) error { return s.UpsertNodeEvents(i, r) })
	}
	until := rapid.Int64Range(0, 3).Draw(t, "until")
	switch kind {
	case 7:
		return run(func(s *StateStore, i uint64) error { return s.UpdateNodeEligibility(i, ineligible(id, until)) })
	case 8:
		return run(func(s *StateStore, i uint64) error { return s.UpdateNodeEligibility(i, due(id, 1+until)) })
	}
	r := registering(node(id, pool))
	r.CreateNodePool = rapid.Bool().Draw(t, "create")
	r.Node.SecretID = "secret-" + rapid.SampledFrom([]string{id, other}).Draw(t, "secret")
	r.Node.IdentitySigningKeyID = rapid.SampledFrom([]string{"", "k1"}).Draw(t, "signer")
	return run(func(s *StateStore, i uint64) error { return s.UpsertNode(i, r) })
}

// checkNodes checks that every index of the nodes has what the rows say.
func checkNodes(t *rapid.T, sn *Snapshot) {
	pools, signed, back := map[string][]string{}, 0, 0
	for n := range sn.AllNodes() {
		pools[n.NodePool] = append(pools[n.NodePool], n.ID)
		if n.IdentitySigningKeyID == "k1" {
			signed++
		}
		if sn.NodeBySecret(nil, n.SecretID) != n {
			t.Fatalf("the secret of %s leads elsewhere", n.ID)
		}
		if n.Ineligibility.Ends() && !n.Draining() {
			back++
		}
		if n.Ineligibility != nil && n.SchedulingEligibility == structs.NodeSchedulingEligible {
			t.Fatalf("an eligible node is said to be none: %+v", n)
		}
		if n.Draining() && n.SchedulingEligibility == structs.NodeSchedulingEligible || len(n.Events) > structs.MaxNodeEvents {
			t.Fatalf("node %+v", n)
		}
	}
	if got := len(strings.Fields(toReturn(sn))); got != back {
		t.Fatalf("%d nodes return by index, %d by row", got, back)
	}
	total := 0
	for _, pool := range []string{"default", "gpu", "arm"} {
		total += len(pools[pool])
		if got := nodeIDs(sn, NodeQuery{Pool: pool}); !slices.Equal(got, pools[pool]) || poolNodes.value(sn, pool) != len(got) {
			t.Fatalf("pool %s has %v by index, %v by row, counts %d", pool, got, pools[pool], poolNodes.value(sn, pool))
		}
	}
	if got := len(slices.Collect(sn.NodesSignedBy("k1"))); got != signed || sn.NodeCount() != total+len(pools["all"]) {
		t.Fatalf("%d nodes signed by index, %d by row; %d nodes counted, %d there", got, signed, sn.NodeCount(), total)
	}
	for _, name := range []string{"all", "default"} {
		if sn.NodePool(nil, name) == nil {
			t.Fatalf("the pool %q is gone", name)
		}
	}
}
