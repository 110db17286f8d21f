package client

import (
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/cairn-project/cairn/nomad/structs"
)

// maxServers bounds how many servers are remembered.
const maxServers = 64

// serverList is the servers that the agent knows. It is safe for concurrent use.
type serverList struct {
	// preferred comes first, "" for none; seeds are from the configuration.
	preferred string
	transport Transport
	mu        sync.Mutex
	seeds     []string // guarded by mu
	// known is what the servers told last, the best first; guarded by mu.
	known []string
	// web are HTTP APIs of servers, the best first; guarded by mu.
	web []string
	// overWeb says that the last server that answered did so over HTTP; guarded by mu.
	overWeb bool
}

// newServerList takes addresses that were checked.
func newServerList(c *Config, seeds []string) *serverList {
	l := &serverList{preferred: c.Preferred, transport: c.Transport, web: slices.Clone(c.HTTPServers)}
	l.set(seeds)
	return l
}

// set replaces the seeds, and what was known besides.
func (l *serverList) set(seeds []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seeds, l.known = slices.Clone(seeds), nil
}

// candidates returns all servers in the order in which to try them: the preferred
// one, those that the servers told of, the configured ones, and those that can be
// reached over HTTP; these come first once only they answered.
func (l *serverList) candidates() []string {
	ports, web, overWeb := l.ways()
	if overWeb {
		return slices.Concat(web, ports)
	}
	return slices.Concat(ports, web)
}

// ways returns the ports and the HTTP APIs of the servers, each the best first, and
// whether the last one that answered did so over HTTP.
func (l *serverList) ways() (ports, web []string, overWeb bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.transport != TransportPort {
		web = slices.Clone(l.web)
	}
	if l.transport == TransportWebSocket {
		return nil, web, true
	}
	for _, addr := range slices.Concat([]string{l.preferred}, l.known, l.seeds) {
		if addr != "" && !slices.Contains(ports, addr) {
			ports = append(ports, addr)
		}
	}
	return ports, web, l.overWeb
}

// mixed returns all servers in another order, unless one is preferred: those of each
// way begin anywhere.
func (l *serverList) mixed() []string {
	ports, web, overWeb := l.ways()
	if l.preferred == "" {
		ports = rotated(ports)
	}
	web = rotated(web)
	if overWeb {
		return slices.Concat(web, ports)
	}
	return slices.Concat(ports, web)
}

func rotated(list []string) []string {
	if len(list) < 2 {
		return list
	}
	first := rand.IntN(len(list))
	return slices.Concat(list[first:], list[:first])
}

// answered notes which server answered.
func (l *serverList) answered(addr string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.overWeb = isWeb(addr)
}

// told takes over what a heartbeat told. New servers get a random place, so that
// agents spread over them; those that are gone are dropped.
func (l *serverList) told(servers []*structs.NodeServerInfo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var now []string
	for _, s := range servers {
		if s == nil || len(now) == maxServers {
			continue
		}
		if addr, err := serverAddr(s.RPCAdvertiseAddr); err == nil && !slices.Contains(now, addr) {
			now = append(now, addr)
		}
	}
	if len(now) == 0 {
		return
	}
	kept := slices.DeleteFunc(slices.Clone(l.known), func(addr string) bool { return !slices.Contains(now, addr) })
	for _, addr := range now {
		if !slices.Contains(kept, addr) {
			kept = slices.Insert(kept, rand.IntN(len(kept)+1), addr)
		}
	}
	l.known = kept
}

// failed moves a server that did not answer behind the others of its kind.
func (l *serverList) failed(addr string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, list := range []*[]string{&l.known, &l.seeds, &l.web} {
		if i := slices.Index(*list, addr); i >= 0 {
			*list = append(slices.Delete(*list, i, i+1), addr)
		}
	}
}

// shuffle puts the servers that were told of into another order.
func (l *serverList) shuffle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	rand.Shuffle(len(l.known), func(i, j int) { l.known[i], l.known[j] = l.known[j], l.known[i] })
}
