package agent

import (
	"time"

	"github.com/cairn-project/cairn/nomad/structs"
)

// testNode returns a node with what routes show set.
func testNode() *structs.Node {
	return &structs.Node{ID: "x", SecretID: "never-shown", Name: "worker", Datacenter: "dc1", NodePool: "default", HTTPAddr: "10.0.0.1:4646",
		Status: structs.NodeStatusReady, SchedulingEligibility: structs.NodeSchedulingIneligible,
		Attributes:     map[string]string{"os.name": "linux", "nomad.version": "2.0.5"},
		NodeResources:  &structs.NodeResources{Networks: []*structs.NetworkResource{{Device: "eth0"}}},
		DrainStrategy:  (&structs.DrainSpec{Deadline: time.Hour}).Begin(time.Unix(1, 0)),
		LastDrain:      &structs.DrainMetadata{Status: structs.DrainStatusDraining},
		Drivers:        map[string]*structs.DriverInfo{"exec": {Healthy: true}},
		CSINodePlugins: map[string]*structs.CSIInfo{"ebs": {PluginID: "ebs", NodeInfo: &structs.CSINodeInfo{ID: "i-1"}}},
		Events:         []*structs.NodeEvent{structs.NewNodeEvent("Cluster", "Node registered", time.Unix(1, 0))},
		CreateIndex:    7, ModifyIndex: 9}
}

// fillNodes answers the RPCs of nodes and node pools.
func (f *fakeServer) fillNodes() {
	meta := structs.QueryMeta{Index: 42, KnownLeader: true}
	pool := &structs.NodePool{Name: "x", NodeIdentityTTL: time.Hour, Meta: map[string]string{"a": "b"}}
	on(f, "NodePool.List", func(_ *structs.NodePoolListRequest, r *structs.NodePoolListResponse) error {
		r.NodePools, r.QueryMeta = []*structs.NodePool{pool}, meta
		return nil
	})
	on(f, "NodePool.GetNodePool", func(a *structs.NodePoolSpecificRequest, r *structs.SingleNodePoolResponse) error {
		if r.QueryMeta = meta; a.Name == "x" {
			r.NodePool = pool
		}
		return nil
	})
	written := func(r *structs.GenericResponse) error { r.Index = 43; return nil }
	on(f, "NodePool.UpsertNodePools", func(_ *structs.NodePoolUpsertRequest, r *structs.GenericResponse) error { return written(r) })
	on(f, "NodePool.DeleteNodePools", func(_ *structs.NodePoolDeleteRequest, r *structs.GenericResponse) error { return written(r) })
	on(f, "NodePool.ListNodes", func(a *structs.NodePoolNodesRequest, r *structs.NodePoolNodesResponse) error {
		r.Nodes, r.QueryMeta = []*structs.NodeListStub{testNode().Stub(a.Fields)}, meta
		return nil
	})
	on(f, "Node.List", func(a *structs.NodeListRequest, r *structs.NodeListResponse) error {
		r.Nodes, r.QueryMeta = []*structs.NodeListStub{testNode().Stub(a.Fields)}, meta
		return nil
	})
	on(f, "Node.GetNode", func(a *structs.NodeSpecificRequest, r *structs.SingleNodeResponse) error {
		if r.QueryMeta = meta; a.NodeID == "x" {
			r.Node = testNode()
		}
		return nil
	})
	on(f, "Node.GetAllocs", func(_ *structs.NodeSpecificRequest, r *structs.NodeAllocsResponse) error {
		r.QueryMeta = meta
		return nil
	})
	on(f, "NodeLink.List", func(_ *structs.NodeLinkListRequest, r *structs.NodeLinkListResponse) error {
		r.Links = []*structs.NodeLinkInfo{{NodeID: "x", Server: "s1", Protocol: 2, Since: time.Unix(1, 0), Methods: map[string]int{"Node.Ping": 1}, Kinds: []string{"drain"}}}
		return nil
	})
	on(f, "NodeLink.Kick", func(_ *structs.NodeLinkKickRequest, r *structs.NodeLinkKickResponse) error {
		r.Kicked, r.Server = true, "s1"
		return nil
	})
	on(f, "NodeLink.Call", func(_ *structs.NodeCallRequest, r *structs.NodeCallResponse) error {
		r.Result, r.Server = []byte(`{"a":[1]}`), "s1"
		return nil
	})
	on(f, "ClientStats.Stats", func(_ *structs.NodeSpecificRequest, r *structs.ClientStatsResponse) error {
		r.HostStats = &structs.HostStats{Memory: &structs.HostMemoryStats{Total: 1}, Uptime: 3}
		return nil
	})
	blue := "blue"
	on(f, "NodeMeta.Read", func(_ *structs.NodeSpecificRequest, r *structs.NodeMetaResponse) error {
		r.Meta, r.Dynamic, r.Static = map[string]string{"a": blue}, map[string]*string{"a": &blue, "b": nil}, map[string]string{"b": "c"}
		return nil
	})
	on(f, "NodeMeta.Apply", func(q *structs.NodeMetaApplyRequest, r *structs.NodeMetaResponse) error {
		r.Dynamic = q.Meta
		return nil
	})
	on(f, "NodeIdentity.Get", func(_ *structs.NodeSpecificRequest, r *structs.NodeIdentityResponse) error {
		r.Claims = map[string]any{"nomad_node_id": "x", "exp": 7}
		return nil
	})
	on(f, "NodeIdentity.Renew", func(*structs.NodeSpecificRequest, *structs.NodeIdentityRenewResponse) error { return nil })
	on(f, "NodePool.ListJobs", func(_ *structs.NodePoolJobsRequest, r *structs.NodePoolJobsResponse) error {
		r.QueryMeta = meta
		return nil
	})
	on(f, "System.GarbageCollect", func(*structs.SystemRequest, *structs.GenericResponse) error { return nil })
	on(f, "Agent.Host", func(q *structs.AgentHostRequest, r *structs.AgentHostResponse) error {
		*r = structs.AgentHostResponse{AgentID: q.NodeID + q.ServerID, HostData: &structs.HostData{OS: "linux",
			Network: []map[string]string{{"name": "lo"}}, Disk: map[string]structs.DiskUsage{"/": {DiskMB: 2, UsedMB: 1}}}}
		return nil
	})
	on(f, "Agent.Profile", func(q *structs.AgentProfileRequest, r *structs.AgentProfileResponse) error {
		*r = structs.AgentProfileResponse{AgentID: q.NodeID + q.ServerID, Payload: []byte(q.ReqType + " " + q.Profile)}
		return nil
	})
	on(f, "Node.UpdateDrain", func(_ *structs.NodeUpdateDrainRequest, r *structs.NodeDrainUpdateResponse) error {
		r.Index, r.NodeModifyIndex = 44, 44
		return nil
	})
	on(f, "Node.UpdateEligibility", func(_ *structs.NodeUpdateEligibilityRequest, r *structs.NodeEligibilityUpdateResponse) error {
		r.Index, r.NodeModifyIndex = 44, 44
		return nil
	})
	on(f, "Node.Deregister", func(_ *structs.NodeDeregisterRequest, r *structs.NodeUpdateResponse) error { r.Index = 45; return nil })
	on(f, "Node.Evaluate", func(_ *structs.NodeEvaluateRequest, r *structs.NodeUpdateResponse) error { r.Index = 45; return nil })
	on(f, "ACL.CreateClientIntroductionToken", func(_ *structs.ACLCreateClientIntroductionTokenRequest, r *structs.ACLCreateClientIntroductionTokenResponse) error {
		r.JWT = "a.b.c"
		return nil
	})
}
