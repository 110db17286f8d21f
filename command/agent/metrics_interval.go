package agent

import (
	"cmp"
	"maps"
	"slices"
	"time"

	metrics "github.com/hashicorp/go-metrics/compat"
)

// flush shows the interval that runs, as it is now, until it ends.
func (t *telemetry) flush() {
	all := t.memory.Data()
	t.flushed.Store(all[len(all)-1]) // a copy: the sink goes on with its own
}

// interval returns the newest interval that is to be seen: the last complete one, the
// one that runs if there is no other, or what was flushed of it.
func (t *telemetry) interval() *metrics.IntervalMetrics {
	all := t.memory.Data()
	shown := all[max(len(all)-2, 0)]
	if early := t.flushed.Load(); early != nil && early.Interval.After(shown.Interval) {
		return early
	}
	return shown
}

// summarize brings an interval into the form of /v1/metrics: lists in order of name
// and labels.
func summarize(in *metrics.IntervalMetrics) *metricsSummary {
	in.RLock()
	defer in.RUnlock()
	out := &metricsSummary{Timestamp: in.Interval.Round(time.Second).UTC().String(),
		Gauges: []metrics.GaugeValue{}, Points: []metrics.PointValue{}}
	for _, name := range slices.Sorted(maps.Keys(in.Points)) {
		out.Points = append(out.Points, metrics.PointValue{Name: name, Points: slices.Clone(in.Points[name])})
	}
	for hash, g := range in.Gauges {
		g.Hash, g.DisplayLabels, g.Labels = hash, shownLabels(g.Labels), nil
		out.Gauges = append(out.Gauges, g)
	}
	slices.SortFunc(out.Gauges, func(a, b metrics.GaugeValue) int { return cmp.Compare(a.Hash, b.Hash) })
	out.Counters, out.Samples = sampled(in.Counters), sampled(in.Samples)
	return out
}

func sampled(in map[string]metrics.SampledValue) []metrics.SampledValue {
	out := make([]metrics.SampledValue, 0, len(in))
	for hash, s := range in {
		sum := *s.AggregateSample
		out = append(out, metrics.SampledValue{Name: s.Name, Hash: hash, AggregateSample: &sum, Mean: sum.Mean(), Stddev: sum.Stddev(), DisplayLabels: shownLabels(s.Labels)})
	}
	slices.SortFunc(out, func(a, b metrics.SampledValue) int { return cmp.Compare(a.Hash, b.Hash) })
	return out
}

func shownLabels(labels []metrics.Label) map[string]string {
	out := make(map[string]string, len(labels))
	for _, l := range labels {
		out[l.Name] = l.Value
	}
	return out
}
