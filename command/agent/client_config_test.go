package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/client"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// nodeAgentOf returns what the node agent of a client block is given.
func nodeAgentOf(t *testing.T, block string) client.Config {
	t.Helper()
	c, unused, problems := parse(t, "data_dir = \"/d\"\nclient {\nenabled = true\n"+block+"\n}")
	if problems != "" || len(unused) > 0 {
		t.Fatal(problems, unused)
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	a := &Agent{config: c, endpoints: &endpoints{}}
	return a.clientConfig(nil)
}

func TestClientBlockReachesTheNodeAgent(t *testing.T) {
	got := nodeAgentOf(t, `
		node_link {
			transport = "websocket"
			http_servers = ["https://a.example:4646", "http://b"]
			max_reads = 2
			max_streams = 1
		}
		drain_on_shutdown {}`)
	if got.Transport != client.TransportWebSocket || !cmp.Equal(got.HTTPServers, []string{"https://a.example:4646", "http://b"}) {
		t.Errorf("%q %q", got.Transport, got.HTTPServers)
	}
	want := nodelink.DefaultLimits()
	want.Read, want.Stream = nodelink.ClassLimit{Running: 2, Waiting: 8}, nodelink.ClassLimit{Running: 1}
	if got.LinkLimits != want {
		t.Errorf("%+v, want %+v", got.LinkLimits, want)
	}
	for block, want := range map[string]*structs.DrainSpec{
		"":                     nil,
		"drain_on_shutdown {}": {Deadline: time.Hour},
		`drain_on_shutdown {
			deadline = "5m"
			ignore_system_jobs = true
		}`: {Deadline: 5 * time.Minute, IgnoreSystemJobs: true},
		"drain_on_shutdown { force = true }": {Deadline: -1},
	} {
		if got := nodeAgentOf(t, block).LeaveDrain; !cmp.Equal(got, want) {
			t.Errorf("%q: %+v, want %+v", block, got, want)
		}
	}
	if got := nodeAgentOf(t, ""); got.LinkLimits != nodelink.DefaultLimits() || got.Transport != "" {
		t.Errorf("%+v", got)
	}
}

func TestClientBlockThatCannotWork(t *testing.T) {
	for block, want := range map[string]string{
		`node_link { transport = "pigeon" }`:                      `client.node_link.transport "pigeon": must be auto, port or websocket`,
		`node_link { transport = "websocket" }`:                   "client.node_link.http_servers: must be set",
		`node_link { http_servers = ["a:4646"] }`:                 `client.node_link.http_servers: "a:4646" must be an address such as`,
		`node_link { http_servers = ["ftp://a"] }`:                `"ftp://a" must be an address`,
		`node_link { max_writes = -1 }`:                           "client.node_link.max_*: must not be negative",
		`drain_on_shutdown { deadline = "-1s" }`:                  "client.drain_on_shutdown: deadline must not be negative",
		"drain_on_shutdown {\nforce = true\ndeadline = \"1s\"\n}": "force leaves no time for one",
	} {
		c, _, problems := parse(t, "data_dir = \"/d\"\nclient {\nenabled = true\n"+block+"\n}")
		if problems != "" {
			t.Errorf("%s: %s", block, problems)
		}
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", block, err, want)
		}
	}
}
