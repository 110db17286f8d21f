package agent

import (
	"encoding/base64"
	"encoding/json"
	"reflect"
	"time"

	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/enroll"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Config is the configuration of an agent. The hcl tags are the keys of the
// files; the Go names show in /v1/agent/self. Fields tagged secret are masked
// wherever the configuration is shown.
type Config struct {
	Region     string `hcl:"region"`
	Datacenter string `hcl:"datacenter"`
	// NodeName is the host name by default.
	NodeName string `hcl:"name"`
	// DataDir holds everything that must survive a restart, "" in dev mode.
	DataDir string `hcl:"data_dir"`
	// BindAddr is an address or a go-sockaddr template.
	BindAddr       string          `hcl:"bind_addr"`
	Ports          PortsConfig     `hcl:"ports"`
	Addresses      AddressesConfig `hcl:"addresses"`
	AdvertiseAddrs AddressesConfig `hcl:"advertise"`

	LogLevel           string `hcl:"log_level"`
	LogJSON            bool   `hcl:"log_json"`
	LogIncludeLocation bool   `hcl:"log_include_location"`
	// LogFile is a file, or a directory when it ends with a slash; "" for none.
	LogFile string `hcl:"log_file"`
	// LogRotateDuration and LogRotateBytes start a new file, 0 for never;
	// LogRotateMaxFiles old ones are kept, 0 for all.
	LogRotateDuration time.Duration `hcl:"log_rotate_duration"`
	LogRotateBytes    int           `hcl:"log_rotate_bytes"`
	LogRotateMaxFiles int           `hcl:"log_rotate_max_files"`

	// EnableDebug lets profiles be taken while access control is off.
	EnableDebug bool `hcl:"enable_debug"`

	// LeaveOnInt and LeaveOnTerm take the server out of the cluster on SIGINT and SIGTERM.
	LeaveOnInt  bool `hcl:"leave_on_interrupt"`
	LeaveOnTerm bool `hcl:"leave_on_terminate"`

	HTTPAPIResponseHeaders map[string]string `hcl:"http_api_response_headers"`
	HTTPProxies            HTTPProxiesConfig `hcl:"http_proxies"`

	ACL       ACLConfig         `hcl:"acl"`
	Server    ServerConfig      `hcl:"server"`
	Client    ClientConfig      `hcl:"client"`
	TLSConfig TLSConfig         `hcl:"tls"`
	Telemetry TelemetryConfig   `hcl:"telemetry"`
	Limits    LimitsConfig      `hcl:"limits"`
	RPC       RPCConfig         `hcl:"rpc"`
	Autopilot AutopilotDefaults `hcl:"autopilot"`

	// DevMode keeps all data in memory and listens on the loopback only.
	DevMode bool
	// Version is that of this build.
	Version VersionInfo
}

// VersionInfo tells which build answers.
type VersionInfo struct {
	Version string
}

// PortsConfig holds the ports to listen on; 0 lets the system choose.
type PortsConfig struct {
	HTTP int `hcl:"http"`
	RPC  int `hcl:"rpc"`
	Serf int `hcl:"serf"`
}

// AddressesConfig holds addresses by use, "" for the default. Each may be a
// go-sockaddr template; advertised ones may have a port.
type AddressesConfig struct {
	HTTP string `hcl:"http"`
	RPC  string `hcl:"rpc"`
	Serf string `hcl:"serf"`
}

// ACLConfig configures access control. All servers of a region must agree.
type ACLConfig struct {
	Enabled bool `hcl:"enabled"`
	// TokenMinExpirationTTL and TokenMaxExpirationTTL bound the life of tokens that expire.
	TokenMinExpirationTTL time.Duration `hcl:"token_min_expiration_ttl"`
	TokenMaxExpirationTTL time.Duration `hcl:"token_max_expiration_ttl"`
	// InitialManagementTokenFile holds a UUID that becomes the secret of the first
	// management token; where it is set, nobody can make that token over the API.
	InitialManagementTokenFile string `hcl:"initial_management_token_file"`
	// ReplicationToken is the secret with which this region copies from the
	// authoritative one.
	ReplicationToken string `hcl:"replication_token" secret:"true"`
	// ProtectMetrics shows metrics only to those who may read them.
	ProtectMetrics bool `hcl:"protect_metrics"`
}

// ClientConfig configures the node agent.
type ClientConfig struct {
	Enabled bool `hcl:"enabled"`
	// JoinToken is the text of a join token, JoinTokenFile a file with one; an agent
	// that has a certificate looks at neither, and one that runs a server, too, joins
	// as that.
	JoinToken     string `hcl:"join_token" secret:"true"`
	JoinTokenFile string `hcl:"join_token_file"`
	// StateDir holds who the node is; by default it is client in DataDir.
	StateDir string `hcl:"state_dir"`
	// Servers and those of ServerJoin are server ports, host or host:port.
	Servers    []string         `hcl:"servers"`
	ServerJoin ServerJoinConfig `hcl:"server_join"`
	NodeClass  string           `hcl:"node_class"`
	// NodePool is default unless it is given.
	NodePool          string                `hcl:"node_pool"`
	Meta              map[string]string     `hcl:"meta"`
	NodeMaxAllocs     int                   `hcl:"node_max_allocs"`
	DrainOnShutdown   DrainOnShutdownConfig `hcl:"drain_on_shutdown"`
	NodeLink          ClientLinkConfig      `hcl:"node_link"`
	DefaultIneligible bool                  `hcl:"default_ineligible"`

	// What follows overrides what was found out about the machine; 0 does not.
	NetworkInterface string         `hcl:"network_interface"`
	NetworkSpeed     int            `hcl:"network_speed"`
	CPUTotalCompute  int            `hcl:"cpu_total_compute"`
	MemoryTotalMB    int            `hcl:"memory_total_mb"`
	DiskTotalMB      int            `hcl:"disk_total_mb"`
	DiskFreeMB       int            `hcl:"disk_free_mb"`
	MinDynamicPort   int            `hcl:"min_dynamic_port"`
	MaxDynamicPort   int            `hcl:"max_dynamic_port"`
	Reserved         ReservedConfig `hcl:"reserved"`
}

// ClientLinkConfig says how the node agent reaches servers, and how many of their
// calls it takes at once.
type ClientLinkConfig struct {
	// Transport is auto, port or websocket; HTTPServers are where servers answer HTTP.
	Transport   string   `hcl:"transport"`
	HTTPServers []string `hcl:"http_servers"`
	// The calls of each class that run at once, 0 for the default; four times as many
	// reads and writes may wait.
	MaxReads   int `hcl:"max_reads"`
	MaxWrites  int `hcl:"max_writes"`
	MaxStreams int `hcl:"max_streams"`
}

// ServerLinkConfig says how the server keeps the links of node agents.
type ServerLinkConfig struct {
	// PingInterval is how often both ends show life, MaxAge after how long a link is
	// dialled anew; 0 for the default.
	PingInterval time.Duration `hcl:"ping_interval"`
	MaxAge       time.Duration `hcl:"max_age"`
}

// DrainOnShutdownConfig moves work off a node whose agent leaves.
type DrainOnShutdownConfig struct {
	// Given is true where the block is there, also an empty one.
	Given bool
	// Deadline is how long work may take to move, 0 for the default.
	Deadline         time.Duration `hcl:"deadline"`
	IgnoreSystemJobs bool          `hcl:"ignore_system_jobs"`
	// Force leaves work no time at all.
	Force bool `hcl:"force"`
}

// ReservedConfig is what work may not use: MHz, MiB, cores and ports as lists of
// numbers and ranges.
type ReservedConfig struct {
	CPU           int    `hcl:"cpu"`
	MemoryMB      int    `hcl:"memory"`
	DiskMB        int    `hcl:"disk"`
	Cores         string `hcl:"cores"`
	ReservedPorts string `hcl:"reserved_ports"`
}

// ServerConfig configures the server half of the agent.
type ServerConfig struct {
	Enabled bool `hcl:"enabled"`
	// AuthoritativeRegion owns what the regions share, "" for a region of its own.
	AuthoritativeRegion string `hcl:"authoritative_region"`
	BootstrapExpect     int    `hcl:"bootstrap_expect"`
	DataDir             string `hcl:"data_dir"`
	NonVotingServer     bool   `hcl:"non_voting_server"`
	// Encrypt is the gossip key in base64: 16, 24 or 32 bytes.
	Encrypt string `hcl:"encrypt" secret:"true"`
	// JoinToken is the text of a join token, JoinTokenFile a file with one; an agent
	// that has a certificate looks at neither.
	JoinToken     string `hcl:"join_token" secret:"true"`
	JoinTokenFile string `hcl:"join_token_file"`
	// RaftProtocol and ProtocolVersion exist for old files; there is one of each.
	RaftProtocol    int `hcl:"raft_protocol"`
	ProtocolVersion int `hcl:"protocol_version"`
	RaftMultiplier  int `hcl:"raft_multiplier"`
	// RaftHangTimeout is how long the disk may take, times RaftMultiplier, before the
	// server gives up leadership.
	RaftHangTimeout time.Duration `hcl:"raft_hang_timeout"`

	RaftSnapshotThreshold int                `hcl:"raft_snapshot_threshold"`
	RaftSnapshotInterval  time.Duration      `hcl:"raft_snapshot_interval"`
	RaftTrailingLogs      int                `hcl:"raft_trailing_logs"`
	RaftLogStore          RaftLogStoreConfig `hcl:"raft_logstore"`
	RaftBoltDB            BoltDBConfig       `hcl:"raft_boltdb"`

	StartJoin        []string         `hcl:"start_join"`
	RetryJoin        []string         `hcl:"retry_join"`
	RetryInterval    time.Duration    `hcl:"retry_interval"`
	RetryMax         int              `hcl:"retry_max"`
	RejoinAfterLeave bool             `hcl:"rejoin_after_leave"`
	ServerJoin       ServerJoinConfig `hcl:"server_join"`

	// EventBufferSize is how many batches of events are kept, if EnableEventBroker
	// says to keep any.
	EventBufferSize          int           `hcl:"event_buffer_size"`
	EnableEventBroker        bool          `hcl:"enable_event_broker"`
	RootKeyRotationThreshold time.Duration `hcl:"root_key_rotation_threshold"`
	// MaxVariableSize bounds the keys and values of one variable, in bytes.
	MaxVariableSize int `hcl:"max_variable_size"`

	// The times that nodes may be silent, see nomad.HeartbeatConfig; 0 for the default.
	HeartbeatGrace         time.Duration `hcl:"heartbeat_grace"`
	MinHeartbeatTTL        time.Duration `hcl:"min_heartbeat_ttl"`
	MaxHeartbeatsPerSecond float64       `hcl:"max_heartbeats_per_second"`
	FailoverHeartbeatTTL   time.Duration `hcl:"failover_heartbeat_ttl"`
	// NodeGCThreshold is how long a node must be down before it is forgotten.
	NodeGCThreshold    time.Duration            `hcl:"node_gc_threshold"`
	ClientIntroduction ClientIntroductionConfig `hcl:"client_introduction"`
	NodeLink           ServerLinkConfig         `hcl:"node_link"`
	Search             SearchConfig             `hcl:"search"`
}

// SearchConfig bounds searches for a text within names, see nomad.SearchConfig.
type SearchConfig struct {
	FuzzyEnabled  bool `hcl:"fuzzy_enabled"`
	LimitQuery    int  `hcl:"limit_query"`
	LimitResults  int  `hcl:"limit_results"`
	MinTermLength int  `hcl:"min_term_length"`
}

// ClientIntroductionConfig says how new nodes are introduced.
type ClientIntroductionConfig struct {
	// Enforcement is none, warn or strict.
	Enforcement        string        `hcl:"enforcement"`
	DefaultIdentityTTL time.Duration `hcl:"default_identity_ttl"`
	MaxIdentityTTL     time.Duration `hcl:"max_identity_ttl"`
}

// ServerJoinConfig is the newer home of the join settings; it wins over the
// ones in ServerConfig.
type ServerJoinConfig struct {
	StartJoin     []string      `hcl:"start_join"`
	RetryJoin     []string      `hcl:"retry_join"`
	RetryInterval time.Duration `hcl:"retry_interval"`
	RetryMax      int           `hcl:"retry_max"`
}

// RaftLogStoreConfig chooses where the Raft log is kept.
type RaftLogStoreConfig struct {
	// Backend is wal or boltdb.
	Backend string       `hcl:"backend"`
	BoltDB  BoltDBConfig `hcl:"boltdb"`
	WAL     WALConfig    `hcl:"wal"`
}

// BoltDBConfig tunes the boltdb log store.
type BoltDBConfig struct {
	NoFreelistSync bool `hcl:"no_freelist_sync"`
}

// WALConfig tunes the write-ahead log.
type WALConfig struct {
	SegmentSizeMB int `hcl:"segment_size_mb"`
}

// TLSConfig configures TLS on the HTTP port and on the server port.
type TLSConfig struct {
	// Auto takes certificates from the cluster's own authority, good for AutoCertTTL.
	Auto        bool          `hcl:"auto"`
	AutoCertTTL time.Duration `hcl:"auto_cert_ttl"`

	EnableHTTP           bool `hcl:"http"`
	EnableRPC            bool `hcl:"rpc"`
	VerifyServerHostname bool `hcl:"verify_server_hostname"`
	// RPCUpgradeMode lets the server port speak clear text beside TLS.
	RPCUpgradeMode bool `hcl:"rpc_upgrade_mode"`
	// VerifyHTTPSClient asks HTTP clients for a certificate signed by CAFile.
	VerifyHTTPSClient bool   `hcl:"verify_https_client"`
	CAFile            string `hcl:"ca_file"`
	CertFile          string `hcl:"cert_file"`
	KeyFile           string `hcl:"key_file"`
	// TLSCipherSuites is a list of names, separated by commas.
	TLSCipherSuites string `hcl:"tls_cipher_suites"`
	// TLSMinVersion is tls12 or tls13.
	TLSMinVersion string `hcl:"tls_min_version"`
}

// TelemetryConfig configures metrics.
type TelemetryConfig struct {
	PrometheusMetrics bool `hcl:"prometheus_metrics"`
	// InMemoryCollectionInterval is the interval of /v1/metrics,
	// InMemoryRetentionPeriod how long its intervals are kept.
	InMemoryCollectionInterval time.Duration `hcl:"in_memory_collection_interval"`
	InMemoryRetentionPeriod    time.Duration `hcl:"in_memory_retention_period"`
	StatsdAddress              string        `hcl:"statsd_address"`
	StatsiteAddress            string        `hcl:"statsite_address"`
	DisableHostname            bool          `hcl:"disable_hostname"`
	UseNodeName                bool          `hcl:"use_node_name"`
	// PrefixFilter holds prefixes to allow, after a plus, or to block, after a minus.
	PrefixFilter  []string `hcl:"prefix_filter"`
	FilterDefault bool     `hcl:"filter_default"`
}

// LimitsConfig bounds what clients may take.
type LimitsConfig struct {
	HTTPSHandshakeTimeout time.Duration `hcl:"https_handshake_timeout"`
	// HTTPMaxConnsPerClient and RPCMaxConnsPerClient are by address, 0 for no bound.
	HTTPMaxConnsPerClient int           `hcl:"http_max_conns_per_client"`
	RPCHandshakeTimeout   time.Duration `hcl:"rpc_handshake_timeout"`
	RPCMaxConnsPerClient  int           `hcl:"rpc_max_conns_per_client"`
	// HTTPHeaderTimeout is for the head of a request, HTTPBodyTimeout for its body or the
	// first part of a large one, HTTPIdleTimeout between two requests, HTTPWriteTimeout
	// for a client to take a part of the answer.
	HTTPHeaderTimeout time.Duration `hcl:"http_header_timeout"`
	HTTPBodyTimeout   time.Duration `hcl:"http_body_timeout"`
	HTTPIdleTimeout   time.Duration `hcl:"http_idle_timeout"`
	HTTPWriteTimeout  time.Duration `hcl:"http_write_timeout"`
	// MaxRequestBytes bounds what all requests hold that are in hand, 0 for no bound.
	MaxRequestBytes int `hcl:"max_request_bytes"`
	// RequestLimits bounds requests, also those of connections that are open.
	RequestLimits RequestLimitsConfig `hcl:"request_limits"`
}

// DefaultConfig returns the configuration of an agent without files and flags.
func DefaultConfig() *Config {
	return &Config{
		Region:     nomad.DefaultRegion,
		Datacenter: nomad.DefaultDatacenter,
		BindAddr:   "0.0.0.0",
		Ports:      PortsConfig{HTTP: 4646, RPC: 4647, Serf: 4648},
		LogLevel:   "INFO",
		ACL: ACLConfig{
			TokenMinExpirationTTL: structs.DefaultACLTokenLimits().MinTTL,
			TokenMaxExpirationTTL: structs.DefaultACLTokenLimits().MaxTTL,
		},
		RPC:       defaultRPCConfig(),
		Autopilot: autopilotDefaults(),
		Server: ServerConfig{
			RaftProtocol:             3,
			ProtocolVersion:          1,
			RaftMultiplier:           1,
			RaftHangTimeout:          3 * time.Second,
			RetryInterval:            30 * time.Second,
			EventBufferSize:          100,
			EnableEventBroker:        true,
			RaftSnapshotThreshold:    8192,
			RaftSnapshotInterval:     120 * time.Second,
			RaftTrailingLogs:         10240,
			RaftLogStore:             RaftLogStoreConfig{Backend: string(nomad.LogStoreWAL), WAL: WALConfig{SegmentSizeMB: 64}},
			RootKeyRotationThreshold: 720 * time.Hour,
			MaxVariableSize:          structs.DefaultMaxVariableSize,
			MinHeartbeatTTL:          10 * time.Second,
			MaxHeartbeatsPerSecond:   50,
			HeartbeatGrace:           10 * time.Second,
			FailoverHeartbeatTTL:     300 * time.Second,
			NodeGCThreshold:          24 * time.Hour,
			NodeLink:                 ServerLinkConfig{PingInterval: nodelink.DefaultPingInterval, MaxAge: nodelink.DefaultMaxAge},
			ClientIntroduction:       ClientIntroductionConfig{Enforcement: string(nomad.IntroductionWarn)},
			Search:                   SearchConfig(nomad.DefaultSearchConfig()),
		},
		TLSConfig: TLSConfig{TLSMinVersion: "tls12", AutoCertTTL: enroll.DefaultLifetime},
		Telemetry: TelemetryConfig{
			PrometheusMetrics:          true,
			InMemoryCollectionInterval: 10 * time.Second,
			InMemoryRetentionPeriod:    time.Minute,
			FilterDefault:              true,
		},
		Limits: LimitsConfig{
			HTTPSHandshakeTimeout: 5 * time.Second,
			HTTPMaxConnsPerClient: 100,
			RPCHandshakeTimeout:   5 * time.Second,
			RPCMaxConnsPerClient:  100,
			HTTPHeaderTimeout:     10 * time.Second,
			HTTPBodyTimeout:       30 * time.Second,
			HTTPIdleTimeout:       120 * time.Second,
			HTTPWriteTimeout:      30 * time.Second,
			MaxRequestBytes:       256 << 20,
		},
		Version: VersionInfo{Version: nomad.Version},
	}
}

// DefaultDevConfig returns the configuration of -dev: one server and a node agent,
// nothing is kept, reachable from this machine only.
func DefaultDevConfig() *Config {
	c := DefaultConfig()
	c.DevMode = true
	c.BindAddr = "127.0.0.1"
	c.Server.Enabled, c.Client.Enabled = true, true
	c.Server.BootstrapExpect = 1
	c.Limits.HTTPMaxConnsPerClient = 0
	c.Telemetry.DisableHostname = true
	return c
}

// collectionInterval returns the interval of /v1/metrics.
func (t TelemetryConfig) collectionInterval() time.Duration {
	if t.InMemoryCollectionInterval <= 0 {
		return 10 * time.Second
	}
	return t.InMemoryCollectionInterval
}

// retention returns how long intervals are kept, at least two of them.
func (t TelemetryConfig) retention() time.Duration {
	return max(t.InMemoryRetentionPeriod, 2*t.collectionInterval())
}

// prefixes splits the filter into what is allowed and what is blocked.
func (t TelemetryConfig) prefixes() (allow, block []string) {
	for _, p := range t.PrefixFilter {
		switch {
		case len(p) > 1 && p[0] == '+':
			allow = append(allow, p[1:])
		case len(p) > 1 && p[0] == '-':
			block = append(block, p[1:])
		}
	}
	return allow, block
}

// encryptKey returns the gossip key, nil for none.
func (s *ServerConfig) encryptKey() ([]byte, error) {
	if s.Encrypt == "" {
		return nil, nil
	}
	return base64.StdEncoding.DecodeString(s.Encrypt)
}

// redacted replaces a secret wherever the configuration is shown.
const redacted = "<redacted>"

// Redacted returns a copy without secrets.
func (c *Config) Redacted() *Config {
	out := *c
	mask(reflect.ValueOf(&out).Elem())
	return &out
}

// mask overwrites the fields of v that are tagged secret.
func mask(v reflect.Value) {
	t := v.Type()
	for i := range t.NumField() {
		f := v.Field(i)
		switch {
		case f.Kind() == reflect.Struct:
			mask(f)
		case t.Field(i).Tag.Get("secret") == "true" && !f.IsZero():
			f.SetString(redacted)
		}
	}
}

// String shows the configuration as JSON, without secrets.
func (c *Config) String() string {
	b, err := json.Marshal(c.Redacted())
	if err != nil {
		return "configuration cannot be shown: " + err.Error()
	}
	return string(b)
}
