package agent

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// parse returns the configuration in text, the keys without effect and the problems.
func parse(t testing.TB, text string) (*Config, []string, string) {
	t.Helper()
	c := DefaultConfig()
	d := &configDecoder{}
	d.source(c, "agent", []byte(text))
	var unused []string
	for _, u := range d.unused {
		unused = append(unused, u.msg)
	}
	if err := problemsError(d.problems); err != nil {
		return c, unused, err.Error()
	}
	return c, unused, ""
}

const hclSample = `
# a comment
region     = "eu" // another
data_dir   = "/var/lib/cairn"
/* and
   one more */
log_level  = "DEBUG"
leave_on_interrupt = true
bind_addr  = "{{ GetInterfaceIP \"lo\" }}"
ports { http = 5646, rpc = 5647 serf = 5648 }
addresses = { http = "127.0.0.1" }
"advertise" {
  rpc = "10.0.0.1:6647"
}
server {
  enabled          = true
  bootstrap_expect = 3
  retry_join       = ["a", "b:4648",]
  retry_interval   = "15s"
  raft_snapshot_interval = 5000000000
  server_join { retry_max = 4 }
  raft_logstore { backend = "boltdb" "boltdb" { no_freelist_sync = true } }
}
telemetry {}
limits { http_max_conns_per_client = 7 }
http_api_response_headers { "X-A" = "${b}", X-C = "d" }
`

const jsonSample = `{
  "region": "eu", "data_dir": "/var/lib/cairn", "log_level": "DEBUG", "leave_on_interrupt": true,
  "bind_addr": "{{ GetInterfaceIP \"lo\" }}",
  "ports": {"http": 5646, "rpc": 5647, "serf": 5648},
  "addresses": [{"http": "127.0.0.1"}],
  "advertise": {"rpc": "10.0.0.1:6647"},
  "server": [{
    "enabled": true, "bootstrap_expect": 3, "retry_join": ["a", "b:4648"], "retry_interval": 15000000000,
    "raft_snapshot_interval": "5s", "server_join": {"retry_max": 4},
    "raft_logstore": {"backend": "boltdb", "boltdb": {"no_freelist_sync": true}}
  }],
  "telemetry": null, "limits": {"http_max_conns_per_client": 7},
  "http_api_response_headers": {"X-A": "${b}", "X-C": "d"}
}`

func TestConfigLanguagesAgree(t *testing.T) {
	want := DefaultConfig()
	want.Region, want.DataDir, want.LogLevel, want.LeaveOnInt = "eu", "/var/lib/cairn", "DEBUG", true
	want.BindAddr = `{{ GetInterfaceIP "lo" }}`
	want.Ports = PortsConfig{5646, 5647, 5648}
	want.Addresses.HTTP, want.AdvertiseAddrs.RPC = "127.0.0.1", "10.0.0.1:6647"
	want.Server.Enabled, want.Server.BootstrapExpect = true, 3
	want.Server.RetryJoin, want.Server.RetryInterval = []string{"a", "b:4648"}, 15*time.Second
	want.Server.RaftSnapshotInterval, want.Server.ServerJoin.RetryMax = 5*time.Second, 4
	want.Server.RaftLogStore.Backend, want.Server.RaftLogStore.BoltDB.NoFreelistSync = "boltdb", true
	want.Limits.HTTPMaxConnsPerClient = 7
	want.HTTPAPIResponseHeaders = map[string]string{"X-A": "${b}", "X-C": "d"}
	for name, text := range map[string]string{"hcl": hclSample, "json": jsonSample, "byte order mark": "\xef\xbb\xbf" + jsonSample} {
		got, unused, problems := parse(t, text)
		if problems != "" || len(unused) > 0 {
			t.Errorf("%s: %s %v", name, problems, unused)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestConfigProblems(t *testing.T) {
	for _, tc := range []struct {
		text string
		want []string // in order, each the beginning of a line
	}{
		{"regoin = \"x\"\n\nserver {\n  enabeld = true\n}",
			[]string{`agent:1: unknown key "regoin", did you mean "region"?`, `agent:4: unknown key "server.enabeld", did you mean "enabled"?`}},
		{"ports {\n http = \"x\"\n rpc = 1.5\n serf = [1]\n}",
			[]string{`agent:2: ports.http must be a whole number`, `agent:3: ports.rpc must be`, `agent:4: ports.serf must be`}},
		{"server = 3", []string{`agent:1: server must be a block, not a number`}},
		{"server { enabled = 1 }", []string{`agent:1: server.enabled must be true or false`}},
		{"server { retry_interval = \"soon\" }", []string{`agent:1: server.retry_interval must be a duration`}},
		{"server { start_join = [1] }", []string{`agent:1: server.start_join must be a list of text`}},
		{"region = \"a\"\nregion = \"b\"", []string{`agent:2: region is given twice, first on line 1`}},
		{"region = eu", []string{`agent:1: "eu" must be quoted`}},
		{"acl { replication_token = s3cret }", []string{`agent:1: a part of the value of "replication_token" must be quoted`}},
		{"server { encrypt = \"a\" s3cret }", []string{`agent:1: expected the end of the line after the value of "encrypt", found a part of the value`}},
		{"client {\n join_token = ?s3cret\n}", []string{`agent:2: expected a value, found a part of the value of "join_token"`}},
		{"server { encrypt = \"abc\" \"s3cret\" }", []string{`agent:1: expected = or { after a word that is no key, found "}"`}},
		{"acl { replication_token = \"abc\", s3cret }", nil},
		{"acl { replication_token = { s3cret } }", nil},
		{"server {\n encrypt = \"abc\"\n s3cret\n}", []string{`agent:3: expected = or { after a word that is no key, found the end of the line`}},
		{"region = \"eu", []string{`agent:1: a string is not closed`}},
		{"log_rotate_duration = 10s\nregion = \"x\"", []string{`agent:1: expected the end of the line`}},
		{"region = \"x\" eu", []string{`agent:1: expected the end of the line after the value of "region", found "eu"`}},
		{"server {\n enabled = true\n", []string{`agent:3: a block is not closed, its { is on line 1`}},
		{"region = \"\\q\"", []string{`agent:1: a string has an unknown escape`}},
		{"= 3\nfoo bar", []string{`agent:1: expected a key`, `agent:2: expected = or { after "foo"`}},
		{"ui { colour = \"x\" }", []string{`agent:1: unknown key "ui.colour"`}},
		{"keyring \"awskms\" { active = true }", []string{`agent:1: keyring "awskms"`}},
		{"audit { enabled = true }", []string{`agent:1: audit is not supported`}},
		{"server \"x\" {}", []string{`agent:1: server takes no label`}},
		{"{\n \"region\": 3,\n \"nope\": {}\n}", []string{`agent:3: unknown key "nope"`}},
		{"{\n \"region\": \"x\",\n}", []string{`agent:3: invalid JSON`}},
		{"{\n \"region\": ", []string{`agent:2: invalid JSON: the file ends early`}},
		{"{} x", []string{`agent:1: invalid JSON`}},
		{"{\"keyring\": {\"transit\": {}}}", []string{`agent:1: keyring "transit"`}},
		{strings.Repeat("a {", 40), []string{`agent:1: blocks nest deeper`}},
		{strings.Repeat(`{"a":`, 40), []string{`agent:1: invalid JSON: objects nest deeper`}},
	} {
		_, _, got := parse(t, tc.text)
		if strings.Contains(got, "s3cret") {
			t.Errorf("%q shows a secret: %s", tc.text, got)
		}
		lines := strings.Split(got, "\n")
		for i, want := range tc.want {
			if i >= len(lines) || !strings.HasPrefix(lines[i], want) {
				t.Errorf("%q:\n got %q\nwant %q", tc.text, lines, tc.want)
				break
			}
		}
	}
}

// publicKeys are the keys of the public configuration language, by block.
const publicKeys = `
: region datacenter name data_dir plugin_dir log_level log_json log_file log_include_location log_rotate_duration log_rotate_bytes log_rotate_max_files bind_addr enable_debug leave_on_interrupt leave_on_terminate enable_syslog syslog_facility disable_update_check disable_anonymous_signature http_api_response_headers ports addresses advertise acl server client rpc tls telemetry ui limits autopilot keyring consul vault plugin sentinel audit reporting eventlog
ports: http rpc serf
addresses: http rpc serf
advertise: http rpc serf
acl: enabled token_ttl policy_ttl role_ttl replication_token token_min_expiration_ttl token_max_expiration_ttl
server: enabled authoritative_region bootstrap_expect client_introduction data_dir protocol_version raft_protocol raft_multiplier num_schedulers enabled_schedulers node_gc_threshold job_gc_interval job_gc_threshold eval_gc_threshold batch_eval_gc_threshold deployment_gc_threshold csi_volume_claim_gc_interval csi_volume_claim_gc_threshold csi_plugin_gc_threshold acl_token_gc_threshold root_key_gc_interval root_key_gc_threshold root_key_rotation_threshold heartbeat_grace min_heartbeat_ttl max_heartbeats_per_second failover_heartbeat_ttl start_join retry_join retry_max retry_interval rejoin_after_leave non_voting_server redundancy_zone upgrade_version encrypt server_join default_scheduler_config plan_rejection_tracker plan_apply_pipeline enable_event_broker event_buffer_size license_path search deploy_query_rate_limit raft_logstore raft_boltdb raft_snapshot_threshold raft_snapshot_interval raft_trailing_logs job_default_priority job_max_priority job_max_count job_max_source_size job_tracked_versions oidc_issuer start_timeout log_file non_production
server.client_introduction: enforcement default_identity_ttl max_identity_ttl
server.server_join: start_join retry_join retry_max retry_interval
server.plan_rejection_tracker: enabled node_threshold node_window
server.search: fuzzy_enabled limit_query limit_results min_term_length
server.raft_logstore: backend boltdb wal disable_log_cache verification
server.raft_logstore.boltdb: no_freelist_sync
server.raft_logstore.wal: segment_size_mb
server.raft_logstore.verification: enabled interval
client: enabled state_dir alloc_dir alloc_mounts_dir host_volumes_dir host_volume_plugin_dir common_plugin_dir servers node_class node_pool node_max_allocs options meta chroot_env network_interface preferred_address_family network_speed cpu_total_compute memory_total_mb disk_total_mb reservable_cores reserved gc_interval template server_join host_volume host_network cni_path bridge_network_name nomad_service_discovery artifact drain_on_shutdown users disable_remote_exec no_host_uuid cgroup_parent fingerprint default_ineligible log_file
client.reserved: cpu memory disk cores reserved_ports
client.drain_on_shutdown: deadline ignore_system_jobs force
client.users: dynamic_user_min dynamic_user_max
rpc: accept_backlog keep_alive_interval connection_write_timeout stream_open_timeout stream_close_timeout dial_timeout
tls: http rpc verify_server_hostname ca_file cert_file key_file rpc_upgrade_mode verify_https_client tls_cipher_suites tls_min_version
telemetry: in_memory_collection_interval in_memory_retention_period statsite_address statsd_address datadog_address datadog_tags prometheus_metrics disable_hostname use_node_name collection_interval publish_allocation_metrics publish_node_metrics include_alloc_metadata_in_metrics allowed_metadata_keys_in_metrics prefix_filter filter_default disable_dispatched_job_summary_metrics disable_quota_utilization_metrics disable_rpc_rate_metrics_labels disable_allocation_hook_metrics circonus_api_token
ui: enabled show_cli_hints content_security_policy consul vault label
ui.content_security_policy: connect_src default_src form_action frame_ancestors img_src script_src style_src
ui.consul: ui_url
ui.vault: ui_url
ui.label: text background_color text_color
limits: https_handshake_timeout http_max_conns_per_client rpc_handshake_timeout rpc_max_conns_per_client
autopilot: cleanup_dead_servers server_stabilization_time last_contact_threshold max_trailing_logs min_quorum enable_redundancy_zones disable_upgrade_migration enable_custom_upgrades
plugin: args config
sentinel: import
audit: enabled sink filter
reporting: license address export_interval snapshot_retention_time disable_product_usage_reporting
eventlog: enabled level`

func TestEveryPublicKeyIsKnown(t *testing.T) {
	for line := range strings.SplitSeq(strings.TrimSpace(publicKeys), "\n") {
		block, keys, _ := strings.Cut(line, ":")
		for key := range strings.FieldsSeq(keys) {
			v, ok := reflect.ValueOf(DefaultConfig()).Elem(), true
			for part := range strings.SplitSeq(block, ".") {
				if part != "" && ok {
					v, ok = fieldByKey(v, part)
				}
			}
			if ok {
				_, ok = fieldByKey(v, key)
			}
			if !ok && !isIgnored(block, key) {
				t.Errorf("%s.%s is unknown", block, key)
			}
		}
	}
}

func TestKeysWithoutEffectAreNamed(t *testing.T) {
	for text, want := range map[string][]string{
		"disable_update_check = true\nvault { enabled = false }\nclient { enabled = false }\nenable_debug = false":                nil,
		"server {\n num_schedulers = 2\n plan_rejection_tracker { enabled = true }\n}":                                            {"server.num_schedulers", "server.plan_rejection_tracker"},
		"plugin \"docker\" {\n config { gc = true }\n}\nconsul { address = \"x\" }\nclient {\n chroot_env { \"a.b\" = \"c\" }\n}": {"plugin", "consul", "client.chroot_env"},
		`{"plugin": {"docker": {"config": {"x": 1}}}, "telemetry": {"circonus_api_token": "x"}}`:                                  {"plugin", "telemetry.circonus_api_token"},
	} {
		_, unused, problems := parse(t, text)
		if problems != "" {
			t.Errorf("%q: %s", text, problems)
		}
		if diff := cmp.Diff(want, unused); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

func TestFilesAreMergedInOrderAndFlagsWin(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("d/b.json", `{"region": "b", "ports": {"http": 2}}`)
	write("d/a.hcl", `region = "a", datacenter = "a", ports { http = 1, rpc = 1111 }, data_dir = "/d"`)
	write("d/ignored.txt", `not a configuration`)
	last := write("noext", `{"server": {"enabled": true, "retry_join": ["x"]}, "ports": {"serf": 3}}`)
	f := newFlags()
	if err := f.set.Parse([]string{"-config", filepath.Join(dir, "d"), "-config=" + last, "-dc", "flag", "-retry-join", "y,z", "-retry-join=w"}); err != nil {
		t.Fatal(err)
	}
	c, _, err := f.config()
	if err != nil {
		t.Fatal(err)
	}
	if c.Region != "b" || c.Datacenter != "flag" || c.Ports != (PortsConfig{2, 1111, 3}) || c.DataDir != "/d" {
		t.Errorf("%s", c)
	}
	if diff := cmp.Diff([]string{"y", "z", "w"}, c.Server.RetryJoin); diff != "" {
		t.Error(diff)
	}
}

func TestDevBesideAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "nomad123")
	if err := os.WriteFile(path, []byte(`{"name":"node-1","data_dir":"/nowhere","disable_update_check":true,"log_level":"ERROR",
		"ports":{"http":20001,"rpc":20002,"serf":20003},"server":{"enabled":true,"bootstrap_expect":1},
		"client":{"enabled":false},"vault":{"enabled":false},"acl":{"enabled":false}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	f := newFlags()
	if err := f.set.Parse([]string{"-config", path, "-dev"}); err != nil {
		t.Fatal(err)
	}
	c, unused, err := f.config()
	if err != nil || len(unused) > 0 {
		t.Fatal(err, unused)
	}
	if c.ACL.Enabled {
		t.Error("access control is on unasked")
	}
	f = newFlags()
	if err := f.set.Parse([]string{"-config", path, "-dev", "-acl-enabled"}); err != nil {
		t.Fatal(err)
	}
	if c, _, err := f.config(); err != nil || !c.ACL.Enabled {
		t.Errorf("-acl-enabled: %s %v", c, err)
	}
	if c.serverDataDir() != "" || c.Ports.HTTP != 20001 || c.BindAddr != "127.0.0.1" || c.NodeName != "node-1" {
		t.Errorf("%s, data in %q", c, c.serverDataDir())
	}
}

func TestValidateReportsAllProblems(t *testing.T) {
	c := DefaultConfig()
	c.ACL.TokenMinExpirationTTL, c.ACL.TokenMaxExpirationTTL = 2*time.Hour, time.Hour
	c.ACL.InitialManagementTokenFile, c.ACL.ProtectMetrics = "/f", true
	c.TLSConfig.EnableRPC = true
	c.TLSConfig.EnableHTTP = true
	c.TLSConfig.TLSCipherSuites = "TLS_RSA_WITH_RC4_128_SHA"
	c.Client.Enabled, c.Client.Servers, c.Client.Reserved.Cores = true, []string{"provider=aws"}, "4-2"
	c.Ports.RPC, c.Ports.Serf = 70000, 4646
	c.LogLevel = "loud"
	c.Server.Encrypt = "c2hvcnQ="
	c.Server.RaftLogStore.Backend = "memory"
	c.Server.RetryJoin = []string{"provider=aws tag=x", "::::", "[::1]:4648", "fe80::1", "[::1]", "a:4648"}
	c.Server.MaxVariableSize = 0
	c.Server.RootKeyRotationThreshold = -time.Hour
	c.HTTPAPIResponseHeaders = map[string]string{"no name": "x", "X-Split": "a\r\nSet-Cookie: b", "content-length": "3", "X-Fine": "a, b"}
	c.Telemetry.StatsdAddress, c.Telemetry.PrefixFilter = "metrics.example.com", []string{"+nomad.raft", "nomad.serf"}
	err := c.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"acl.token_max_expiration_ttl", "acl.initial_management_token_file", "acl.protect_metrics", "tls.rpc", "tls.http", "tls_cipher_suites", "client.servers", "client.reserved.cores", "ports.rpc: 70000",
		"ports.serf: port 4646", "log_level", "server.encrypt", "raft_logstore.backend", "retry_join: \"provider=aws", "retry_join: \"::::\" is no address: give", "max_variable_size",
		"root_key_rotation_threshold", `"no name" is no name`, "X-Split: must", "content-length differs", "telemetry.statsd_address", "telemetry.prefix_filter"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is missing in:\n%s", want, err)
		}
	}
	if strings.Contains(err.Error(), "c2hvcnQ") {
		t.Error("a secret is in the message")
	}
	if n := strings.Count(err.Error(), "retry_join"); n != 2 {
		t.Errorf("%d addresses are wrong, want two:\n%s", n, err)
	}
	if strings.Contains(err.Error(), "X-Fine") {
		t.Errorf("a good header is a problem:\n%s", err)
	}
	if err := DefaultDevConfig().Validate(); err != nil {
		t.Errorf("-dev: %v", err)
	}
}

func TestSecretsAreMasked(t *testing.T) {
	c := DefaultConfig()
	c.Server.Encrypt = "c2VjcmV0"
	if strings.Contains(c.String(), "c2VjcmV0") || !strings.Contains(c.String(), "redacted") {
		t.Error(c.String())
	}
	if c.Server.Encrypt != "c2VjcmV0" {
		t.Error("masking changed the original")
	}
}

func FuzzConfig(f *testing.F) {
	for _, s := range []string{hclSample, jsonSample, `a "b" { c = <<EOF` + "\nx\nEOF\n}", `{"a":[[[]]]}`, "a = \"${b{\"c\"}}\"", "x.y.z {", "\xef\xbb\xbf"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		c := DefaultConfig()
		d := &configDecoder{}
		d.source(c, "f", src)
		for _, p := range d.problems {
			if lines := strings.Count(string(src), "\n") + 1; p.pos.line < 1 || p.pos.line > lines {
				t.Errorf("%s is at line %d of %d", p.msg, p.pos.line, lines)
			}
		}
		_ = c.Validate()
		_ = c.String()
	})
}

func FuzzQuery(f *testing.F) {
	f.Add("index=4&wait=5s&stale&per_page=3&reverse=true&pretty", "Bearer x")
	f.Add("cas=1&lock-acquire&index=%zz", "")
	h := testAPI(f, newFake().fill())
	f.Fuzz(func(t *testing.T, query, auth string) {
		req := httptestRequest("/v1/vars", query)
		req.Header.Set("Authorization", auth)
		if code := serveCode(h, req); code != 200 && code != 400 {
			t.Errorf("%q: %d", query, code)
		}
		req = httptestRequest("/v1/var/x", query)
		req.Method = "DELETE"
		if code := serveCode(h, req); code != 204 && code != 400 {
			t.Errorf("DELETE %q: %d", query, code)
		}
	})
}

func TestProblemsAreBounded(t *testing.T) {
	_, _, got := parse(t, strings.Repeat("nonsense = 1\n= \n", 20000))
	if n := strings.Count(got, "\n"); n > 2*maxProblems {
		t.Errorf("%d lines", n)
	}
}
