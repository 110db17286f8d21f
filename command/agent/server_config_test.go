package agent

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/structs"
)

// serverConfigOf resolves c and returns what the server is given.
func serverConfigOf(t *testing.T, c *Config) (*nomad.Config, error) {
	t.Helper()
	e, err := c.resolve(hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return c.serverConfig(e, ln, hclog.NewNullLogger())
}

func TestServerConfig(t *testing.T) {
	c, _, problems := parse(t, `
		name = "n1"
		region = "eu"
		data_dir = "/d"
		bind_addr = "localhost"
		server {
			enabled = true
			bootstrap_expect = 3
			encrypt = "MDEyMzQ1Njc4OWFiY2RlZg=="
			retry_join = ["old"]
			retry_interval = "9s"
			raft_multiplier = 2
			raft_hang_timeout = "7s"
			max_variable_size = 131072
			root_key_rotation_threshold = "24h"
			heartbeat_grace = "11s"
			min_heartbeat_ttl = "12s"
			max_heartbeats_per_second = 0.5
			failover_heartbeat_ttl = "13m"
			client_introduction { enforcement = "strict", default_identity_ttl = "1m", max_identity_ttl = "2m" }
			node_link { ping_interval = "3s", max_age = "1h" }
			node_gc_threshold = "12h"
			search { fuzzy_enabled = false, limit_query = 5, limit_results = 6, min_term_length = 0 }
			raft_logstore { backend = "boltdb" }
			raft_boltdb { no_freelist_sync = true }
			server_join { retry_join = ["new"], retry_max = 3 }
		}
		acl { enabled = true, token_min_expiration_ttl = "5s", token_max_expiration_ttl = "48h", initial_management_token_file = "/f" }
		autopilot {
			cleanup_dead_servers = false
			server_stabilization_time = "21s"
			last_contact_threshold = "22ms"
			max_trailing_logs = 23
			min_quorum = 0
			enable_custom_upgrades = false
		}
		limits { rpc_max_conns_per_client = 0 }`)
	if problems != "" {
		t.Fatal(problems)
	}
	got, err := serverConfigOf(t, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
	for _, check := range []struct {
		name      string
		got, want any
	}{
		{"region", got.Region, "eu"},
		{"data", got.DataDir, "/d/server"},
		{"expect", got.BootstrapExpect, 3},
		{"key", string(got.Gossip.EncryptKey), "0123456789abcdef"},
		{"join", strings.Join(got.Gossip.RetryJoin, " "), "new"},
		{"interval", got.Gossip.RetryInterval, 9 * time.Second},
		{"tries", got.Gossip.RetryMax, 3},
		{"gossip address", got.Gossip.AdvertiseAddr, "127.0.0.1"},
		{"multiplier", got.Raft.Multiplier, 2},
		{"hang timeout", got.Raft.HangTimeout, 7 * time.Second},
		{"log", got.Raft.LogStore, nomad.LogStoreBolt},
		{"freelist", got.Raft.NoFreelistSync, true},
		{"variable size", got.MaxVariableSize, 128 << 10},
		{"rotation", got.RootKeyRotationThreshold, 24 * time.Hour},
		{"heartbeats", got.Heartbeat, nomad.HeartbeatConfig{MinTTL: 12 * time.Second, MaxPerSecond: 0.5, Grace: 11 * time.Second, FailoverTTL: 13 * time.Minute}},
		{"introduction", got.Introduction, nomad.IntroductionConfig{Enforcement: nomad.IntroductionStrict, DefaultTTL: time.Minute, MaxTTL: 2 * time.Minute}},
		{"links", [2]time.Duration{got.LinkPingInterval, got.LinkMaxAge}, [2]time.Duration{3 * time.Second, time.Hour}},
		{"nodes that are down", got.NodeGCThreshold, 12 * time.Hour},
		{"search", got.Search, nomad.SearchConfig{LimitQuery: 5, LimitResults: 6}},
		{"autopilot", got.Autopilot, structs.AutopilotConfig{ServerStabilizationTime: 21 * time.Second, LastContactThreshold: 22 * time.Millisecond, MaxTrailingLogs: 23}},
		{"connections", got.RPCMaxConnsPerClient, 0},
		{"rpc", got.RPCAdvertise, "localhost:4647"},
		{"acl", got.ACL, nomad.ACLConfig{Enabled: true, TokenMinTTL: 5 * time.Second, TokenMaxTTL: 48 * time.Hour, BootstrapSecretFile: "/f"}},
	} {
		if check.got != check.want {
			t.Errorf("%s: %v, want %v", check.name, check.got, check.want)
		}
	}
}

func TestDefaultsAreThoseOfTheServer(t *testing.T) {
	c := DefaultConfig()
	c.BindAddr, c.DataDir, c.NodeName = "127.0.0.1", "/d", "n"
	got, err := serverConfigOf(t, c)
	if err != nil {
		t.Fatal(err)
	}
	want := nomad.DefaultConfig()
	if got.Autopilot != want.Autopilot || got.Heartbeat != want.Heartbeat || got.Introduction != want.Introduction || got.NodeGCThreshold != want.NodeGCThreshold ||
		got.LinkPingInterval != want.LinkPingInterval || got.LinkMaxAge != want.LinkMaxAge {
		t.Errorf("nodes: got %+v\nwant %+v", got, want)
	}
	// what an operator is shown is what counts
	if s := &c.Server; s.HeartbeatGrace != want.Heartbeat.Grace || s.MinHeartbeatTTL != want.Heartbeat.MinTTL ||
		s.MaxHeartbeatsPerSecond != want.Heartbeat.MaxPerSecond || s.FailoverHeartbeatTTL != want.Heartbeat.FailoverTTL ||
		s.NodeGCThreshold != want.NodeGCThreshold || s.ClientIntroduction.Enforcement != string(want.Introduction.Enforcement) ||
		s.NodeLink.PingInterval != want.LinkPingInterval || s.NodeLink.MaxAge != want.LinkMaxAge {
		t.Errorf("shown: %+v", s)
	}
	if got.Raft.SnapshotThreshold != want.Raft.SnapshotThreshold || got.Raft.TrailingLogs != want.Raft.TrailingLogs ||
		got.Raft.LogStore != want.Raft.LogStore || got.MaxVariableSize != want.MaxVariableSize ||
		got.RootKeyRotationThreshold != want.RootKeyRotationThreshold || got.Search != want.Search || got.ACL != want.ACL {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestGossipNeedsAddressesThatResolve(t *testing.T) {
	c := DefaultConfig()
	c.BindAddr, c.AdvertiseAddrs.Serf = "127.0.0.1", "no.such.host.invalid"
	if _, err := serverConfigOf(t, c); err == nil || !strings.Contains(err.Error(), "advertise.serf") {
		t.Errorf("%v", err)
	}
}

func TestFederationSettings(t *testing.T) {
	c, _, problems := parse(t, `
		name = "n1"
		region = "mars"
		data_dir = "/d"
		bind_addr = "127.0.0.1"
		server { enabled = true, authoritative_region = "earth" }
		acl { enabled = true, replication_token = "11111111-2222-3333-4444-555555555555" }`)
	if problems != "" {
		t.Fatal(problems)
	}
	got, err := serverConfigOf(t, c)
	if err != nil {
		t.Fatal(err)
	}
	if got.AuthoritativeRegion != "earth" || got.ACL.ReplicationToken != "11111111-2222-3333-4444-555555555555" {
		t.Errorf("the server is given %q", got.AuthoritativeRegion)
	}
	for _, shown := range []string{got.String(), c.String()} {
		if strings.Contains(shown, "11111111") {
			t.Errorf("the token is shown: %s", shown)
		}
	}
}
