package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// fleetLink is a link as /v1/node/links shows it.
type fleetLink struct{ NodeID, Server, Transport string }

// links returns the links of the servers that answer; gossip takes long to call one dead.
func (a *agent) links() []fleetLink {
	code, body := a.get("/v1/node/links")
	var out struct{ Links []fleetLink }
	if code != 200 || json.Unmarshal([]byte(body), &out) != nil {
		return nil
	}
	return out.Links
}

// newNodeAgent runs a node agent that knows servers.
func newNodeAgent(t *testing.T, name string, servers ...*agent) *agent {
	t.Helper()
	var addrs []string
	for _, s := range servers {
		addrs = append(addrs, fmt.Sprintf("127.0.0.1:%d", s.rpc))
	}
	a := newAgent(t, name, settings{"data_dir": "data", "log_level": "INFO", "client": settings{"enabled": true, "servers": addrs}})
	a.start()
	return a
}

// fleetCall is a change that was asked for, and how that ended.
type fleetCall struct {
	node, id string
	// outcome is "result", the outcome of a failure, or "" for anything else.
	outcome, detail string
}

// ask has a node's agent do something that leaves a trace there under the ID.
func (c *fleetCall) ask(client *http.Client, by *agent) {
	body := fmt.Sprintf(`{"Kind":"log_level","LogLevel":"INFO","Cause":{"User":"fleet","Message":%q}}`, c.id)
	resp, err := client.Post(by.url("/v1/node/"+c.node+"/call/Node.Apply?timeout=10s&link_wait=5s"), "application/json", strings.NewReader(body))
	if err != nil {
		c.detail = err.Error()
		return
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	var reply struct{ OperationID, Outcome string }
	if c.detail = string(b); err != nil || json.Unmarshal(bytes.TrimSpace(b), &reply) != nil {
		return
	}
	if c.outcome = reply.Outcome; resp.StatusCode == http.StatusOK && reply.OperationID != "" {
		c.outcome = "result"
	}
}

// fleetRuns counts, by the ID of the call, what the agent of a node was asked to do.
func fleetRuns(t *testing.T, by *agent, node string) map[string]int {
	t.Helper()
	var export struct {
		Operations []struct{ Cause struct{ Message string } }
	}
	eventually(t, "the node tells what it did", func() bool {
		resp, err := http.Post(by.url("/v1/node/"+node+"/call/Node.Export?link_wait=5s"), "application/json", nil)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		return resp.StatusCode == http.StatusOK && json.NewDecoder(resp.Body).Decode(&export) == nil
	})
	out := map[string]int{}
	for _, op := range export.Operations {
		out[op.Cause.Message]++
	}
	return out
}

// Ten node agents, three servers, calls to all nodes at once, and SIGKILL for the
// server that leads and holds half of the links: every call ends, with a result or
// with what is known of it, and none runs twice.
func TestServerDiesDuringCallsToAllNodes(t *testing.T) {
	// no more for a node than it takes without being done with any
	const nodes, callers, each = 10, 2, 10
	victim := newServer(t, "victim", 1, nil)
	all := []*agent{victim}
	for _, name := range []string{"second", "third"} {
		all = append(all, newServer(t, name, 0, settings{"server_join": settings{"retry_join": []string{fmt.Sprintf("127.0.0.1:%d", victim.serf)}, "retry_interval": "1s"}}))
	}
	victim.start()
	victim.ready()
	for i := range nodes / 2 {
		newNodeAgent(t, fmt.Sprint("early", i), all...) // only the victim is there yet
	}
	eventually(t, "half of the nodes are linked to the victim", func() bool { return len(victim.links()) == nodes/2 })
	for _, s := range all[1:] {
		s.start()
	}
	for _, s := range all[1:] {
		s.ready()
	}
	for i := range nodes / 2 {
		newNodeAgent(t, fmt.Sprint("late", i), all[1], all[2])
	}
	by := all[1]
	eventually(t, "every server votes", func() bool {
		peers, err := by.api.Status().Peers()
		return err == nil && len(peers) == len(all)
	})
	var links []fleetLink
	eventually(t, "every node is linked", func() bool { links = by.links(); return len(links) == nodes })

	client := &http.Client{Timeout: hang}
	defer client.CloseIdleConnections()
	var mu sync.Mutex
	var done []*fleetCall
	enough := make(chan struct{}) // some calls have ended, and most have not begun
	var wg sync.WaitGroup
	for _, l := range links {
		for caller := range callers {
			wg.Go(func() {
				for n := range each {
					c := &fleetCall{node: l.NodeID, id: fmt.Sprintf("%s/%d/%d", l.NodeID, caller, n)}
					c.ask(client, by)
					mu.Lock()
					if done = append(done, c); len(done) == nodes*callers*each/4 {
						close(enough)
					}
					mu.Unlock()
				}
			})
		}
	}
	select {
	case <-enough:
	case <-time.After(hang):
		t.Fatal("the calls do not end")
	}
	victim.kill()
	wg.Wait()

	eventually(t, "every node is linked to the servers that are left", func() bool {
		for _, l := range by.links() {
			if strings.HasPrefix(l.Server, "victim") {
				return false
			}
		}
		return len(by.links()) == nodes
	})
	checkFleet(t, by, done)
}

// checkFleet holds what the calls said against what the nodes did.
func checkFleet(t *testing.T, by *agent, done []*fleetCall) {
	t.Helper()
	runs, outcomes := map[string]map[string]int{}, map[string]int{}
	for _, c := range done {
		if runs[c.node] == nil {
			runs[c.node] = fleetRuns(t, by, c.node)
		}
		outcomes[c.outcome]++
		least, most := 0, 0
		switch c.outcome {
		case "result":
			least, most = 1, 1
		case "may_have_run", "deadline":
			most = 1
		case "not_sent", "no_link", "moved":
		default:
			t.Errorf("call %s ended with %q", c.id, c.detail)
			continue
		}
		if n := runs[c.node][c.id]; n < least || n > most {
			t.Errorf("call %s ended with %s and ran %d times", c.id, c.outcome, n)
		}
	}
	t.Logf("how the calls ended: %v", outcomes)
	if outcomes["result"] < len(done)/2 {
		t.Errorf("most calls were to have a result: %v", outcomes)
	}
}
