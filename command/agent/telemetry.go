package agent

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	hashimetrics "github.com/hashicorp/go-metrics"
	metrics "github.com/hashicorp/go-metrics/compat"
	metricsprom "github.com/hashicorp/go-metrics/compat/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// metricsName begins the name of every metric, as dashboards for the public
// API expect.
const metricsName = "nomad"

// metricsSummary is the reply of /v1/metrics.
type metricsSummary = metrics.MetricsSummary

// telemetry collects the metrics of the process.
type telemetry struct {
	memory *metrics.InmemSink
	// flushed is an interval as it was when somebody wanted to see it before its end,
	// nil for none.
	flushed atomic.Pointer[metrics.IntervalMetrics]
	// registry is nil when Prometheus is off.
	registry *prometheus.Registry
	// own holds what the server counts itself, for the JSON summary.
	own      *prometheus.Registry
	shutdown func()
}

// newTelemetry sets up the collection of metrics for the whole process: the
// libraries report to global sinks.
func newTelemetry(c TelemetryConfig, nodeName string) (*telemetry, error) {
	t := &telemetry{
		memory: metrics.NewInmemSink(c.collectionInterval(), c.retention()),
		own:    prometheus.NewRegistry(),
	}
	sinks := metrics.FanoutSink{t.memory}
	if c.PrometheusMetrics {
		t.registry = prometheus.NewRegistry()
		sink, err := metricsprom.NewPrometheusSinkFrom(metricsprom.PrometheusOpts{
			Expiration: time.Hour, Registerer: t.registry,
		})
		if err != nil {
			return nil, fmt.Errorf("setting up prometheus: %w", err)
		}
		t.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
		sinks = append(sinks, sink)
	}
	if c.StatsdAddress != "" {
		sink, err := metrics.NewStatsdSink(c.StatsdAddress)
		if err != nil {
			return nil, fmt.Errorf("setting up statsd: %w", err)
		}
		sinks = append(sinks, sink)
	}
	if c.StatsiteAddress != "" {
		sink, err := metrics.NewStatsiteSink(c.StatsiteAddress)
		if err != nil {
			return nil, fmt.Errorf("setting up statsite: %w", err)
		}
		sinks = append(sinks, sink)
	}
	if err := t.installGlobals(c, nodeName, sinks); err != nil {
		return nil, err
	}
	return t, nil
}

// installGlobals makes both generations of the metrics library report to sinks:
// raft and serf use the older one unless a build tag says otherwise.
func (t *telemetry) installGlobals(c TelemetryConfig, nodeName string, sinks metrics.FanoutSink) error {
	conf := metrics.DefaultConfig(metricsName)
	conf.EnableHostname = !c.DisableHostname
	if c.UseNodeName {
		conf.HostName = nodeName
	}
	conf.FilterDefault = c.FilterDefault
	allow, block := c.prefixes()
	conf.AllowedPrefixes, conf.BlockedPrefixes = allow, block
	older, err := metrics.NewGlobal(conf, sinks)
	if err != nil {
		return fmt.Errorf("setting up metrics: %w", err)
	}
	newer := hashimetrics.DefaultConfig(metricsName)
	newer.EnableHostname, newer.HostName = conf.EnableHostname, conf.HostName
	newer.FilterDefault, newer.AllowedPrefixes, newer.BlockedPrefixes = c.FilterDefault, allow, block
	newer.EnableRuntimeMetrics = false // the older one reports them
	if _, err := hashimetrics.NewGlobal(newer, bridge{sinks}); err != nil {
		return fmt.Errorf("setting up metrics: %w", err)
	}
	t.shutdown = older.Shutdown
	return nil
}

// add shows what c counts in both formats.
func (t *telemetry) add(c prometheus.Collector) error {
	if t.registry != nil {
		if err := t.registry.Register(c); err != nil {
			return err
		}
	}
	return t.own.Register(c)
}

// ownGauges returns the present values of what the server counts itself.
func (t *telemetry) ownGauges() []metrics.GaugeValue {
	families, err := t.own.Gather()
	if err != nil {
		return nil
	}
	var out []metrics.GaugeValue
	for _, f := range families {
		for _, m := range f.GetMetric() {
			g := metrics.GaugeValue{Name: f.GetName(), Value: float32(m.GetGauge().GetValue() + m.GetCounter().GetValue()),
				DisplayLabels: map[string]string{}}
			for _, l := range m.GetLabel() {
				g.DisplayLabels[l.GetName()] = l.GetValue()
			}
			out = append(out, g)
		}
	}
	return out
}

// summary returns the figures of the last complete interval, or of the one that runs
// if it was flushed.
func (t *telemetry) summary() *metricsSummary {
	s := summarize(t.interval())
	s.Gauges = append(s.Gauges, t.ownGauges()...)
	for i, g := range s.Gauges {
		if f := float64(g.Value); math.IsNaN(f) || math.IsInf(f, 0) {
			s.Gauges[i].Value = 0 // JSON cannot say it
		}
	}
	return s
}

// bridge hands what the newer metrics library reports to sinks of the older one.
type bridge struct{ to metrics.MetricSink }

func labels(in []hashimetrics.Label) []metrics.Label {
	out := make([]metrics.Label, len(in))
	for i, l := range in {
		out[i] = metrics.Label{Name: l.Name, Value: l.Value}
	}
	return out
}

func (b bridge) SetGauge(key []string, v float32)    { b.to.SetGauge(key, v) }
func (b bridge) EmitKey(key []string, v float32)     { b.to.EmitKey(key, v) }
func (b bridge) IncrCounter(key []string, v float32) { b.to.IncrCounter(key, v) }
func (b bridge) AddSample(key []string, v float32)   { b.to.AddSample(key, v) }

func (b bridge) SetGaugeWithLabels(key []string, v float32, l []hashimetrics.Label) {
	b.to.SetGaugeWithLabels(key, v, labels(l))
}

func (b bridge) IncrCounterWithLabels(key []string, v float32, l []hashimetrics.Label) {
	b.to.IncrCounterWithLabels(key, v, labels(l))
}

func (b bridge) AddSampleWithLabels(key []string, v float32, l []hashimetrics.Label) {
	b.to.AddSampleWithLabels(key, v, labels(l))
}
