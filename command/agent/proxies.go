package agent

import (
	"errors"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
)

// HTTPProxiesConfig names the proxies through which clients come.
type HTTPProxiesConfig struct {
	// Trusted are addresses and networks. Of their requests X-Forwarded-For tells whose
	// they are.
	Trusted []string `hcl:"trusted"`
	// ProxyProtocol says that their connections begin with a header of the PROXY protocol.
	ProxyProtocol bool `hcl:"proxy_protocol"`
}

// networks returns what is trusted.
func (c *HTTPProxiesConfig) networks() (networks, error) {
	var out networks
	var all []error
	for _, text := range c.Trusted {
		p, err := netip.ParsePrefix(text)
		if a, no := netip.ParseAddr(text); no == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		switch {
		case err != nil || p.Addr().Zone() != "" || p.Addr().Is4In6():
			all = append(all, errors.New("http_proxies.trusted: "+quoted(text)+" is no address and no network such as 10.0.0.0/8"))
		case p.Bits() == 0:
			all = append(all, errors.New("http_proxies.trusted: "+quoted(text)+" is everybody, who could then claim any address: name the proxies"))
		}
		out = append(out, p)
	}
	return out, errors.Join(all...)
}

func (c *HTTPProxiesConfig) problems() []problem {
	var out []problem
	if _, err := c.networks(); err != nil {
		for line := range strings.Lines(err.Error()) {
			out = append(out, problem{msg: strings.TrimSpace(line)})
		}
	}
	if c.ProxyProtocol && len(c.Trusted) == 0 {
		out = append(out, problem{msg: "http_proxies.proxy_protocol: needs trusted, the addresses of the proxies"})
	}
	return out
}

// proxies are those in force. They are replaced while the agent runs, and count for
// connections and requests that come later. nil and the zero value have none.
type proxies struct {
	now atomic.Pointer[proxyRules]
}

// proxyRules are what an HTTPProxiesConfig says. They are immutable.
type proxyRules struct {
	networks
	// headers says that connections begin with a header of the PROXY protocol.
	headers bool
}

// newProxies returns those of c, which must have no problems.
func newProxies(c *HTTPProxiesConfig) *proxies {
	p := &proxies{}
	p.set(c)
	return p
}

func (p *proxies) set(c *HTTPProxiesConfig) {
	trusted, _ := c.networks() // problems were reported with the configuration
	p.now.Store(&proxyRules{trusted, c.ProxyProtocol})
}

// rules returns what holds now, never nil.
func (p *proxies) rules() *proxyRules {
	if p != nil {
		if rules := p.now.Load(); rules != nil {
			return rules
		}
	}
	return &proxyRules{}
}

// reloadProxies takes over http_proxies.
func (a *Agent) reloadProxies(next *Config) error {
	before := *a.proxies.rules()
	a.proxies.set(&next.HTTPProxies)
	if now := a.proxies.rules(); now.headers != before.headers || !slices.Equal(now.networks, before.networks) {
		a.logger.Named("agent").Info("http_proxies changed", "trusted", now.networks, "proxy_protocol", now.headers)
	}
	return nil
}

func quoted(text string) string { return `"` + text + `"` }

// networks are addresses that belong together.
type networks []netip.Prefix

func (n networks) has(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(n, func(p netip.Prefix) bool { return p.Contains(a) })
}

// hasAddr is has for an address of package net.
func (n networks) hasAddr(a net.Addr) bool {
	if len(n) == 0 {
		return false
	}
	p, err := netip.ParseAddrPort(a.String())
	return err == nil && n.has(p.Addr())
}

// client returns whose request a proxy at remote, host:port, passes on: the last
// address of X-Forwarded-For that no trusted proxy has. What stands before that was
// sent by the client, who can write anything. It returns remote for other peers.
func (n networks) client(remote string, forwarded []string) string {
	from, err := netip.ParseAddrPort(remote)
	if err != nil || len(forwarded) == 0 || !n.has(from.Addr()) {
		return remote
	}
	found := from.Addr()
	hops := strings.Split(strings.Join(forwarded, ","), ",")
	for _, text := range slices.Backward(hops) {
		a, ok := forwardedAddr(strings.TrimSpace(text))
		if !ok {
			break
		}
		if found = a; !n.has(a) {
			break
		}
	}
	if found == from.Addr() {
		return remote
	}
	return netip.AddrPortFrom(found, 0).String()
}

// forwardedAddr reads one entry of X-Forwarded-For: an address, to which some
// proxies add the port.
func forwardedAddr(text string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(strings.Trim(text, "[]"))
	if err != nil {
		var p netip.AddrPort
		p, err = netip.ParseAddrPort(text)
		a = p.Addr()
	}
	return a.Unmap().WithZone(""), err == nil
}

// fromProxy makes the request that of the client who sent it to a trusted proxy.
func (a *api) fromProxy(r *http.Request) {
	trusted := a.proxies.rules().networks
	if len(trusted) == 0 {
		return
	}
	if forwarded := r.Header["X-Forwarded-For"]; forwarded != nil {
		r.RemoteAddr = trusted.client(r.RemoteAddr, forwarded)
	}
}
