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
// answers them. A write runs until it is applied, so theirs is the bound of what
// waits for the log; a blocking query does not run while it waits.
var defaultInFlight = limit.PerClass[int]{Control: 4096, Write: 2048, Read: 2048, Bulk: 128}

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
	descRunning = prometheus.NewDesc("cairn_overload_running", "Calls that this server answers now, by class, without blocking queries that wait.", []string{"class"}, nil)
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
	for _, l := range s.gate.Loads() {
		class := l.Class.String()
		ch <- prometheus.MustNewConstMetric(descShed, prometheus.CounterValue, float64(l.Full), class, "full")
		ch <- prometheus.MustNewConstMetric(descShed, prometheus.CounterValue, float64(l.Late), class, "late")
		ch <- prometheus.MustNewConstMetric(descRunning, prometheus.GaugeValue, float64(l.Running), class)
		ch <- prometheus.MustNewConstMetric(descWaiting, prometheus.GaugeValue, float64(l.Waiting), class)
	}
}
