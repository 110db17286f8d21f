package nomad

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/auth"
)

// LimitConfig bounds the requests that the server takes. It can be changed while
// the server runs.
type LimitConfig struct {
	limit.Rates
	// InFlight is how many calls of a class run at once, 0 for the default. They are
	// bounded whatever the mode of the rates.
	InFlight limit.PerClass[int]
}

// Problems returns what is wrong with the limits, nil for nothing.
func (c *LimitConfig) Problems() []string {
	out := c.Rates.Problems()
	for _, class := range limit.Classes() {
		if *c.InFlight.Of(class) < 0 {
			out = append(out, fmt.Sprintf("in_flight.%s: must not be negative", class))
		}
	}
	return out
}

// SetLimits replaces the limits. c must have no problems.
func (s *Server) SetLimits(c LimitConfig) {
	s.limits.Set(c.Rates)
	s.gate.Set(c.inFlight())
	s.passing.Set(c.inFlight())
}

// limits holds callers to what they may ask for.
type limits struct {
	*limit.Limiter
	// said is when the log last told of a refusal, in Unix nanoseconds, and unsaid
	// how many there have been since.
	said, unsaid atomic.Int64
}

func newLimits(c LimitConfig) *limits { return &limits{Limiter: limit.New(c.Rates)} }

// Charged is a request that a client made of the agent in this process.
type Charged struct {
	// Method is the RPC that it makes, "" for none: then Name says what it is for the
	// log, and Class what it counts as.
	Method, Name string
	Class        limit.Class
	// Secret is the caller's token, "" for none.
	Secret string
	// Remote is the client's host:port, "" for a local process.
	Remote string
	// User names a local user, "" for others. It is counted like a token where Secret
	// is none that is known.
	User string
}

// Charge counts a request before the agent makes it, and refuses it when a rate is
// used up. RPC itself charges nothing: it is for the agent to ask, once for each
// request and before it reads the body. While no rate is set it costs one atomic load.
func (s *Server) Charge(ctx context.Context, r Charged) error {
	if !s.limits.On() {
		return nil
	}
	m := methods[r.Method]
	if st := streamInfo[r.Method]; st != nil {
		m = st
	}
	if m != nil {
		r.Name, r.Class = m.name, m.class
	} else if r.Method != "" {
		return nil
	}
	addr, _ := netip.ParseAddrPort(r.Remote) // none is counted by token and in all
	return s.charge(r.Name, r.Class, limit.Payer{Address: addr.Addr(), Token: func() string {
		return cmp.Or(s.payer(ctx, r.Secret), r.User)
	}})
}

// chargeCall is Charge for a call over the wire. Who passes a call on has charged
// it already, if a server of the cluster did.
func (s *Server) chargeCall(ctx context.Context, m *methodInfo, c *wire.Call, secret string) error {
	if !s.limits.On() || (c.Hops > 0 || m.serversOnly || m.class == limit.Control) && s.fromServer(c.Identity) {
		return nil
	}
	return s.charge(m.name, m.class, limit.Payer{Address: addrOf(c.Identity.Remote), Token: func() string { return s.payer(ctx, secret) }})
}

// fromServer reports whether a call came from a server. Connections in clear prove
// nothing: there the address must be that of a server that gossip knows.
func (s *Server) fromServer(id *wire.Identity) bool {
	if id.Server || id.TLSNames != nil {
		return id.Server
	}
	from := addrOf(id.Remote)
	for _, region := range s.router.Regions() {
		for _, server := range s.router.InRegion(region) {
			if at, err := netip.ParseAddrPort(server.Addr); err == nil && from.IsValid() && at.Addr().Unmap() == from {
				return true
			}
		}
	}
	return false
}

// addrOf returns the address of a peer, the zero Addr if it has none.
func addrOf(a net.Addr) netip.Addr {
	if a == nil {
		return netip.Addr{}
	}
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	p, _ := netip.ParseAddrPort(a.String()) // the zero one on failure
	return p.Addr().Unmap()
}

func (s *Server) charge(name string, class limit.Class, who limit.Payer) error {
	r := s.limits.Take(class, who)
	if r == nil {
		return nil
	}
	s.sayRefused(name, r)
	if !r.Enforced {
		return nil
	}
	return r.Err()
}

// payer returns the name under which a caller's requests are counted, "" for one
// that is not known: whoever invents secrets pays by address.
func (s *Server) payer(ctx context.Context, secret string) string {
	if secret == "" {
		return ""
	}
	id, err := s.identify(ctx, secret)
	switch {
	case err != nil:
		return ""
	case id.Node != nil:
		return "node " + id.Node.ID
	case id.Workload != nil:
		return "workload " + id.Workload.Subject
	case id.Token != nil && id.Token.AccessorID != auth.DisabledAccessor:
		return id.Token.AccessorID
	}
	return ""
}

// sayEvery is how often the log tells of refused requests.
const sayEvery = time.Second

// sayRefused logs a refusal, and only counts it when another was logged just now.
func (s *Server) sayRefused(name string, r *limit.Refusal) {
	n := s.limits.unsaid.Add(1)
	now, last := time.Now().UnixNano(), s.limits.said.Load()
	if last != 0 && now-last < int64(sayEvery) || !s.limits.said.CompareAndSwap(last, now) {
		return
	}
	s.limits.unsaid.Add(-n)
	msg := "request above a rate limit refused"
	if !r.Enforced {
		msg = "request above a rate limit goes on, limits are permissive"
	}
	s.logger.Warn(msg, "method", name, "class", r.Class, "scope", r.Scope, "payer", r.Payer, "requests", n)
}

var (
	descRateRefused = prometheus.NewDesc("cairn_rate_limit_refused_total", "Requests refused because a rate was used up, by class and scope.", []string{"class", "scope"}, nil)
	descRateNoticed = prometheus.NewDesc("cairn_rate_limit_noticed_total", "Requests above a rate that went on because limits are permissive, by class and scope.", []string{"class", "scope"}, nil)
)

// describe sends the descriptions of the metrics of limits.
func (l *limits) describe(ch chan<- *prometheus.Desc) {
	ch <- descRateRefused
	ch <- descRateNoticed
}

// collect sends the values of the metrics of limits.
func (l *limits) collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, n uint64, c limit.Count) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), c.Class.String(), c.Scope.String())
	}
	for _, c := range l.Counts() {
		counter(descRateRefused, c.Refused, c)
		counter(descRateNoticed, c.Noticed, c)
	}
}
