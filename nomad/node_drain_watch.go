package nomad

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// drainPoll and drainPollMax bound the pause between two looks at a node that
	// drains; it grows while nothing happens.
	drainPoll    = 500 * time.Millisecond
	drainPollMax = 4 * time.Second
	// drainAsk bounds one look.
	drainAsk = 10 * time.Second
)

// The steps of the operation of a drain.
const (
	drainStepMark  = "mark the node"
	drainStepTell  = "tell its agent"
	drainStepLeave = "workloads leave"
	drainStepEnd   = "end the drain"
)

// drainWatch sees the drains of nodes to their end; the leader does.
type drainWatch struct {
	// wake is raised when a drain began, changed or was ended.
	wake *signal

	mu sync.Mutex
	// beginning are the nodes whose drain is in the log, and its operation is not
	// yet, with how many calls see to that; guarded by mu.
	beginning map[string]int
}

func newDrainWatch() *drainWatch { return &drainWatch{wake: newSignal(), beginning: map[string]int{}} }

// begin keeps others from noting an operation for the drain of a node until the
// returned function is called.
func (w *drainWatch) begin(node string) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.beginning[node]++
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.beginning[node]--; w.beginning[node] == 0 {
			delete(w.beginning, node)
		}
		w.wake.raise()
	}
}

func (w *drainWatch) begins(node string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.beginning[node] > 0
}

// beginDrain begins to see to the drain of a node as the entry says, which was
// committed, and returns the ID of its operation. An agent without a link knows of no
// drain: then it is over at once.
func (s *Server) beginDrain(ctx context.Context, n *structs.Node, entry *structs.NodeUpdateDrainRequest) (string, error) {
	op := s.drainOperation(n.ID)
	if op == nil {
		op = newDrainOperation(n)
	}
	op.Caller, op.AccessorID, op.Reason = trimText(entry.Caller), entry.AccessorID, drainReason(entry.Meta)
	if n.LinkInstance == "" {
		op.Finish(structs.OperationSucceeded, "its agent has no link, and no work that waits for it", time.Now().UTC())
		if err := s.completeDrains(ctx, n.ID); err != nil {
			return "", err
		}
	}
	if _, err := s.noteOperation(ctx, op); err != nil && !errors.Is(err, errs.Conflict) {
		return "", err
	}
	return op.ID, nil
}

func newDrainOperation(n *structs.Node) *structs.Operation {
	now := time.Now().UTC()
	op := &structs.Operation{ID: "op-" + uuid.NewString(), Kind: structs.OperationKindDrain, Name: trimText("drain node " + n.Name), NodeID: n.ID,
		State: structs.OperationRunning, Created: now}
	op.Token = op.ID // nobody chose one, and it can be asked for by either
	for _, name := range []string{drainStepMark, drainStepTell, drainStepLeave, drainStepEnd} {
		op.Step(name)
	}
	mark := op.Step(drainStepMark)
	mark.State, mark.Finished = structs.OperationSucceeded, now
	return op
}

// startDrains sees to the drains that the leader before did not come to end, and to
// operations whose drain has ended.
func (s *Server) startDrains(t *term) error {
	sn := s.state.Snapshot()
	for _, op := range sn.Operations(nil, func(o *structs.Operation) bool {
		return o.Kind == structs.OperationKindDrain && !o.State.Done()
	}) {
		if n := sn.Node(nil, op.NodeID); n == nil || !n.Draining() {
			if err := s.settleDrain(t.ctx, op.Copy(), n); err != nil {
				return err
			}
		}
	}
	t.wg.Go(func() { s.runDrains(t) })
	return nil
}

// runDrains watches every node that drains, until the term ends.
func (s *Server) runDrains(t *term) {
	watched, ended := map[string]bool{}, make(chan string)
	for {
		woken := s.drains.wake.next()
		for n := range s.state.Snapshot().AllNodes() {
			if n.Draining() && !watched[n.ID] {
				watched[n.ID] = true
				t.wg.Go(func() {
					s.watchDrain(t.ctx, n.ID)
					select {
					case ended <- n.ID:
					case <-t.ctx.Done():
					}
				})
			}
		}
		select {
		case <-t.ctx.Done():
			return
		case <-woken:
		case id := <-ended: // and look again: it may drain once more
			delete(watched, id)
		}
	}
}

// watchDrain tells a node's agent of the drain, and looks how far it is, until the
// drain has ended or ctx has.
func (s *Server) watchDrain(ctx context.Context, id string) {
	pause := drainPoll
	for ctx.Err() == nil {
		over, moved, err := s.stepDrain(ctx, id)
		if over && err == nil {
			return
		}
		if err != nil && ctx.Err() == nil {
			s.logger.Warn("cannot see to the drain of a node, will try again", "node_id", id, "error", err)
		}
		if pause = min(2*pause, drainPollMax); moved {
			pause = drainPoll
		}
		s.awaitDrain(ctx, id, pause)
	}
}

// awaitDrain returns after the pause, when the time of the drain is up, when the
// servers say something else of the node, or when ctx ends.
func (s *Server) awaitDrain(ctx context.Context, id string, pause time.Duration) {
	woken := s.drains.wake.next()
	seen := s.state.Snapshot().Node(nil, id)
	if seen != nil && seen.Draining() && !seen.DrainStrategy.ForceDeadline.IsZero() {
		pause = min(pause, max(drainPoll, time.Until(seen.DrainStrategy.ForceDeadline)))
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			return
		case <-woken:
		}
		woken = s.drains.wake.next()
		if s.state.Snapshot().Node(nil, id) != seen {
			return
		}
	}
}

// stepDrain looks once how far the drain of a node is, and ends it if nothing is
// left or its time is up. moved says that something has changed.
func (s *Server) stepDrain(ctx context.Context, id string) (over, moved bool, err error) {
	n := s.state.Snapshot().Node(nil, id)
	op := s.drainOperation(id)
	if n == nil || !n.Draining() {
		if n != nil { // its agent hears that it is over; if it does not now, its next heartbeat says so
			_, _, _ = s.notifyNode(ctx, n)
		}
		if op == nil {
			return true, true, nil
		}
		return true, true, s.settleDrain(ctx, op, n)
	}
	if op == nil && s.drains.begins(id) {
		return false, true, nil
	}
	if op == nil { // the leader before did not come to note it
		op = newDrainOperation(n)
		if n.LastDrain != nil {
			op.AccessorID, op.Reason = n.LastDrain.AccessorID, drainReason(n.LastDrain.Meta)
		}
	}
	before := op.Copy()
	progress, server, failure := s.notifyNode(ctx, n)
	showDrain(op, progress, server, failure)
	message, done := drainOutcome(n, progress, failure, time.Now())
	if !done {
		if moved = !sameDrain(before, op); moved {
			_, err = s.noteOperation(ctx, op)
		}
		return false, moved, err
	}
	if err := s.completeDrains(ctx, id); err != nil {
		return false, true, err
	}
	op.Finish(structs.OperationSucceeded, message, time.Now().UTC())
	_, err = s.noteOperation(ctx, op)
	return true, true, err
}

// sameDrain reports whether two states of an operation show the same.
func sameDrain(a, b *structs.Operation) bool {
	x, errX := json.Marshal(a.Steps)
	y, errY := json.Marshal(b.Steps)
	return a.ModifyIndex != 0 && errX == nil && errY == nil && string(x) == string(y)
}

// settleDrain ends the operation of a drain that has ended; n is nil for a node that
// is gone.
func (s *Server) settleDrain(ctx context.Context, op *structs.Operation, n *structs.Node) error {
	state, message := structs.OperationSucceeded, ""
	switch {
	case n == nil:
		state, message = structs.OperationFailed, "the node was removed"
	case n.LastDrain == nil || n.LastDrain.Status != structs.DrainStatusComplete:
		state, message = structs.OperationFailed, "the drain was ended before the node was empty"
	}
	op.Finish(state, message, time.Now().UTC())
	_, err := s.noteOperation(ctx, op)
	if errors.Is(err, errs.Conflict) { // it was ended by the leader before
		return nil
	}
	return err
}

// drainOutcome says whether a drain is over, and what is to be said of its end.
func drainOutcome(n *structs.Node, p *nodelink.DrainProgress, failure error, now time.Time) (string, bool) {
	force := n.DrainStrategy.ForceDeadline
	if n.DrainStrategy.Deadline < 0 {
		force = n.DrainStrategy.StartedAt
	}
	switch {
	case failure == nil && (p == nil || p.Left == 0):
		return "the node is empty", true
	case failure != nil && n.Status == structs.NodeStatusDown:
		return "the node is down", true
	case !force.IsZero() && !now.Before(force):
		left := "its agent could not be told"
		if failure == nil {
			left = fmt.Sprintf("%d workloads have not left", p.Left)
		}
		return "its time is up: " + left, true
	}
	return "", false
}

// notifyNode has the agent of a node look at what the servers say of it. It returns
// how far the programs are that leave, nil for an agent that knows of none, and the
// name of the server that has the link.
func (s *Server) notifyNode(ctx context.Context, n *structs.Node) (*nodelink.DrainProgress, string, error) {
	ctx, cancel := context.WithTimeout(ctx, drainAsk)
	defer cancel()
	req := &structs.NodeNotifyRequest{NodeID: n.ID, Index: n.ModifyIndex}
	req.AuthToken, req.AllowStale, req.Region = n.SecretID, true, s.config.Region
	reply := &structs.NodeCallResponse{Failure: nodelink.ToWire(errNoLink)}
	if l := s.links.held.Get(n.ID); l != nil {
		s.notifyLinked(ctx, l, req, reply)
	} else {
		for _, peer := range s.ownersOf(ctx, n.ID) {
			*reply = structs.NodeCallResponse{}
			if err := s.pool.Call(ctx, peer.Addr, nodeLinkNotifyName, req, reply, wire.CallOptions{Hops: maxHops}); err != nil {
				return nil, peer.Name, err
			}
			if reply.Failure == nil {
				break
			}
		}
	}
	if reply.Failure != nil {
		return nil, reply.Server, nodelink.FromWire(reply.Failure)
	}
	var answer struct{ Drain *nodelink.DrainProgress }
	if err := json.Unmarshal(reply.Result, &answer); err != nil {
		return nil, reply.Server, errs.Wrap(errs.Internal, "the node answered what this server does not understand", err)
	}
	return answer.Drain, reply.Server, nil
}

// notifyLinked tells an agent over its link here.
func (s *Server) notifyLinked(ctx context.Context, l *nodelink.Link, r *structs.NodeNotifyRequest, reply *structs.NodeCallResponse) {
	*reply = structs.NodeCallResponse{}
	s.overLink(ctx, l, &structs.NodeCallRequest{NodeID: r.NodeID, Method: "Node.NotifyChange",
		Body: fmt.Appendf(nil, `{"Kind":"node","Index":%d}`, r.Index), Trace: uuid.NewString()}, reply)
}

// showDrain puts what a look at the node has shown into the operation.
func showDrain(op *structs.Operation, p *nodelink.DrainProgress, server string, failure error) {
	now := time.Now().UTC()
	tell, leave := op.Step(drainStepTell), op.Step(drainStepLeave)
	if failure != nil {
		tell.State, tell.Message = structs.OperationUnreachable, trimText(failure.Error())
		return
	}
	if tell.State != structs.OperationSucceeded {
		tell.State, tell.Finished = structs.OperationSucceeded, now
	}
	tell.Message = "over the link of " + server
	leave.State, leave.Parts = structs.OperationRunning, nil
	if p == nil {
		return
	}
	leave.Message = fmt.Sprintf("%d have not left", p.Left)
	for _, w := range p.Workloads[:min(len(p.Workloads), nodelink.MaxDrainWorkloads)] {
		leave.Parts = append(leave.Parts, drainPart(w))
	}
}

func drainPart(w nodelink.DrainWorkload) *structs.OperationPart {
	part := &structs.OperationPart{Name: trimText(fmt.Sprintf("%s, pid %d", w.Name, w.PID)), State: structs.OperationRunning, Message: w.State}
	switch w.State {
	case nodelink.WorkloadReady, nodelink.WorkloadGone:
		part.State = structs.OperationSucceeded
	case nodelink.WorkloadUnreachable:
		part.State = structs.OperationUnreachable
	case nodelink.WorkloadNeeds:
		part.Message = "needs " + (time.Duration(w.NeedMs) * time.Millisecond).String()
	}
	if w.Text != "" {
		part.Message = trimText(part.Message + ": " + w.Text)
	}
	return part
}
