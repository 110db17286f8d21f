package nomad

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// nodeGCInterval is how often the leader looks for nodes that are down for long.
	nodeGCInterval = 5 * time.Minute
	// nodeGCBatch is how many nodes one entry of the log deletes at most.
	nodeGCBatch = 4096
)

// startNodeGC forgets nodes that have been down for longer than the threshold.
func (s *Server) startNodeGC(t *term) error {
	t.wg.Go(func() {
		for {
			select {
			case <-t.ctx.Done():
				return
			case <-time.After(nodeGCInterval + rand.N(nodeGCInterval/jitterFraction)):
			}
			if _, err := s.forgetNodes(t.ctx, time.Now().Add(-s.config.NodeGCThreshold)); err != nil && t.ctx.Err() == nil {
				s.logger.Error("could not forget nodes that are down, will try again", "error", err)
			}
		}
	})
	return nil
}

// forgetNodes deletes the nodes that have been down since before, and returns how
// many those were. The store looks again whether each still is: it may come back at
// this moment.
func (s *Server) forgetNodes(ctx context.Context, before time.Time) (int, error) {
	ids := s.nodesDownBefore(before.Unix())
	for from := 0; from < len(ids); from += nodeGCBatch {
		batch := ids[from:min(len(ids), from+nodeGCBatch)]
		req := &structs.NodeBatchDeregisterRequest{NodeIDs: batch, DownBefore: before.Unix()}
		if _, err := s.apply(ctx, structs.NodeBatchDeregisterRequestType, req); err != nil {
			return from, err
		}
	}
	if len(ids) > 0 {
		s.logger.Info("forgot nodes that are down", "count", len(ids), "since", before, "first", ids[0])
	}
	return len(ids), nil
}

// nodesDownBefore returns the nodes that have been down since at or for longer.
func (s *Server) nodesDownBefore(at int64) (ids []string) {
	for n := range s.state.Snapshot().AllNodes() {
		if n.DownBefore(at) {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// publish passes the events of the store on, lets the links of nodes go that were
// deleted, and has the leader look at nodes whose eligibility may end.
func (s *Server) publish(events []structs.Event) {
	if s.config.EnableEventBroker {
		s.broker.Publish(events)
	}
	for i := range events {
		e := &events[i]
		if e.Topic != structs.TopicNode {
			continue
		}
		switch e.Type {
		case structs.EventNodeDeregistration:
			s.links.held.Purged(e.Key)
		case structs.EventNodeEligibility, structs.EventNodeDrain:
			s.returns.raise()
		}
	}
}

// checkLinks lets the links go whose nodes are unknown or registered anew, should
// one have come in while that happened, or the store have been restored.
func (s *Server) checkLinks() {
	sn := s.state.Snapshot()
	for _, l := range s.links.held.All() {
		id := l.NodeID()
		if n := sn.Node(nil, id); n == nil {
			s.links.held.Purged(id)
		} else {
			s.links.held.Fence(id, n.LinkEpoch)
		}
	}
}
