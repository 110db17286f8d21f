package nomad

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/serf/serf"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/autopilot"
	"github.com/cairn-project/cairn/nomad/router"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// lookInterval is how often the leader looks at the servers, lookTimeout how long
	// they have to answer.
	lookInterval = 2 * time.Second
	lookTimeout  = time.Second
	// settingsInterval is how often the leader makes sure that there are settings.
	settingsInterval = 10 * time.Second
	// autopilotSince is the first version that stores settings.
	autopilotSince = "0.1.0"
)

// autopilotDuty is what a server does for the health of all while it leads.
type autopilotDuty struct {
	now     atomic.Pointer[autopilotTerm] // nil while this server does not lead
	removed atomic.Uint64                 // servers, since the start of this one
}

// autopilotTerm looks after the servers for one term.
type autopilotTerm struct {
	srv    *Server
	pilot  *autopilot.Pilot
	health atomic.Pointer[structs.OperatorHealthReply]
	// looked is closed after the first look.
	looked chan struct{}
}

// startAutopilot has the leader judge the health of the servers and remove dead ones.
func (s *Server) startAutopilot(t *term) error {
	a := &autopilotTerm{srv: s, pilot: autopilot.New(), looked: make(chan struct{})}
	s.lookAfter(t, "the settings of autopilot", settingsInterval, s.storeAutopilotConfig)
	s.autopilot.now.Store(a)
	t.wg.Go(func() {
		defer s.autopilot.now.CompareAndSwap(a, nil)
		a.run(t)
	})
	return nil
}

// storeAutopilotConfig stores the settings of this server where there are none, as in
// a new region.
func (s *Server) storeAutopilotConfig(ctx context.Context) error {
	if s.state.Snapshot().AutopilotConfig(nil) != nil || !s.router.MeetsMinimumVersion(s.config.Region, autopilotSince, false) {
		return nil
	}
	_, err := s.apply(ctx, structs.AutopilotRequestType, &structs.AutopilotRequest{Config: s.config.Autopilot, CAS: true})
	return err
}

// autopilotConfig returns the settings that are stored, those of this server before
// there are any.
func (s *Server) autopilotConfig() *structs.AutopilotConfig {
	if c := s.state.Snapshot().AutopilotConfig(nil); c != nil {
		return c
	}
	return &s.config.Autopilot
}

func (a *autopilotTerm) run(t *term) {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for first := true; t.ctx.Err() == nil; first = false {
		peers := a.srv.raft.GetConfiguration()
		look := a.look(t.ctx, peers.Configuration())
		if t.ctx.Err() != nil {
			return
		}
		conf := a.srv.autopilotConfig()
		a.health.Store(a.pilot.Note(conf, look))
		if first {
			close(a.looked)
		}
		if dead, since := a.pilot.Removable(conf, look); dead != nil {
			a.pilot.Removed(look.Time)
			a.remove(t, dead, since, peers.Index())
		}
		select {
		case <-t.ctx.Done():
		case <-tick.C:
		}
	}
}

// look asks every peer at once; whoever does not answer in time has no answer.
func (a *autopilotTerm) look(ctx context.Context, peers raft.Configuration) *autopilot.Look {
	own := a.srv.raftStats()
	out := &autopilot.Look{LastTerm: own.LastTerm, LastIndex: own.LastIndex, Peers: make([]autopilot.Peer, len(peers.Servers))}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	members := membersByID(a.srv.serf.Members())
	var wg sync.WaitGroup
	for i, p := range peers.Servers {
		peer := &out.Peers[i]
		*peer = autopilot.Peer{ID: string(p.ID), Name: "(unknown)", Address: string(p.Address), Status: autopilot.StatusUnknown, Voter: p.Suffrage == raft.Voter}
		if m, ok := members[peer.ID]; ok {
			peer.Name, peer.Status, peer.Version = m.Name, m.Status.String(), m.Build
		}
		if peer.Leader = peer.ID == a.srv.nodeID; peer.Leader {
			peer.Answer = &own
			continue
		}
		wg.Go(func() { peer.Answer = a.srv.askRaftStats(ctx, peer.Address) })
	}
	wg.Wait()
	out.Time = time.Now()
	return out
}

// askRaftStats returns what the server at addr says of its log, nil if it says nothing.
func (s *Server) askRaftStats(ctx context.Context, addr string) *structs.RaftStatsResponse {
	req := &structs.GenericRequest{QueryOptions: structs.QueryOptions{AllowStale: true, Region: s.config.Region}}
	var reply structs.RaftStatsResponse
	if err := s.pool.Call(ctx, addr, statusRaftStats.name, req, &reply, wire.CallOptions{}); err != nil {
		s.logger.Debug("a server does not say how far its log is", "address", addr, "error", err)
		return nil
	}
	return &reply
}

// membersByID returns the servers that gossip knows, by ID. One that came back under
// another name is known by the name under which it lives.
func membersByID(members []serf.Member) map[string]router.Server {
	out := map[string]router.Server{}
	for _, m := range members {
		srv, ok := router.ParseMember(m)
		if before, twice := out[srv.ID]; !ok || twice && before.Status == serf.StatusAlive {
			continue
		}
		out[srv.ID] = srv
	}
	return out
}

// remove takes a dead server out of the Raft peers, unless they have changed since
// they had the index, and has gossip forget it.
func (a *autopilotTerm) remove(t *term, dead *autopilot.Peer, since time.Time, index uint64) {
	logger := a.srv.logger.With("server", dead.Name, "id", dead.ID, "voter", dead.Voter)
	if err := a.srv.raft.RemoveServer(raft.ServerID(dead.ID), index, membershipTimeout).Error(); err != nil {
		if t.ctx.Err() == nil {
			logger.Error("could not remove a dead server from the raft peers, will try again", "error", err)
		}
		return
	}
	a.srv.autopilot.removed.Add(1)
	logger.Warn("removed a dead server from the raft peers", "dead_since", since)
	a.srv.reconcileSoon() // it may have come back meanwhile
	if dead.Status != autopilot.StatusFailed || membersByID(a.srv.serf.Members())[dead.ID].Status != serf.StatusFailed {
		return
	}
	t.wg.Go(func() {
		if err := untilDone(t.ctx, func() error { return a.srv.serf.RemoveFailedNode(dead.Name) }); err != nil && t.ctx.Err() == nil {
			logger.Warn("could not tell the gossip pool that a dead server was removed", "error", err)
		}
	})
}

// raftStats returns how far the log of this server is, and when it heard of the leader.
func (s *Server) raftStats() (out structs.RaftStatsResponse) {
	stats := s.raft.Stats()
	out.LastTerm, _ = strconv.ParseUint(stats["last_log_term"], 10, 64) // raft writes numbers
	out.LastIndex, _ = strconv.ParseUint(stats["last_log_index"], 10, 64)
	if s.raft.State() == raft.Leader {
		return out
	}
	out.LastContact = -1
	if at := s.raft.LastContact(); !at.IsZero() {
		out.LastContact = time.Since(at)
	}
	return out
}

var (
	descPilotHealthy   = prometheus.NewDesc("cairn_autopilot_healthy", "1 while every server of the region is healthy; told by the leader alone.", nil, nil)
	descPilotTolerance = prometheus.NewDesc("cairn_autopilot_failure_tolerance", "Healthy voters that may be lost before nothing can be written; told by the leader alone.", nil, nil)
	descPilotRemoved   = prometheus.NewDesc("cairn_autopilot_removed_servers_total", "Dead servers that this server has removed from the Raft peers.", nil, nil)
)

func describeAutopilot(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descPilotHealthy, descPilotTolerance, descPilotRemoved} {
		ch <- d
	}
}

func (d *autopilotDuty) collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(descPilotRemoved, prometheus.CounterValue, float64(d.removed.Load()))
	a := d.now.Load()
	if a == nil {
		return
	}
	health := a.health.Load()
	if health == nil {
		return
	}
	healthy := 0.0
	if health.Healthy {
		healthy = 1
	}
	ch <- prometheus.MustNewConstMetric(descPilotHealthy, prometheus.GaugeValue, healthy)
	ch <- prometheus.MustNewConstMetric(descPilotTolerance, prometheus.GaugeValue, float64(health.FailureTolerance))
}
