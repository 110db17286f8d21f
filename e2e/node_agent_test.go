package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	sdkapi "github.com/hashicorp/nomad/api"
	"github.com/rogpeppe/go-internal/testscript"
)

// readyNode returns the only node once it is ready, nil until then.
func readyNode(a *agent) *sdkapi.NodeListStub {
	nodes, _, err := a.api.Nodes().List(nil)
	if err != nil || len(nodes) != 1 || nodes[0].Status != "ready" {
		return nil
	}
	return nodes[0]
}

// node returns the only node, which gets ready.
func (a *agent) node() (n *sdkapi.NodeListStub) {
	a.t.Helper()
	eventually(a.t, "the node is ready", func() bool {
		n = readyNode(a)
		return n != nil
	})
	return n
}

func TestDevAgentIsANodeToo(t *testing.T) {
	a := newDev(t)
	n := a.node()
	if stats, err := a.api.Nodes().Stats(n.ID, nil); err != nil || stats.Memory.Total == 0 {
		t.Errorf("stats: %+v, %v", stats, err)
	}
	blue := "blue"
	meta, err := a.api.Nodes().Meta().Apply(&sdkapi.NodeMetaApplyRequest{Meta: map[string]*string{"color": &blue}}, nil)
	if err != nil || meta.Meta["color"] != "blue" {
		t.Errorf("metadata: %+v, %v", meta, err)
	}
	eventually(t, "the servers know", func() bool {
		full, _, err := a.api.Nodes().Info(n.ID, nil)
		return err == nil && full.Meta["color"] == "blue"
	})
	if code := a.interrupt(); code != 0 {
		t.Errorf("exit code %d after an interrupt", code)
	}
}

// Both halves in one process with data on disk: after SIGKILL the node is the same.
func TestNodeKeepsItsIDAfterAKill(t *testing.T) {
	a := newAgent(t, "both", settings{"data_dir": "data", "server": settings{"enabled": true, "bootstrap_expect": 1}, "client": settings{"enabled": true}})
	a.start()
	a.ready()
	id := a.node().ID
	a.signal(syscall.SIGKILL)
	a.wait()
	a.start()
	a.ready()
	eventually(t, "the node is ready again", func() bool {
		health, err := a.api.Agent().Health()
		return err == nil && health.Client != nil && health.Client.Ok && readyNode(a) != nil
	})
	if n := a.node(); n.ID != id {
		t.Errorf("the node %s came back as %+v", id, n)
	}
}

// TestNodeStories runs the scripts that need a node, each against a dev agent of its own.
func TestNodeStories(t *testing.T) {
	bin := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(bin, "cairn")); err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob("../command/testdata/script/node/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txt"), func(t *testing.T) {
			a := newDev(t)
			eventually(t, "the node is ready and linked", func() bool { return readyNode(a) != nil && len(a.links()) == 1 })
			testscript.Run(t, testscript.Params{
				Files: []string{script},
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"stdout-to-env": func(ts *testscript.TestScript, _ bool, args []string) {
						ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
					},
					"succeeds-soon": func(ts *testscript.TestScript, _ bool, args []string) {
						eventually(t, strings.Join(args, " "), func() bool { return ts.Exec(args[0], args[1:]...) == nil })
					},
				},
				Setup: func(env *testscript.Env) error {
					env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
					env.Setenv("CAIRN_ADDR", a.url(""))
					env.Setenv("NODE", a.node().ID)
					return nil
				},
			})
		})
	}
}
