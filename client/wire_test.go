package client_test

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/client"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/structs"
)

// eventually waits for what must come to be.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never: ", what)
		}
	}
}

// listen opens a port of the loopback.
func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// server starts one server on l whose heartbeats are short.
func server(t *testing.T, l net.Listener, change ...func(*nomad.Config)) *nomad.Server {
	t.Helper()
	conf := nomad.DefaultConfig()
	conf.NodeName, conf.BootstrapExpect, conf.Raft.LogStore = "s1", 1, nomad.LogStoreMemory
	conf.RPCListener, conf.RPCAdvertise = l, l.Addr().String()
	conf.Gossip.BindAddr, conf.Gossip.BindPort = "127.0.0.1", 0
	conf.Heartbeat.MinTTL, conf.Heartbeat.Grace = 200*time.Millisecond, 200*time.Millisecond
	for _, ch := range change {
		ch(conf)
	}
	s, err := nomad.NewServer(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Abort() })
	eventually(t, "a leader", func() bool { return s.IsLeader() })
	return s
}

// start starts a node agent with its state in dir.
func start(t *testing.T, dir string, servers []string, change ...func(*client.Config)) *client.Client {
	t.Helper()
	conf := client.Config{Region: "global", Datacenter: "dc1", NodeName: "n1", StateDir: dir, Servers: servers,
		HTTPAddr: "127.0.0.1:4646", Version: "9.9.9", Meta: map[string]string{"rack": "r1", "zone": "z"}, Logger: hclog.NewNullLogger()}
	for _, ch := range change {
		ch(&conf)
	}
	c, err := client.New(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Shutdown() })
	return c
}

// stored returns a node as the servers know it, nil if they do not.
func stored(t *testing.T, s *nomad.Server, id string) *structs.Node {
	t.Helper()
	var reply structs.SingleNodeResponse
	if err := s.RPC(context.Background(), "Node.GetNode", &structs.NodeSpecificRequest{NodeID: id}, &reply); err != nil {
		t.Fatal(err)
	}
	return reply.Node
}

func isReady(t *testing.T, s *nomad.Server, c *client.Client) func() bool {
	return func() bool {
		n := stored(t, s, c.NodeID())
		return n != nil && n.Status == structs.NodeStatusReady && c.Ready() == nil
	}
}

// TestLifeOfANode follows a node from its first registration: it is described, it
// answers calls, it is found again under its ID, and it is missed when it is gone.
func TestLifeOfANode(t *testing.T) {
	l, dir := listen(t, "127.0.0.1:0"), t.TempDir()
	s := server(t, l)
	c := start(t, dir, []string{l.Addr().String()}, func(c *client.Config) {
		c.NodePool, c.NodeClass, c.Resources.MemoryTotalMB = "batch", "big", 1234
	})
	eventually(t, "ready", isReady(t, s, c))
	n := stored(t, s, c.NodeID())
	if n.NodePool != "batch" || n.NodeClass != "big" || n.Name != "n1" || n.Meta["rack"] != "r1" || n.HTTPAddr != "127.0.0.1:4646" ||
		n.NodeResources.Memory.MemoryMB != 1234 || n.NodeResources.Cpu.TotalCpuCores == 0 || n.NodeResources.Cpu.CpuShares == 0 ||
		n.NodeResources.Disk.DiskMB == 0 || len(n.NodeResources.Networks) == 0 || n.Attributes["nomad.version"] != "9.9.9" ||
		n.Attributes["os.name"] == "" || n.Attributes["kernel.version"] == "" || n.Attributes["unique.network.ip-address"] == "" {
		t.Errorf("stored: %+v %+v %v", n, n.NodeResources, n.Attributes)
	}
	var stats structs.ClientStatsResponse
	err := s.RPC(context.Background(), "ClientStats.Stats", &structs.NodeSpecificRequest{NodeID: c.NodeID()}, &stats)
	if err != nil || stats.HostStats.Memory.Total == 0 || len(stats.HostStats.CPU) == 0 || stats.HostStats.Uptime == 0 || stats.HostStats.AllocDirStats.Size == 0 {
		t.Errorf("stats: %+v, %v", stats.HostStats, err)
	}
	if err := c.Shutdown(); err != nil {
		t.Error(err)
	}
	eventually(t, "down", func() bool { return stored(t, s, n.ID).Status == structs.NodeStatusDown })
	again := start(t, dir, []string{l.Addr().String()})
	if again.NodeID() != n.ID {
		t.Errorf("the node %s came back as %s", n.ID, again.NodeID())
	}
	eventually(t, "ready again", isReady(t, s, again))
}

// change applies metadata through the servers.
func change(s *nomad.Server, id string, meta map[string]*string) (*structs.NodeMetaResponse, error) {
	reply := &structs.NodeMetaResponse{}
	return reply, s.RPC(context.Background(), "NodeMeta.Apply", &structs.NodeMetaApplyRequest{NodeID: id, Meta: meta}, reply)
}

func TestMetadataIsChangedWhileTheAgentRuns(t *testing.T) {
	l, dir := listen(t, "127.0.0.1:0"), t.TempDir()
	s := server(t, l)
	c := start(t, dir, []string{l.Addr().String()})
	eventually(t, "ready", isReady(t, s, c))
	blue := "blue"
	reply, err := change(s, c.NodeID(), map[string]*string{"color": &blue, "zone": nil})
	if err != nil || reply.Meta["color"] != "blue" || reply.Meta["rack"] != "r1" || reply.Static["zone"] != "z" || len(reply.Dynamic) != 2 {
		t.Errorf("%+v, %v", reply, err)
	}
	if _, there := reply.Meta["zone"]; there {
		t.Error("a key that was hidden shows")
	}
	told := func() bool {
		m := stored(t, s, c.NodeID()).Meta
		_, zone := m["zone"]
		return m["color"] == "blue" && !zone
	}
	eventually(t, "the servers know", told)
	if err := c.Shutdown(); err != nil {
		t.Error(err)
	}
	c = start(t, dir, []string{l.Addr().String()})
	eventually(t, "ready again", isReady(t, s, c))
	if !told() {
		t.Errorf("forgotten by a restart: %v", stored(t, s, c.NodeID()).Meta)
	}
	if _, err := change(s, c.NodeID(), map[string]*string{"color": nil}); err != nil {
		t.Error(err)
	}
	eventually(t, "removed", func() bool { return stored(t, s, c.NodeID()).Meta["color"] == "" })
	long := strings.Repeat("x", 5000)
	for _, meta := range []map[string]*string{{"no spaces": &blue}, {"long": &long}, {}} {
		if _, err := change(s, c.NodeID(), meta); err == nil {
			t.Errorf("accepted %v", meta)
		}
	}
}

// A server that lost everything comes back on the same port: the node registers
// again by itself, and can be called.
func TestAgentSurvivesAServerThatForgot(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	addr := l.Addr().String()
	s := server(t, l)
	c := start(t, t.TempDir(), []string{addr})
	eventually(t, "ready", isReady(t, s, c))
	if err := s.Abort(); err != nil {
		t.Error(err)
	}
	eventually(t, "the silence is noticed", func() bool { return c.Ready() != nil })
	eventually(t, "the port is free", func() bool { // a client of somebody else may have got it meanwhile
		again, err := net.Listen("tcp", addr)
		l = again
		return err == nil
	})
	s = server(t, l)
	eventually(t, "ready again", isReady(t, s, c))
	eventually(t, "called", func() bool {
		return s.RPC(context.Background(), "ClientStats.Stats", &structs.NodeSpecificRequest{NodeID: c.NodeID()}, &structs.ClientStatsResponse{}) == nil
	})
}

func TestAgentFindsTheServerThatAnswers(t *testing.T) {
	const gone = "127.0.0.1:1"
	l := listen(t, "127.0.0.1:0")
	s := server(t, l)
	c := start(t, t.TempDir(), []string{gone, l.Addr().String()})
	eventually(t, "ready", isReady(t, s, c))
	if got := c.Servers(); got[0] != l.Addr().String() {
		t.Errorf("the servers are %v", got)
	}
	if err := c.SetServers(t.Context(), []string{gone}); err == nil || !strings.Contains(err.Error(), "none of the servers answers") {
		t.Errorf("a dead server is set: %v", err)
	}
	if err := c.SetServers(t.Context(), []string{l.Addr().String()}); err != nil {
		t.Error(err)
	}
	eventually(t, "ready", isReady(t, s, c))
}

func TestLeaveTellsTheServers(t *testing.T) {
	l := listen(t, "127.0.0.1:0")
	s := server(t, l, func(c *nomad.Config) { c.Heartbeat.Grace = time.Hour })
	c := start(t, t.TempDir(), []string{l.Addr().String()})
	eventually(t, "ready", isReady(t, s, c))
	if err := c.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	if n := stored(t, s, c.NodeID()); n.Status != structs.NodeStatusDown {
		t.Errorf("the node is %s", n.Status)
	}
}

// Where new nodes must be introduced, an agent without a token says what to do, and
// is let in once there is one in its state directory.
func TestIntroduction(t *testing.T) {
	l, dir := listen(t, "127.0.0.1:0"), t.TempDir()
	s := server(t, l, func(c *nomad.Config) { c.Introduction.Enforcement = nomad.IntroductionStrict })
	c := start(t, dir, []string{l.Addr().String()})
	eventually(t, "refused", func() bool {
		err := c.Ready()
		return err != nil && strings.Contains(err.Error(), "cairn node intro create")
	})
	var token structs.ACLCreateClientIntroductionTokenResponse
	eventually(t, "a key", func() bool {
		return s.RPC(context.Background(), "ACL.CreateClientIntroductionToken", &structs.ACLCreateClientIntroductionTokenRequest{}, &token) == nil
	})
	if err := os.WriteFile(filepath.Join(dir, "intro_token.jwt"), []byte(token.JWT+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ready", isReady(t, s, c))
}

// Of two machines with one identity the later one has the link; the earlier one says
// why it has none, and goes on.
func TestCopyOfANodeIsTold(t *testing.T) {
	l, first, second := listen(t, "127.0.0.1:0"), t.TempDir(), t.TempDir()
	s := server(t, l)
	c := start(t, first, []string{l.Addr().String()})
	eventually(t, "ready", isReady(t, s, c))
	linked := func(c *client.Client) func() bool {
		return func() bool { return strings.HasPrefix(c.Stats()["link"], "up") }
	}
	eventually(t, "linked", linked(c))
	for _, name := range []string{"client-id", "secret-id"} {
		b, err := os.ReadFile(filepath.Join(first, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(second, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	other := start(t, second, []string{l.Addr().String()})
	eventually(t, "the copy is linked", linked(other))
	eventually(t, "the first is told", func() bool {
		err := c.Ready()
		return err != nil && strings.Contains(err.Error(), "superseded") && strings.HasPrefix(c.Stats()["link"], "down")
	})
	eventually(t, "the copy is ready", func() bool { return other.Ready() == nil }) // its first heartbeat may come after its link
}
