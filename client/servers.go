package client

import (
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/cairn-project/cairn/nomad/structs"
)

// maxServers bounds how many servers are remembered.
const maxServers = 64

// serverList is the server ports that the agent knows. It is safe for concurrent use.
type serverList struct {
	// preferred comes first, "" for none; seeds are from the configuration.
	preferred string
	mu        sync.Mutex
	seeds     []string // guarded by mu
	// known is what the servers told last, the best first; guarded by mu.
	known []string
}

// newServerList takes addresses that were checked.
func newServerList(preferred string, seeds []string) *serverList {
	l := &serverList{preferred: preferred}
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
// one, those that the servers told of, the configured ones.
func (l *serverList) candidates() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, addr := range slices.Concat([]string{l.preferred}, l.known, l.seeds) {
		if addr != "" && !slices.Contains(out, addr) {
			out = append(out, addr)
		}
	}
	return out
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
	for _, list := range []*[]string{&l.known, &l.seeds} {
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
