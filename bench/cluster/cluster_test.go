package cluster

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/hcl/v2/hclsimple"
)

func TestCairnConfigIsHCL(t *testing.T) {
	c := &Cluster{
		dir: "/bench", opts: Options{SnapshotSoon: true}, Servers: make([]*Process, 3),
		HTTP:   []string{"127.0.0.1:11", "127.0.0.1:12", "127.0.0.1:13"},
		peer:   []string{"127.0.0.1:21", "127.0.0.1:22", "127.0.0.1:23"},
		gossip: []string{"127.0.0.1:31", "127.0.0.1:32", "127.0.0.1:33"},
	}
	type ports struct {
		HTTP int `hcl:"http"`
		RPC  int `hcl:"rpc"`
		Serf int `hcl:"serf"`
	}
	type limits struct {
		HTTP int `hcl:"http_max_conns_per_client"`
		RPC  int `hcl:"rpc_max_conns_per_client"`
	}
	type telemetry struct {
		Prometheus bool `hcl:"prometheus_metrics"`
	}
	type server struct {
		Enabled   bool     `hcl:"enabled"`
		Expect    int      `hcl:"bootstrap_expect"`
		Join      []string `hcl:"retry_join"`
		Interval  string   `hcl:"retry_interval"`
		Threshold int      `hcl:"raft_snapshot_threshold"`
		Every     string   `hcl:"raft_snapshot_interval"`
		Trailing  int      `hcl:"raft_trailing_logs"`
	}
	type config struct {
		Name      string    `hcl:"name"`
		DataDir   string    `hcl:"data_dir"`
		Bind      string    `hcl:"bind_addr"`
		Level     string    `hcl:"log_level"`
		Ports     ports     `hcl:"ports,block"`
		Limits    limits    `hcl:"limits,block"`
		Telemetry telemetry `hcl:"telemetry,block"`
		Server    server    `hcl:"server,block"`
	}
	var got config
	if err := hclsimple.Decode("server.hcl", []byte(cairnConfig(c, 1)), nil, &got); err != nil {
		t.Fatal(err)
	}
	want := config{Name: "bench1", DataDir: "/bench/server1/data", Bind: "127.0.0.1", Level: "WARN", Ports: ports{12, 22, 32},
		Telemetry: telemetry{true}, Server: server{true, 3, c.gossip, "1s", 1000, "5s", 100}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCairnKVSpeaksThePublicAPI(t *testing.T) {
	var seen []string
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := new(strings.Builder)
		r.Write(body)
		_, text, _ := strings.Cut(body.String(), "\r\n\r\n")
		seen = append(seen, r.Method+" "+r.RequestURI+" "+text)
		if r.URL.Path == "/v1/var/absent" {
			http.Error(w, "variable not found", http.StatusNotFound)
		}
	}))
	defer srv.Close()
	kv := NewCairnKV(srv.Listener.Addr().String())
	defer kv.Close()
	if err := kv.Put("a/b", []byte("v1")); err != nil {
		t.Error(err)
	}
	if err := kv.Get("a/b", false); err != nil {
		t.Error(err)
	}
	if err := kv.Get("a/b", true); err != nil {
		t.Error(err)
	}
	if err := kv.Get("absent", false); err == nil || !strings.Contains(err.Error(), "variable not found") {
		t.Errorf("absent: %v", err)
	}
	want := []string{`PUT /v1/var/a/b {"Items":{"v":"v1"}}`, "GET /v1/var/a/b ", "GET /v1/var/a/b?stale ", "GET /v1/var/absent "}
	if diff := cmp.Diff(want, seen); diff != "" {
		t.Error(diff)
	}
}

func TestProcess(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	p, err := startProcess([]string{"sh", "-c", "echo $GREETING; exec sleep 600"}, []string{"GREETING=hello"}, log)
	if err != nil {
		t.Fatal(err)
	}
	if p.Exited() {
		t.Error("gone at once")
	}
	if rss, err := p.RSS(); err != nil || rss <= 0 {
		t.Errorf("resident memory %d, %v", rss, err)
	}
	p.Kill()
	if !p.Exited() {
		t.Error("alive after kill")
	}
	short, err := startProcess([]string{"sh", "-c", "echo $GREETING"}, []string{"GREETING=goodbye"}, log)
	if err != nil {
		t.Fatal(err)
	}
	<-short.done
	if got := tail(log); !strings.HasSuffix(got, "goodbye") {
		t.Errorf("log ends with %q", got)
	}
	if _, err := startProcess([]string{filepath.Join(t.TempDir(), "absent")}, nil, log); err == nil {
		t.Error("started what does not exist")
	}
	if _, err := os.Stat(log); err != nil {
		t.Error(err)
	}
}
