// Package nomadtest runs clusters of real servers on a network in memory, in
// the fake time of testing/synctest: elections, time-outs and TTLs cost
// microseconds, and nothing sleeps for real.
package nomadtest

import (
	"context"
	"fmt"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	rpcPort    = 4647
	gossipPort = 4648
)

// Cluster is a set of servers of one region.
type Cluster struct {
	// Fabric is the network between them; cut and heal it at will.
	Fabric *Fabric
	// Nodes are the servers in order of their addresses.
	Nodes []*Node

	t testing.TB
}

// Node is one server and what survives its crashes.
type Node struct {
	// Server is the running one, or the one that crashed last.
	*nomad.Server
	// Host is the address of the node on the fabric, without a port.
	Host string

	stores nomad.Stores
	down   bool
	change func(*nomad.Config)
}

// Option changes the configuration of every server before it starts.
type Option func(*nomad.Config)

// Run starts n servers in a bubble of fake time, waits until they have a leader
// that is ready, runs fn and stops everything.
func Run(t *testing.T, n int, fn func(t *testing.T, c *Cluster), opts ...Option) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &Cluster{Fabric: NewFabric(), t: t}
		defer c.close()
		for i := range n {
			c.Nodes = append(c.Nodes, c.newNode(i, n, opts))
		}
		for i := range c.Nodes {
			c.start(i)
		}
		c.WaitLeader()
		fn(t, c)
	})
}

func (c *Cluster) newNode(i, n int, opts []Option) *Node {
	return &Node{
		Host: fmt.Sprintf("10.0.0.%d", i+1),
		stores: nomad.Stores{
			Log: raft.NewInmemStore(), Stable: raft.NewInmemStore(), Snapshots: raft.NewInmemSnapshotStore(),
		},
		change: func(conf *nomad.Config) {
			conf.BootstrapExpect = n
			for _, o := range opts {
				o(conf)
			}
		},
	}
}

// start runs the server of node i.
func (c *Cluster) start(i int) {
	c.t.Helper()
	node := c.Nodes[i]
	addr := fmt.Sprintf("%s:%d", node.Host, rpcPort)
	listener, err := c.Fabric.Listen(addr)
	if err != nil {
		c.t.Fatalf("listen: %v", err)
	}
	conf := nomad.DefaultConfig()
	conf.NodeName = fmt.Sprintf("s%d", i+1)
	conf.NodeID = fmt.Sprintf("00000000-0000-0000-0000-%012d", i+1)
	conf.Logger = testLogger(conf.NodeName)
	conf.RPCListener, conf.RPCAdvertise = listener, addr
	conf.Dial = func(ctx context.Context, to string) (net.Conn, error) { return c.Fabric.Dial(ctx, addr, to) }
	gossip := fmt.Sprintf("%s:%d", node.Host, gossipPort)
	conf.Gossip.Transport = c.Fabric.Transport(gossip)
	conf.Gossip.BindAddr, conf.Gossip.BindPort = node.Host, gossipPort
	conf.Gossip.RetryInterval = time.Second
	for j, other := range c.Nodes {
		if j != i {
			conf.Gossip.RetryJoin = append(conf.Gossip.RetryJoin, fmt.Sprintf("%s:%d", other.Host, gossipPort))
		}
	}
	conf.Raft.LogStore, conf.Raft.Stores = nomad.LogStoreMemory, &node.stores
	node.change(conf)
	if node.Server, err = nomad.NewServer(conf); err != nil {
		c.t.Fatalf("start %s: %v", conf.NodeName, err)
	}
	node.down = false
}

// testLogger logs to standard error at the level of CAIRN_TEST_LOG, nothing by default.
func testLogger(name string) hclog.Logger {
	level := hclog.LevelFromString(os.Getenv("CAIRN_TEST_LOG"))
	if level == hclog.NoLevel {
		level = hclog.Off
	}
	return hclog.New(&hclog.LoggerOptions{Name: name, Level: level, Output: os.Stderr})
}

func (c *Cluster) close() {
	for _, n := range c.Nodes {
		if n.Server != nil && !n.down {
			_ = n.Abort()
		}
	}
	c.Fabric.Close()
	// The clock of a bubble stands still once its root has returned, and
	// libraries leave goroutines behind that wait for their last time-out.
	time.Sleep(lastTimeout)
}

// lastTimeout outlasts the probes of gossip and the calls of raft.
const lastTimeout = 5 * time.Minute

// leaderPatience is how long, in fake time, a cluster may take to elect.
const leaderPatience = 2 * time.Minute

// WaitLeader returns the leader once it is ready for reads and writes.
func (c *Cluster) WaitLeader() *Node {
	c.t.Helper()
	for end := time.Now().Add(leaderPatience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		for _, n := range c.Nodes {
			if n.Server != nil && !n.down && n.IsLeader() && n.confirms() {
				return n
			}
		}
	}
	c.t.Fatal("no leader")
	return nil
}

// confirms reports whether the node answers a default read itself.
func (n *Node) confirms() bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return n.RPC(ctx, "Status.ReadIndex", &structs.ReadIndexRequest{}, &structs.ReadIndexResponse{}) == nil && n.IsLeader()
}

// WaitReady waits until every running server has caught up.
func (c *Cluster) WaitReady() {
	c.t.Helper()
	for end := time.Now().Add(leaderPatience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		ready := true
		for _, n := range c.Nodes {
			ready = ready && (n.down || n.Ready() == nil)
		}
		if ready {
			return
		}
	}
	c.t.Fatal("a server does not catch up")
}

// Follower returns a running server that does not lead.
func (c *Cluster) Follower() *Node {
	c.t.Helper()
	for _, n := range c.Nodes {
		if !n.down && !n.IsLeader() {
			return n
		}
	}
	c.t.Fatal("no follower")
	return nil
}

// Crash ends a server at once and cuts its connections; what it stored stays.
func (c *Cluster) Crash(n *Node) {
	c.Fabric.Crash(n.Host)
	_ = n.Abort()
	n.down = true
}

// Restart starts a crashed server again on what it stored.
func (c *Cluster) Restart(n *Node) {
	c.t.Helper()
	for i := range c.Nodes {
		if c.Nodes[i] == n {
			c.start(i)
		}
	}
}

// Stop ends a server gracefully.
func (c *Cluster) Stop(n *Node) {
	_ = n.Shutdown()
	n.down = true
}

// Put writes a variable through n.
func (n *Node) Put(ctx context.Context, path string, items structs.VariableItems) (*structs.VariablesApplyResponse, error) {
	req := &structs.VariablesApplyRequest{Op: structs.VarOpSet, Var: &structs.VariableDecrypted{
		VariableMetadata: structs.VariableMetadata{Path: path}, Items: items,
	}}
	var reply structs.VariablesApplyResponse
	err := n.RPC(ctx, "Variables.Apply", req, &reply)
	return &reply, err
}

// Get reads a variable through n, nil if there is none.
func (n *Node) Get(ctx context.Context, path string, opts structs.QueryOptions) (*structs.VariablesReadResponse, error) {
	var reply structs.VariablesReadResponse
	err := n.RPC(ctx, "Variables.Read", &structs.VariablesReadRequest{Path: path, QueryOptions: opts}, &reply)
	return &reply, err
}
