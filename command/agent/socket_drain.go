package agent

import (
	"sync/atomic"
	"time"

	"github.com/cairn-project/cairn/nomad/nodelink"
)

// drainedWorkloads tells the workloads at the sockets when the node drains. It is
// there before the sockets are, and is a client.Workloads.
type drainedWorkloads struct {
	// sockets is nil until they are open.
	sockets atomic.Pointer[agentSockets]
}

// Drain implements client.Workloads.
func (d *drainedWorkloads) Drain(reason string, begun, deadline time.Time) {
	if s := d.sockets.Load(); s != nil {
		s.drain(reason, begun, deadline)
	}
}

// Stay implements client.Workloads.
func (d *drainedWorkloads) Stay() {
	if s := d.sockets.Load(); s != nil {
		s.stay()
	}
}

// Leaving implements client.Workloads. Before the sockets are open nobody knows who
// is there.
func (d *drainedWorkloads) Leaving() nodelink.DrainProgress {
	s := d.sockets.Load()
	if s == nil {
		return nodelink.DrainProgress{Left: 1, Workloads: []nodelink.DrainWorkload{{State: nodelink.WorkloadWaiting, Text: "the agent is starting"}}}
	}
	return s.leaving()
}

// reconnectTime is how long after its start an agent whose node drained before counts
// on workloads that connect again. Till then it does not say that all have left.
const reconnectTime = 15 * time.Second

// drain prepares the shutdown of all workloads, unless that is under way.
func (s *agentSockets) drain(reason string, begun, deadline time.Time) {
	w := s.workloads
	w.mu.Lock()
	defer w.mu.Unlock()
	if plan := w.preparing; s.life.Err() != nil || plan != nil && (!plan.drain || plan.until.Equal(deadline)) {
		return
	}
	wait := maxShutdownDeadline
	if !deadline.IsZero() {
		wait = min(wait, max(time.Until(deadline), tellTimeout)) // at least they are told
	}
	if w.preparing != nil {
		w.preparing.cancel()
	}
	s.logger.Info("the node drains, telling the workloads", "workloads", len(w.bySession), "reason", reason, "deadline", deadline)
	s.beginShutdownLocked(reason, wait)
	w.preparing.drain, w.preparing.until = true, deadline
	if begun.Before(s.started) {
		w.preparing.settled = s.started.Add(reconnectTime)
	}
}

// stay ends what drain began.
func (s *agentSockets) stay() {
	w := s.workloads
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.preparing != nil && w.preparing.drain {
		w.preparing.cancel()
		w.preparing = nil
		s.logger.Info("the node drains no more, workloads are welcome")
	}
}

// leaving says how far the workloads are.
func (s *agentSockets) leaving() nodelink.DrainProgress {
	w := s.workloads
	w.mu.Lock()
	defer w.mu.Unlock()
	out := nodelink.DrainProgress{}
	if w.preparing != nil && w.preparing.settling() {
		out.Left++
		out.Workloads = append(out.Workloads, nodelink.DrainWorkload{State: nodelink.WorkloadWaiting, Text: "the agent was started during the drain, its workloads may connect again"})
	}
	for _, l := range w.progressLocked().Workloads {
		if l.State != nodelink.WorkloadReady && l.State != nodelink.WorkloadGone {
			out.Left++
		}
		if len(out.Workloads) < nodelink.MaxDrainWorkloads {
			out.Workloads = append(out.Workloads, nodelink.DrainWorkload{Name: l.Name, PID: int(l.Pid), State: l.State, NeedMs: l.NeedMs, Text: l.Text})
		}
	}
	return out
}
