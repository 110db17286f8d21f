package router

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/serf/serf"
)

// A server that could not be reached is passed over, while others are there, for
// about firstAvoid, and for twice as long after each further failure, up to about
// maxAvoid. Gossip usually notices a dead one within that time.
const (
	firstAvoid = 4 * time.Second
	maxAvoid   = time.Minute
)

// failure is why a server is passed over.
type failure struct {
	// until is when it is tried again, next for about how long it is passed over
	// then if that fails.
	until time.Time
	next  time.Duration
}

// Router holds the servers of all regions. All methods are safe for concurrent use.
type Router struct {
	mu      sync.RWMutex
	regions map[string]map[string]Server // by region, then by name
	byID    map[string]Server
	byAddr  map[string]Server
	failed  map[string]failure // by address
	load    func(addr string) int
}

// New returns a Router that knows nobody.
func New() *Router {
	return &Router{
		regions: make(map[string]map[string]Server),
		byID:    make(map[string]Server),
		byAddr:  make(map[string]Server),
		failed:  make(map[string]failure),
		load:    func(string) int { return 0 },
	}
}

// Balance has Pick compare servers by load, of which less is better. It must not use
// the Router. Call it before others use the Router.
func (r *Router) Balance(load func(addr string) int) { r.load = load }

// Update adds s or replaces what was known under its name and region.
func (r *Router) Update(s Server) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.regions[s.Region][s.Name]; ok {
		kept, failed := r.failed[old.Addr]
		r.unindexLocked(old)
		if failed && old.Addr == s.Addr && (old.Status == serf.StatusAlive || s.Status != serf.StatusAlive) {
			r.failed[s.Addr] = kept // news about it, but not that it is back
		}
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

// Pick returns a live server of region: of two that chance has chosen the one with
// less load. One marked failed is returned only when there is no other, and false
// when none is alive.
func (r *Router) Pick(region string) (Server, bool) {
	of := r.choices(region)
	if len(of) == 0 {
		return Server{}, false
	}
	i := rand.IntN(len(of))
	if len(of) == 1 {
		return of[i], true
	}
	j := rand.IntN(len(of) - 1)
	if j >= i {
		j++
	}
	if r.load(of[j].Addr) < r.load(of[i].Addr) {
		i = j
	}
	return of[i], true
}

// choices returns the live servers of region, without those marked failed if there
// are others.
func (r *Router) choices(region string) []Server {
	r.mu.RLock()
	defer r.mu.RUnlock()
	now := time.Now()
	var good, bad []Server
	for _, s := range r.regions[region] {
		switch {
		case s.Status != serf.StatusAlive:
		case now.Before(r.failed[s.Addr].until):
			bad = append(bad, s)
		default:
			good = append(good, s)
		}
	}
	if len(good) == 0 {
		return bad
	}
	return good
}

// MarkFailed lets Pick pass over the server at addr for a while. Call it for
// transport errors only: an answer, even a refusal, comes from a healthy server.
func (r *Router) MarkFailed(addr string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, marked := r.failed[addr]
	now := time.Now()
	if _, known := r.byAddr[addr]; !known || now.Before(f.until) { // those under way when it failed are one failure
		return
	}
	if !marked {
		f.next = firstAvoid
	}
	f.until = now.Add(f.next/2 + rand.N(f.next))
	f.next = min(2*f.next, maxAvoid)
	r.failed[addr] = f
}

// Good reports whether the server at addr is alive and Pick does not pass over it.
func (r *Router) Good(addr string) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byAddr[addr].Status == serf.StatusAlive && !time.Now().Before(r.failed[addr].until)
}

// Avoided returns how many servers Pick passes over now.
func (r *Router) Avoided() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	n, now := 0, time.Now()
	for _, f := range r.failed {
		if now.Before(f.until) {
			n++
		}
	}
	return n
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
