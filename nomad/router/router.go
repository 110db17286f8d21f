package router

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/serf/serf"
)

// failedFor is how long a server that could not be reached is passed over
// while others are there. Gossip usually notices a dead one within that time.
const failedFor = 10 * time.Second

// Router holds the servers of all regions. All methods are safe for concurrent use.
type Router struct {
	mu      sync.RWMutex
	regions map[string]map[string]Server // by region, then by name
	byID    map[string]Server
	byAddr  map[string]Server
	failed  map[string]time.Time // by address, until when
}

// New returns a Router that knows nobody.
func New() *Router {
	return &Router{
		regions: make(map[string]map[string]Server),
		byID:    make(map[string]Server),
		byAddr:  make(map[string]Server),
		failed:  make(map[string]time.Time),
	}
}

// Update adds s or replaces what was known under its name and region.
func (r *Router) Update(s Server) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.regions[s.Region][s.Name]; ok {
		r.unindexLocked(old)
	}
	if r.regions[s.Region] == nil {
		r.regions[s.Region] = make(map[string]Server)
	}
	r.regions[s.Region][s.Name] = s
	r.reindexLocked(s)
}

// Remove forgets the server of that gossip name in region.
func (r *Router) Remove(name, region string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, ok := r.regions[region][name]
	if !ok {
		return
	}
	delete(r.regions[region], name)
	if len(r.regions[region]) == 0 {
		delete(r.regions, region)
	}
	r.unindexLocked(old)
}

// reindexLocked enters s by ID and address. Of two servers that claim the same
// one, as after a rename, one that is alive wins.
func (r *Router) reindexLocked(s Server) {
	if old, taken := r.byID[s.ID]; !taken || old.Status != serf.StatusAlive || s.Status == serf.StatusAlive {
		r.byID[s.ID] = s
	}
	if old, taken := r.byAddr[s.Addr]; !taken || old.Status != serf.StatusAlive || s.Status == serf.StatusAlive {
		r.byAddr[s.Addr] = s
	}
}

// unindexLocked takes s out of the indexes and lets another server that claims
// the same ID or address have them.
func (r *Router) unindexLocked(s Server) {
	if r.byID[s.ID] == s {
		delete(r.byID, s.ID)
	}
	if r.byAddr[s.Addr] == s {
		delete(r.byAddr, s.Addr)
		delete(r.failed, s.Addr)
	}
	for _, servers := range r.regions {
		for _, other := range servers {
			if other != s && (other.ID == s.ID || other.Addr == s.Addr) {
				r.reindexLocked(other)
			}
		}
	}
}

// Regions returns the names of the known regions, sorted.
func (r *Router) Regions() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]string, 0, len(r.regions))
	for name := range r.regions {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// InRegion returns the servers of a region in any state, sorted by name.
func (r *Router) InRegion(region string) []Server {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make([]Server, 0, len(r.regions[region]))
	for _, s := range r.regions[region] {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b Server) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// ByID returns the server with the Raft ID.
func (r *Router) ByID(id string) (Server, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s, ok := r.byID[id]
	return s, ok
}

// ByAddr returns the server whose port is at addr, host:port.
func (r *Router) ByAddr(addr string) (Server, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	s, ok := r.byAddr[addr]
	return s, ok
}

// Pick returns a random live server of region, one marked failed only when
// there is no other, and false when none is alive.
func (r *Router) Pick(region string) (Server, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	now := time.Now()
	var good, bad []Server
	for _, s := range r.regions[region] {
		switch {
		case s.Status != serf.StatusAlive:
		case now.Before(r.failed[s.Addr]):
			bad = append(bad, s)
		default:
			good = append(good, s)
		}
	}
	if len(good) == 0 {
		good = bad
	}
	if len(good) == 0 {
		return Server{}, false
	}
	return good[rand.IntN(len(good))], true
}

// MarkFailed lets Pick pass over the server at addr for a while. Call it for
// transport errors only: an answer, even a refusal, comes from a healthy server.
func (r *Router) MarkFailed(addr string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.byAddr[addr]; known {
		r.failed[addr] = time.Now().Add(failedFor)
	}
}

// MarkOK takes MarkFailed back.
func (r *Router) MarkOK(addr string) {
	r.mu.RLock()
	_, marked := r.failed[addr]
	r.mu.RUnlock()
	if !marked { // the usual case needs no exclusive lock
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.failed, addr)
}
