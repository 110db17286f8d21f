package agent

import (
	"cmp"

	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/nomad"
)

// RequestLimitsConfig says how many requests clients may make. SIGHUP reads it again.
type RequestLimitsConfig struct {
	// Mode is disabled, permissive or enforcing.
	Mode       string           `hcl:"mode"`
	PerToken   ClassRatesConfig `hcl:"per_token"`
	PerAddress ClassRatesConfig `hcl:"per_address"`
	Global     ClassRatesConfig `hcl:"global"`
	// InFlight bounds what runs at once, in every mode.
	InFlight ClassCountsConfig `hcl:"in_flight"`
}

// ClassCountsConfig holds a number for each class of requests, 0 for the default.
type ClassCountsConfig struct {
	Control int `hcl:"control"`
	Write   int `hcl:"write"`
	Read    int `hcl:"read"`
	Bulk    int `hcl:"bulk"`
}

// ClassRatesConfig holds a rate for each class of requests.
type ClassRatesConfig struct {
	Control RateConfig `hcl:"control"`
	Write   RateConfig `hcl:"write"`
	Read    RateConfig `hcl:"read"`
	Bulk    RateConfig `hcl:"bulk"`
}

// RateConfig is a number of requests.
type RateConfig struct {
	// Rate is by second, 0 for no bound.
	Rate float64 `hcl:"rate"`
	// Burst is how many may come at once, 0 for as many as in a second.
	Burst int `hcl:"burst"`
}

// limits returns what the server is told.
func (c *RequestLimitsConfig) limits() nomad.LimitConfig {
	return nomad.LimitConfig{Rates: limit.Rates{
		Mode:     limit.Mode(cmp.Or(c.Mode, string(limit.Disabled))),
		PerToken: c.PerToken.rates(), PerAddress: c.PerAddress.rates(), Global: c.Global.rates(),
	}, InFlight: limit.PerClass[int](c.InFlight)}
}

func (c *ClassRatesConfig) rates() limit.PerClass[limit.Rate] {
	return limit.PerClass[limit.Rate]{
		Control: c.Control.rate(), Write: c.Write.rate(), Read: c.Read.rate(), Bulk: c.Bulk.rate(),
	}
}

func (c RateConfig) rate() limit.Rate { return limit.Rate{PerSecond: c.Rate, Burst: c.Burst} }

func (c *RequestLimitsConfig) problems() []problem {
	var out []problem
	limits := c.limits()
	for _, msg := range limits.Problems() {
		out = append(out, problem{msg: "limits.request_limits." + msg})
	}
	return out
}

// charge counts the request before its body is read, and refuses it when a limit
// is reached. What the agent answers by itself is free.
func (a *api) charge(rt *route, r *request) error {
	method := rt.charged(r)
	if method == "" {
		return nil
	}
	return a.server.Charge(r.Context(), nomad.Charged{Method: method, Secret: r.secret(), Remote: r.RemoteAddr})
}

// requestLimits returns the limits of requests in force.
func (a *Agent) requestLimits() RequestLimitsConfig {
	if l := a.limits.Load(); l != nil {
		return *l
	}
	return a.config.Limits.RequestLimits
}

// reloadLimits takes over the limits of requests. What connections are bound by
// takes a restart.
func (a *Agent) reloadLimits(next *Config) error {
	now, then := a.config.Limits, next.Limits
	now.RequestLimits, then.RequestLimits = RequestLimitsConfig{}, RequestLimitsConfig{}
	logger := a.logger.Named("agent")
	if now != then {
		logger.Warn("limits of connections change at the next start only")
	}
	before := a.limits.Swap(&next.Limits.RequestLimits)
	if before == nil {
		before = &a.config.Limits.RequestLimits
	}
	if next.Limits.RequestLimits == *before {
		return nil
	}
	limits := next.Limits.RequestLimits.limits()
	a.server.SetLimits(limits)
	logger.Info("limits of requests changed", "mode", limits.Mode)
	return nil
}
