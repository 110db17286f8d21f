package agent

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/cairn-project/cairn/drpc/agentpb"
	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/internal/errs"
)

// workloadModule is module 3.
func (s *agentSockets) workloadModule() socketModule {
	return socketModule{id: 3, name: "workload", peers: knownPeer, methods: []socketMethod{
		socketCall(301, "notify ready", "Says that the workload is up, and where it can be told of a shutdown.", s.notifyReady),
		socketCall(302, "notify exit", "Says that the workload ends, and releases what is held for it.", s.notifyExit),
		socketCall(303, "raise event", "Puts an event into the cluster's event stream.", s.raiseEvent),
		socketCall(304, "set health", "Says how the workload is.", s.workloads.setHealth),
		socketCall(305, "hold", "Takes the lock of a variable, for as long as the session lasts.", s.hold),
		socketCall(306, "release", "Gives a lock back.",
			func(ctx context.Context, req *drpc.Request, in *agentpb.ReleaseRequest) (*agentpb.ReleaseReply, error) {
				return &agentpb.ReleaseReply{}, s.locks.release(ctx, req.Session, in)
			}),
		socketCall(307, "await loss", "Is answered when a lock is not held any more.", s.locks.awaitLoss),
	}}
}

// workload is a session that said it is one.
type workload struct {
	session      *drpc.Session
	peer         drpc.Peer
	name, socket string
	health, text string
	exited       bool
}

// workloads are the programs that said they are there.
type workloads struct {
	mu        sync.Mutex
	bySession map[*drpc.Session]*workload // guarded by mu
	// preparing is the shutdown that is being prepared, nil for none.
	preparing *shutdownPlan
}

func newWorkloads() *workloads { return &workloads{bySession: map[*drpc.Session]*workload{}} }

// errPreparing refuses new work.
func errPreparing() error {
	return errs.New(errs.Unavailable, "the agent prepares its shutdown and takes no more work: ask another node")
}

// accepting returns why no work is taken, nil if it is. again says that it goes on
// from before the agent was started.
func (w *workloads) accepting(again bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.preparing == nil || again && w.preparing.settling() {
		return nil
	}
	return errPreparing()
}

// leavingNow reports whether a shutdown is being prepared.
func (w *workloads) leavingNow() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.preparing != nil
}

// maxWorkloadText bounds a name or a text that a workload gives, in bytes.
const maxWorkloadText = 256

// notifyReady answers 301. Who connects again during a drain is told of it at once.
func (s *agentSockets) notifyReady(_ context.Context, req *drpc.Request, in *agentpb.ReadyRequest) (*agentpb.ReadyReply, error) {
	w := s.workloads
	if len(in.Name) > maxWorkloadText {
		return nil, errs.Newf(errs.Invalid, "name: has %d bytes, at most %d are taken", len(in.Name), maxWorkloadText)
	}
	if err := checkWorkloadSocket(in.Socket, req.Peer); err != nil {
		return nil, err
	}
	if err := w.accepting(true); err != nil {
		return nil, err
	}
	w.change(req, func(l *workload) {
		l.name, l.socket, l.exited = in.Name, in.Socket, false
		if plan := w.preparing; plan != nil && s.life.Err() == nil && !plan.includes(req.Session) {
			s.includeLocked(plan, *l)
		}
	})
	return &agentpb.ReadyReply{}, nil
}

func (w *workloads) setHealth(_ context.Context, req *drpc.Request, in *agentpb.HealthReport) (*agentpb.HealthReportReply, error) {
	if in.State != stateHealthy && in.State != stateDegraded && in.State != stateUnhealthy {
		return nil, errs.Newf(errs.Invalid, "state %q: must be healthy, degraded or unhealthy", in.State)
	}
	if len(in.Text) > maxWorkloadText {
		return nil, errs.Newf(errs.Invalid, "text: has %d bytes, at most %d are taken", len(in.Text), maxWorkloadText)
	}
	w.change(req, func(l *workload) { l.health, l.text = in.State, in.Text })
	return &agentpb.HealthReportReply{}, nil
}

// notifyExit answers 302.
func (s *agentSockets) notifyExit(ctx context.Context, req *drpc.Request, in *agentpb.ExitRequest) (*agentpb.ExitReply, error) {
	s.workloads.change(req, func(l *workload) { l.exited = true })
	released, err := s.locks.releaseAll(ctx, req.Session)
	if err != nil {
		return nil, err
	}
	s.logger.Info("workload ends", "peer", req.Peer.String(), "code", in.Code)
	return &agentpb.ExitReply{Released: int32(released)}, nil
}

// change notes what a session says of itself, until it ends. w.mu is held while change runs.
func (w *workloads) change(req *drpc.Request, change func(*workload)) {
	w.mu.Lock()
	l := w.bySession[req.Session]
	fresh := l == nil
	if fresh {
		l = &workload{session: req.Session, peer: req.Peer}
		w.bySession[req.Session] = l
	}
	change(l)
	w.mu.Unlock()
	if fresh {
		req.Session.OnClose(func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			delete(w.bySession, req.Session)
		})
	}
}

// of returns what a session said of itself, nothing if it did not.
func (w *workloads) of(session *drpc.Session) workload {
	w.mu.Lock()
	defer w.mu.Unlock()
	if l := w.bySession[session]; l != nil {
		return *l
	}
	return workload{}
}

// count returns how many workloads there are, those that said that they end aside, and
// how many are not healthy.
func (w *workloads) count() (all, notHealthy int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range w.bySession {
		if l.exited {
			continue
		}
		all++
		if l.health != "" && l.health != stateHealthy {
			notHealthy++
		}
	}
	return all, notHealthy
}

// checkWorkloadSocket refuses a path by which a workload could make the agent
// talk to somebody else. Each call to it looks again: see localSocket.
func checkWorkloadSocket(path string, peer drpc.Peer) error {
	if path == "" {
		return nil
	}
	if !filepath.IsAbs(path) || strings.Contains(path, "\x00") {
		return errs.Newf(errs.Invalid, "socket %q: must be the absolute path of a file", path)
	}
	if len(path) > drpc.MaxPath {
		return errs.Newf(errs.Invalid, "socket %q: has %d bytes, a socket's path at most %d: use a shorter directory", path, len(path), drpc.MaxPath)
	}
	info, err := os.Lstat(path)
	if err != nil {
		return errs.Newf(errs.Invalid, "socket %q: cannot be looked at (%w): open it before this call, where the agent can reach it", path, err)
	}
	return drpc.CheckOwner(path, info, peer.UID)
}
