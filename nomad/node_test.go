package nomad_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nomadtest"
	"github.com/cairn-project/cairn/nomad/structs"
)

func newNode(pool string) *structs.Node {
	return &structs.Node{ID: uuid.NewString(), SecretID: uuid.NewString(), Datacenter: "dc1", Name: "worker", NodePool: pool,
		HTTPAddr: "10.1.1.1:4646", Attributes: map[string]string{"os.name": "linux", "nomad.version": "2.0.5"}}
}

func register(s *nomadtest.Node, n *structs.Node, token string) (*structs.NodeUpdateResponse, error) {
	req := &structs.NodeRegisterRequest{Node: n, WriteRequest: structs.WriteRequest{AuthToken: token}}
	var reply structs.NodeUpdateResponse
	err := s.RPC(context.Background(), "Node.Register", req, &reply)
	return &reply, err
}

func heartbeat(s *nomadtest.Node, id, status, token string) (*structs.NodeUpdateResponse, error) {
	req := &structs.NodeUpdateStatusRequest{NodeID: id, Status: status, WriteRequest: structs.WriteRequest{AuthToken: token}}
	var reply structs.NodeUpdateResponse
	err := s.RPC(context.Background(), "Node.UpdateStatus", req, &reply)
	return &reply, err
}

func readNode(t *testing.T, s *nomadtest.Node, id string) *structs.Node {
	t.Helper()
	var reply structs.SingleNodeResponse
	if err := s.RPC(context.Background(), "Node.GetNode", &structs.NodeSpecificRequest{NodeID: id}, &reply); err != nil {
		t.Fatal(err)
	}
	return reply.Node
}

func mustReady(t *testing.T, s *nomadtest.Node, n *structs.Node) *structs.NodeUpdateResponse {
	t.Helper()
	if _, err := register(s, n, n.SecretID); err != nil {
		t.Fatal(err)
	}
	reply, err := heartbeat(s, n.ID, structs.NodeStatusReady, n.SecretID)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func TestNodeRegistersAndHeartbeats(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		f, n := c.Follower(), newNode("")
		reply, err := register(f, n, n.SecretID)
		if err != nil || reply.Index == 0 || reply.NodeModifyIndex != reply.Index || reply.HeartbeatTTL < 10*time.Second || reply.HeartbeatTTL > 20*time.Second {
			t.Fatalf("register: %+v, %v", reply, err)
		}
		if len(reply.Servers) != 3 || reply.LeaderRPCAddr == "" || reply.NumNodes != 1 || reply.SchedulingEligibility != structs.NodeSchedulingEligible {
			t.Errorf("register tells %+v", reply)
		}
		got := readNode(t, f, n.ID)
		if got.NodePool != structs.NodePoolDefault || got.Status != structs.NodeStatusInit || got.SecretID != "" || len(got.Events) != 1 {
			t.Errorf("registered: %+v", got)
		}
		if reply, err = heartbeat(f, n.ID, structs.NodeStatusReady, n.SecretID); err != nil || reply.Index == 0 {
			t.Fatalf("first heartbeat: %+v, %v", reply, err)
		}
		index := readNode(t, f, n.ID).ModifyIndex
		for range 5 {
			time.Sleep(reply.HeartbeatTTL)
			if reply, err = heartbeat(f, n.ID, structs.NodeStatusReady, n.SecretID); err != nil || reply.Index != 0 || reply.NodeModifyIndex != 0 {
				t.Fatalf("a heartbeat that changes nothing: %+v, %v", reply, err)
			}
		}
		if got = readNode(t, f, n.ID); got.ModifyIndex != index || got.Status != structs.NodeStatusReady {
			t.Errorf("after heartbeats: %+v", got)
		}
	})
}

func TestSilentNodeGoesDownAndComesBack(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		s, n, other := c.Nodes[0], newNode(""), newNode("")
		mustReady(t, s, n)
		ttl := mustReady(t, s, other).HeartbeatTTL
		for range 4 { // one of them is silent for longer than TTL and grace
			time.Sleep(min(ttl, 10*time.Second))
			if _, err := heartbeat(s, other.ID, structs.NodeStatusReady, other.SecretID); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		got := readNode(t, s, n.ID)
		if got.Status != structs.NodeStatusDown || got.LastMissedHeartbeatIndex == 0 || got.Events[len(got.Events)-1].Message != "Node heartbeat missed" {
			t.Errorf("silent: %+v", got)
		}
		if got := readNode(t, s, other.ID); got.Status != structs.NodeStatusReady {
			t.Errorf("not silent: %+v", got)
		}
		reply, err := heartbeat(s, n.ID, structs.NodeStatusReady, n.SecretID)
		if err != nil || reply.Index == 0 {
			t.Fatalf("back: %+v, %v", reply, err)
		}
		got = readNode(t, s, n.ID)
		if got.Status != structs.NodeStatusReady || got.LastMissedHeartbeatIndex != 0 || got.Events[len(got.Events)-1].Message != "Node reregistered by heartbeat" {
			t.Errorf("back: %+v", got)
		}
	})
}

func TestNewLeaderGivesNodesTheFailoverTTL(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		var nodes []*structs.Node
		for range 20 {
			n := newNode("")
			mustReady(t, c.Nodes[0], n)
			nodes = append(nodes, n)
		}
		c.Crash(c.WaitLeader())
		leader := c.WaitLeader()
		time.Sleep(290 * time.Second)
		if got := readNode(t, leader, nodes[0].ID); got.Status != structs.NodeStatusReady {
			t.Fatalf("given up too early: %+v", got)
		}
		time.Sleep(15 * time.Second)
		synctest.Wait()
		for _, n := range nodes {
			if got := readNode(t, leader, n.ID); got.Status != structs.NodeStatusDown {
				t.Fatalf("%+v", got)
			}
		}
	})
}

// Only the node itself may speak for it, whether access control is on or off.
func TestOnlyTheNodeSpeaksForItself(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		s, n, other := c.Nodes[0], newNode(""), newNode("")
		mustReady(t, s, n)
		mustReady(t, s, other)
		thief := *n
		thief.SecretID = uuid.NewString()
		_, registered := register(s, &thief, thief.SecretID)
		_, beaten := heartbeat(s, n.ID, structs.NodeStatusDown, other.SecretID)
		_, anonymous := heartbeat(s, n.ID, structs.NodeStatusDown, "")
		allocs := func(secret, token string) error {
			req := &structs.NodeSpecificRequest{NodeID: n.ID, SecretID: secret, QueryOptions: structs.QueryOptions{AuthToken: token}}
			return s.RPC(context.Background(), "Node.GetClientAllocs", req, &structs.NodeClientAllocsResponse{})
		}
		events := &structs.EmitNodeEventsRequest{NodeEvents: map[string][]*structs.NodeEvent{n.ID: {{Message: "x"}}},
			WriteRequest: structs.WriteRequest{AuthToken: other.SecretID}}
		for what, err := range map[string]error{
			"register": registered, "heartbeat": beaten, "no secret": anonymous, "allocations": allocs("", other.SecretID),
			"allocations without proof": allocs("", ""), "wrong secret": allocs(other.SecretID, n.SecretID),
			"events": s.RPC(context.Background(), "Node.EmitEvents", events, &structs.EmitNodeEventsResponse{}),
		} {
			if !errors.Is(err, errs.PermissionDenied) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if err := allocs(n.SecretID, n.SecretID); err != nil {
			t.Error(err)
		}
		if _, err := heartbeat(s, uuid.NewString(), structs.NodeStatusReady, uuid.NewString()); !errors.Is(err, errs.NotFound) || !strings.Contains(err.Error(), "node not found") {
			t.Errorf("an unknown node is to register: %v", err)
		}
	})
}

func TestPurgedNodeRegistersAgain(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		s, n := c.Nodes[0], newNode("gpu")
		mustReady(t, s, n)
		if err := s.RPC(context.Background(), "Node.Deregister", &structs.NodeDeregisterRequest{NodeID: n.ID}, &structs.NodeUpdateResponse{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // nothing waits for it any more
		if _, err := heartbeat(s, n.ID, structs.NodeStatusReady, n.SecretID); !errors.Is(err, errs.NotFound) {
			t.Errorf("heartbeat of a purged node: %v", err)
		}
		mustReady(t, s, n)
		if got := readNode(t, s, n.ID); got.Status != structs.NodeStatusReady {
			t.Errorf("%+v", got)
		}
	})
}

func TestDrainWithoutWorkIsDoneAtOnce(t *testing.T) {
	nomadtest.Run(t, 3, func(t *testing.T, c *nomadtest.Cluster) {
		s, n := c.Nodes[0], newNode("")
		mustReady(t, s, n)
		spec := structs.DrainSpec{Deadline: time.Hour}
		req := &structs.NodeUpdateDrainRequest{NodeID: n.ID, DrainStrategy: &structs.DrainStrategy{DrainSpec: spec}, Meta: map[string]string{"why": "disk"}}
		var reply structs.NodeDrainUpdateResponse
		if err := s.RPC(context.Background(), "Node.UpdateDrain", req, &reply); err != nil || reply.NodeModifyIndex == 0 {
			t.Fatal(reply, err)
		}
		got := readNode(t, s, n.ID)
		if got.Draining() || got.LastDrain == nil || got.LastDrain.Status != structs.DrainStatusComplete || got.LastDrain.Meta["why"] != "disk" ||
			got.SchedulingEligibility != structs.NodeSchedulingIneligible {
			t.Errorf("drained: %+v %+v", got, got.LastDrain)
		}
		var texts []string
		for _, e := range got.Events {
			texts = append(texts, e.Message)
		}
		if s := fmt.Sprint(texts); s != "[Node registered Node drain strategy set Node drain complete]" {
			t.Error(s)
		}
		toggle := &structs.NodeUpdateEligibilityRequest{NodeID: n.ID, Eligibility: structs.NodeSchedulingEligible}
		var toggled structs.NodeEligibilityUpdateResponse
		if err := s.RPC(context.Background(), "Node.UpdateEligibility", toggle, &toggled); err != nil || toggled.Index == 0 {
			t.Error(toggled, err)
		}
		toggle.Eligibility = "maybe"
		if err := s.RPC(context.Background(), "Node.UpdateEligibility", toggle, &toggled); !errors.Is(err, errs.Invalid) {
			t.Error(err)
		}
	})
}

// A node asks for its allocations again as soon as it is answered: it must wait.
func TestAllocationsOfANodeBlock(t *testing.T) {
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		s, n := c.Nodes[0], newNode("")
		mustReady(t, s, n)
		ask := func(index uint64) *structs.NodeClientAllocsResponse {
			req := &structs.NodeSpecificRequest{NodeID: n.ID, SecretID: n.SecretID,
				QueryOptions: structs.QueryOptions{AuthToken: n.SecretID, MinQueryIndex: index, MaxQueryTime: time.Minute, AllowStale: true}}
			var reply structs.NodeClientAllocsResponse
			if err := s.RPC(context.Background(), "Node.GetClientAllocs", req, &reply); err != nil {
				t.Fatal(err)
			}
			return &reply
		}
		first := ask(0)
		if first.Index == 0 || len(first.Allocs) != 0 {
			t.Fatalf("%+v", first)
		}
		began := time.Now()
		ask(first.Index)
		if waited := time.Since(began); waited < time.Minute { // of the bubble's clock
			t.Errorf("answered after %s", waited)
		}
	})
}

func introduce(t *testing.T, s *nomadtest.Node, pool, name string) string {
	t.Helper()
	req := &structs.ACLCreateClientIntroductionTokenRequest{NodePool: pool, NodeName: name}
	var reply structs.ACLCreateClientIntroductionTokenResponse
	if err := s.RPC(context.Background(), "ACL.CreateClientIntroductionToken", req, &reply); err != nil {
		t.Fatal(err)
	}
	return reply.JWT
}

func TestIntroductionAndIdentity(t *testing.T) {
	strict := func(c *nomad.Config) { c.Introduction.Enforcement = nomad.IntroductionStrict }
	nomadtest.Run(t, 1, func(t *testing.T, c *nomadtest.Cluster) {
		s, n := c.Nodes[0], newNode("gpu")
		time.Sleep(time.Second) // until there is a root key
		pool := &structs.NodePoolUpsertRequest{NodePools: []*structs.NodePool{{Name: "gpu", NodeIdentityTTL: 3 * time.Minute}}}
		if err := s.RPC(context.Background(), "NodePool.UpsertNodePools", pool, &structs.GenericResponse{}); err != nil {
			t.Fatal(err)
		}
		for what, token := range map[string]string{"none": "", "of another pool": introduce(t, s, "arm", ""), "of another node": introduce(t, s, "gpu", "else")} {
			if _, err := register(s, n, token); !errors.Is(err, errs.PermissionDenied) {
				t.Errorf("token %s: %v", what, err)
			}
		}
		reply, err := register(s, n, introduce(t, s, "gpu", "worker"))
		if err != nil || reply.SignedIdentity == nil {
			t.Fatalf("introduced: %+v, %v", reply, err)
		}
		identity := *reply.SignedIdentity
		if reply, err = heartbeat(s, n.ID, structs.NodeStatusReady, identity); err != nil || reply.SignedIdentity != nil {
			t.Fatalf("by identity: %+v, %v", reply, err)
		}
		if key := readNode(t, s, n.ID).IdentitySigningKeyID; key == "" {
			t.Error("nobody knows which key signed the identity")
		}
		if _, err := register(s, n, ""); err != nil { // a known node needs its secret only
			t.Error(err)
		}
		time.Sleep(2*time.Minute + time.Second)
		if reply, err = heartbeat(s, n.ID, structs.NodeStatusReady, identity); err != nil || reply.SignedIdentity == nil {
			t.Errorf("two thirds of its life later: %+v, %v", reply, err)
		}
		time.Sleep(3 * time.Minute)
		if _, err = heartbeat(s, n.ID, structs.NodeStatusReady, identity); !errors.Is(err, errs.PermissionDenied) {
			t.Errorf("with an identity that has expired: %v", err)
		}
	}, strict)
}
