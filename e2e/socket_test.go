package e2e

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/cairn-project/cairn/drpc"
	"github.com/cairn-project/cairn/drpc/agentpb"
)

// workload is a program that talks to the socket of an agent.
type workload struct {
	t *testing.T
	*drpc.Client
}

// connect waits until the agent's socket answers.
func (a *agent) connect() workload {
	a.t.Helper()
	c := drpc.NewClient(filepath.Join(a.dataDir(), "agent.sock"), drpc.Options{})
	eventually(a.t, "the socket of "+a.name+" answers", func() bool { return c.Connect(context.Background()) == nil })
	a.t.Cleanup(func() { _ = c.Close() })
	return workload{a.t, c}
}

// call calls the method of the module that its number names.
func (w workload) call(method int32, in, out proto.Message) error {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	body, err := proto.Marshal(in)
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := w.Do(ctx, method/100, method, body)
	if err != nil {
		return err
	}
	return proto.Unmarshal(b, out)
}

// hold takes the lock of app/leader, or goes on with it.
func (w workload) hold(id string) (string, error) {
	w.t.Helper()
	var held agentpb.Held
	err := w.call(305, &agentpb.HoldRequest{Path: "app/leader", LockId: id, GraceMs: -1}, &held)
	return held.LockId, err
}

// TestLockOverTheSocket: a process keeps its lock through the loss of the leader
// and of its own agent, and gives it up by going away.
func TestLockOverTheSocket(t *testing.T) {
	c := newCluster(t, nil)
	leader := c.leader()
	mine, theirs := c.others(leader)[0], c.others(leader)[1]
	w, rival := mine.connect(), theirs.connect()
	id, err := w.hold("")
	if err != nil {
		t.Fatal(err)
	}
	taken := func(when string) {
		t.Helper()
		eventually(t, "the others can tell who holds the lock "+when, func() bool {
			_, err = rival.hold("")
			return !errors.Is(err, drpc.Unavailable) && !errors.Is(err, drpc.NoLeader) && !errors.Is(err, drpc.Deadline)
		})
		if !errors.Is(err, drpc.Conflict) {
			t.Fatalf("somebody else asked for the lock %s: %v", when, err)
		}
	}
	taken("at first")
	leader.kill()
	c.leader(leader)
	taken("after the leader was killed")
	leader.start()
	mine.kill()
	mine.start()
	again := mine.connect()
	eventually(t, "the process goes on with its lock", func() bool {
		var got string
		got, err = again.hold(id)
		return err == nil && got == id || errors.Is(err, drpc.Conflict)
	})
	if err != nil {
		t.Fatalf("after the agent was killed: %v", err)
	}
	taken("after the agent was killed")
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lock is free once its process is gone", func() bool {
		_, err := rival.hold("")
		return err == nil
	})
}

// TestSocketStory: the command line, an identity that another server's agent
// believes, and what a shutdown looks like.
func TestSocketStory(t *testing.T) {
	c := newCluster(t, nil)
	a, b := c.servers[0], c.servers[1]
	jwt := strings.TrimSpace(a.run("agent", "socket", "call", "-t", "{{.jwt}}", "identity", "request-credentials"))
	if out := b.run("agent", "socket", "call", "-t", "{{.valid}} {{.node_name}}", "security", "validate-credentials", "-d", `{"jwt":"`+jwt+`"}`); strings.TrimSpace(out) != "true "+a.name {
		t.Errorf("%s says of the identity that %s gave: %s", b.name, a.name, out)
	}
	w := a.connect()
	if err := w.call(301, &agentpb.ReadyRequest{Name: "web"}, &agentpb.ReadyReply{}); err != nil {
		t.Fatal(err)
	}
	var event agentpb.EventReply
	if err := w.call(303, &agentpb.EventRequest{Type: "backup.done", Key: "db"}, &event); err != nil || event.Index == 0 {
		t.Errorf("event: %v %v", &event, err)
	}
	if out := a.run("agent", "socket", "list"); !strings.Contains(out, "web") {
		t.Errorf("the list lacks the workload:\n%s", out)
	}
	prepare := []string{"agent", "socket", "call", "-t", "{{.ready}}", "agent", "prepare-shutdown"}
	if out := a.run(prepare...); strings.TrimSpace(out) != "false" {
		t.Errorf("a shutdown that a workload does not know of: %s", out)
	}
	if err := w.call(302, &agentpb.ExitRequest{}, &agentpb.ExitReply{}); err != nil {
		t.Fatal(err)
	}
	if out := a.run(prepare...); strings.TrimSpace(out) != "true" {
		t.Errorf("after the workload's exit: %s", out)
	}
	if out, code := a.try("agent", "socket", "call", "workload", "hold", "-d", `{"path":"x"}`); code != 75 || !strings.Contains(out, "shutdown") {
		t.Errorf("new work during a shutdown: exit code %d, %s", code, out)
	}
	if code := a.interrupt(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
