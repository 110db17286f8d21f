package nomad

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/limit"
)

// defaultInFlight is how many calls of a class run at once on the server that
// answers them, and at once on their way to the leader. A write runs until it is
// applied, so theirs is the bound of what waits for the log: as many as fill the groups
// in flight. Each that runs may need a processor before Raft does, so more of them cost
// the leader its lease. A blocking query does not run while it waits.
var defaultInFlight = limit.PerClass[int]{Control: 4096, Write: 1024, Read: 2048, Bulk: 128}

// inFlight returns the bounds with their defaults.
func (c *LimitConfig) inFlight() limit.PerClass[int] {
	out := defaultInFlight
	for _, class := range limit.Classes() {
		if n := *c.InFlight.Of(class); n > 0 {
			*out.Of(class) = n
		}
	}
	return out
}

// shedRetry is when a call that was shed may come back, give or take half.
const shedRetry = time.Second

// enter waits for a place to run a call of the method, and refuses it when too many
// run and wait. Leave must follow where it returns no error.
func (s *Server) enter(ctx context.Context, m *methodInfo) error {
	return entered(s.gate.Enter(ctx, m.class), m.class.String()+" requests")
}

// enterPassing is enter for a call that is passed on to the leader: what waits here
// costs the leader nothing, and an election wakes no more calls than have a place.
// A call that waits for a change takes none, and one that another server has passed
// on has its place there. leave gives the place back.
func (s *Server) enterPassing(ctx context.Context, c *call) (leave func(), err error) {
	if c.blocking > 0 || c.hops(ctx) > 0 {
		return func() {}, nil
	}
	if err := entered(s.passing.Enter(ctx, c.class), c.class.String()+" requests"); err != nil {
		return nil, err
	}
	return func() { s.passing.Leave(c.class) }, nil
}

// entered explains what a gate said of one more of a kind.
func entered(err error, kind string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, limit.ErrFull), errors.Is(err, limit.ErrLate):
		return errs.Newf(errs.Busy, "this server is overloaded with %s: try again later", kind).WithRetryAfter(shedRetry/2 + rand.N(shedRetry))
	}
	return errs.Gone(err)
}

var (
	descShed    = prometheus.NewDesc("cairn_overload_refused_total", "Calls refused because too many of their class run: at once (full) or after a wait (late).", []string{"class", "reason"}, nil)
	descRunning = prometheus.NewDesc("cairn_overload_running", "Calls that this server answers or passes on to the leader now, by class, without blocking queries that wait.", []string{"class"}, nil)
	descWaiting = prometheus.NewDesc("cairn_overload_waiting", "Calls that wait for one of their class to end.", []string{"class"}, nil)
)

// describeAdmission sends the descriptions of the metrics of admission.
func describeAdmission(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descShed, descRunning, descWaiting} {
		ch <- d
	}
}

// collectAdmission sends the values of the metrics of admission.
func (s *Server) collectAdmission(ch chan<- prometheus.Metric) {
	passing := s.passing.Loads()
	for i, l := range s.gate.Loads() {
		class, p := l.Class.String(), passing[i]
		l.Full, l.Late, l.Running, l.Waiting = l.Full+p.Full, l.Late+p.Late, l.Running+p.Running, l.Waiting+p.Waiting
		ch <- prometheus.MustNewConstMetric(descShed, prometheus.CounterValue, float64(l.Full), class, "full")
		ch <- prometheus.MustNewConstMetric(descShed, prometheus.CounterValue, float64(l.Late), class, "late")
		ch <- prometheus.MustNewConstMetric(descRunning, prometheus.GaugeValue, float64(l.Running), class)
		ch <- prometheus.MustNewConstMetric(descWaiting, prometheus.GaugeValue, float64(l.Waiting), class)
	}
}
