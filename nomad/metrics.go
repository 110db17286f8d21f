package nomad

import (
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/pool"
	"github.com/cairn-project/cairn/internal/wire"
)

// methodStats counts the calls of one method.
type methodStats struct {
	calls  atomic.Uint64
	failed atomic.Uint64
	nanos  atomic.Uint64
	active atomic.Int64
}

// serverMetrics counts what the server does. Counting takes no lock.
type serverMetrics struct {
	byMethod map[string]*methodStats
	blocking atomic.Int64
	denied   denials
}

func newServerMetrics() *serverMetrics {
	m := &serverMetrics{byMethod: make(map[string]*methodStats, len(methods))}
	for name := range methods {
		m.byMethod[name] = &methodStats{}
	}
	return m
}

// blocked counts queries that wait for a change.
func (m *serverMetrics) blocked(by int64) { m.blocking.Add(by) }

// observe counts one finished call of a method.
func (s *Server) observe(m *methodInfo, start time.Time, err error) {
	st := s.metrics.byMethod[m.name]
	st.calls.Add(1)
	st.nanos.Add(uint64(time.Since(start)))
	if err != nil && errs.CodeOf(err) != errs.Deadline {
		st.failed.Add(1)
	}
}

var (
	descCalls    = prometheus.NewDesc("cairn_rpc_calls_total", "Calls answered, by method.", []string{"method"}, nil)
	descFailed   = prometheus.NewDesc("cairn_rpc_failures_total", "Calls that ended in an error, by method.", []string{"method"}, nil)
	descSeconds  = prometheus.NewDesc("cairn_rpc_seconds_total", "Time spent in calls including waits, by method.", []string{"method"}, nil)
	descBlocking = prometheus.NewDesc("cairn_rpc_blocking_queries", "Blocking queries that wait now.", nil, nil)
	descLeader   = prometheus.NewDesc("cairn_raft_is_leader", "1 while this server leads.", nil, nil)
	descIndex    = prometheus.NewDesc("cairn_state_index", "Logical index of the store.", nil, nil)
	descApplied  = prometheus.NewDesc("cairn_raft_applied_index", "Raft index that reached the store.", nil, nil)
	descQueue    = prometheus.NewDesc("cairn_raft_proposals_waiting", "Writes that wait for a place in the log.", nil, nil)
	descInFlight = prometheus.NewDesc("cairn_rpc_in_flight", "Calls over the wire that run now.", nil, nil)
)

// Describe sends the metrics' descriptions; part of prometheus.Collector.
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descCalls, descFailed, descSeconds, descBlocking, descLeader, descIndex, descApplied, descQueue, descInFlight, descDenied} {
		ch <- d
	}
	describePort(ch)
	s.limits.describe(ch)
	describeAdmission(ch)
	describeReplication(ch)
	describeAutopilot(ch)
	describeWork(ch)
	describeArchives(ch)
	describeLinks(ch)
	describePool(ch)
	describeEvents(ch)
}

// Collect sends the metrics' values; part of prometheus.Collector.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	for name, st := range s.metrics.byMethod {
		counter(descCalls, float64(st.calls.Load()), name)
		counter(descFailed, float64(st.failed.Load()), name)
		counter(descSeconds, time.Duration(st.nanos.Load()).Seconds(), name)
	}
	leader := 0.0
	if s.IsLeader() {
		leader = 1
	}
	gauge(descLeader, leader)
	gauge(descBlocking, float64(s.metrics.blocking.Load()))
	gauge(descIndex, float64(s.state.LatestIndex()))
	gauge(descApplied, float64(s.fsm.seen.Load()))
	gauge(descQueue, float64(len(s.proposer.queue)))
	gauge(descInFlight, float64(s.rpc.InFlight()))
	s.metrics.denied.collect(ch)
	s.collectPort(ch)
	s.limits.collect(ch)
	s.collectAdmission(ch)
	s.collectReplication(ch)
	s.autopilot.collect(ch)
	s.collectWork(ch)
	s.archives.collect(ch)
	s.links.collect(ch)
	s.collectPool(ch)
	s.collectEvents(ch)
}

// RPCPeers returns who calls this server, and whom it calls.
func (s *Server) RPCPeers() (in []wire.Peer, out []pool.Peer) { return s.rpc.Peers(), s.pool.Peers() }

// Stats returns what an operator wants to see first, by subsystem.
func (s *Server) Stats() map[string]map[string]string {
	leader := s.leaders.current()
	return map[string]map[string]string{
		"cairn": {
			"server": "true", "leader": strconv.FormatBool(s.IsLeader()), "leader_addr": leader.addr,
			"bootstrap":     strconv.FormatBool(s.config.BootstrapExpect == 1),
			"known_regions": strconv.Itoa(len(s.router.Regions())), "version": Version, "node_id": s.nodeID,
			"ready": strconv.FormatBool(s.Ready() == nil),
		},
		"raft": s.raft.Stats(),
		"serf": s.serf.Stats(),
		"state": {
			"index":      strconv.FormatUint(s.state.LatestIndex(), 10),
			"raft_index": strconv.FormatUint(s.fsm.seen.Load(), 10),
			"watches":    strconv.FormatInt(s.state.Watching(), 10),
		},
		"replication": s.replicationStats(),
		"rpc": {
			"in_flight":        strconv.Itoa(s.rpc.InFlight()),
			"blocking_queries": strconv.FormatInt(s.metrics.blocking.Load(), 10),
		},
	}
}
