package nomad_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/yamux"

	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/structs"
)

// plainHandle is the encoding of existing agents: old-style raw strings, and times
// in the binary form of Go.
func plainHandle() *codec.MsgpackHandle {
	h := &codec.MsgpackHandle{}
	h.RawToString, h.TimeNotBuiltin = true, true
	return h
}

// plainAgent speaks what existing node agents speak and shares no code with the
// server but the yamux and MessagePack libraries.
type plainAgent struct {
	t       *testing.T
	session *yamux.Session
	stream  net.Conn
	in      *codec.Decoder
	out     *codec.Encoder
	seq     uint64
}

// The messages of the agent, by the names on the wire. What the server does not
// know is there as well.
type (
	plainHeader struct {
		ServiceMethod string
		Seq           uint64
		Error         string
	}
	plainWrite struct {
		Region, Namespace, AuthToken, IdempotencyToken string
		Forwarded                                      bool
	}
	plainRegister struct {
		Node           map[string]any
		NodeEvent      *struct{}
		CreateNodePool bool
		plainWrite
	}
	plainStatus struct {
		NodeID, Status       string
		IdentitySigningKeyID string
		ForceIdentityRenewal bool
		NodeEvent            *struct{}
		UpdatedAt            int64
		plainWrite
	}
	plainUpdated struct {
		HeartbeatTTL          time.Duration
		NodeModifyIndex       uint64
		LeaderRPCAddr         string
		NumNodes              int32
		Servers               []*struct{ RPCAdvertiseAddr, Datacenter string }
		SchedulingEligibility string
		SignedIdentity        *string
		Index                 uint64
		KnownLeader           bool
	}
	plainAsk struct {
		NodeID, SecretID     string
		AuthToken            string
		MinQueryIndex        uint64
		MaxQueryTime         time.Duration
		AllowStale           bool
		Region, Namespace    string
		NoSuchFieldOnServers map[string]string
	}
	plainAllocs struct {
		Allocs map[string]uint64
		Index  uint64
	}
	plainEvents struct {
		NodeEvents map[string][]*plainEvent
		plainWrite
	}
	plainEvent struct {
		Message, Subsystem string
		Details            map[string]string
		Timestamp          time.Time
		CreateIndex        uint64
	}
)

// dialPlain connects an agent to a server port: byte 6, a yamux session, and on it
// a stream that begins with byte 1.
func dialPlain(t *testing.T, addr string) *plainAgent {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte{6}); err != nil {
		t.Fatal(err)
	}
	conf := yamux.DefaultConfig()
	conf.LogOutput = io.Discard
	session, err := yamux.Client(conn, conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = session.Close() })
	stream, err := session.Open()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	a := &plainAgent{t: t, session: session, stream: stream}
	a.in, a.out = codec.NewDecoder(bufio.NewReader(stream), plainHandle()), codec.NewEncoder(stream, plainHandle())
	go a.serve()
	return a
}

// call is one RPC of the sequence on the agent's stream.
func (a *plainAgent) call(method string, args, reply any) error {
	a.t.Helper()
	a.seq++
	if err := errors.Join(a.out.Encode(map[string]any{"ServiceMethod": method, "Seq": a.seq}), a.out.Encode(args)); err != nil {
		a.t.Fatal(method, err)
	}
	var h plainHeader
	if err := a.in.Decode(&h); err != nil || h.Seq != a.seq {
		a.t.Fatal(method, h, err)
	}
	if h.Error != "" {
		var nothing any
		_ = a.in.Decode(&nothing)
		return errors.New(h.Error)
	}
	if err := a.in.Decode(reply); err != nil {
		a.t.Fatal(method, err)
	}
	return nil
}

// serve answers the streams that the server opens in reverse.
func (a *plainAgent) serve() {
	for {
		stream, err := a.session.Accept()
		if err != nil {
			return
		}
		go a.answer(stream)
	}
}

func (a *plainAgent) answer(stream net.Conn) {
	defer stream.Close()
	in := bufio.NewReader(stream)
	if kind, err := in.ReadByte(); err != nil || kind != 1 {
		return
	}
	dec, enc := codec.NewDecoder(in, plainHandle()), codec.NewEncoder(stream, plainHandle())
	for {
		var h plainHeader
		var args plainAsk
		if dec.Decode(&h) != nil || dec.Decode(&args) != nil {
			return
		}
		answer := map[string]any{"ServiceMethod": h.ServiceMethod, "Seq": h.Seq, "Error": ""}
		var reply any = map[string]any{"HostStats": map[string]any{"Uptime": 77, "Memory": map[string]any{"Total": 4096}}}
		if h.ServiceMethod != "ClientStats.Stats" {
			answer["Error"], reply = "rpc: can't find method "+h.ServiceMethod, map[string]any{}
		}
		if enc.Encode(answer) != nil || enc.Encode(reply) != nil {
			return
		}
	}
}

// plainNode is the description of a machine as an agent of today sends it.
func plainNode(id, secret string) map[string]any {
	return map[string]any{
		"ID": id, "SecretID": secret, "Datacenter": "dc1", "Name": "old-agent", "HTTPAddr": "10.0.0.9:4646", "TLSEnabled": false,
		"Attributes": map[string]string{"os.name": "ubuntu", "nomad.version": "2.0.5", "kernel.name": "linux"},
		"NodeResources": map[string]any{
			"Cpu":        map[string]any{"CpuShares": 8000, "TotalCpuCores": 4, "ReservableCpuCores": []uint16{0, 1, 2, 3}},
			"Memory":     map[string]any{"MemoryMB": 7900},
			"Disk":       map[string]any{"DiskMB": 50000},
			"Processors": map[string]any{"Topology": map[string]any{"Cores": []any{map[string]any{"ID": 1}}}},
			"Networks":   []any{map[string]any{"Mode": "host", "Device": "eth0", "IP": "10.0.0.9"}},
			"Devices": []any{map[string]any{"Vendor": "x", "Type": "gpu", "Instances": []any{map[string]any{"ID": "g1", "Healthy": true}},
				"Attributes": map[string]any{"memory": map[string]any{"Int": 16, "Unit": "GiB"}}}},
			"MinDynamicPort": 20000, "MaxDynamicPort": 32000,
		},
		"ReservedResources": map[string]any{"Cpu": map[string]any{"CpuShares": 100, "ReservedCpuCores": nil}, "Networks": map[string]any{"ReservedHostPorts": "22"}},
		"Resources":         map[string]any{"CPU": 8000}, "Reserved": nil, "Links": map[string]string{}, "Meta": map[string]string{"rack": "r1"},
		"NodeClass": "c1", "NodePool": "batch", "ComputedClass": "v1:123", "Drain": false, "DrainStrategy": nil,
		"SchedulingEligibility": "eligible", "Status": "initializing", "StatusDescription": "", "StatusUpdatedAt": 0, "Events": nil,
		"Drivers":     map[string]any{"raw_exec": map[string]any{"Detected": true, "Healthy": true, "UpdateTime": time.Unix(1700000000, 5)}},
		"HostVolumes": nil, "HostNetworks": map[string]any{"public": map[string]any{"Name": "public", "CIDR": "10.0.0.0/8"}},
		"CSIControllerPlugins": nil, "LastDrain": nil, "CreateIndex": 0, "ModifyIndex": 0,
	}
}

// wireServer starts one server on loopback whose heartbeats are short.
func wireServer(t *testing.T) (*nomad.Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conf := nomad.DefaultConfig()
	conf.NodeName, conf.BootstrapExpect, conf.Raft.LogStore = "s1", 1, nomad.LogStoreMemory
	conf.RPCListener, conf.RPCAdvertise = l, l.Addr().String()
	conf.Gossip.BindAddr, conf.Gossip.BindPort = "127.0.0.1", 0
	conf.Heartbeat.MinTTL, conf.Heartbeat.Grace = 100*time.Millisecond, 100*time.Millisecond
	s, err := nomad.NewServer(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Abort() })
	eventually(t, "a leader", func() bool { return s.IsLeader() })
	return s, l.Addr().String()
}

// eventually waits for what must come to be.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: ", what)
		}
	}
}

// TestExistingAgentJoins has a stand-in for an existing node agent join over real
// sockets: it registers, is listed, heartbeats, goes down when it is silent, comes
// back, and answers a call in reverse.
func TestExistingAgentJoins(t *testing.T) {
	s, addr := wireServer(t)
	a := dialPlain(t, addr)
	id, secret := uuid.NewString(), uuid.NewString()
	w := plainWrite{Region: "global", AuthToken: secret}

	if err := a.call("Status.Ping", struct{}{}, &struct{}{}); err != nil {
		t.Fatal(err)
	}
	var up plainUpdated
	err := a.call("Node.UpdateStatus", &plainStatus{NodeID: id, Status: "ready", plainWrite: w}, &up)
	if err == nil || !strings.Contains(err.Error(), "node not found") {
		t.Fatalf("an unknown node is told %v", err)
	}
	if err := a.call("Node.Register", &plainRegister{Node: plainNode(id, secret), plainWrite: w}, &up); err != nil {
		t.Fatal(err)
	}
	if up.HeartbeatTTL <= 0 || up.Index == 0 || len(up.Servers) != 1 || up.Servers[0].RPCAdvertiseAddr != addr || up.LeaderRPCAddr != addr || up.NumNodes != 1 {
		t.Errorf("register tells %+v", up)
	}
	checkStored(t, s, id)
	allocs(t, a, id, secret)
	life(t, s, a, id, w)
	reverse(t, s, id)

	if err := a.session.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the session is forgotten", func() bool {
		err := s.RPC(context.Background(), "ClientStats.Stats", &structs.NodeSpecificRequest{NodeID: id}, &structs.ClientStatsResponse{})
		return err != nil && strings.Contains(err.Error(), "No path to node")
	})
}

func storedNode(t *testing.T, s *nomad.Server, id string) *structs.Node {
	t.Helper()
	var reply structs.SingleNodeResponse
	if err := s.RPC(context.Background(), "Node.GetNode", &structs.NodeSpecificRequest{NodeID: id}, &reply); err != nil || reply.Node == nil {
		t.Fatal(reply.Node, err)
	}
	return reply.Node
}

func checkStored(t *testing.T, s *nomad.Server, id string) {
	t.Helper()
	n := storedNode(t, s, id)
	r := n.NodeResources
	if n.NodePool != "batch" || n.Meta["rack"] != "r1" || r.Cpu.TotalCpuCores != 4 || len(r.Cpu.ReservableCpuCores) != 4 || r.Memory.MemoryMB != 7900 ||
		r.Networks[0].IP != "10.0.0.9" || *r.Devices[0].Attributes["memory"].Int != 16 || n.ReservedResources.Networks.ReservedHostPorts != "22" ||
		!n.Drivers["raw_exec"].UpdateTime.Equal(time.Unix(1700000000, 5)) || n.HostNetworks["public"].CIDR != "10.0.0.0/8" {
		t.Errorf("stored: %+v %+v", n, r)
	}
	var list structs.NodeListResponse
	if err := s.RPC(context.Background(), "Node.List", &structs.NodeListRequest{}, &list); err != nil || len(list.Nodes) != 1 || list.Nodes[0].Version != "2.0.5" {
		t.Errorf("listed: %+v, %v", list.Nodes, err)
	}
	var pool structs.SingleNodePoolResponse
	if err := s.RPC(context.Background(), "NodePool.GetNodePool", &structs.NodePoolSpecificRequest{Name: "batch"}, &pool); err != nil || pool.NodePool == nil {
		t.Errorf("pool: %+v, %v", pool.NodePool, err)
	}
}

// allocs polls as an agent does: without an index, then for something newer.
func allocs(t *testing.T, a *plainAgent, id, secret string) {
	t.Helper()
	var none plainAllocs
	ask := &plainAsk{NodeID: id, SecretID: secret, AuthToken: secret, AllowStale: true, MaxQueryTime: 20 * time.Millisecond}
	if err := a.call("Node.GetClientAllocs", ask, &none); err != nil || none.Index == 0 || len(none.Allocs) != 0 {
		t.Errorf("allocations: %+v, %v", none, err)
	}
	ask.MinQueryIndex = none.Index
	if err := a.call("Node.GetClientAllocs", ask, &none); err != nil || len(none.Allocs) != 0 {
		t.Errorf("allocations later: %+v, %v", none, err)
	}
	var full struct{ Allocs []map[string]any }
	if err := a.call("Alloc.GetAllocs", map[string]any{"AllocIDs": []string{}, "AuthToken": secret}, &full); err != nil || len(full.Allocs) != 0 {
		t.Errorf("%+v, %v", full, err)
	}
}

// life takes the node from ready to down by silence, and back.
func life(t *testing.T, s *nomad.Server, a *plainAgent, id string, w plainWrite) {
	t.Helper()
	beat := func() plainUpdated {
		var up plainUpdated
		if err := a.call("Node.UpdateStatus", &plainStatus{NodeID: id, Status: "ready", plainWrite: w}, &up); err != nil {
			t.Fatal(err)
		}
		return up
	}
	if up := beat(); up.Index == 0 || up.SchedulingEligibility != "eligible" {
		t.Errorf("ready: %+v", up)
	}
	// an index where nothing changed makes existing agents report a missed heartbeat
	if up := beat(); up.Index != 0 || up.NodeModifyIndex != 0 || up.HeartbeatTTL <= 0 || len(up.Servers) != 1 {
		t.Errorf("a heartbeat that changes nothing: %+v", up)
	}
	bad := plainStatus{NodeID: id, Status: "ready", plainWrite: w}
	bad.AuthToken = uuid.NewString()
	if err := a.call("Node.UpdateStatus", &bad, &plainUpdated{}); err == nil || !strings.Contains(err.Error(), "Permission denied") {
		t.Errorf("another secret: %v", err)
	}
	events := &plainEvents{NodeEvents: map[string][]*plainEvent{id: {{Message: "driver is well", Subsystem: "Driver", Timestamp: time.Unix(9, 9)}}}, plainWrite: w}
	var told struct{ Index uint64 }
	if err := a.call("Node.EmitEvents", events, &told); err != nil || told.Index == 0 {
		t.Errorf("events: %+v, %v", told, err)
	}
	eventually(t, "down", func() bool { return storedNode(t, s, id).Status == "down" })
	if up := beat(); up.Index == 0 {
		t.Errorf("back: %+v", up)
	}
	n := storedNode(t, s, id)
	var found bool
	for _, e := range n.Events {
		found = found || e.Message == "driver is well" && e.Timestamp.Equal(time.Unix(9, 9))
	}
	if n.Status != "ready" || !found {
		t.Errorf("back: %+v", n)
	}
}

// reverse calls the agent over the session that it dialled.
func reverse(t *testing.T, s *nomad.Server, id string) {
	t.Helper()
	var stats structs.ClientStatsResponse
	err := s.RPC(context.Background(), "ClientStats.Stats", &structs.NodeSpecificRequest{NodeID: id}, &stats)
	if err != nil || stats.HostStats == nil || stats.HostStats.Uptime != 77 || stats.HostStats.Memory.Total != 4096 {
		t.Errorf("stats: %+v, %v", stats.HostStats, err)
	}
}
