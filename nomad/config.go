package nomad

import (
	"context"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/memberlist"
	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/nomad/keyring"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Version is the version of this build, set by the linker.
var Version = "0.1.0-dev"

// Defaults of Config.
const (
	DefaultRegion     = "global"
	DefaultDatacenter = "dc1"
)

// LogStore names where the Raft log is kept.
type LogStore string

// The log stores. LogStoreMemory forgets everything at the end of the process.
const (
	LogStoreWAL    LogStore = "wal"
	LogStoreBolt   LogStore = "boltdb"
	LogStoreMemory LogStore = "memory"
)

// Config is what a Server needs to run. It must not change after NewServer.
type Config struct {
	// Region and Datacenter place the server; servers of one region share one state.
	Region     string
	Datacenter string
	// AuthoritativeRegion owns what the regions share: policies, roles, auth methods,
	// binding rules, global tokens, namespaces and node pools. "" shares nothing.
	AuthoritativeRegion string
	// NodeName is unique among the servers of the region.
	NodeName string
	// NodeID is the UUID of the server, "" to keep one in DataDir.
	NodeID string
	// DataDir holds the log, the snapshots and the node ID; "" keeps all in memory.
	DataDir string
	// Logger is the parent of the loggers of all subsystems; nil logs nothing.
	Logger hclog.Logger

	// BootstrapExpect is how many servers must have met before they elect the
	// first leader; 0 waits to be joined by a running cluster, 1 elects at once.
	BootstrapExpect int
	// NonVoter keeps the server out of elections.
	NonVoter bool

	// RPCListener accepts the server port. The server closes it.
	RPCListener net.Listener
	// RPCAdvertise is the address other servers reach RPCListener at, host:port.
	RPCAdvertise string
	// Dial opens a connection to a server port, nil for TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)
	// TLS secures the server port, nil for clear text.
	TLS *TLSConfig
	// Gossip configures the gossip pool.
	Gossip GossipConfig
	// Raft configures consensus.
	Raft RaftConfig
	// ACL configures access control.
	ACL ACLConfig

	// Autopilot is what the first leader of the region stores; afterwards it is changed
	// over the API.
	Autopilot structs.AutopilotConfig

	// Heartbeat says how long nodes may be silent, Introduction who may become one.
	Heartbeat    HeartbeatConfig
	Introduction IntroductionConfig

	// LinkPingInterval is how often both ends of the link of a node agent show life,
	// LinkMaxAge after about how long a link is dialled anew.
	LinkPingInterval time.Duration
	LinkMaxAge       time.Duration
	// NodeGCThreshold is how long a node must be down before the leader forgets it.
	NodeGCThreshold time.Duration

	// Debugger looks into the process, nil for nobody; EnableDebug lets it be asked
	// while access control is off.
	Debugger    Debugger
	EnableDebug bool

	// MaxVariableSize bounds keys and values of one variable, in bytes.
	MaxVariableSize int
	// EventBufferSize is how many batches of events are kept for subscribers.
	EventBufferSize int
	// EnableEventBroker keeps events at all.
	EnableEventBroker bool
	// RPCHandshakeTimeout bounds the wait for the first byte of a connection.
	RPCHandshakeTimeout time.Duration
	// RPCMaxConnsPerClient bounds the connections of one address, 0 for no bound.
	RPCMaxConnsPerClient int
	// Held bounds what the calls hold that come in over the server port, and whatever
	// else takes of it; nil for no bound.
	Held *limit.Bytes
	// RPCHoldTimeout is how long a call waits for a leader before it fails.
	RPCHoldTimeout time.Duration
	// Search bounds searches for a text.
	Search SearchConfig
	// Limits bounds the requests; SetLimits changes it while the server runs.
	Limits LimitConfig
	// KeyProviders wrap root keys, the first of them new ones; nil for the built-in one.
	KeyProviders []keyring.Provider
	// RootKeyRotationThreshold is the age at which a root key is replaced.
	RootKeyRotationThreshold time.Duration
}

// ACLConfig says who may do what.
type ACLConfig struct {
	// Enabled turns access control on; off, everybody may do everything. All
	// servers of a region must agree.
	Enabled bool
	// TokenMinTTL and TokenMaxTTL bound the life of tokens that expire.
	TokenMinTTL time.Duration
	TokenMaxTTL time.Duration
	// ProviderTimeout bounds one request of a login to its identity provider, 0 for
	// half a minute.
	ProviderTimeout time.Duration
	// BootstrapSecretFile holds a UUID that becomes the secret of the first
	// management token, which the leader makes if there is none; where it is set,
	// nobody else can make that token. "" for none.
	BootstrapSecretFile string
	// ReplicationToken is the secret of a management token of the authoritative
	// region, with which the leader of another region copies what it owns.
	ReplicationToken string
}

// limits returns the bounds of tokens that expire.
func (c *ACLConfig) limits() structs.ACLTokenLimits {
	return structs.ACLTokenLimits{MinTTL: c.TokenMinTTL, MaxTTL: c.TokenMaxTTL}
}

// GossipConfig says how servers find each other.
type GossipConfig struct {
	// BindAddr and BindPort listen for gossip over UDP and TCP.
	BindAddr string
	BindPort int
	// AdvertiseAddr and AdvertisePort are what others are told, "" and 0 for the bound ones.
	AdvertiseAddr string
	AdvertisePort int
	// Transport replaces the network, nil for UDP and TCP.
	Transport memberlist.Transport
	// EncryptKey is 16, 24 or 32 bytes, nil for gossip in clear.
	EncryptKey []byte
	// StartJoin must succeed at start; RetryJoin is tried until it does.
	StartJoin []string
	RetryJoin []string
	// RetryInterval is the pause between two tries, RetryMax their number, 0 for no end.
	RetryInterval time.Duration
	RetryMax      int
	// RejoinAfterLeave joins the old peers again after a graceful leave.
	RejoinAfterLeave bool
}

// RaftConfig tunes consensus.
type RaftConfig struct {
	// LogStore is where the log is kept, LogStoreWAL by default.
	LogStore LogStore
	// Multiplier stretches all time-outs, 1 by default, for slow machines and networks.
	Multiplier int
	// HeartbeatTimeout, ElectionTimeout and LeaderLease are those of Multiplier 1.
	HeartbeatTimeout time.Duration
	ElectionTimeout  time.Duration
	LeaderLease      time.Duration
	// HangTimeout is how long a write to the log, or of term and vote, may take, at
	// Multiplier 1, before the server gives up leadership; a batch for the store, and a
	// snapshot of which nothing moves, may take ten times as long.
	HangTimeout time.Duration
	// SnapshotThreshold is how many entries make a snapshot worth while,
	// SnapshotInterval how often that is looked at, TrailingLogs how many
	// entries are kept behind it for slow followers.
	SnapshotThreshold uint64
	SnapshotInterval  time.Duration
	TrailingLogs      uint64
	// SegmentSizeMB is the size of a segment of the write-ahead log, in MiB.
	SegmentSizeMB int
	// NoFreelistSync keeps boltdb from writing its free list.
	NoFreelistSync bool
	// Stores replaces LogStore by stores that the caller owns, nil for none.
	Stores *Stores
}

// Stores is where consensus keeps what it must not forget.
type Stores struct {
	Log       raft.LogStore
	Stable    raft.StableStore
	Snapshots raft.SnapshotStore
}

// DefaultConfig returns the defaults. NodeName, RPCListener and RPCAdvertise
// remain to be set.
func DefaultConfig() *Config {
	return &Config{
		Region:                   DefaultRegion,
		Datacenter:               DefaultDatacenter,
		MaxVariableSize:          structs.DefaultMaxVariableSize,
		EventBufferSize:          100,
		EnableEventBroker:        true,
		RPCHandshakeTimeout:      5 * time.Second,
		RPCMaxConnsPerClient:     100,
		RPCHoldTimeout:           5 * time.Second,
		RootKeyRotationThreshold: 720 * time.Hour,
		ACL: ACLConfig{
			TokenMinTTL: structs.DefaultACLTokenLimits().MinTTL,
			TokenMaxTTL: structs.DefaultACLTokenLimits().MaxTTL,
		},
		Autopilot: structs.DefaultAutopilotConfig(),
		Heartbeat: HeartbeatConfig{
			MinTTL: 10 * time.Second, MaxPerSecond: 50, Grace: 10 * time.Second, FailoverTTL: 300 * time.Second,
		},
		LinkPingInterval: nodelink.DefaultPingInterval, LinkMaxAge: nodelink.DefaultMaxAge,
		NodeGCThreshold: 24 * time.Hour,
		Search:          DefaultSearchConfig(),
		Introduction: IntroductionConfig{
			Enforcement: IntroductionWarn, DefaultTTL: structs.DefaultACLIntroductionTTL, MaxTTL: structs.MaxACLIntroductionTTL,
		},
		Gossip: GossipConfig{
			BindAddr:      "0.0.0.0",
			BindPort:      4648,
			RetryInterval: 30 * time.Second,
		},
		Raft: RaftConfig{
			LogStore:          LogStoreWAL,
			Multiplier:        1,
			HeartbeatTimeout:  500 * time.Millisecond,
			ElectionTimeout:   500 * time.Millisecond,
			LeaderLease:       500 * time.Millisecond,
			HangTimeout:       3 * time.Second,
			SnapshotThreshold: 8192,
			SnapshotInterval:  120 * time.Second,
			TrailingLogs:      10240,
			SegmentSizeMB:     64,
			NoFreelistSync:    true,
		},
	}
}

// Validate returns every problem of the configuration at once.
func (c *Config) Validate() error {
	var errata []errs.Erratum
	bad := func(when bool, field, msg string) {
		if when {
			errata = append(errata, errs.Erratum{Field: field, Msg: msg})
		}
	}
	bad(c.NodeName == "", "NodeName", "must be set")
	bad(c.Region == "", "Region", "must be set")
	bad(c.RPCListener == nil, "RPCListener", "must be set")
	bad(c.RPCAdvertise == "", "RPCAdvertise", "must be set")
	bad(c.BootstrapExpect < 0, "BootstrapExpect", "must not be negative")
	bad(c.MaxVariableSize <= 0, "MaxVariableSize", "must be positive")
	bad(c.Raft.Multiplier < 1 || c.Raft.Multiplier > 10, "Raft.Multiplier", "must be between 1 and 10")
	bad(c.Raft.HangTimeout <= 0, "Raft.HangTimeout", "must be positive")
	bad(c.ACL.TokenMinTTL <= 0, "ACL.TokenMinTTL", "must be positive")
	bad(c.ACL.TokenMaxTTL < c.ACL.TokenMinTTL, "ACL.TokenMaxTTL", "must not be below ACL.TokenMinTTL")
	if err := c.TLS.check(c.Region); err != nil {
		bad(true, "TLS:", strings.TrimPrefix(err.Error(), "tls: "))
	}
	if err := c.Autopilot.Validate(); err != nil {
		bad(true, "Autopilot:", err.Error())
	}
	bad(c.Heartbeat.MinTTL <= 0, "Heartbeat.MinTTL", "must be positive")
	bad(c.Heartbeat.MaxPerSecond <= 0, "Heartbeat.MaxPerSecond", "must be positive")
	bad(c.Heartbeat.Grace < 0, "Heartbeat.Grace", "must not be negative")
	bad(c.Heartbeat.FailoverTTL <= 0, "Heartbeat.FailoverTTL", "must be positive")
	bad(c.LinkPingInterval < time.Second, "LinkPingInterval", "must be at least 1s")
	bad(c.LinkMaxAge < time.Minute, "LinkMaxAge", "must be at least 1m")
	bad(c.NodeGCThreshold <= 0, "NodeGCThreshold", "must be positive")
	bad(c.Introduction.DefaultTTL <= 0, "Introduction.DefaultTTL", "must be positive")
	bad(c.Introduction.MaxTTL < c.Introduction.DefaultTTL, "Introduction.MaxTTL", "must not be below Introduction.DefaultTTL")
	switch c.Introduction.Enforcement {
	case IntroductionNone, IntroductionWarn, IntroductionStrict:
	default:
		bad(true, "Introduction.Enforcement", fmt.Sprintf("unknown enforcement %q: must be none, warn or strict", c.Introduction.Enforcement))
	}
	switch c.Raft.LogStore {
	case LogStoreWAL, LogStoreBolt:
		bad(c.DataDir == "", "DataDir", "must be set, or the log kept in memory")
	case LogStoreMemory:
	default:
		bad(true, "Raft.LogStore", fmt.Sprintf("unknown log store %q: must be wal, boltdb or memory", c.Raft.LogStore))
	}
	for _, msg := range c.Search.Problems() {
		bad(true, "Search:", msg)
	}
	for _, msg := range c.Limits.Problems() {
		bad(true, "Limits:", msg)
	}
	if n := len(c.Gossip.EncryptKey); n != 0 && n != 16 && n != 24 && n != 32 {
		bad(true, "Gossip.EncryptKey", "must be 16, 24 or 32 bytes")
	}
	if len(errata) > 0 {
		msg := "invalid server configuration:"
		for _, e := range errata {
			msg += " " + e.Field + " " + e.Msg + ";"
		}
		return errs.New(errs.Invalid, msg[:len(msg)-1]).WithErrata(errata...)
	}
	return nil
}

// String shows the configuration without secrets.
func (c *Config) String() string {
	masked := *c
	masked.Logger = nil
	if masked.Gossip.EncryptKey != nil {
		masked.Gossip.EncryptKey = []byte("redacted")
	}
	if masked.ACL.ReplicationToken != "" {
		masked.ACL.ReplicationToken = "redacted"
	}
	return fmt.Sprintf("%+v", masked)
}
