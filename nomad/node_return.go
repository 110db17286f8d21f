package nomad

import (
	"context"
	"sync"
	"time"

	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// returnLook bounds the time between two looks at which nodes become eligible, as
	// the clock may be set meanwhile.
	returnLook = 30 * time.Second
	// returnRetry is the pause after a node that could not be made eligible.
	returnRetry = time.Second
	// returnBatch is how many nodes become eligible at a time: their entries share
	// batches of the log.
	returnBatch = 64
)

// startReturns makes nodes eligible whose time of ineligibility is up. No time is
// lost with a leader: the next one finds it in the store.
func (s *Server) startReturns(t *term) error {
	t.wg.Go(func() {
		for t.ctx.Err() == nil {
			woken := s.returns.next()
			now := time.Now()
			due, wait := s.nodesToReturn(now)
			if !s.returnNodes(t.ctx, due, now) {
				wait = returnRetry
			} else if len(due) == returnBatch {
				continue
			}
			timer := time.NewTimer(wait)
			select {
			case <-t.ctx.Done():
			case <-timer.C:
			case <-woken:
			}
			timer.Stop()
		}
	})
	return nil
}

// nodesToReturn returns the nodes whose time is up, no more than a batch, and how
// long to wait for the next.
func (s *Server) nodesToReturn(now time.Time) (due []string, wait time.Duration) {
	wait = returnLook
	s.state.Snapshot().NodesToReturn(func(n *structs.Node) bool {
		if left := n.Ineligibility.Until.Sub(now); left > 0 {
			wait = min(wait, left)
			return false
		}
		due = append(due, n.ID)
		return len(due) < returnBatch
	})
	return due, wait
}

// returnNodes makes nodes eligible whose time is up and reports whether it could. The store looks
// again whether the time of each is up: it may be another by now.
func (s *Server) returnNodes(ctx context.Context, ids []string, now time.Time) bool {
	failures := make([]error, len(ids))
	var wg sync.WaitGroup
	for i, id := range ids {
		wg.Go(func() {
			r := &structs.NodeUpdateEligibilityRequest{NodeID: id, Eligibility: structs.NodeSchedulingEligible,
				Reason: "the time of its ineligibility is up", UpdatedAt: now.Unix(), Due: now.Unix()}
			r.NodeEvent = eligibilityEvent(r, now)
			_, failures[i] = s.apply(ctx, structs.NodeUpdateEligibilityRequestType, r)
		})
	}
	wg.Wait()
	for i, err := range failures {
		if err != nil {
			if ctx.Err() == nil {
				s.logger.Warn("could not make a node eligible whose time is up, will try again", "node_id", ids[i], "error", err)
			}
			return false
		}
	}
	return true
}
