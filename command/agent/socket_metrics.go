package agent

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-project/cairn/internal/drpc"
)

// socketStat names what calls are counted by.
type socketStat struct {
	module, method int32
	status         drpc.Status
}

// socketCount is how many calls there were and how long they took.
type socketCount struct {
	calls uint64
	took  time.Duration
}

// socketMetrics counts the calls on the agent sockets.
type socketMetrics struct {
	// known are the methods of each module.
	known  map[[2]int32]bool
	mu     sync.Mutex
	counts map[socketStat]socketCount // guarded by mu
}

func newSocketMetrics(modules []socketModule) *socketMetrics {
	m := &socketMetrics{known: map[[2]int32]bool{}, counts: map[socketStat]socketCount{}}
	for _, module := range append([]socketModule{greetingModule()}, modules...) {
		for i := range module.methods {
			m.known[[2]int32{module.id, module.methods[i].ID}] = true
		}
	}
	return m
}

// observe counts one call. What does not exist is counted under one name: peers
// choose numbers freely.
func (m *socketMetrics) observe(s drpc.Stat) {
	key := socketStat{s.Module, s.Method, s.Status}
	if !m.known[[2]int32{s.Module, s.Method}] || s.Status == drpc.Status_FAILED_UNMARSHAL_CALL {
		key.module, key.method = -1, -1 // also of those refused before anybody looks, at the end
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	c := m.counts[key]
	c.calls++
	c.took += s.Took
	m.counts[key] = c
}

var (
	socketLabels      = []string{"module", "method", "status"}
	descSocketCalls   = prometheus.NewDesc("cairn_socket_calls_total", "Calls on the agent sockets, by module, method and status; -1 for what does not exist.", socketLabels, nil)
	descSocketSeconds = prometheus.NewDesc("cairn_socket_seconds_total", "Time spent in calls on the agent sockets.", socketLabels, nil)
)

// Describe implements prometheus.Collector.
func (m *socketMetrics) Describe(out chan<- *prometheus.Desc) {
	out <- descSocketCalls
	out <- descSocketSeconds
}

// Collect implements prometheus.Collector.
func (m *socketMetrics) Collect(out chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, c := range m.counts {
		labels := []string{strconv.Itoa(int(key.module)), strconv.Itoa(int(key.method)), key.status.String()}
		out <- prometheus.MustNewConstMetric(descSocketCalls, prometheus.CounterValue, float64(c.calls), labels...)
		out <- prometheus.MustNewConstMetric(descSocketSeconds, prometheus.CounterValue, c.took.Seconds(), labels...)
	}
}
