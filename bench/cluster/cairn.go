package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/cairn-project/cairn/bench/httpc"
)

// Cairn runs the binary at the path it is.
type Cairn string

// Name returns "cairn".
func (Cairn) Name() string { return "cairn" }

// Version asks the binary.
func (b Cairn) Version() (string, error) { return firstLine(exec.Command(string(b), "version")) }

// Start runs n servers.
func (b Cairn) Start(ctx context.Context, n int, opts Options) (*Cluster, error) {
	return start(ctx, b, b.Name(), n, opts)
}

func firstLine(cmd *exec.Cmd) (string, error) {
	out, err := cmd.Output()
	line, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(line), err
}

func (b Cairn) command(c *Cluster, i int) ([]string, error) {
	file := c.Dir(i) + ".hcl"
	if err := os.WriteFile(file, []byte(cairnConfig(c, i)), 0o600); err != nil {
		return nil, err
	}
	return []string{string(b), "agent", "-config=" + file}, nil
}

// cairnConfig returns the configuration of server i in HCL.
func cairnConfig(c *Cluster, i int) string {
	port := func(addr string) string {
		_, p, _ := net.SplitHostPort(addr)
		return p
	}
	var s strings.Builder
	fmt.Fprintf(&s, "name = \"bench%d\"\ndata_dir = %q\nbind_addr = \"127.0.0.1\"\nlog_level = \"WARN\"\n", i, filepath.Join(c.Dir(i), "data"))
	fmt.Fprintf(&s, "ports {\n  http = %s\n  rpc = %s\n  serf = %s\n}\n", port(c.HTTP[i]), port(c.peer[i]), port(c.gossip[i]))
	fmt.Fprintf(&s, "limits {\n  http_max_conns_per_client = 0\n  rpc_max_conns_per_client = 0\n}\n")
	fmt.Fprintf(&s, "telemetry {\n  prometheus_metrics = true\n}\n")
	fmt.Fprintf(&s, "server {\n  enabled = true\n  bootstrap_expect = %d\n", len(c.Servers))
	if len(c.Servers) > 1 {
		join, _ := json.Marshal(c.gossip)
		fmt.Fprintf(&s, "  retry_join = %s\n  retry_interval = \"1s\"\n", join)
	}
	if c.opts.SnapshotSoon {
		fmt.Fprintf(&s, "  raft_snapshot_threshold = 1000\n  raft_snapshot_interval = \"5s\"\n  raft_trailing_logs = 100\n")
	}
	s.WriteString("}\n")
	return s.String()
}

func (Cairn) leader(c *Cluster, i int) int {
	h := httpc.New(c.HTTP[i], 2*time.Second)
	defer h.Close()
	resp, err := h.Do("GET", "/v1/status/leader", nil)
	var addr string
	if err != nil || resp.Status != 200 || json.Unmarshal(resp.Body, &addr) != nil {
		return -1
	}
	for n, peer := range c.peer {
		if peer == addr {
			return n
		}
	}
	return -1
}

func (Cairn) open(c *Cluster, i int) (KV, error) { return NewCairnKV(c.HTTP[i]), nil }

// CairnKV writes and reads variables over one HTTP connection.
type CairnKV struct {
	*httpc.Client
	target, body []byte
}

// NewCairnKV returns a client of the HTTP API at addr.
func NewCairnKV(addr string) *CairnKV {
	return &CairnKV{Client: httpc.New(addr, callTimeout)}
}

// Put writes the variable key with one item; value must be text that needs no escape in JSON.
func (k *CairnKV) Put(key string, value []byte) error {
	k.target = append(append(k.target[:0], "/v1/var/"...), key...)
	k.body = append(append(append(k.body[:0], `{"Items":{"v":"`...), value...), `"}}`...)
	return k.do("PUT", k.body)
}

// Get reads the variable key.
func (k *CairnKV) Get(key string, stale bool) error {
	k.target = append(append(k.target[:0], "/v1/var/"...), key...)
	if stale {
		k.target = append(k.target, "?stale"...)
	}
	return k.do("GET", nil)
}

func (k *CairnKV) do(method string, body []byte) error {
	resp, err := k.Do(method, string(k.target), body)
	if err == nil && resp.Status != 200 {
		err = fmt.Errorf("%s %s: status %d: %.100s", method, k.target, resp.Status, resp.Body)
	}
	return err
}
