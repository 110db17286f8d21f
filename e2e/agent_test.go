package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestDevAgentGreets(t *testing.T) {
	a := newDev(t)
	if leader, err := a.api.Status().Leader(); err != nil || leader != fmt.Sprintf("127.0.0.1:%d", a.rpc) {
		t.Errorf("the leader is %q, %v", leader, err)
	}
	eventually(t, "the agent says what to try next", func() bool {
		return strings.Contains(a.out.String(), "var put")
	})
	a.mustPut("app/db", "first")
	a.mustRead("app/db", "first")
	if code := a.interrupt(); code != 0 {
		t.Errorf("exit code %d after an interrupt", code)
	}
}

func TestDevAgentKeepsNothing(t *testing.T) {
	a := newDev(t)
	a.mustPut("app/db", "first")
	a.interrupt()
	entries, err := os.ReadDir(a.dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 { // the configuration file
		t.Errorf("a dev agent left files behind: %v", entries)
	}
}

func TestVersion(t *testing.T) {
	for _, args := range [][]string{{"-version"}, {"version"}, {"--version"}} {
		out, code := cairn(t, t.TempDir(), args...)
		if code != 0 || !strings.Contains(out, version) {
			t.Errorf("%v: exit code %d, %q", args, code, out)
		}
	}
}

// Programs that drive an agent write a file without an extension, in JSON or HCL.
func TestConfigToldApartByContent(t *testing.T) {
	for name, text := range map[string]string{
		"json": `{"name": "odd", "ports": {"http": %d, "rpc": %d, "serf": %d}, "bind_addr": "127.0.0.1", "log_level": "WARN"}`,
		"hcl":  "name = \"odd\"\nports {\n http = %d\n rpc = %d\n serf = %d\n}\nbind_addr = \"127.0.0.1\"\nlog_level = \"WARN\"\n",
	} {
		t.Run(name, func(t *testing.T) {
			a := newAgent(t, name, nil, "-dev")
			path := write(t, a.dir, "conf", fmt.Sprintf(text, a.http, a.rpc, a.serf))
			a.args = []string{"agent", "-dev", "-config", path}
			a.start()
			a.ready()
			if name, err := a.api.Agent().NodeName(); err != nil || name != "odd.global" {
				t.Errorf("the agent is called %q, %v", name, err)
			}
		})
	}
}

func TestConfigDirectoryIsMergedInOrder(t *testing.T) {
	a := newAgent(t, "first", nil, "-dev")
	dir := t.TempDir()
	write(t, dir, "10-name.hcl", `name = "second"`)
	write(t, dir, "20-name.json", `{"name": "third", "datacenter": "east"}`)
	write(t, dir, "30-ignored.txt", `not a configuration`)
	a.args = append(a.args, "-config", dir)
	a.start()
	a.ready()
	if name, err := a.api.Agent().NodeName(); err != nil || name != "third.global" {
		t.Errorf("the agent is called %q, %v", name, err)
	}
	if dc, err := a.api.Agent().Datacenter(); err != nil || dc != "east" {
		t.Errorf("the datacenter is %q, %v", dc, err)
	}
}

func TestMetricsBeforeThereIsALeader(t *testing.T) {
	a := newServer(t, "lonely", 3, nil)
	a.start()
	eventually(t, "metrics answer", func() bool {
		code, body := a.get("/v1/metrics")
		return code == 200 && json.Valid([]byte(body))
	})
	if leader, err := a.api.Status().Leader(); err == nil && leader != "" {
		t.Errorf("one of three leads alone: %q", leader)
	}
	if code := a.interrupt(); code != 0 {
		t.Errorf("exit code %d after an interrupt without a leader", code)
	}
}

func TestReloadChangesTheLogLevel(t *testing.T) {
	a := newAgent(t, "reload", settings{"log_level": "ERROR"}, "-dev")
	a.args = []string{"agent", "-dev", "-config", a.dir + "/agent.json"}
	a.start()
	a.ready()
	if strings.Contains(a.out.String(), "[INFO]") {
		t.Fatal("lines of level info at level error")
	}
	a.configure(settings{"log_level": "INFO"})
	a.signal(syscall.SIGHUP)
	eventually(t, "lines of level info appear", func() bool { return strings.Contains(a.out.String(), "[INFO]") })
	a.configure(settings{"no_such_key": true})
	a.signal(syscall.SIGHUP)
	eventually(t, "a bad file is reported", func() bool { return strings.Contains(a.out.String(), "no_such_key") })
	a.mustPut("app/db", "still here")
}

func TestTerminateEndsTheAgent(t *testing.T) {
	a := newDev(t)
	a.signal(syscall.SIGTERM)
	if code := a.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A watcher must not keep an agent from ending.
func TestInterruptEndsBlockingQueries(t *testing.T) {
	a := newDev(t)
	index, err := a.put("app/db", "x")
	if err != nil {
		t.Fatal(err)
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		a.get(fmt.Sprintf("/v1/var/app/db?index=%d&wait=300s", index))
	}()
	time.Sleep(200 * time.Millisecond) // let it block
	if code := a.interrupt(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	<-answered
}

// TestCommandStories runs the scripts of the command line, each against a dev
// agent of its own, in a cluster without nodes.
func TestCommandStories(t *testing.T) {
	bin := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(bin, "cairn")); err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob("../command/testdata/script/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".txt"), func(t *testing.T) {
			a := newDev(t, "-client=false")
			testscript.Run(t, testscript.Params{
				Files: []string{script},
				Cmds:  map[string]func(*testscript.TestScript, bool, []string){"cairn": runCairn},
				Setup: func(env *testscript.Env) error {
					env.Setenv("PATH", bin+string(os.PathListSeparator)+env.Getenv("PATH"))
					env.Setenv("CAIRN_ADDR", a.url(""))
					return nil
				},
			})
		})
	}
}

// runCairn lets scripts write "cairn" without "exec".
func runCairn(ts *testscript.TestScript, neg bool, args []string) {
	err := ts.Exec("cairn", args...)
	if err != nil && !neg {
		ts.Fatalf("cairn failed: %v", err)
	}
	if err == nil && neg {
		ts.Fatalf("cairn succeeded although it should have failed")
	}
}
