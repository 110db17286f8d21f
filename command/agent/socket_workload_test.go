package agent

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"google.golang.org/protobuf/proto"

	client "github.com/cairn-project/cairn/drpc"
	"github.com/cairn-project/cairn/drpc/agentpb"
	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// lockServer keeps the locks that a fake server gives.
type lockServer struct {
	mu      sync.Mutex
	held    map[string]string // IDs by namespace and path
	renewed int
	fail    error // of every call, nil for none
}

// serveLocks makes f give locks.
func serveLocks(f *fakeServer) *lockServer {
	l := &lockServer{held: map[string]string{}}
	on(f, "Variables.Apply", func(r *structs.VariablesApplyRequest, reply *structs.VariablesApplyResponse) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.fail != nil {
			return l.fail
		}
		key, id := r.RequestNamespace()+"/"+r.Var.Path, r.Var.LockID()
		reply.Result = structs.VarOpResultOk
		switch have := l.held[key]; {
		case r.AuthToken == "bad":
			return errs.New(errs.PermissionDenied, "Permission denied")
		case r.Op == structs.VarOpLockAcquire && have == "":
			l.held[key] = id
		case r.Op == structs.VarOpLockRelease && have == id:
			delete(l.held, key)
		default:
			reply.Result = structs.VarOpResultConflict
		}
		return nil
	})
	on(f, "Variables.RenewLock", func(r *structs.VariablesRenewLockRequest, reply *structs.VariablesRenewLockResponse) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.fail != nil {
			return l.fail
		}
		if l.held[r.RequestNamespace()+"/"+r.Path] != r.LockID {
			return errs.New(errs.Conflict, "the lock is held by somebody else")
		}
		l.renewed++
		reply.VarMeta = &structs.VariableMetadata{Lock: &structs.VariableLock{ID: r.LockID, TTL: time.Hour}}
		return nil
	})
	return l
}

func (l *lockServer) holder(key string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.held[key]
}

func (l *lockServer) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// eventually waits until the condition holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for !cond() {
		if t.Context().Err() != nil {
			t.Fatal(what)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestLocksAreHeldForSessions(t *testing.T) {
	f := newFake()
	locks := serveLocks(f)
	a := agentWithSockets(t, f)
	one := openSockets(t, a)
	two := connect(t, a.sockets.path)
	held := mustAsk[agentpb.Held](t, one, 305, &agentpb.HoldRequest{Path: "app/leader"})
	if held.LockId == "" || locks.holder("default/app/leader") != held.LockId || held.TtlMs != 15000 {
		t.Fatalf("%v, the server has %q", held, locks.holder("default/app/leader"))
	}
	for name, in := range map[string]*agentpb.HoldRequest{
		"somebody else":      {Path: "app/leader"},
		"a lock of others":   {Path: "app/leader", LockId: "11111111-2222-3333-4444-555555555555"},
		"without the right":  {Path: "x", Token: "bad"},
		"a TTL below zero":   {Path: "x", TtlMs: -1},
		"a delay of a year":  {Path: "x", DelayMs: 365 * 86400_000},
		"a grace of a month": {Path: "x", GraceMs: 30 * 86400_000},
	} {
		if _, err := ask[agentpb.Held](t, two, 305, in); err == nil {
			t.Errorf("%s: held", name)
		}
	}
	if _, err := ask[agentpb.ReleaseReply](t, two, 306, &agentpb.ReleaseRequest{Path: "app/leader"}); !errors.Is(err, errs.NotFound) {
		t.Errorf("release by somebody else: %v", err)
	}
	if h := mustAsk[agentpb.Health](t, two, 203, &agentpb.HealthRequest{}); h.Locks != 1 {
		t.Errorf("health counts %d locks", h.Locks)
	}
	mustAsk[agentpb.ReleaseReply](t, one, 306, &agentpb.ReleaseRequest{Namespace: "default", Path: "app/leader"})
	if id := locks.holder("default/app/leader"); id != "" {
		t.Errorf("still held by %s", id)
	}
	mustAsk[agentpb.Held](t, one, 305, &agentpb.HoldRequest{Path: "a"})
	mustAsk[agentpb.Held](t, one, 305, &agentpb.HoldRequest{Namespace: "shop", Path: "a"})
	if r := mustAsk[agentpb.ExitReply](t, one, 302, &agentpb.ExitRequest{}); r.Released != 2 || locks.holder("default/a") != "" || locks.holder("shop/a") != "" {
		t.Errorf("exit released %d", r.Released)
	}
}

// TestLockEndsWithItsSession: at once, after the grace, or not at all where the
// process comes back.
func TestLockEndsWithItsSession(t *testing.T) {
	f := newFake()
	locks := serveLocks(f)
	a := agentWithSockets(t, f)
	one := openSockets(t, a)
	now := mustAsk[agentpb.Held](t, one, 305, &agentpb.HoldRequest{Path: "now", GraceMs: -1})
	mustAsk[agentpb.Held](t, one, 305, &agentpb.HoldRequest{Path: "soon", GraceMs: 20})
	kept := mustAsk[agentpb.Held](t, one, 305, &agentpb.HoldRequest{Path: "kept", GraceMs: 600000})
	if now.LockId == kept.LockId {
		t.Error("two locks share an ID")
	}
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "released", func() bool { return locks.holder("default/now") == "" && locks.holder("default/soon") == "" })
	two := connect(t, a.sockets.path)
	if _, err := ask[agentpb.Held](t, two, 305, &agentpb.HoldRequest{Path: "kept", LockId: "11111111-2222-3333-4444-555555555555"}); !errors.Is(err, errs.Conflict) {
		t.Errorf("with another ID: %v", err)
	}
	if again := mustAsk[agentpb.Held](t, two, 305, &agentpb.HoldRequest{Path: "kept", LockId: kept.LockId}); again.LockId != kept.LockId {
		t.Errorf("came back for %v, got %v", kept, again)
	}
	mustAsk[agentpb.ReleaseReply](t, two, 306, &agentpb.ReleaseRequest{Path: "kept"})
	if id := locks.holder("default/kept"); id != "" {
		t.Errorf("still held by %s", id)
	}
	if n := a.sockets.locks.count(nil); n != 0 {
		t.Errorf("%d locks remembered", n)
	}
}

// TestLocksOutliveTheAgent: processes that go on do so with the next agent.
func TestLocksOutliveTheAgent(t *testing.T) {
	f := newFake()
	locks := serveLocks(f)
	a := agentWithSockets(t, f)
	held := mustAsk[agentpb.Held](t, openSockets(t, a), 305, &agentpb.HoldRequest{Path: "p", GraceMs: -1})
	a.sockets.stop()
	if locks.holder("default/p") != held.LockId {
		t.Fatal("the agent that stopped took the lock with it")
	}
	next := agentWithSockets(t, f)
	c := openSockets(t, next)
	again := mustAsk[agentpb.Held](t, c, 305, &agentpb.HoldRequest{Path: "p", LockId: held.LockId, GraceMs: -1})
	if again.LockId != held.LockId || again.TtlMs != time.Hour.Milliseconds() {
		t.Errorf("%v", again)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "released", func() bool { return locks.holder("default/p") == "" })
	_, err := ask[agentpb.Held](t, connect(t, next.sockets.path), 305, &agentpb.HoldRequest{Path: "p", LockId: held.LockId})
	if !errors.Is(err, errs.Conflict) {
		t.Errorf("a lock that somebody may have had since: %v", err)
	}
}

func TestLostLocksAreTold(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil  func(*lockServer)
		reason string
	}{
		"taken by others":   {func(l *lockServer) { l.held["default/p"] = "other" }, "held by somebody else"},
		"servers are away":  {func(l *lockServer) { l.fail = errs.New(errs.Unavailable, "away") }, "no server confirmed"},
		"there is no right": {func(l *lockServer) { l.fail = errs.New(errs.PermissionDenied, "Permission denied") }, "Permission denied"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			locks := serveLocks(f)
			c := openSockets(t, agentWithSockets(t, f))
			mustAsk[agentpb.Held](t, c, 305, &agentpb.HoldRequest{Path: "p", TtlMs: 60})
			eventually(t, "renewed", func() bool {
				locks.mu.Lock()
				defer locks.mu.Unlock()
				return locks.renewed > 1
			})
			locks.change(func() { tc.spoil(locks) })
			loss := mustAsk[agentpb.Loss](t, c, 307, &agentpb.AwaitLossRequest{Path: "p"})
			if loss.Released || !strings.Contains(loss.Reason, tc.reason) {
				t.Errorf("%v", loss)
			}
			if _, err := ask[agentpb.Loss](t, c, 307, &agentpb.AwaitLossRequest{Path: "p"}); !errors.Is(err, errs.NotFound) {
				t.Errorf("of a lock that is lost already: %v", err)
			}
		})
	}
}

func TestLocksOfAUserAreBounded(t *testing.T) {
	f := newFake()
	serveLocks(f)
	c := openSockets(t, agentWithSockets(t, f))
	for i := range maxLocksPerUID {
		mustAsk[agentpb.Held](t, c, 305, &agentpb.HoldRequest{Path: "p" + string(rune('a'+i%26)) + strings.Repeat("x", i/26)})
	}
	if _, err := ask[agentpb.Held](t, c, 305, &agentpb.HoldRequest{Path: "one-more"}); !errors.Is(err, errs.Busy) {
		t.Errorf("one more: %v", err)
	}
}

// TestUnknownOutcomeIsGivenBack: a lock that may have been taken is not left to its TTL.
func TestUnknownOutcomeIsGivenBack(t *testing.T) {
	f := newFake()
	var released atomic.Bool
	on(f, "Variables.Apply", func(r *structs.VariablesApplyRequest, reply *structs.VariablesApplyResponse) error {
		if r.Op == structs.VarOpLockRelease {
			released.Store(true)
			reply.Result = structs.VarOpResultOk
			return nil
		}
		return errs.Lost(errs.ExecutedUnknown, "the leader went away", nil)
	})
	c := openSockets(t, agentWithSockets(t, f))
	if _, err := ask[agentpb.Held](t, c, 305, &agentpb.HoldRequest{Path: "p"}); !errors.Is(err, errs.Unavailable) {
		t.Errorf("%v", err)
	}
	eventually(t, "given back", released.Load)
}

func TestWorkloadsAreLookedAfter(t *testing.T) {
	a := agentWithSockets(t, newFake())
	c := openSockets(t, a)
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	link := filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Symlink(a.sockets.path, link)); err != nil {
		t.Fatal(err)
	}
	long := filepath.Dir(a.sockets.path) + "/" + strings.Repeat("./", drpc.MaxPath/2) + filepath.Base(a.sockets.path)
	for _, path := range []string{"relative.sock", file, link, filepath.Join(dir, "absent"), long} {
		if _, err := ask[agentpb.ReadyReply](t, c, 301, &agentpb.ReadyRequest{Socket: path}); !errors.Is(err, errs.Invalid) {
			t.Errorf("socket %s: %v", path, err)
		}
	}
	stranger := drpc.Peer{Known: true, UID: os.Getuid() + 1}
	if err := checkWorkloadSocket(a.sockets.path, stranger); !errors.Is(err, errs.PermissionDenied) {
		t.Errorf("a socket of somebody else: %v", err)
	}
	if _, err := ask[agentpb.ReadyReply](t, c, 301, &agentpb.ReadyRequest{Name: strings.Repeat("x", maxWorkloadText+1)}); !errors.Is(err, errs.Invalid) {
		t.Errorf("a long name: %v", err)
	}
	mustAsk[agentpb.ReadyReply](t, c, 301, &agentpb.ReadyRequest{Name: "web"})
	if _, err := ask[agentpb.HealthReportReply](t, c, 304, &agentpb.HealthReport{State: "fine"}); !errors.Is(err, errs.Invalid) {
		t.Errorf("a state that there is not: %v", err)
	}
	mustAsk[agentpb.HealthReportReply](t, c, 304, &agentpb.HealthReport{State: "degraded", Text: "no cache"})
	list := mustAsk[agentpb.Sessions](t, c, 207, &agentpb.SessionsRequest{})
	if l := list.Sessions[0]; l.Name != "web" || l.Health != "degraded" || l.HealthText != "no cache" {
		t.Errorf("%v", l)
	}
	other := connect(t, a.sockets.path)
	if h := mustAsk[agentpb.Health](t, other, 203, &agentpb.HealthRequest{}); h.Workloads != 1 || h.WorkloadsNotHealthy != 1 || h.State != "degraded" {
		t.Errorf("%v", h)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "forgotten", func() bool { n, _ := a.sockets.workloads.count(); return n == 0 })
}

// workloadSocket serves 311 with the answers, the last one again and again, and
// returns its path and how often it was asked.
func workloadSocket(t *testing.T, answers ...*agentpb.PrepareReply) (string, *atomic.Int32) {
	t.Helper()
	var asked atomic.Int32
	registry := drpc.NewRegistry()
	err := registry.Register(drpc.Module{ID: 3, Name: "workload", Allow: drpc.PrivilegedPeers, Methods: []drpc.Method{
		{ID: 311, Name: "prepare shutdown", Handle: func(_ context.Context, req *drpc.Request) ([]byte, error) {
			var in agentpb.PrepareRequest
			if err := proto.Unmarshal(req.Body, &in); err != nil || in.Reason != "upgrade" || in.LeftMs <= 0 {
				return nil, errs.Newf(errs.Invalid, "%v %v", &in, err)
			}
			n := int(asked.Add(1))
			return proto.Marshal(answers[min(n, len(answers))-1])
		}}}})
	if err != nil {
		t.Fatal(err)
	}
	cfg := drpc.DefaultConfig()
	cfg.Path, cfg.Mode, cfg.Logger, cfg.Grace = filepath.Join(t.TempDir(), "w.sock"), 0o600, hclog.NewNullLogger(), 0
	server, err := drpc.Listen(cfg, registry)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return cfg.Path, &asked
}

func TestShutdownIsPrepared(t *testing.T) {
	f := newFake()
	serveLocks(f)
	a := agentWithSockets(t, f)
	admin := openSockets(t, a)
	if p := mustAsk[agentpb.ShutdownProgress](t, admin, 204, &agentpb.ShutdownRequest{Cancel: true}); p.Preparing {
		t.Errorf("cancelled before it began: %v", p)
	}
	ready := func(name string, answers ...*agentpb.PrepareReply) (*client.Client, *atomic.Int32) {
		t.Helper()
		path, asked := "", (*atomic.Int32)(nil)
		if answers != nil {
			path, asked = workloadSocket(t, answers...)
		}
		c := connect(t, a.sockets.path)
		mustAsk[agentpb.ReadyReply](t, c, 301, &agentpb.ReadyRequest{Name: name, Socket: path})
		return c, asked
	}
	ready("a-quick", &agentpb.PrepareReply{Ready: true})
	_, slow := ready("b-slow", &agentpb.PrepareReply{NeedMs: 1}, &agentpb.PrepareReply{Ready: true})
	busy, _ := ready("c-busy", &agentpb.PrepareReply{NeedMs: 3600_000})
	silent, _ := ready("d-silent")
	progress := func() string {
		t.Helper()
		p := mustAsk[agentpb.ShutdownProgress](t, admin, 204, &agentpb.ShutdownRequest{Reason: "upgrade", DeadlineMs: 600_000})
		var out []string
		for _, w := range p.Workloads {
			out = append(out, w.Name+" "+w.State)
		}
		if p.Ready {
			out = append(out, "all ready")
		}
		return strings.Join(out, ", ")
	}
	await := func(want string) {
		t.Helper()
		last := ""
		eventually(t, want, func() bool { last = progress(); return last == want })
	}
	await("a-quick ready, b-slow ready, c-busy needs, d-silent silent")
	if n := slow.Load(); n != 2 {
		t.Errorf("the slow one was asked %d times", n)
	}
	if _, err := ask[agentpb.Held](t, busy, 305, &agentpb.HoldRequest{Path: "p"}); !errors.Is(err, errs.Unavailable) {
		t.Errorf("new work: %v", err)
	}
	if _, err := ask[agentpb.ReadyReply](t, busy, 301, &agentpb.ReadyRequest{Name: "new"}); !errors.Is(err, errs.Unavailable) {
		t.Errorf("a new workload: %v", err)
	}
	if h := mustAsk[agentpb.Health](t, admin, 203, &agentpb.HealthRequest{}); !h.PreparingShutdown || h.State != "degraded" {
		t.Errorf("%v", h)
	}
	mustAsk[agentpb.ExitReply](t, busy, 302, &agentpb.ExitRequest{})
	if err := silent.Close(); err != nil {
		t.Fatal(err)
	}
	await("a-quick ready, b-slow ready, c-busy gone, d-silent gone, all ready")
	mustAsk[agentpb.ShutdownProgress](t, admin, 204, &agentpb.ShutdownRequest{Cancel: true})
	mustAsk[agentpb.Held](t, busy, 305, &agentpb.HoldRequest{Path: "p"})
	if _, err := ask[agentpb.ShutdownProgress](t, admin, 204, &agentpb.ShutdownRequest{DeadlineMs: -1}); !errors.Is(err, errs.Invalid) {
		t.Errorf("a deadline in the past: %v", err)
	}
}

// TestWorkloadsAreAskedBeforeTheDeadline, whatever time they said they need.
func TestWorkloadsAreAskedBeforeTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan := &shutdownPlan{deadline: time.Now().Add(time.Minute)}
		for need, want := range map[time.Duration]time.Duration{time.Second: time.Second, 40 * time.Second: 40 * time.Second,
			time.Hour: time.Minute - tellTimeout} {
			if got := plan.inTime(need); got != want {
				t.Errorf("one that needs %s is asked after %s, want %s", need, got, want)
			}
		}
		time.Sleep(time.Minute)
		if got := plan.inTime(time.Hour); got != tellAgain {
			t.Errorf("at the end it is asked after %s", got)
		}
	})
}

func TestEventsAreRaised(t *testing.T) {
	f := newFake()
	got := make(chan *structs.WorkloadEvent, 1)
	on(f, "WorkloadEvent.Raise", func(r *structs.WorkloadEventRaiseRequest, reply *structs.WorkloadEventRaiseResponse) error {
		if r.AuthToken != "secret" {
			return errs.New(errs.PermissionDenied, "Permission denied")
		}
		select {
		case got <- r.Event:
		default:
		}
		reply.Index = 7
		return nil
	})
	a := agentWithSockets(t, f)
	c := openSockets(t, a)
	in := &agentpb.EventRequest{Type: "backup.done", Key: "db", DetailsJson: `{"bytes":7}`, Token: "secret"}
	if r := mustAsk[agentpb.EventReply](t, c, 303, in); r.Index != 7 {
		t.Errorf("%v", r)
	}
	want := &structs.WorkloadEvent{Namespace: "default", Type: "backup.done", Key: "db", Details: []byte(`{"bytes":7}`),
		Source: structs.PeerIdentity{NodeID: f.NodeID(), NodeName: "n1", UID: os.Getuid(), GID: os.Getgid(), PID: os.Getpid()}}
	if diff := cmp.Diff(want, <-got); diff != "" {
		t.Error(diff)
	}
	for code, in := range map[errs.Code]*agentpb.EventRequest{
		errs.PermissionDenied: {Type: "x"}, errs.Invalid: {Type: "no word"},
	} {
		if _, err := ask[agentpb.EventReply](t, c, 303, in); !errors.Is(err, code) {
			t.Errorf("%v: %v", in, err)
		}
	}
	var err error
	for i := 0; err == nil; i++ {
		if i > 100*eventBurst {
			t.Fatal("a user may raise events without end")
		}
		_, err = ask[agentpb.EventReply](t, c, 303, in)
	}
	if !errors.Is(err, errs.RateLimited) {
		t.Error(err)
	}
}
