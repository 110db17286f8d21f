package nomad

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-project/cairn/nomad/structs"
)

// status returns how the copies go, in order of table.
func (p *puller) status() []*structs.ReplicatedTable {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]*structs.ReplicatedTable, 0, len(p.tables))
	for _, t := range p.tables {
		c := *t
		out = append(out, &c)
	}
	slices.SortFunc(out, func(a, b *structs.ReplicatedTable) int { return strings.Compare(a.Table, b.Table) })
	return out
}

// replicationStats is the part of Stats on regions; the leader alone knows of tables.
func (s *Server) replicationStats() map[string]string {
	out := map[string]string{"region": s.config.Region, "authoritative_region": s.config.AuthoritativeRegion}
	p := s.replication.Load()
	if p == nil {
		return out
	}
	for _, t := range p.status() {
		out[t.Table+".index"] = strconv.FormatUint(t.Index, 10)
		out[t.Table+".last_sync"] = "never"
		if !t.LastSync.IsZero() {
			out[t.Table+".last_sync"] = t.LastSync.Format(time.RFC3339)
		}
		if t.LastError != "" {
			out[t.Table+".last_error"] = t.LastError
		}
	}
	return out
}

var (
	descReplIndex    = prometheus.NewDesc("cairn_replication_index", "Index of the authoritative region up to which nothing is missing, by table.", []string{"table"}, nil)
	descReplAge      = prometheus.NewDesc("cairn_replication_age_seconds", "Time since the copy was known to be in step, by table; -1 for never.", []string{"table"}, nil)
	descReplFailures = prometheus.NewDesc("cairn_replication_failures_total", "Rounds that did not bring the copy in step, by table.", []string{"table"}, nil)
	descReplRows     = prometheus.NewDesc("cairn_replication_rows_total", "Rows copied and deleted, by table.", []string{"table", "change"}, nil)
)

func describeReplication(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descReplIndex, descReplAge, descReplFailures, descReplRows} {
		ch <- d
	}
}

// collectReplication sends what the leader of a region that copies knows.
func (s *Server) collectReplication(ch chan<- prometheus.Metric) {
	p := s.replication.Load()
	if p == nil {
		return
	}
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	for _, t := range p.status() {
		age := -1.0
		if !t.LastSync.IsZero() {
			age = time.Since(t.LastSync).Seconds()
		}
		send(descReplIndex, prometheus.GaugeValue, float64(t.Index), t.Table)
		send(descReplAge, prometheus.GaugeValue, age, t.Table)
		send(descReplFailures, prometheus.CounterValue, float64(t.Failures), t.Table)
		send(descReplRows, prometheus.CounterValue, float64(t.Written), t.Table, "written")
		send(descReplRows, prometheus.CounterValue, float64(t.Deleted), t.Table, "deleted")
	}
}
