package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-project/cairn/drpc"
)

// shownOperation is what `rpc invoke get_operations` shows of one.
type shownOperation struct {
	ID      string           `json:"operation"`
	Kind    string           `json:"kind"`
	Name    string           `json:"name"`
	Caller  string           `json:"caller"`
	Reason  string           `json:"reason"`
	State   string           `json:"state"`
	Message string           `json:"message"`
	Steps   []shownOperation `json:"steps"`
}

// tree returns an operation and its steps in one line, with what is said of those that
// have not ended.
func (o *shownOperation) tree() string {
	out := o.Name + ": " + o.State
	if o.State == "running" && o.Message != "" {
		out += " " + o.Message
	}
	for _, s := range o.Steps {
		out += " (" + s.tree() + ")"
	}
	return out
}

// operation asks an agent for one operation, as an operator would; nil for none.
func (a *agent) operation(id string) *shownOperation {
	a.t.Helper()
	out, code := a.try("rpc", "invoke", "-format", "json", "get_operations", "-p", `{"operation":"`+id+`"}`)
	var reply struct {
		Result struct{ Operations []shownOperation }
	}
	if code != 0 || json.Unmarshal([]byte(out), &reply) != nil || len(reply.Result.Operations) != 1 {
		return nil
	}
	return &reply.Result.Operations[0]
}

// tells follows the events of an agent until an operation that somebody began through
// caller was seen in each of the states.
func (a *agent) tells(id, caller string, states map[string]bool) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(a.t.Context(), callLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", a.url("/v1/event/stream?topic=Operation:"+id+"&index=1"), nil)
	if err != nil {
		a.t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer res.Body.Close()
	for dec := json.NewDecoder(res.Body); len(states) > 0; {
		var line struct {
			Events []struct {
				Key     string
				Payload struct {
					Operation struct{ Reason, Caller, State string }
				}
			}
		}
		if err := dec.Decode(&line); err != nil {
			a.t.Fatalf("%s has not told of operation %s in the states %v: %v", a.name, id, states, err)
		}
		for _, e := range line.Events {
			if o := e.Payload.Operation; e.Key == id && o.Reason == "a new disk" && strings.Contains(o.Caller, caller) {
				delete(states, o.State)
			}
		}
	}
}

// startWorkload runs a program beside an agent and waits until it holds its lock.
func startWorkload(t *testing.T, a *agent) (p *process, out *output) {
	t.Helper()
	out = &output{}
	p = &process{t: t, cmd: exec.Command(os.Args[0]), out: out, done: make(chan struct{})}
	p.cmd.Env = append(cleanEnv(), workloadEnv+"="+a.dataDir())
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.run()
	eventually(t, "the workload holds its lock", func() bool {
		if p.ended() {
			t.Fatalf("the workload ended:\n%s", out)
		}
		return strings.Contains(out.String(), "holding")
	})
	return p, out
}

// A node is drained: an operator asks for it, the link of its agent carries it, a
// program there that holds a lock is told, answers and leaves in order, and its lock
// is free. The server that has the link is killed half way. Operations show all of it
// everywhere.
func TestDrainFromEndToEnd(t *testing.T) {
	c := newCluster(t, nil)
	var servers []string
	for _, s := range c.servers {
		servers = append(servers, fmt.Sprintf("127.0.0.1:%d", s.rpc))
	}
	node := newAgent(t, "worker", settings{"data_dir": "data", "client": settings{"enabled": true, "servers": servers}})
	node.args = append(node.args, "-data-dir", node.dataDir())
	node.start()
	id := c.servers[0].node().ID
	w, out := startWorkload(t, node)

	var link struct{ Server string }
	eventually(t, "the node has a link", func() bool {
		code, body := c.servers[0].get("/v1/node/" + id + "/link")
		return code == 200 && json.Unmarshal([]byte(body), &link) == nil
	})
	var owner *agent
	for _, s := range c.servers {
		if strings.HasPrefix(link.Server, s.name) {
			owner = s
		}
	}
	if owner == nil {
		t.Fatalf("the link is at %q", link.Server)
	}
	asked := c.others(owner)[0]
	var begun struct {
		Result struct{ Operation string }
	}
	text := asked.run("rpc", "invoke", "-format", "json", "admin_node_start_drain", "-p", "{node: "+id+", deadline: 10m, reason: a new disk}")
	if err := json.Unmarshal([]byte(text), &begun); err != nil || begun.Result.Operation == "" {
		t.Fatalf("%v: %s", err, text)
	}
	op := begun.Result.Operation
	eventually(t, "the workload is told", func() bool { return strings.Contains(out.String(), "told to leave: a new disk") })
	answered := func(need string) string {
		return fmt.Sprintf("(web, pid %d: running needs %s)", w.cmd.Process.Pid, need)
	}
	shows := func(a *agent, what, want string) {
		t.Helper()
		eventually(t, a.name+" shows that "+what, func() bool {
			o := a.operation(op)
			return o != nil && strings.Contains(o.tree(), want)
		})
	}
	shows(owner, "the workload needs time", answered("1s"))

	owner.kill()
	c.leader(owner)
	alive := c.others(owner)
	write(t, node.dataDir(), workloadMore, "")
	shows(alive[1], "the workload needs more time, over another link", answered("2s"))
	rival := alive[0].connect()
	eventually(t, "somebody else can ask for the lock", func() bool {
		_, err := rival.hold("")
		return errors.Is(err, drpc.Conflict)
	})

	write(t, node.dataDir(), workloadGo, "")
	if code := w.wait(); code != 0 || !strings.Contains(out.String(), "released 1") {
		t.Fatalf("the workload ended with exit code %d:\n%s", code, out)
	}
	for _, a := range alive {
		shows(a, "the drain is over", ": succeeded (mark the node: succeeded) (tell its agent: succeeded) (workloads leave: succeeded ")
	}
	for _, a := range alive {
		a.tells(op, asked.name, map[string]bool{"running": true, "succeeded": true})
	}
	if o := alive[0].operation(op); o.Kind != "drain" || o.Reason != "a new disk" || !strings.Contains(o.Caller, asked.name) || !strings.Contains(o.Caller, "uid=") && !strings.Contains(o.Caller, "http") {
		t.Errorf("who and why: %+v", o)
	}
	if _, err := rival.hold(""); err != nil {
		t.Errorf("the lock after the exit of who held it: %v", err)
	}
	n, _, err := alive[0].api.Nodes().Info(id, nil)
	if err != nil || n.DrainStrategy != nil || n.SchedulingEligibility != "ineligible" || n.LastDrain == nil || n.LastDrain.Status != "complete" || n.LastDrain.Meta["reason"] != "a new disk" {
		t.Errorf("the node: %+v, %v", n, err)
	}
	if _, err := os.Stat(filepath.Join(node.dataDir(), "w.sock")); !os.IsNotExist(err) {
		t.Errorf("the workload's socket is still there: %v", err)
	}
}
