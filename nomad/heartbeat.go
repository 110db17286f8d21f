package nomad

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// beatTick is how exactly silence is noticed: nodes that fall silent within
	// one tick go down together.
	beatTick = time.Second
	// beatRetry is when to try again to write that a node is down.
	beatRetry = 5 * time.Second
)

// HeartbeatConfig says how long nodes may be silent.
type HeartbeatConfig struct {
	// MinTTL is the shortest time between two heartbeats that a node is told.
	MinTTL time.Duration
	// MaxPerSecond is how many heartbeats of all nodes together there shall be.
	MaxPerSecond float64
	// Grace is how long after its TTL a silent node is given up.
	Grace time.Duration
	// FailoverTTL is how long nodes may be silent after another leader was elected.
	FailoverTTL time.Duration
}

// beat is a node that is expected to call.
type beat struct {
	id       string
	deadline time.Time
}

// heartbeats notices nodes that fall silent. Only a leader expects any to call.
// A heartbeat costs a look into a map: nodes wait in slots, one for each tick,
// and one that has called since it was put there only moves to a later slot when
// its slot is due.
type heartbeats struct {
	srv *Server
	mu  sync.Mutex
	// term is the leadership in which nodes are expected to call, nil when none is.
	term  *term                    // guarded by mu
	nodes map[string]*beat         // guarded by mu
	slots map[int64]map[*beat]bool // by the tick of the earliest deadline; guarded by mu
	// origin is when ticks began to count: they follow the monotonic clock, so that
	// nothing happens when somebody sets the time.
	origin time.Time
	wake   chan struct{}
}

func newHeartbeats(s *Server) *heartbeats {
	return &heartbeats{srv: s, origin: time.Now(), nodes: map[string]*beat{}, slots: map[int64]map[*beat]bool{}, wake: make(chan struct{}, 1)}
}

// startHeartbeats expects every node of the store that is not down to call within
// the failover TTL.
func (s *Server) startHeartbeats(t *term) error {
	h := s.heartbeats
	h.mu.Lock()
	defer h.mu.Unlock()
	h.term = t
	deadline := time.Now().Add(s.config.Heartbeat.FailoverTTL)
	for n := range s.state.Snapshot().AllNodes() {
		if n.Status != structs.NodeStatusDown && h.nodes[n.ID] == nil {
			h.expectLocked(n.ID, deadline)
		}
	}
	t.wg.Go(func() { h.run(t) })
	return nil
}

func (h *heartbeats) slotOf(at time.Time) int64 { return int64(at.Sub(h.origin) / beatTick) }

// expectLocked waits for a node, which must not be waited for, until the deadline;
// the caller holds mu.
func (h *heartbeats) expectLocked(id string, deadline time.Time) {
	b := &beat{id: id, deadline: deadline}
	h.nodes[id] = b
	h.fileLocked(b)
}

// fileLocked puts a node into the slot of its deadline; the caller holds mu.
func (h *heartbeats) fileLocked(b *beat) {
	at := h.slotOf(b.deadline) + 1 // so that the deadline is over when the slot is due
	slot := h.slots[at]
	if slot == nil {
		slot = map[*beat]bool{}
		h.slots[at] = slot
		select {
		case h.wake <- struct{}{}:
		default:
		}
	}
	slot[b] = true
}

// called notes that a node has called, and returns when it is to call again.
func (h *heartbeats) called(id string) time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	ttl := h.ttlLocked()
	if h.term == nil {
		return ttl
	}
	deadline := time.Now().Add(ttl + h.srv.config.Heartbeat.Grace)
	if b := h.nodes[id]; b == nil {
		h.expectLocked(id, deadline)
	} else if deadline.Before(b.deadline) {
		h.forgetLocked(id) // its slot would be due too late
		h.expectLocked(id, deadline)
	} else {
		b.deadline = deadline
	}
	return ttl
}

// ttlLocked returns a TTL that keeps the rate of heartbeats, spread so that nodes
// which started together drift apart; the caller holds mu.
func (h *heartbeats) ttlLocked() time.Duration {
	c := &h.srv.config.Heartbeat
	ttl := max(c.MinTTL, time.Duration(float64(len(h.nodes))/c.MaxPerSecond*float64(time.Second)))
	return ttl + rand.N(ttl)
}

// forget expects nothing of a node any more.
func (h *heartbeats) forget(ids ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, id := range ids {
		h.forgetLocked(id)
	}
}

// forgetLocked is forget for one node; the caller holds mu. The slot drops what is
// no longer in nodes when it is due.
func (h *heartbeats) forgetLocked(id string) { delete(h.nodes, id) }

// clear expects nothing of any node any more.
func (h *heartbeats) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.term = nil
	clear(h.nodes)
	clear(h.slots)
}

// run marks nodes as down that fall silent, until the term ends.
func (h *heartbeats) run(t *term) {
	for {
		silent, pause := h.due(time.Now())
		if len(silent) > 0 {
			h.markDown(t, silent)
			continue
		}
		timer := time.NewTimer(pause)
		select {
		case <-t.ctx.Done():
			timer.Stop()
			return
		case <-h.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// idlePause is how long run sleeps while no node is expected to call.
const idlePause = time.Hour

// due takes the nodes whose deadline is over, and returns how long the next slot
// is away.
func (h *heartbeats) due(now time.Time) (silent []string, pause time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	pause = idlePause
	for at, slot := range h.slots {
		if left := h.origin.Add(time.Duration(at) * beatTick).Sub(now); left > 0 {
			pause = min(pause, left)
			continue
		}
		delete(h.slots, at)
		for b := range slot {
			switch {
			case h.nodes[b.id] != b: // forgotten
			case b.deadline.After(now):
				h.fileLocked(b)
				pause = 0 // of the new slot nothing is known here
			default:
				delete(h.nodes, b.id)
				silent = append(silent, b.id)
			}
		}
	}
	return silent, pause
}

// markDown writes that nodes are down. The writes go out together, so that many
// of them share a Raft entry.
func (h *heartbeats) markDown(t *term, ids []string) {
	h.srv.logger.Warn("nodes missed their heartbeat", "count", len(ids), "first", ids[0])
	limit := make(chan struct{}, structs.MaxBatchOps)
	var wg sync.WaitGroup
	for _, id := range ids {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			h.markOneDown(t.ctx, id)
		})
	}
	wg.Wait()
}

func (h *heartbeats) markOneDown(ctx context.Context, id string) {
	n := h.srv.state.Snapshot().Node(nil, id)
	if n == nil || n.Status == structs.NodeStatusDown || h.expected(id) {
		return
	}
	now := time.Now()
	_, err := h.srv.apply(ctx, structs.NodeUpdateStatusRequestType, &structs.NodeUpdateStatusRequest{
		NodeID: id, Status: structs.NodeStatusDown, UpdatedAt: now.Unix(),
		NodeEvent: structs.NewNodeEvent(structs.NodeEventSubsystemCluster, "Node heartbeat missed", now),
	})
	if err == nil || ctx.Err() != nil {
		return
	}
	h.srv.logger.Error("could not mark a silent node as down, will try again", "node_id", id, "after", beatRetry, "error", err)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.term != nil && h.nodes[id] == nil && h.srv.state.Snapshot().Node(nil, id) != nil {
		h.expectLocked(id, now.Add(beatRetry))
	}
}

// expected reports whether a node has called meanwhile.
func (h *heartbeats) expected(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.nodes[id] != nil
}
