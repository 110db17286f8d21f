package e2e

import (
	"strings"
	"testing"
	"time"
)

// A server dies for good and another takes its place: the dead one is removed then, and
// not before, and everybody knows how the servers do.
func TestDeadServerMakesRoom(t *testing.T) {
	t.Parallel() // it waits for gossip to believe that a server is dead
	c := prepareCluster(t, nil, settings{"autopilot": settings{"server_stabilization_time": "3s", "last_contact_threshold": "10s"}})
	c.startAll()
	healthy := func(a *agent, voters int) func() bool {
		return func() bool {
			h, _, err := a.api.Operator().AutopilotServerHealth(nil)
			return err == nil && h.Healthy && len(h.Voters) == voters && len(h.Servers) == voters
		}
	}
	eventually(t, "three healthy servers", healthy(c.servers[0], 3))

	leader := c.leader()
	dead := c.others(leader)[0]
	asked := c.others(leader, dead)[0]
	self, err := dead.api.Agent().Self()
	if err != nil {
		t.Fatal(err)
	}
	id := self.Member.Tags["id"]
	dead.kill()
	believed := false
	for end := time.Now().Add(3 * hang); !believed && time.Now().Before(end); time.Sleep(time.Second) { // half a minute without load
		out, code := asked.try("operator", "autopilot", "health")
		believed = code == 2 && strings.Contains(out, "failed")
	}
	if !believed {
		t.Fatal("gossip does not believe that it is dead")
	}
	if status, body := asked.get("/v1/operator/autopilot/health"); status != 429 || !strings.Contains(body, `"Healthy":false`) || !strings.Contains(body, id) {
		t.Errorf("status %d, %s", status, body)
	}
	if conf, err := asked.api.Operator().RaftGetConfiguration(nil); err != nil || len(conf.Servers) != 3 {
		t.Fatalf("two servers are left alone: %+v, %v", conf, err)
	}

	fresh := newServer(t, "four", 0, settings{"server_join": c.server["server_join"]})
	fresh.start()
	fresh.ready()
	eventually(t, "three healthy servers again", healthy(fresh, 3))
	conf, err := fresh.api.Operator().RaftGetConfiguration(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range conf.Servers {
		if s.ID == id {
			t.Errorf("the dead server is a peer: %+v", s)
		}
	}
	fresh.mustPut("app/db", "1")

	dead.start()
	dead.ready()
	eventually(t, "four healthy servers", healthy(asked, 4))
	dead.mustRead("app/db", "1")
}
