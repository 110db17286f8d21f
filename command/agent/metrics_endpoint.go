package agent

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cairn-project/cairn/acl"
)

func metricsRoutes() []route {
	return []route{
		local[metricsSummary](doc{methods: "GET", pattern: "/v1/metrics", status: []int{415},
			summary: "Show the metrics of the last interval, as JSON or in the format of Prometheus.",
			params:  []param{{name: "format", kind: "string", summary: "prometheus, or nothing for JSON"}}}, getMetrics),
	}
}

// mayReadMetrics lets everybody read metrics unless they are protected.
func (c *ACLConfig) mayReadMetrics(a *acl.ACL) bool {
	return !c.ProtectMetrics || a.AllowOperatorCapability(acl.MetricsRead)
}

// getMetrics answers without the server, so that it works before there is a leader.
func getMetrics(r *request) error {
	if err := r.allow(r.api.config.ACL.mayReadMetrics); err != nil {
		return err
	}
	if r.query.Get("format") != "prometheus" {
		return r.writeJSON(http.StatusOK, r.api.telemetry.summary())
	}
	reg := r.api.telemetry.registry
	if reg == nil {
		return &statusError{http.StatusUnsupportedMediaType,
			"Prometheus is not enabled: set telemetry.prometheus_metrics to true"}
	}
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(r.w, r.Request)
	return nil
}
