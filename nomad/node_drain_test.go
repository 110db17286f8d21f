package nomad_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// drainNode is a node whose agent says how far its programs are.
type drainNode struct {
	*linkNode
	mu       sync.Mutex
	progress *nodelink.DrainProgress // guarded by mu
	told     int                     // guarded by mu
}

func newDrainNode(t *testing.T, s *nomadtest.Node, p *nodelink.DrainProgress) *drainNode {
	t.Helper()
	n := &drainNode{progress: p}
	n.linkNode = newLinkNode(t, s, nodelink.Handlers{"Node.NotifyChange": func(_ context.Context, c *nodelink.Call) (any, error) {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.told++
		return map[string]any{"Drain": n.progress}, nil
	}})
	return n
}

// now replaces what the agent says, and returns how often it was asked before.
func (n *drainNode) now(p *nodelink.DrainProgress) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.progress = p
	return n.told
}

func (n *drainNode) drain(t *testing.T, s *nomadtest.Node, deadline time.Duration) string {
	t.Helper()
	req := &structs.NodeUpdateDrainRequest{NodeID: n.ID, DrainStrategy: &structs.DrainStrategy{DrainSpec: structs.DrainSpec{Deadline: deadline}},
		Meta: map[string]string{"reason": "a new disk"}, Caller: "uid 0"}
	var reply structs.NodeDrainUpdateResponse
	if err := s.RPC(t.Context(), "Node.UpdateDrain", req, &reply); err != nil || reply.OperationID == "" {
		t.Fatalf("%+v, %v", reply, err)
	}
	return reply.OperationID
}

// operation returns an operation as a server shows it, in short with its steps.
func operation(t *testing.T, s *nomadtest.Node, id string) (*structs.Operation, string) {
	t.Helper()
	var reply structs.OperationListResponse
	if err := s.RPC(t.Context(), "Operation.List", &structs.OperationListRequest{ID: id}, &reply); err != nil || len(reply.Operations) != 1 {
		t.Fatalf("operation %q: %d, %v", id, len(reply.Operations), err)
	}
	o := reply.Operations[0]
	short := string(o.State)
	for _, s := range o.Steps {
		short += fmt.Sprintf("; %s: %s", s.Name, s.State)
		for _, p := range s.Parts {
			short += fmt.Sprintf(" [%s: %s, %s]", p.Name, p.State, p.Message)
		}
	}
	return o, short
}

// The drain of a node waits for the programs there, whoever leads and whoever holds
// the link of its agent.
func TestDrainWaitsForWorkloads(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		leader, owner := c.WaitLeader(), c.Follower()
		busy := &nodelink.DrainProgress{Left: 1, Workloads: []nodelink.DrainWorkload{{Name: "web", PID: 7, State: nodelink.WorkloadNeeds, NeedMs: 20000}}}
		n := newDrainNode(t, leader, busy)
		n.dial(t, owner)
		mustReady(t, leader, n.Node)
		id := n.drain(t, owner, 10*time.Minute)
		time.Sleep(3 * time.Second)
		o, short := operation(t, leader, id)
		if want := "running; mark the node: succeeded; tell its agent: succeeded; workloads leave: running [web, pid 7: running, needs 20s]; end the drain: queued"; short != want {
			t.Errorf("%s\nwant %s", short, want)
		}
		if o.Caller != "uid 0" || o.Reason != "a new disk" || o.NodeID != n.ID || !strings.Contains(o.Steps[1].Message, nameOf(owner)) {
			t.Errorf("%+v, %s", o, o.Steps[1].Message)
		}
		if again := n.drain(t, leader, 20*time.Minute); again != id {
			t.Errorf("another deadline made another operation, %s", again)
		}

		c.Crash(owner)
		time.Sleep(10 * time.Second)
		if _, short = operation(t, leader, id); !strings.Contains(short, "tell its agent: unreachable") || !strings.HasPrefix(short, "running") {
			t.Errorf("without a link: %s", short)
		}
		c.Restart(owner)
		c.Crash(leader)
		next := c.WaitLeader()
		n.dial(t, next)
		asked := n.now(busy)
		time.Sleep(10 * time.Second)
		if _, short = operation(t, next, id); !strings.Contains(short, "tell its agent: succeeded") || !strings.HasPrefix(short, "running") || n.now(busy) == asked {
			t.Errorf("with another link and another leader: %s", short)
		}
		if !readNode(t, next, n.ID).Draining() {
			t.Error("the node does not drain any more")
		}

		n.now(&nodelink.DrainProgress{Workloads: []nodelink.DrainWorkload{{Name: "web", PID: 7, State: nodelink.WorkloadGone}}})
		time.Sleep(5 * time.Second)
		if _, short = operation(t, next, id); short != "succeeded; mark the node: succeeded; tell its agent: succeeded; workloads leave: succeeded [web, pid 7: succeeded, gone]; end the drain: succeeded" {
			t.Error(short)
		}
		if got := readNode(t, next, n.ID); got.Draining() || got.LastDrain.Status != structs.DrainStatusComplete {
			t.Errorf("%+v", got.LastDrain)
		}
		c.Restart(leader)
	})
}

func TestDrainEndsAtItsDeadline(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		s := c.Nodes[0]
		n := newDrainNode(t, s, &nodelink.DrainProgress{Left: 2})
		n.dial(t, s)
		mustReady(t, s, n.Node)
		id := n.drain(t, s, time.Minute)
		time.Sleep(58 * time.Second)
		if o, _ := operation(t, s, id); o.State.Done() {
			t.Errorf("ended early: %+v", o)
		}
		time.Sleep(4 * time.Second)
		if o, _ := operation(t, s, id); o.State != structs.OperationSucceeded || !strings.Contains(o.Message, "2 workloads have not left") {
			t.Errorf("%s, %s", o.State, o.Message)
		}
		force := n.drain(t, s, -1)
		time.Sleep(time.Second)
		if o, _ := operation(t, s, force); o.State != structs.OperationSucceeded {
			t.Errorf("a drain at once is %s", o.State)
		}
	})
}

func TestDrainThatIsTakenBack(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		s := c.Nodes[0]
		n := newDrainNode(t, s, &nodelink.DrainProgress{Left: 1})
		n.dial(t, s)
		mustReady(t, s, n.Node)
		id := n.drain(t, s, 0)
		time.Sleep(time.Second)
		asked := n.now(nil)
		var reply structs.NodeDrainUpdateResponse
		if err := s.RPC(t.Context(), "Node.UpdateDrain", &structs.NodeUpdateDrainRequest{NodeID: n.ID, MarkEligible: true}, &reply); err != nil || reply.OperationID != "" {
			t.Fatal(reply, err)
		}
		synctest.Wait()
		if o, _ := operation(t, s, id); o.State != structs.OperationFailed || !strings.Contains(o.Message, "was ended") {
			t.Errorf("%s, %s", o.State, o.Message)
		}
		if n.now(nil) == asked {
			t.Error("the agent was not told")
		}
		gone := n.drain(t, s, 0)
		n.now(&nodelink.DrainProgress{Left: 1})
		if err := s.RPC(t.Context(), "Node.Deregister", &structs.NodeDeregisterRequest{NodeID: n.ID}, &structs.NodeUpdateResponse{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(drainSettles)
		if o, _ := operation(t, s, gone); !o.State.Done() {
			t.Errorf("the node is gone, its drain is %s", o.State)
		}
	})
}

// drainSettles is longer than the leader pauses between two looks at a node.
const drainSettles = 6 * time.Second

// An agent of an earlier release says nothing of programs: its drain is over when it
// was told.
func TestDrainOfAnAgentThatKnowsNoWorkloads(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		s := c.WaitLeader()
		n := newLinkNode(t, s, nodelink.Handlers{"Node.NotifyChange": func(context.Context, *nodelink.Call) (any, error) {
			return json.RawMessage(`{"Seen":7,"Behind":false,"Pending":[]}`), nil
		}})
		n.dial(t, c.Follower())
		mustReady(t, s, n.Node)
		id := (&drainNode{linkNode: n}).drain(t, s, 0)
		time.Sleep(drainSettles)
		if o, _ := operation(t, s, id); o.State != structs.OperationSucceeded || o.Message != "the node is empty" {
			t.Errorf("%s, %s", o.State, o.Message)
		}
	})
}
