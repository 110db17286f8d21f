package agent

import (
	"os"
	"strings"
	"testing"

	"github.com/cairn-project/cairn/drpc/agentpb"
	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/internal/errs"
)

// TestSocketThatBecameAnotherIsNotCalled: what was a socket of the workload's when it was
// named is something else when the agent has to say something.
func TestSocketThatBecameAnotherIsNotCalled(t *testing.T) {
	a := agentWithSockets(t, newFake())
	admin := openSockets(t, a)
	path, asked := workloadSocket(t, &agentpb.PrepareReply{Ready: true})
	mustAsk[agentpb.ReadyReply](t, connect(t, a.sockets.path), 301, &agentpb.ReadyRequest{Name: "web", Socket: path})
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(a.sockets.admin, path); err != nil {
		t.Fatal(err)
	}
	w := mustAsk[agentpb.PingedWorkloads](t, admin, 208, &agentpb.PingWorkloadsRequest{}).Workloads[0]
	if w.State != "unreachable" || !strings.Contains(w.Text, "is no socket") {
		t.Errorf("through a link: %v", w)
	}
	for name, c := range map[string]struct {
		path string
		uid  int
		want string
	}{
		"a socket of somebody else": {a.sockets.admin, os.Getuid() + 1, "another user"},
		"nothing":                   {path + ".absent", os.Getuid(), "cannot be looked at"},
	} {
		s := localSocket{path: c.path, peer: drpc.Peer{Known: true, UID: c.uid}}
		if _, err := s.call(t.Context(), methodWorkloadPing, &agentpb.WorkloadPing{}); !errs.NotSent(err) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("the socket of before was asked %d times", n)
	}
}

// TestNumbersOfUsersAreWhole: they have 32 bits and no sign.
func TestNumbersOfUsersAreWhole(t *testing.T) {
	a := agentWithSockets(t, newFake())
	for name, c := range map[string]struct {
		peer     drpc.Peer
		uid, gid uint32
		subject  string
	}{
		"a large number": {drpc.Peer{Known: true, UID: 4294967294, GID: 2147483648, PID: 7}, 4294967294, 2147483648, "uid:4294967294:gid:2147483648:pid:7"},
		"nobody":         {drpc.Peer{UID: -1, GID: -1, PID: -1}, 4294967295, 4294967295, ""},
	} {
		me, err := a.sockets.whoAmI(t.Context(), &drpc.Request{Peer: c.peer, Session: &drpc.Session{}}, nil)
		if err != nil || me.Uid != c.uid || me.Gid != c.gid || int(me.Pid) != c.peer.PID || me.Known != c.peer.Known || !strings.HasSuffix(me.Subject, c.subject) {
			t.Errorf("%s: %v, %v", name, me, err)
		}
	}
}

// TestWorkloadThatEndsIsNotCounted, asked or told any more while its session lasts.
func TestWorkloadThatEndsIsNotCounted(t *testing.T) {
	a := agentWithSockets(t, newFake())
	admin := openSockets(t, a)
	path, asked := workloadSocket(t, &agentpb.PrepareReply{NeedMs: 1})
	c := connect(t, a.sockets.path)
	ready := &agentpb.ReadyRequest{Name: "web", Socket: path}
	mustAsk[agentpb.ReadyReply](t, c, 301, ready)
	mustAsk[agentpb.HealthReportReply](t, c, 304, &agentpb.HealthReport{State: stateUnhealthy})
	expect := func(what string, workloads int32, state string) {
		t.Helper()
		if h := mustAsk[agentpb.Health](t, admin, 203, &agentpb.HealthRequest{}); h.Workloads != workloads || h.WorkloadsNotHealthy != workloads || h.State != state {
			t.Errorf("%s: %v", what, h)
		}
		if p := mustAsk[agentpb.PingedWorkloads](t, admin, 208, &agentpb.PingWorkloadsRequest{}); len(p.Workloads) != int(workloads) {
			t.Errorf("%s: pinged %v", what, p)
		}
	}
	expect("ready", 1, stateDegraded)
	mustAsk[agentpb.ExitReply](t, c, 302, &agentpb.ExitRequest{})
	expect("ended", 0, stateHealthy)
	mustAsk[agentpb.ReadyReply](t, c, 301, ready)
	expect("ready again", 1, stateDegraded)
	mustAsk[agentpb.ExitReply](t, c, 302, &agentpb.ExitRequest{})
	p := mustAsk[agentpb.ShutdownProgress](t, admin, 204, &agentpb.ShutdownRequest{Reason: "upgrade"})
	if !p.Ready || len(p.Workloads) != 0 || asked.Load() != 0 {
		t.Errorf("a shutdown waits for who ended: %v, asked %d times", p, asked.Load())
	}
}
