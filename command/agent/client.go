package agent

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/client"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/pool"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// clientDataDir returns where the node agent keeps its state, "" for a directory
// that is removed when it ends.
func (c *Config) clientDataDir() string {
	switch {
	case c.Client.StateDir != "":
		return c.Client.StateDir
	case c.DevMode:
		return ""
	}
	return filepath.Join(c.DataDir, "client")
}

// ownDataDir returns where the agent keeps most of its data: those of its server, if it
// is one, "" for none that stay.
func (c *Config) ownDataDir() string {
	if c.Server.Enabled {
		return c.serverDataDir()
	}
	return c.clientDataDir()
}

// clientConfig returns the configuration of the node agent. rpc is the listener of
// the server in this process, nil for none.
func (a *Agent) clientConfig(rpc net.Listener) client.Config {
	c, g := a.config, &a.config.Client
	out := client.Config{
		Region: c.Region, Datacenter: c.Datacenter, NodeName: c.NodeName, NodeClass: g.NodeClass, NodePool: g.NodePool,
		Meta: g.Meta, StateDir: c.clientDataDir(), Servers: g.addresses(), Preferred: ownServer(rpc),
		HTTPAddr: a.endpoints.advHTTP, HTTPTLS: c.TLSConfig.EnableHTTP, Ineligible: g.DefaultIneligible, MaxAllocs: g.NodeMaxAllocs,
		Resources: g.resources(), IntroductionToken: introductionToken(), Version: nomad.Version, Logger: a.logger, EnableDebug: c.EnableDebug,
		Workloads: &a.drained,
	}
	out.Transport, out.HTTPServers, out.LinkLimits = client.Transport(g.NodeLink.Transport), g.NodeLink.HTTPServers, g.NodeLink.limits()
	out.LeaveDrain, out.LogFile = g.DrainOnShutdown.spec(), c.logPath()
	if a.tls != nil {
		out.SecureHTTP = a.tls.Web
	}
	if c.TLSConfig.Auto && !c.Server.Enabled && len(out.Servers) == 0 {
		if where, err := c.certDir().Cluster(); err == nil { // the heartbeats tell of others
			out.Servers = where.Servers
		}
	}
	if c.TLSConfig.EnableRPC {
		out.Secure = func() *tls.Config {
			if c.TLSConfig.VerifyServerHostname {
				return a.tls.Client(c.Region)
			}
			return a.tls.Client("")
		}
	}
	return out
}

// defaultDrainDeadline is how long work may take to move off a node that leaves.
const defaultDrainDeadline = time.Hour

// spec returns the drain of a node that leaves, nil for none.
func (d *DrainOnShutdownConfig) spec() *structs.DrainSpec {
	switch {
	case !d.Given:
		return nil
	case d.Force:
		return &structs.DrainSpec{Deadline: -1, IgnoreSystemJobs: d.IgnoreSystemJobs}
	}
	return &structs.DrainSpec{Deadline: cmp.Or(d.Deadline, defaultDrainDeadline), IgnoreSystemJobs: d.IgnoreSystemJobs}
}

// reloadMeta takes over the metadata of the node.
func (a *Agent) reloadMeta(next *Config) error {
	if a.client == nil {
		return nil
	}
	return a.client.SetMeta(next.Client.Meta)
}

// waitingPerCall is how many reads or writes wait for each that may run.
const waitingPerCall = 4

// limits returns the bounds of the calls that the node agent takes.
func (l *ClientLinkConfig) limits() nodelink.Limits {
	out := nodelink.DefaultLimits()
	if l.MaxReads > 0 {
		out.Read = nodelink.ClassLimit{Running: l.MaxReads, Waiting: waitingPerCall * l.MaxReads}
	}
	if l.MaxWrites > 0 {
		out.Write = nodelink.ClassLimit{Running: l.MaxWrites, Waiting: waitingPerCall * l.MaxWrites}
	}
	if l.MaxStreams > 0 {
		out.Stream = nodelink.ClassLimit{Running: l.MaxStreams}
	}
	return out
}

// introductionToken returns the token with which a new node is let in, "" for none.
func introductionToken() string {
	return cmp.Or(os.Getenv("CAIRN_CLIENT_INTRO_TOKEN"), os.Getenv("NOMAD_CLIENT_INTRO_TOKEN"))
}

// ownServer returns where the node agent reaches the server of its own process.
func ownServer(ln net.Listener) string {
	if ln == nil {
		return ""
	}
	host, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		return ""
	}
	switch ip := net.ParseIP(host); {
	case ip == nil || !ip.IsUnspecified():
	case ip.To4() != nil:
		host = "127.0.0.1"
	default: // a listener on all addresses takes both families
		host = "localhost"
	}
	return net.JoinHostPort(host, port)
}

// addresses returns the servers of the configuration.
func (g *ClientConfig) addresses() []string {
	return slices.Concat(g.Servers, g.ServerJoin.StartJoin, g.ServerJoin.RetryJoin)
}

func (g *ClientConfig) resources() client.ResourcesConfig {
	r := client.ResourcesConfig{
		CPUTotalMHz: g.CPUTotalCompute, MemoryTotalMB: g.MemoryTotalMB, DiskTotalMB: g.DiskTotalMB, DiskFreeMB: g.DiskFreeMB,
		NetworkInterface: g.NetworkInterface, NetworkSpeed: g.NetworkSpeed,
		MinDynamicPort: g.MinDynamicPort, MaxDynamicPort: g.MaxDynamicPort,
	}
	r.Reserved.Cpu.CpuShares, r.Reserved.Memory.MemoryMB = int64(g.Reserved.CPU), int64(g.Reserved.MemoryMB)
	r.Reserved.Disk.DiskMB, r.Reserved.Networks.ReservedHostPorts = int64(g.Reserved.DiskMB), g.Reserved.ReservedPorts
	r.Reserved.Cpu.ReservedCpuCores, _ = parseCores(g.Reserved.Cores)
	return r
}

// maxCores bounds the numbers of cores.
const maxCores = 4096

// parseCores reads numbers and ranges such as "0,2-3".
func parseCores(text string) ([]uint16, error) {
	var out []uint16
	for _, part := range splitComma(text) {
		low, high, isRange := strings.Cut(part, "-")
		first, err := strconv.ParseUint(strings.TrimSpace(low), 10, 16)
		last := first
		if err == nil && isRange {
			last, err = strconv.ParseUint(strings.TrimSpace(high), 10, 16)
		}
		if err != nil || last < first || last >= maxCores {
			return nil, errors.New(strconv.Quote(part) + " is no core and no range of cores, such as 0,2-3")
		}
		for n := first; n <= last; n++ {
			out = append(out, uint16(n))
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// startClient starts the node agent, if there is to be one.
func (a *Agent) startClient(rpc net.Listener) (err error) {
	if !a.config.Client.Enabled {
		return nil
	}
	a.client, err = client.New(a.clientConfig(rpc))
	return err
}

// remote is the server of an agent that runs none: servers elsewhere answer.
type remote struct {
	*client.Client
	localLimits
	config *Config
	failed chan struct{}
}

func newRemote(c *Config, g *client.Client) *remote {
	return &remote{g, newLocalLimits(c), c, make(chan struct{})}
}

// errNoServer refuses what only a server can do.
var errNoServer = errs.New(errs.Unsupported, "this agent is a client and runs no server: ask a server")

// Refused counts nothing here; part of caller.
func (*remote) Refused(*acl.ACL, func(*acl.ACL) bool) {}

// rightsTimeout bounds asking the servers whether access control is on.
const rightsTimeout = 10 * time.Second

// RightsOf grants all rights while access control is off. Else callers need a token:
// a node may not read policies for others; part of caller.
func (r *remote) RightsOf([]string, []string) (*acl.ACL, error) {
	ctx, cancel := context.WithTimeout(context.Background(), rightsTimeout)
	defer cancel()
	nobody, err := r.Authorize(ctx, "")
	if err != nil || nobody == acl.Disabled {
		return nobody, err
	}
	return nil, errs.New(errs.PermissionDenied, "this agent runs no server and cannot look up the policies of its local users: give a token")
}

// Join is for servers only; part of gossiper.
func (*remote) Join([]string) (int, error) { return 0, errNoServer }

// ForceLeave is for servers only; part of gossiper.
func (*remote) ForceLeave(string, bool) error { return errNoServer }

// GossipKeys is for servers only; part of gossiper.
func (*remote) GossipKeys(context.Context, structs.GossipKeyOp, string) (*structs.GossipKeyResponse, error) {
	return nil, errNoServer
}

// LocalMember is empty: node agents take no part in gossip; part of gossiper.
func (r *remote) LocalMember() *structs.AgentMember {
	return &structs.AgentMember{Name: r.config.NodeName, Tags: map[string]string{}}
}

// Stats returns no figures of a server; part of runner.
func (*remote) Stats() map[string]map[string]string { return map[string]map[string]string{} }

// RPCPeers returns nobody: node agents answer no other servers here; part of known.
func (*remote) RPCPeers() ([]wire.Peer, []pool.Peer) { return nil, nil }

// VerifyLog is for servers only; part of storekeeper.
func (*remote) VerifyLog(context.Context) (*nomad.StorageCheck, error) { return nil, errNoServer }

// VerifySnapshots is for servers only; part of storekeeper.
func (*remote) VerifySnapshots(context.Context) (*nomad.StorageCheck, error) { return nil, errNoServer }

// CompactLog is for servers only; part of storekeeper.
func (*remote) CompactLog() (bool, error) { return false, errNoServer }

// LogBounds is for servers only; part of storekeeper.
func (*remote) LogBounds() (first, last uint64, err error) { return 0, 0, errNoServer }

// SetReplicationToken changes nothing: servers copy; part of replicator.
func (*remote) SetReplicationToken(string) {}

// Leave and Shutdown do nothing: the agent ends its node agent itself; part of runner.
func (*remote) Leave(context.Context) error { return nil }

// Shutdown does nothing, see Leave; part of runner.
func (*remote) Shutdown() error { return nil }

// LinkRefusal refuses links: only servers take them; part of linker.
func (*remote) LinkRefusal(int) *nodelink.Refusal {
	return &nodelink.Refusal{Reason: nodelink.Leaving, Help: "this agent is a client and takes no links: dial a server", RetryAfter: time.Minute}
}

// ServeLink ends a link, see LinkRefusal; part of linker.
func (*remote) ServeLink(_ context.Context, s mux.Session, _ nodelink.From) { _ = s.Close() }

// ServeNodePort ends a connection, see LinkRefusal; part of linker.
func (*remote) ServeNodePort(conn net.Conn) { _ = conn.Close() }

// Failed is never closed: a node agent waits for servers as long as it takes; part of ending.
func (r *remote) Failed() <-chan struct{} { return r.failed }

// Drain hands nothing over, and nobody carries on for this agent; part of ending.
func (*remote) Drain() bool { return false }

// Err is nil; part of ending.
func (*remote) Err() error { return nil }

// AgentSecret is what the node proves itself with: no server knows this process by a
// secret of its own; part of known.
func (r *remote) AgentSecret() string { return r.Token() }

// logAlone tells of a node agent that knows no server.
func (c *Config) logAlone(logger hclog.Logger) {
	if c.Client.Enabled && !c.Server.Enabled && len(c.Client.addresses()) == 0 {
		logger.Warn("this node agent knows no server: set servers or server_join in the client block, or use `cairn node config -update-servers`")
	}
}
