package nomad

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/nomad/structs"
)

// Many nodes go in bounded batches, and one that came back after they were counted stays.
func TestNodesGoInBoundedBatches(t *testing.T) {
	s := startLone(t)
	waitForKeys(t, s)
	now := time.Now()
	for i := range nodeGCBatch + 10 {
		n := &structs.Node{ID: fmt.Sprintf("n%05d", i), SecretID: uuid.NewString(), NodePool: structs.NodePoolDefault, Status: structs.NodeStatusDown, StatusUpdatedAt: now.Unix() - 10}
		if _, err := s.apply(t.Context(), structs.NodeRegisterRequestType, &structs.NodeRegisterRequest{Node: n}); err != nil {
			t.Fatal(err)
		}
	}
	ids := s.nodesDownBefore(now.Unix())
	back := &structs.NodeUpdateStatusRequest{NodeID: "n00000", Status: structs.NodeStatusReady, UpdatedAt: now.Unix()}
	if _, err := s.apply(t.Context(), structs.NodeUpdateStatusRequestType, back); err != nil {
		t.Fatal(err)
	}
	again := &structs.NodeUpdateStatusRequest{NodeID: "n00001", Status: structs.NodeStatusDown, UpdatedAt: now.Unix() + 1}
	if _, err := s.apply(t.Context(), structs.NodeUpdateStatusRequestType, again); err != nil {
		t.Fatal(err)
	}
	first := &structs.NodeBatchDeregisterRequest{NodeIDs: append([]string{"absent"}, ids[:3]...), DownBefore: now.Unix()}
	if _, err := s.apply(t.Context(), structs.NodeBatchDeregisterRequestType, first); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{"n00000": true, "n00001": true, "n00002": false} {
		if got := s.state.Snapshot().Node(nil, id) != nil; got != want {
			t.Errorf("%s is there: %v, want %v", id, got, want)
		}
	}
	before := s.fsm.seen.Load()
	n, err := s.forgetNodes(t.Context(), now)
	if entries := s.fsm.seen.Load() - before; err != nil || n != nodeGCBatch+7 || entries < 2 { // others may write, too
		t.Errorf("forgot %d nodes in %d entries: %v", n, entries, err)
	}
	if n := s.state.Snapshot().NodeCount(); n != 2 {
		t.Errorf("%d nodes are left, want the two that are not down for long", n)
	}
}
