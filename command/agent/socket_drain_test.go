package agent

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	client "github.com/cairn-project/cairn/drpc"
	"github.com/cairn-project/cairn/drpc/agentpb"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/nodelink"
)

// leaves returns what the agent says of workloads that leave, in short.
func leaves(s *agentSockets) string {
	p := s.leaving()
	out := []string{fmt.Sprint(p.Left, " left")}
	for _, w := range p.Workloads {
		out = append(out, w.Name+" "+w.State)
	}
	return strings.Join(out, ", ")
}

func TestWorkloadsLeaveANodeThatDrains(t *testing.T) {
	f := newFake()
	serveLocks(f)
	a := agentWithSockets(t, f)
	admin := openSockets(t, a)
	s := a.sockets
	path, asked := workloadSocket(t, &agentpb.PrepareReply{NeedMs: 3600_000})
	busy := connect(t, s.path)
	mustAsk[agentpb.ReadyReply](t, busy, 301, &agentpb.ReadyRequest{Name: "busy", Socket: path})
	quick, _ := workloadSocket(t, &agentpb.PrepareReply{Ready: true})
	mustAsk[agentpb.ReadyReply](t, connect(t, s.path), 301, &agentpb.ReadyRequest{Name: "quick", Socket: quick})
	if got := leaves(s); got != "0 left" {
		t.Errorf("before a drain: %s", got)
	}
	s.stay() // nothing was begun
	s.drain("upgrade", time.Now(), time.Time{})
	eventually(t, "both were told", func() bool { return leaves(s) == "1 left, busy needs, quick ready" })
	s.drain("upgrade", time.Now(), time.Time{})
	if n := asked.Load(); n != 1 {
		t.Errorf("told %d times of one drain", n)
	}
	if _, err := ask[agentpb.Held](t, busy, 305, &agentpb.HoldRequest{Path: "p"}); !errors.Is(err, errs.Unavailable) {
		t.Errorf("new work: %v", err)
	}
	s.drain("upgrade", time.Now(), time.Now().Add(time.Hour))
	eventually(t, "it is told of another deadline", func() bool { return asked.Load() == 2 })
	s.stay()
	if got := leaves(s); got != "0 left" {
		t.Errorf("after the drain was ended: %s", got)
	}
	mustAsk[agentpb.Held](t, busy, 305, &agentpb.HoldRequest{Path: "p"})

	mustAsk[agentpb.ShutdownProgress](t, admin, 204, &agentpb.ShutdownRequest{Reason: "upgrade", DeadlineMs: 600_000})
	s.drain("upgrade", time.Now(), time.Time{}) // it is under way
	s.stay()                                    // what somebody else began stays
	if p := mustAsk[agentpb.ShutdownProgress](t, admin, 204, &agentpb.ShutdownRequest{}); !p.Preparing {
		t.Error("the end of a drain ended a shutdown that an administrator prepares")
	}
	mustAsk[agentpb.ExitReply](t, busy, 302, &agentpb.ExitRequest{})
	eventually(t, "one has gone and the other one was told again", func() bool { return leaves(s) == "0 left, busy gone, quick ready" })
}

// An agent that was started while its node drained tells the workloads that connect
// again, and keeps the drain waiting for them.
func TestWorkloadsThatConnectAgainDuringADrainAreTold(t *testing.T) {
	f := newFake()
	serveLocks(f)
	a := agentWithSockets(t, f)
	openSockets(t, a)
	s := a.sockets
	s.drain("upgrade", s.started.Add(-time.Minute), time.Time{})
	if p := s.leaving(); p.Left != 1 || p.Workloads[0].State != nodelink.WorkloadWaiting {
		t.Errorf("after the start: %+v", p)
	}
	path, asked := workloadSocket(t, &agentpb.PrepareReply{NeedMs: 3600_000})
	again := connect(t, s.path)
	mustAsk[agentpb.ReadyReply](t, again, 301, &agentpb.ReadyRequest{Name: "again", Socket: path})
	mustAsk[agentpb.ReadyReply](t, again, 301, &agentpb.ReadyRequest{Name: "again", Socket: path})
	eventually(t, "it is told", func() bool { return leaves(s) == "2 left,  waiting, again needs" })
	if n := asked.Load(); n != 1 {
		t.Errorf("told %d times", n)
	}
	if h, err := s.health(t.Context(), nil, nil); err != nil || !h.PreparingShutdown {
		t.Errorf("%v %v", h, err)
	}
	if _, err := ask[agentpb.Held](t, again, 305, &agentpb.HoldRequest{Path: "p"}); !errors.Is(err, errs.Unavailable) {
		t.Errorf("new work: %v", err)
	}
	if _, err := ask[agentpb.Held](t, again, 305, &agentpb.HoldRequest{Path: "p", LockId: "of before"}); errors.Is(err, errs.Unavailable) {
		t.Errorf("a lock of before: %v", err)
	}
	s.workloads.mu.Lock()
	s.workloads.preparing.settled = time.Now() // the time is over
	s.workloads.mu.Unlock()
	if got := leaves(s); got != "1 left, again needs" {
		t.Errorf("later: %s", got)
	}
	if _, err := ask[agentpb.ReadyReply](t, connect(t, s.path), 301, &agentpb.ReadyRequest{Name: "late", Socket: path}); !errors.Is(err, errs.Unavailable) {
		t.Errorf("a workload that comes late: %v", err)
	}
}

func TestNobodyKnowsWorkloadsBeforeTheSocketsAreOpen(t *testing.T) {
	d := &drainedWorkloads{}
	d.Drain("upgrade", time.Now(), time.Time{})
	d.Stay()
	if p := d.Leaving(); p.Left != 1 || p.Workloads[0].State != nodelink.WorkloadWaiting {
		t.Errorf("%+v", p)
	}
}

// A workload answers 312 with the server half of the public package.
func TestWorkloadsArePinged(t *testing.T) {
	a := agentWithSockets(t, newFake())
	admin := openSockets(t, a)
	levels := make(chan string, 4)
	path := filepath.Join(t.TempDir(), "w.sock")
	server, err := client.Listen(path, client.ServerOptions{}, client.Module{ID: 3, Name: "workload", Allow: client.PrivilegedPeers, Methods: []client.Method{
		{ID: 312, Name: "ping", Handle: func(_ context.Context, req *client.Request) ([]byte, error) {
			in := &agentpb.WorkloadPing{}
			if err := proto.Unmarshal(req.Body, in); err != nil {
				return nil, err
			}
			if in.LogLevel == "error" {
				return nil, &client.Error{Code: client.Unsupported, Msg: "it has no log"}
			}
			levels <- in.LogLevel
			return nil, nil
		}}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx) }()
	mustAsk[agentpb.ReadyReply](t, connect(t, a.sockets.path), 301, &agentpb.ReadyRequest{Name: "a", Socket: path})
	mustAsk[agentpb.ReadyReply](t, connect(t, a.sockets.path), 301, &agentpb.ReadyRequest{Name: "b"})
	pinged := func(in *agentpb.PingWorkloadsRequest) string {
		t.Helper()
		var out []string
		for _, w := range mustAsk[agentpb.PingedWorkloads](t, admin, 208, in).Workloads {
			out = append(out, strings.TrimSpace(w.Name+" "+w.State+" "+w.Text))
		}
		return strings.Join(out, ", ")
	}
	if got := pinged(&agentpb.PingWorkloadsRequest{LogLevel: "debug"}); got != "a ok, b silent" || <-levels != "debug" {
		t.Error(got)
	}
	if got := pinged(&agentpb.PingWorkloadsRequest{Name: "a"}); got != "a ok" || <-levels != "" {
		t.Error(got)
	}
	if got := pinged(&agentpb.PingWorkloadsRequest{Name: "a", LogLevel: "error"}); got != "a failed it has no log" {
		t.Error(got)
	}
	if _, err := ask[agentpb.PingedWorkloads](t, admin, 208, &agentpb.PingWorkloadsRequest{LogLevel: "loud"}); !errors.Is(err, errs.Invalid) {
		t.Errorf("an unknown level: %v", err)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
	if got := pinged(&agentpb.PingWorkloadsRequest{Name: "a"}); !strings.HasPrefix(got, "a unreachable") {
		t.Error(got)
	}
}
