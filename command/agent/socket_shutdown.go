package agent

import (
	"cmp"
	"context"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairn-project/cairn/drpc/agentpb"
	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/nodelink"
)

const (
	// shutdownDeadline is how long workloads have unless told otherwise.
	shutdownDeadline = time.Minute
	// maxShutdownDeadline bounds it.
	maxShutdownDeadline = 24 * time.Hour
	// tellTimeout bounds one call to a workload, tellAgain is the least pause between two.
	tellTimeout = 5 * time.Second
	tellAgain   = time.Second
)

// The methods that workloads answer on their own sockets.
const (
	methodWorkloadPrepare = 311
	methodWorkloadPing    = 312
)

// shutdownPlan is one preparation of a shutdown.
type shutdownPlan struct {
	reason   string
	deadline time.Time
	cancel   context.CancelFunc
	// drain says that it is because the node drains, until the time that the servers
	// gave, zero for none.
	drain bool
	until time.Time
	// settled is when who had connected before the agent was started should have done
	// so again, zero where nobody had.
	settled time.Time
	// life ends with the plan.
	life context.Context
	// steps are guarded by the mu of the workloads.
	steps []*shutdownStep
}

// settling reports whether workloads of before a start of the agent may still come.
func (p *shutdownPlan) settling() bool { return time.Now().Before(p.settled) }

// includes reports whether the workload of a session is told of it.
func (p *shutdownPlan) includes(session *drpc.Session) bool {
	return slices.ContainsFunc(p.steps, func(s *shutdownStep) bool { return s.workload.session == session })
}

// shutdownStep is how far one workload is.
type shutdownStep struct {
	workload workload
	state    string
	need     time.Duration
	text     string
}

// prepareShutdown answers 204.
func (s *agentSockets) prepareShutdown(_ context.Context, req *drpc.Request, in *agentpb.ShutdownRequest) (*agentpb.ShutdownProgress, error) {
	wait := time.Duration(in.DeadlineMs) * time.Millisecond
	if in.DeadlineMs < 0 || in.DeadlineMs > maxShutdownDeadline.Milliseconds() {
		return nil, errs.Newf(errs.Invalid, "deadline_ms: must be from 0 to %d", maxShutdownDeadline.Milliseconds())
	}
	w := s.workloads
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case in.Cancel:
		if w.preparing != nil {
			w.preparing.cancel()
			w.preparing = nil
			s.logger.Info("shutdown is not prepared any more", "peer", req.Peer.String())
		}
	case w.preparing == nil:
		s.logger.Info("preparing a shutdown", "peer", req.Peer.String(), "reason", in.Reason)
		s.beginShutdownLocked(in.Reason, cmp.Or(wait, shutdownDeadline))
	}
	return w.progressLocked(), nil
}

// beginShutdownLocked begins to tell every workload; s.workloads.mu is held.
func (s *agentSockets) beginShutdownLocked(reason string, wait time.Duration) {
	w := s.workloads
	ctx, cancel := context.WithTimeout(s.life, wait)
	plan := &shutdownPlan{reason: reason, deadline: time.Now().Add(wait), cancel: cancel, life: ctx}
	w.preparing = plan
	for _, l := range w.bySession {
		if !l.exited {
			s.includeLocked(plan, *l)
		}
	}
	slices.SortFunc(plan.steps, func(a, b *shutdownStep) int {
		return cmp.Or(cmp.Compare(a.workload.peer.PID, b.workload.peer.PID), cmp.Compare(a.workload.name, b.workload.name))
	})
}

// includeLocked begins to tell one workload; s.workloads.mu is held.
func (s *agentSockets) includeLocked(plan *shutdownPlan, l workload) {
	step := &shutdownStep{workload: l, state: nodelink.WorkloadWaiting}
	plan.steps = append(plan.steps, step)
	if l.socket == "" {
		step.state = nodelink.WorkloadSilent
		return
	}
	s.wg.Go(func() { s.workloads.tell(plan.life, plan, step) })
}

// tell asks one workload until it is ready, its session ends or time is up.
func (w *workloads) tell(ctx context.Context, plan *shutdownPlan, step *shutdownStep) {
	for {
		reply, err := askWorkload(ctx, step.workload, plan)
		pause := w.note(step, reply, err)
		if pause == 0 || !w.there(step.workload.session) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(plan.inTime(pause)):
		}
	}
}

// inTime shortens a pause so that a workload is asked once more while there is time: it
// may be ready sooner than it said.
func (p *shutdownPlan) inTime(pause time.Duration) time.Duration {
	return min(pause, max(tellAgain, time.Until(p.deadline)-tellTimeout))
}

// note keeps an answer and returns when to ask again, 0 for never.
func (w *workloads) note(step *shutdownStep, reply *agentpb.PrepareReply, err error) time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err != nil:
		step.state, step.text = nodelink.WorkloadUnreachable, err.Error()
		return tellAgain
	case reply.Ready:
		step.state, step.need, step.text = nodelink.WorkloadReady, 0, ""
		return 0
	}
	step.state, step.text = nodelink.WorkloadNeeds, ""
	step.need = time.Duration(min(max(0, reply.NeedMs), maxShutdownDeadline.Milliseconds())) * time.Millisecond
	return max(step.need, tellAgain)
}

func (w *workloads) there(session *drpc.Session) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.thereLocked(session)
}

// thereLocked reports whether a workload is connected and did not say that it ends;
// w.mu is held.
func (w *workloads) thereLocked(session *drpc.Session) bool {
	l := w.bySession[session]
	return l != nil && !l.exited
}

// askWorkload tells a workload of the shutdown over its own socket.
func askWorkload(ctx context.Context, l workload, plan *shutdownPlan) (*agentpb.PrepareReply, error) {
	reply := &agentpb.PrepareReply{}
	return reply, l.ask(ctx, methodWorkloadPrepare, &agentpb.PrepareRequest{Reason: plan.reason, LeftMs: time.Until(plan.deadline).Milliseconds()}, reply)
}

// ask calls a method of a workload on its own socket.
func (l *workload) ask(ctx context.Context, method int32, in, out proto.Message) error {
	socket := localSocket{path: l.socket, peer: l.peer, maxMessage: 64 << 10}
	answer, err := socket.call(ctx, method, in)
	if err != nil {
		return err
	}
	return proto.Unmarshal(answer, out)
}

// progressLocked says how far the shutdown is; w.mu is held.
func (w *workloads) progressLocked() *agentpb.ShutdownProgress {
	plan := w.preparing
	if plan == nil {
		return &agentpb.ShutdownProgress{}
	}
	out := &agentpb.ShutdownProgress{Preparing: true, Ready: true, LeftMs: max(0, time.Until(plan.deadline).Milliseconds())}
	for _, step := range plan.steps {
		l := step.workload
		state := step.state
		if !w.thereLocked(l.session) {
			state = nodelink.WorkloadGone
		}
		out.Ready = out.Ready && (state == nodelink.WorkloadReady || state == nodelink.WorkloadGone)
		out.Workloads = append(out.Workloads, &agentpb.WorkloadProgress{Name: l.name, Uid: uint32(l.peer.UID), Pid: int32(l.peer.PID),
			Socket: l.socket, State: state, NeedMs: step.need.Milliseconds(), Text: step.text})
	}
	return out
}
