package agent

import (
	"cmp"
	"fmt"
	"net"
	"path/filepath"
	"strconv"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/structs"
)

// serverConfig returns the configuration of the server half.
func (c *Config) serverConfig(e *endpoints, rpc net.Listener, logger hclog.Logger) (*nomad.Config, error) {
	out := nomad.DefaultConfig()
	out.Region = c.Region
	out.Datacenter = c.Datacenter
	out.AuthoritativeRegion = c.Server.AuthoritativeRegion
	out.NodeName = c.NodeName
	out.DataDir = c.serverDataDir()
	out.Logger = logger
	out.BootstrapExpect = c.Server.BootstrapExpect
	out.NonVoter = c.Server.NonVotingServer
	out.RPCListener = rpc
	out.RPCAdvertise = withPort(e.advRPC, rpc)
	out.MaxVariableSize = c.Server.MaxVariableSize
	out.EnableEventBroker = c.Server.EnableEventBroker
	out.EventBufferSize = cmp.Or(c.Server.EventBufferSize, out.EventBufferSize)
	out.RPCHandshakeTimeout = cmp.Or(c.Limits.RPCHandshakeTimeout, out.RPCHandshakeTimeout)
	out.RPCMaxConnsPerClient = c.Limits.RPCMaxConnsPerClient
	out.Search = nomad.SearchConfig(c.Server.Search)
	out.Limits = c.Limits.RequestLimits.limits()
	out.RootKeyRotationThreshold = cmp.Or(c.Server.RootKeyRotationThreshold, out.RootKeyRotationThreshold)
	out.Debugger, out.EnableDebug = &debugger{c.DataDir, c.logPath(), logger}, c.EnableDebug
	c.ACL.fill(&out.ACL)
	out.Autopilot = c.Autopilot.settings()
	c.Server.nodes(out)
	c.Server.raft(&out.Raft)
	if out.DataDir == "" {
		out.Raft.LogStore = nomad.LogStoreMemory
	}
	return out, c.gossip(e, &out.Gossip)
}

// fill hands the settings to the server; a bound of 0 is the default.
func (a *ACLConfig) fill(out *nomad.ACLConfig) {
	def := structs.DefaultACLTokenLimits()
	out.Enabled = a.Enabled
	out.TokenMinTTL = cmp.Or(a.TokenMinExpirationTTL, def.MinTTL)
	out.TokenMaxTTL = cmp.Or(a.TokenMaxExpirationTTL, def.MaxTTL)
	out.ReplicationToken = a.ReplicationToken
	out.BootstrapSecretFile = a.InitialManagementTokenFile
}

// serverDataDir returns where the server keeps its state, "" for in memory.
func (c *Config) serverDataDir() string {
	switch {
	case c.DevMode:
		return ""
	case c.Server.DataDir != "":
		return c.Server.DataDir
	}
	return filepath.Join(c.DataDir, "server")
}

// nodes says what is asked of nodes.
func (s *ServerConfig) nodes(out *nomad.Config) {
	h, i, given := &out.Heartbeat, &out.Introduction, &s.ClientIntroduction
	h.Grace = cmp.Or(s.HeartbeatGrace, h.Grace)
	h.MinTTL = cmp.Or(s.MinHeartbeatTTL, h.MinTTL)
	h.MaxPerSecond = cmp.Or(s.MaxHeartbeatsPerSecond, h.MaxPerSecond)
	h.FailoverTTL = cmp.Or(s.FailoverHeartbeatTTL, h.FailoverTTL)
	out.LinkPingInterval = cmp.Or(s.NodeLink.PingInterval, out.LinkPingInterval)
	out.LinkMaxAge = cmp.Or(s.NodeLink.MaxAge, out.LinkMaxAge)
	out.NodeGCThreshold = cmp.Or(s.NodeGCThreshold, out.NodeGCThreshold)
	i.Enforcement = nomad.Enforcement(cmp.Or(given.Enforcement, string(i.Enforcement)))
	i.DefaultTTL = cmp.Or(given.DefaultIdentityTTL, i.DefaultTTL)
	i.MaxTTL = max(cmp.Or(given.MaxIdentityTTL, i.MaxTTL), i.DefaultTTL)
}

func (s *ServerConfig) raft(r *nomad.RaftConfig) {
	r.LogStore = nomad.LogStore(cmp.Or(s.RaftLogStore.Backend, string(r.LogStore)))
	r.Multiplier = cmp.Or(s.RaftMultiplier, r.Multiplier)
	r.HangTimeout = cmp.Or(s.RaftHangTimeout, r.HangTimeout)
	r.SnapshotThreshold = cmp.Or(uint64(s.RaftSnapshotThreshold), r.SnapshotThreshold)
	r.SnapshotInterval = cmp.Or(s.RaftSnapshotInterval, r.SnapshotInterval)
	r.TrailingLogs = cmp.Or(uint64(s.RaftTrailingLogs), r.TrailingLogs)
	r.SegmentSizeMB = cmp.Or(s.RaftLogStore.WAL.SegmentSizeMB, r.SegmentSizeMB)
	r.NoFreelistSync = s.RaftBoltDB.NoFreelistSync || s.RaftLogStore.BoltDB.NoFreelistSync
}

func (c *Config) gossip(e *endpoints, g *nomad.GossipConfig) error {
	key, err := c.Server.encryptKey()
	if err != nil {
		return fmt.Errorf("server.encrypt: %w", err)
	}
	host, port, err := net.SplitHostPort(e.advSerf)
	if err != nil {
		return fmt.Errorf("advertise.serf: %w", err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return fmt.Errorf("advertise.serf: %q is no port", port)
	}
	if host, err = ipOf(host); err != nil {
		return fmt.Errorf("advertise.serf: %w", err)
	}
	bind, err := ipOf(e.serfHost)
	if err != nil {
		return fmt.Errorf("addresses.serf: %w", err)
	}
	s, join := &c.Server, &c.Server.ServerJoin
	g.BindAddr, g.BindPort = bind, e.serfPort
	g.AdvertiseAddr, g.AdvertisePort = host, n
	g.EncryptKey = key
	g.StartJoin = s.StartJoin
	if len(join.StartJoin) > 0 {
		g.StartJoin = join.StartJoin
	}
	g.RetryJoin = s.RetryJoin
	if len(join.RetryJoin) > 0 {
		g.RetryJoin = join.RetryJoin
	}
	g.RetryInterval = cmp.Or(join.RetryInterval, s.RetryInterval, g.RetryInterval)
	g.RetryMax = cmp.Or(join.RetryMax, s.RetryMax)
	g.RejoinAfterLeave = s.RejoinAfterLeave
	return nil
}

// ipOf returns the first address of a host name, as gossip knows no names. It
// asks the resolver once, when the agent starts.
func ipOf(host string) (string, error) {
	if net.ParseIP(host) != nil {
		return host, nil
	}
	ips, err := net.LookupIP(host)
	if err != nil {
		return "", fmt.Errorf("%q is no address and does not resolve to one: %w", host, err)
	}
	for _, ip := range ips {
		if ip.To4() != nil {
			return ip.String(), nil
		}
	}
	return ips[0].String(), nil
}
