package nomad_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// setEligibility makes a node ineligible for a time, 0 for not by itself.
func setEligibility(t *testing.T, s *nomadtest.Node, id, reason string, d time.Duration) uint64 {
	t.Helper()
	r := &structs.NodeUpdateEligibilityRequest{NodeID: id, Eligibility: structs.NodeSchedulingIneligible, Reason: reason}
	if d != 0 {
		r.Until = time.Now().Add(d)
	}
	var reply structs.NodeEligibilityUpdateResponse
	if err := s.RPC(t.Context(), "Node.UpdateEligibility", r, &reply); err != nil {
		t.Fatal(err)
	}
	return reply.Index
}

// eligibility returns what a server says of a node, and the last event of that.
func eligibility(t *testing.T, s *nomadtest.Node, id string) (n *structs.Node, event string) {
	t.Helper()
	n = readNode(t, s, id)
	for _, e := range n.Events {
		if strings.HasPrefix(e.Message, "Node marked as ") {
			event = strings.Join([]string{e.Message, e.Details["reason"], e.Details["until"]}, "|")
		}
	}
	return n, event
}

// A node that is ineligible until a time comes back then, whoever leads.
func TestIneligibleNodesReturn(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		leader := c.WaitLeader()
		var ids []string
		for range 3 {
			n := newNode("")
			mustReady(t, leader, n)
			ids = append(ids, n.ID)
		}
		first, second, third := ids[0], ids[1], ids[2]
		begun := time.Now()
		setEligibility(t, leader, first, "a new disk", time.Hour)
		setEligibility(t, c.Follower(), second, "", 2*time.Minute)
		setEligibility(t, leader, third, "", time.Minute)
		setEligibility(t, leader, third, "for longer", 0)
		n, event := eligibility(t, leader, first)
		if event != "Node marked as ineligible for scheduling|a new disk|"+n.Ineligibility.Until.Format(time.RFC3339) || n.Ineligibility.Until.Before(begun.Add(time.Hour)) {
			t.Errorf("%+v, %s", n.Ineligibility, event)
		}

		time.Sleep(119 * time.Second)
		if n, event := eligibility(t, leader, second); n.SchedulingEligibility != structs.NodeSchedulingIneligible {
			t.Errorf("it came back before its time: %s", event)
		}
		time.Sleep(3 * time.Second)
		if n, event := eligibility(t, leader, second); n.SchedulingEligibility != structs.NodeSchedulingEligible || n.Ineligibility != nil ||
			event != "Node marked as eligible for scheduling|the time of its ineligibility is up|" {
			t.Errorf("after its time: %+v, %s", n.Ineligibility, event)
		}

		c.Crash(leader)
		next := c.WaitLeader()
		time.Sleep(time.Hour - time.Since(begun) + 2*time.Second)
		if n, event := eligibility(t, next, first); n.SchedulingEligibility != structs.NodeSchedulingEligible {
			t.Errorf("under another leader: %s", event)
		}
		if n, event := eligibility(t, next, third); n.SchedulingEligibility != structs.NodeSchedulingIneligible || n.Ineligibility.Reason != "for longer" {
			t.Errorf("its time was taken back: %s", event)
		}
	})
}

// What changes nothing is not written, and a time that is past is refused.
func TestEligibilityIsSaidOnce(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		s := c.WaitLeader()
		n := newNode("")
		mustReady(t, s, n)
		id := n.ID
		first := setEligibility(t, s, id, "disk", 0)
		if again := setEligibility(t, s, id, "disk", 0); again != first {
			t.Errorf("written at %d and %d", first, again)
		}
		if other := setEligibility(t, s, id, "fan", 0); other <= first {
			t.Errorf("another reason was not written: %d after %d", other, first)
		}
		r := &structs.NodeUpdateEligibilityRequest{NodeID: id, Eligibility: structs.NodeSchedulingIneligible, Until: time.Now().Add(-time.Second)}
		if err := s.RPC(t.Context(), "Node.UpdateEligibility", r, &structs.NodeEligibilityUpdateResponse{}); !errors.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "is past") {
			t.Errorf("a time that is past: %v", err)
		}
	})
}
