package nomad_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

// A node that is down for longer than the threshold is forgotten, and one that is
// down for less is not.
func TestNodesThatAreDownForLongAreForgotten(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		s, gone, late, lives := c.Nodes[0], newNode(""), newNode(""), newNode("")
		for _, n := range []*structs.Node{gone, late, lives} {
			mustReady(t, s, n)
		}
		down := func(n *structs.Node) {
			t.Helper()
			if _, err := heartbeat(s, n.ID, structs.NodeStatusDown, n.SecretID); err != nil {
				t.Fatal(err)
			}
		}
		there := func(want string, nodes ...*structs.Node) {
			t.Helper()
			synctest.Wait()
			for i, n := range nodes {
				if got := readNode(t, s, n.ID) != nil; got != (want[i] == 'y') {
					t.Errorf("node %d is there: %v", i, got)
				}
			}
		}
		down(gone)
		time.Sleep(7 * time.Minute) // the leader looked, and it was down for less than the threshold
		there("yyy", gone, late, lives)
		down(late)
		time.Sleep(5 * time.Minute)
		there("nyy", gone, late, lives)
		if _, err := heartbeat(s, gone.ID, structs.NodeStatusReady, gone.SecretID); err == nil {
			t.Error("a forgotten node need not register again")
		}
		mustReady(t, s, gone)
	}, func(c *nomad.Config) { c.NodeGCThreshold, c.Heartbeat.MinTTL = 8*time.Minute, time.Hour })
}

// On request all nodes that are down are forgotten at once, however many those are.
func TestGarbageCollection(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		down, up := newNode(""), newNode("")
		mustReady(t, c.Nodes[0], up)
		mustReady(t, c.Nodes[0], down)
		if _, err := heartbeat(c.Nodes[0], down.ID, structs.NodeStatusDown, down.SecretID); err != nil {
			t.Fatal(err)
		}
		if err := c.Follower().RPC(t.Context(), "System.GarbageCollect", &structs.SystemRequest{}, &structs.GenericResponse{}); err != nil {
			t.Fatal(err)
		}
		if readNode(t, c.Nodes[0], down.ID) != nil || readNode(t, c.Nodes[0], up.ID) == nil {
			t.Error("want the node that is down forgotten, and the other one not")
		}
	})
}

// The link of a node that is purged ends at every server, and its agent is told to
// register again.
func TestPurgedNodeLosesItsLink(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		n, other := newLinkNode(t, c.Nodes[0], nomadtest.LinkHandlers()), newLinkNode(t, c.Nodes[0], nomadtest.LinkHandlers())
		_, ended := n.dial(t, c.Nodes[1])
		end, stays := other.dial(t, c.Nodes[1])
		if err := c.Nodes[2].RPC(t.Context(), "Node.Deregister", &structs.NodeDeregisterRequest{NodeID: n.ID}, &structs.NodeUpdateResponse{}); err != nil {
			t.Fatal(err)
		}
		r := new(nodelink.Refusal)
		if err := <-ended; !errors.As(err, &r) || r.Reason != nodelink.BadIdentity || !strings.Contains(r.Help, "purged") {
			t.Errorf("the link ended with %v", err)
		}
		synctest.Wait()
		if len(stays) != 0 {
			t.Errorf("the link of another node ended with %v", <-stays)
		}
		if _, how := callNode(t.Context(), c.Nodes[1], &structs.NodeCallRequest{NodeID: n.ID, Method: "Node.Ping"}); !strings.Contains(how, "Unknown node") {
			t.Errorf("called: %q", how)
		}
		n.registerAt(t, c.Nodes[0])
		again, _ := n.dial(t, c.Nodes[2])
		if _, how := callNode(t.Context(), c.Nodes[1], &structs.NodeCallRequest{NodeID: n.ID, Method: "Node.Ping"}); how != "" {
			t.Errorf("registered anew: %q", how)
		}
		again()
		end()
	})
}
