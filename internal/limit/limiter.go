package limit

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"
)

// Mode says what happens to a request above a rate.
type Mode string

// The modes. The zero value is Disabled.
const (
	Disabled Mode = "disabled"
	// Permissive counts and logs what Enforcing would refuse.
	Permissive Mode = "permissive"
	Enforcing  Mode = "enforcing"
)

// Valid reports whether m is one of the modes or empty.
func (m Mode) Valid() bool {
	return m == "" || m == Disabled || m == Permissive || m == Enforcing
}

// Scope is whose requests a rate counts.
type Scope int

// The scopes, in the order in which they are asked.
const (
	// PerAddress counts by address, an IPv6 one by its network of 64 bits.
	PerAddress Scope = iota
	// PerToken counts by known token.
	PerToken
	// Global counts all requests of this server.
	Global

	scopes
)

var scopeNames = [scopes]string{"address", "token", "global"}

// String returns the name of the scope, as metrics have it.
func (s Scope) String() string { return scopeNames[s] }

// Rates are the rates of a server.
type Rates struct {
	Mode       Mode
	PerToken   PerClass[Rate]
	PerAddress PerClass[Rate]
	Global     PerClass[Rate]
}

// of returns the rates of a scope.
func (r *Rates) of(s Scope) *PerClass[Rate] {
	return [scopes]*PerClass[Rate]{&r.PerAddress, &r.PerToken, &r.Global}[s]
}

// Problems returns what is wrong with r, by field; nil for nothing.
func (r *Rates) Problems() []string {
	var out []string
	if !r.Mode.Valid() {
		out = append(out, fmt.Sprintf("mode %q: must be disabled, permissive or enforcing", r.Mode))
	}
	for s, name := range [scopes]string{"per_address", "per_token", "global"} {
		for _, c := range Classes() {
			rate := r.of(Scope(s)).Of(c)
			field := fmt.Sprintf("%s.%s", name, c)
			switch {
			case rate.PerSecond != 0 && (rate.PerSecond < MinPerSecond || rate.PerSecond > MaxPerSecond):
				out = append(out, fmt.Sprintf("%s.rate: must be 0 for no bound, or from %v to %v a second", field, MinPerSecond, int(MaxPerSecond)))
			case rate.Burst < 0 || rate.Burst > MaxBurst:
				out = append(out, fmt.Sprintf("%s.burst: must be from 0 to %d", field, int(MaxBurst)))
			case rate.Burst > 0 && rate.PerSecond == 0:
				out = append(out, field+".burst: has no effect without a rate")
			}
		}
	}
	return out
}

// plan is the Rates in force. It is immutable.
type plan struct {
	enforcing bool
	paces     [scopes][classes]pace
}

func newPlan(r Rates) *plan {
	if r.Mode != Permissive && r.Mode != Enforcing {
		return nil
	}
	p := &plan{enforcing: r.Mode == Enforcing}
	for s := range scopes {
		for _, c := range Classes() {
			p.paces[s][c] = r.of(s).Of(c).pace()
		}
	}
	return p
}

// Limiter holds callers to rates. It is safe for concurrent use, and no lock is
// shared by all callers.
type Limiter struct {
	plan      atomic.Pointer[plan] // nil while disabled
	start     time.Time
	addresses *accounts[netip.Addr]
	tokens    *accounts[string]
	all       account
	// refused counts what was refused, noticed what would have been.
	refused, noticed [scopes][classes]atomic.Uint64
}

// New returns a limiter that holds to r.
func New(r Rates) *Limiter {
	l := &Limiter{start: time.Now(), addresses: newAccounts[netip.Addr](), tokens: newAccounts[string]()}
	l.Set(r)
	return l
}

// Set replaces the rates. What was spent stays spent.
func (l *Limiter) Set(r Rates) { l.plan.Store(newPlan(r)) }

// On reports whether any request is counted. It costs one atomic load.
func (l *Limiter) On() bool { return l.plan.Load() != nil }

// Payer is who makes a request.
type Payer struct {
	// Address is the zero Addr for none.
	Address netip.Addr
	// Token returns the name of a known token, "" for a caller without one. It is
	// asked only where a rate counts by token, and after the one by address.
	Token func() string
	token string // what Token has returned
}

// Take charges one request to its payer, and returns a refusal when a rate is
// used up; then it charges nothing.
func (l *Limiter) Take(c Class, who Payer) *Refusal {
	p := l.plan.Load()
	if p == nil {
		return nil
	}
	now := int64(time.Since(l.start))
	var paid [scopes]*meter
	for s := range scopes {
		pace := p.paces[s][c]
		if pace.every == 0 {
			continue
		}
		m := l.meter(s, c, &who)
		if m == nil {
			continue
		}
		if wait := m.take(now, pace); wait > 0 {
			for s, m := range paid {
				if m != nil {
					m.giveBack(p.paces[s][c])
				}
			}
			return l.refuse(p, &Refusal{Class: c, Scope: s, Payer: who.name(s), Wait: wait})
		}
		paid[s] = m
	}
	return nil
}

func (l *Limiter) refuse(p *plan, r *Refusal) *Refusal {
	r.Enforced = p.enforcing
	if p.enforcing {
		l.refused[r.Scope][r.Class].Add(1)
	} else {
		l.noticed[r.Scope][r.Class].Add(1)
	}
	return r
}

// meter returns where the payer's requests are counted, nil where they are not.
func (l *Limiter) meter(s Scope, c Class, who *Payer) *meter {
	switch s {
	case PerAddress:
		if who.Address = network(who.Address); who.Address.IsValid() {
			return &l.addresses.of(who.Address)[c]
		}
	case PerToken:
		if who.Token != nil {
			who.token = who.Token()
		}
		if who.token != "" {
			return &l.tokens.of(who.token)[c]
		}
	case Global:
		return &l.all[c]
	}
	return nil
}

// name returns what the payer is called in a scope.
func (p *Payer) name(s Scope) string {
	switch s {
	case PerAddress:
		return p.Address.String()
	case PerToken:
		return p.token
	}
	return ""
}

// ipv6Network is the length in bits of the networks that IPv6 gives to one customer
// at least.
const ipv6Network = 64

// network returns the address that stands for all that one client can have.
func network(a netip.Addr) netip.Addr {
	a = a.Unmap().WithZone("")
	if !a.Is6() {
		return a
	}
	p, err := a.Prefix(ipv6Network)
	if err != nil {
		return netip.Addr{}
	}
	return p.Addr()
}

// Count is how many requests were above a rate.
type Count struct {
	Scope Scope
	Class Class
	// Refused were refused, Noticed went on because the mode was Permissive.
	Refused, Noticed uint64
}

// Counts returns the counters of every scope and class.
func (l *Limiter) Counts() []Count {
	out := make([]Count, 0, int(scopes)*int(classes))
	for s := range scopes {
		for _, c := range Classes() {
			out = append(out, Count{s, c, l.refused[s][c].Load(), l.noticed[s][c].Load()})
		}
	}
	return out
}
