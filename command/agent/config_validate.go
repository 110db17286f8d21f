package agent

import (
	"crypto/tls"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/net/http/httpguts"

	"github.com/cairn-project/cairn/client"
	"github.com/cairn-project/cairn/nomad"
)

// Bounds of raft_hang_timeout: below, an ordinary disk would cost elections; above, the
// clients have long given up.
const (
	minHangTimeout = 500 * time.Millisecond
	maxHangTimeout = 10 * time.Minute
)

// Validate returns every problem of the configuration at once.
func (c *Config) Validate() error { return c.validate(true) }

// validate does not ask for something to run unless the files were read
// completely: what is missing may stand where they could not be.
func (c *Config) validate(complete bool) error {
	var problems []problem
	bad := func(when bool, format string, args ...any) {
		if when {
			problems = append(problems, problem{msg: fmt.Sprintf(format, args...)})
		}
	}
	bad(complete && !c.Server.Enabled && !c.Client.Enabled,
		"the agent has nothing to run: set enabled in the server or the client block, or start it with -dev, -server or -client")
	bad(c.Region == "" || strings.ContainsAny(c.Region, " \t\n/"), "region %q: must be set and hold no space or slash", c.Region)
	bad(c.Datacenter == "" || strings.ContainsAny(c.Datacenter, " \t\n"), "datacenter %q: must be set and hold no space", c.Datacenter)
	bad(strings.ContainsAny(c.NodeName, " \t\n"), "name %q: must hold no space", c.NodeName)
	bad(c.Server.Enabled && !c.DevMode && c.DataDir == "" && c.Server.DataDir == "",
		"data_dir: must be set, the server keeps its state there")
	bad(c.Client.Enabled && !c.DevMode && c.DataDir == "" && c.Client.StateDir == "",
		"data_dir: must be set, the node agent keeps its identity there")
	bad(hclog.LevelFromString(c.LogLevel) == hclog.NoLevel,
		"log_level %q: must be trace, debug, info, warn, error or off", c.LogLevel)
	bad(c.LogRotateBytes < 0 || c.LogRotateDuration < 0 || c.LogRotateMaxFiles < 0, "log_rotate_*: must not be negative")
	problems = append(problems, c.headerProblems()...)
	problems = append(problems, c.Telemetry.problems()...)
	problems = append(problems, c.portProblems()...)
	problems = append(problems, c.ACL.problems()...)
	problems = append(problems, c.Server.problems()...)
	problems = append(problems, c.Client.problems()...)
	problems = append(problems, c.TLSConfig.problems()...)
	problems = append(problems, c.Limits.problems()...)
	problems = append(problems, c.HTTPProxies.problems()...)
	problems = append(problems, c.Autopilot.problems()...)
	problems = append(problems, c.RPC.problems()...)
	problems = append(problems, c.RPC.Agent.problems()...)
	return problemsError(problems)
}

func (c *Config) portProblems() []problem {
	var out []problem
	byPort := map[int]string{}
	for _, p := range []struct {
		name string
		port int
	}{{"ports.http", c.Ports.HTTP}, {"ports.rpc", c.Ports.RPC}, {"ports.serf", c.Ports.Serf}} {
		if p.port < 0 || p.port > 65535 {
			out = append(out, problem{msg: fmt.Sprintf("%s: %d is no port", p.name, p.port)})
		}
		if other := byPort[p.port]; other != "" && p.port != 0 {
			out = append(out, problem{msg: fmt.Sprintf("%s: port %d is also that of %s", p.name, p.port, other)})
		}
		byPort[p.port] = p.name
	}
	return out
}

// framing are the headers of which the length and the end of an answer depend: HTTP sets
// them itself.
var framing = []string{"Connection", "Content-Encoding", "Content-Length", "Trailer", "Transfer-Encoding", "Upgrade"}

func (c *Config) headerProblems() []problem {
	var out []problem
	for _, name := range slices.Sorted(maps.Keys(c.HTTPAPIResponseHeaders)) {
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			out = append(out, problem{msg: fmt.Sprintf("http_api_response_headers: %q is no name of a header", name)})
		case slices.Contains(framing, http.CanonicalHeaderKey(name)):
			out = append(out, problem{msg: fmt.Sprintf("http_api_response_headers: %s differs from answer to answer; remove it", name)})
		case !httpguts.ValidHeaderFieldValue(c.HTTPAPIResponseHeaders[name]):
			out = append(out, problem{msg: fmt.Sprintf("http_api_response_headers.%s: must hold no line break and no other control character", name)})
		}
	}
	return out
}

func (t *TelemetryConfig) problems() []problem {
	var out []problem
	bad := func(when bool, format string, args ...any) {
		if when {
			out = append(out, problem{msg: fmt.Sprintf("telemetry"+format, args...)})
		}
	}
	bad(t.InMemoryCollectionInterval < 0 || t.InMemoryRetentionPeriod < 0, ": intervals must not be negative")
	for _, a := range []struct{ key, addr string }{{"statsd_address", t.StatsdAddress}, {"statsite_address", t.StatsiteAddress}} {
		_, port, err := net.SplitHostPort(a.addr)
		bad(a.addr != "" && (err != nil || port == ""), ".%s %q: must be host:port", a.key, a.addr)
	}
	allow, block := t.prefixes()
	bad(len(allow)+len(block) != len(t.PrefixFilter), ".prefix_filter: each prefix must begin with + to allow it or - to block it, such as \"-nomad.raft\"")
	return out
}

func (l *LimitsConfig) problems() []problem {
	var out []problem
	bad := func(when bool, format string, args ...any) {
		if when {
			out = append(out, problem{msg: fmt.Sprintf("limits"+format, args...)})
		}
	}
	bad(l.HTTPMaxConnsPerClient < 0 || l.RPCMaxConnsPerClient < 0, ": the connections per client must not be negative")
	bad(l.HTTPSHandshakeTimeout < 0 || l.RPCHandshakeTimeout < 0, ": time-outs must not be negative")
	for _, t := range []struct {
		key string
		d   time.Duration
	}{{"header", l.HTTPHeaderTimeout}, {"body", l.HTTPBodyTimeout}, {"idle", l.HTTPIdleTimeout}, {"write", l.HTTPWriteTimeout}} {
		bad(t.d < time.Second || t.d > time.Hour, ".http_%s_timeout: must be from 1s to 1h", t.key)
	}
	bad(l.MaxRequestBytes != 0 && l.MaxRequestBytes < minRequestBytes, ".max_request_bytes: must be 0 for no bound, or at least %d", minRequestBytes)
	return append(out, l.RequestLimits.problems()...)
}

// minRequestBytes is the least bound of what requests hold: a few of the usual size.
const minRequestBytes = 1 << 20

func (a *ACLConfig) problems() []problem {
	var out []problem
	bad := func(when bool, format string, args ...any) {
		if when {
			out = append(out, problem{msg: fmt.Sprintf("acl."+format, args...)})
		}
	}
	bad(a.TokenMinExpirationTTL < 0 || a.TokenMaxExpirationTTL < 0, "token_*_expiration_ttl: must not be negative")
	limits := nomad.ACLConfig{}
	a.fill(&limits)
	bad(limits.TokenMaxTTL < limits.TokenMinTTL, "token_max_expiration_ttl: %s is below token_min_expiration_ttl, %s",
		limits.TokenMaxTTL, limits.TokenMinTTL)
	bad(a.InitialManagementTokenFile != "" && !a.Enabled, "initial_management_token_file: needs acl.enabled, without it everybody may do everything")
	bad(a.ProtectMetrics && !a.Enabled, "protect_metrics: needs acl.enabled, without it everybody may read everything")
	return out
}

func (s *ServerConfig) problems() []problem {
	var out []problem
	bad := func(when bool, format string, args ...any) {
		if when {
			out = append(out, problem{msg: fmt.Sprintf("server."+format, args...)})
		}
	}
	bad(s.BootstrapExpect < 0, "bootstrap_expect: must not be negative")
	bad(s.JoinToken != "" && s.JoinTokenFile != "", "join_token: give the token or join_token_file, not both")
	bad((s.JoinToken != "" || s.JoinTokenFile != "") && s.BootstrapExpect > 0,
		"bootstrap_expect: must not be set with a join token, the server joins the cluster of the token")
	bad(s.RaftProtocol != 0 && s.RaftProtocol != 3, "raft_protocol: %d is not supported, it must be 3", s.RaftProtocol)
	bad(s.ProtocolVersion != 0 && s.ProtocolVersion != 1, "protocol_version: %d is not supported, it must be 1", s.ProtocolVersion)
	bad(s.RaftMultiplier < 0 || s.RaftMultiplier > 10, "raft_multiplier: must be from 1 to 10")
	bad(s.RaftHangTimeout != 0 && (s.RaftHangTimeout < minHangTimeout || s.RaftHangTimeout > maxHangTimeout),
		"raft_hang_timeout: must be from %s to %s", minHangTimeout, maxHangTimeout)
	bad(s.RaftSnapshotThreshold < 0 || s.RaftTrailingLogs < 0 || s.RaftSnapshotInterval < 0,
		"raft_*: must not be negative")
	bad(s.RaftSnapshotInterval > 0 && s.RaftSnapshotInterval < 5*time.Millisecond, "raft_snapshot_interval: must be at least 5ms")
	bad(!slices.Contains([]string{"", string(nomad.LogStoreWAL), string(nomad.LogStoreBolt)}, s.RaftLogStore.Backend),
		"raft_logstore.backend %q: must be wal or boltdb", s.RaftLogStore.Backend)
	bad(s.RaftLogStore.WAL.SegmentSizeMB < 0, "raft_logstore.wal.segment_size_mb: must not be negative")
	bad(s.MaxVariableSize <= 0 || s.MaxVariableSize > 64<<20, "max_variable_size: must be from 1 to %d bytes", 64<<20)
	bad(s.EventBufferSize < 0, "event_buffer_size: must not be negative")
	bad(s.HeartbeatGrace < 0 || s.MinHeartbeatTTL < 0 || s.MaxHeartbeatsPerSecond < 0 || s.FailoverHeartbeatTTL < 0,
		"*heartbeat*: must not be negative")
	bad(s.NodeLink.PingInterval != 0 && s.NodeLink.PingInterval < time.Second, "node_link.ping_interval: must be at least 1s")
	bad(s.NodeLink.MaxAge != 0 && s.NodeLink.MaxAge < time.Minute, "node_link.max_age: must be at least 1m")
	bad(s.NodeGCThreshold < 0, "node_gc_threshold: must not be negative")
	bad(s.RootKeyRotationThreshold < 0, "root_key_rotation_threshold: must not be negative")
	i := &s.ClientIntroduction
	bad(!slices.Contains([]string{"", string(nomad.IntroductionNone), string(nomad.IntroductionWarn), string(nomad.IntroductionStrict)}, i.Enforcement),
		"client_introduction.enforcement %q: must be none, warn or strict", i.Enforcement)
	bad(i.DefaultIdentityTTL < 0 || i.MaxIdentityTTL < 0, "client_introduction: times must not be negative")
	bad(i.MaxIdentityTTL > 0 && i.DefaultIdentityTTL > i.MaxIdentityTTL, "client_introduction.default_identity_ttl: must not be above max_identity_ttl")
	search := nomad.SearchConfig(s.Search)
	for _, msg := range search.Problems() {
		bad(true, "search.%s", msg)
	}
	bad(s.RetryMax < 0 || s.ServerJoin.RetryMax < 0, "retry_max: must not be negative")
	bad(s.RetryInterval < 0 || s.ServerJoin.RetryInterval < 0, "retry_interval: must not be negative")
	key, err := s.encryptKey()
	n := len(key)
	bad(err != nil || n != 0 && n != 16 && n != 24 && n != 32, "encrypt: must be 16, 24 or 32 bytes in base64")
	for _, addr := range slices.Concat(s.StartJoin, s.RetryJoin, s.ServerJoin.StartJoin, s.ServerJoin.RetryJoin) {
		bad(addr == "" || strings.Contains(addr, "="), "retry_join: %q is no address; discovery by provider is not supported", addr)
		bad(!joinable(addr), "retry_join: %q is no address: give host or host:port", addr)
	}
	return out
}

// joinable reports whether an address can be one: a host with colons is an IP.
func joinable(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = strings.TrimSuffix(strings.TrimPrefix(addr, "["), "]")
	}
	if !strings.ContainsAny(host, ":[]") {
		return true
	}
	_, err = netip.ParseAddr(host)
	return err == nil
}

func (g *ClientConfig) problems() []problem {
	if !g.Enabled {
		return nil
	}
	check := client.Config{Region: "any", Datacenter: "any", NodeName: "any", NodePool: g.NodePool, Meta: g.Meta, Servers: g.addresses(),
		Resources: g.resources(), MaxAllocs: g.NodeMaxAllocs, Transport: client.Transport(g.NodeLink.Transport), HTTPServers: g.NodeLink.HTTPServers}
	var out []problem
	if err := check.Validate(); err != nil {
		for line := range strings.Lines(err.Error()) {
			out = append(out, problem{msg: "client." + strings.TrimSpace(line)})
		}
	}
	if g.JoinToken != "" && g.JoinTokenFile != "" {
		out = append(out, problem{msg: "client.join_token: give the token or join_token_file, not both"})
	}
	if _, err := parseCores(g.Reserved.Cores); err != nil {
		out = append(out, problem{msg: "client.reserved.cores: " + err.Error()})
	}
	if d := &g.DrainOnShutdown; d.Deadline < 0 || d.Force && d.Deadline > 0 {
		out = append(out, problem{msg: "client.drain_on_shutdown: deadline must not be negative, and force leaves no time for one"})
	}
	if l := &g.NodeLink; l.MaxReads < 0 || l.MaxWrites < 0 || l.MaxStreams < 0 {
		out = append(out, problem{msg: "client.node_link.max_*: must not be negative"})
	}
	if r := &g.Reserved; r.CPU < 0 || r.MemoryMB < 0 || r.DiskMB < 0 {
		out = append(out, problem{msg: "client.reserved: must not be negative"})
	}
	return out
}

func (t *TLSConfig) problems() []problem {
	var out []problem
	bad := func(when bool, format string, args ...any) {
		if when {
			out = append(out, problem{msg: fmt.Sprintf("tls."+format, args...)})
		}
	}
	bad(t.AutoCertTTL != 0 && (t.AutoCertTTL < minCertTTL || t.AutoCertTTL > maxCertTTL), "auto_cert_ttl: must be from %s to %s", minCertTTL, maxCertTTL)
	bad(t.EnableRPC && (t.CAFile == "" || t.CertFile == "" || t.KeyFile == ""),
		"rpc: needs ca_file, cert_file and key_file; `cairn tls ca create` and `cairn tls cert create -server` make them")
	bad(t.VerifyServerHostname && !t.EnableRPC, "verify_server_hostname: needs tls.rpc")
	bad(t.RPCUpgradeMode && !t.EnableRPC, "rpc_upgrade_mode: needs tls.rpc")
	bad(t.EnableHTTP && (t.CertFile == "" || t.KeyFile == ""), "http: needs cert_file and key_file")
	bad(t.VerifyHTTPSClient && (!t.EnableHTTP || t.CAFile == ""), "verify_https_client: needs tls.http and ca_file")
	bad(t.minVersion() == 0, "tls_min_version %q: must be tls12 or tls13", t.TLSMinVersion)
	_, err := t.cipherSuites()
	bad(err != nil, "tls_cipher_suites: %v", err)
	return out
}

// minVersion returns the least TLS version, 0 if it is unknown.
func (t *TLSConfig) minVersion() uint16 {
	switch t.TLSMinVersion {
	case "", "tls12":
		return tls.VersionTLS12
	case "tls13":
		return tls.VersionTLS13
	}
	return 0
}

// cipherSuites returns the suites allowed with TLS 1.2, nil for Go's choice.
func (t *TLSConfig) cipherSuites() ([]uint16, error) {
	var out []uint16
	for _, name := range splitComma(t.TLSCipherSuites) {
		i := slices.IndexFunc(tls.CipherSuites(), func(s *tls.CipherSuite) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("%q is unknown or unsafe", name)
		}
		out = append(out, tls.CipherSuites()[i].ID)
	}
	return out, nil
}
