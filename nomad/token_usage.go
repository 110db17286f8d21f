package nomad

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/router"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// usageInterval is how often a server asks the others which tokens were used there.
	usageInterval = time.Minute
	// usageTimeout bounds one such question.
	usageTimeout = 5 * time.Second
	// usageStale is how long a server may be silent before it counts as not heard.
	usageStale = 5 * usageInterval
	// usageOverlap is asked for again each time, in minutes, for uses noted while the last answer was made.
	usageOverlap = 2
	// usageTidy is after how many rounds tokens that are gone are forgotten.
	usageTidy = 60
)

// usagePeers is what a server knows of the memories of the others, by their IDs.
type usagePeers struct {
	mu    sync.Mutex
	peers map[string]usagePeer // under mu
}

type usagePeer struct {
	heard time.Time // when it last answered
	since time.Time // its Since then
	next  int64     // the minute from which on to ask next
}

func (p *usagePeers) get(id string) usagePeer {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.peers[id]
}

func (p *usagePeers) set(id string, peer usagePeer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.peers == nil {
		p.peers = map[string]usagePeer{}
	}
	p.peers[id] = peer
}

// silent returns the names of the servers that have not answered lately.
func (p *usagePeers) silent(servers []router.Server, now time.Time) []string {
	names := []string{}
	for _, srv := range servers {
		if heard := p.get(srv.ID).heard; now.Sub(heard) > usageStale {
			names = append(names, srv.Name)
		}
	}
	return names
}

// keepOnly forgets the servers that are gone.
func (p *usagePeers) keepOnly(servers []router.Server) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.peers, func(id string, _ usagePeer) bool {
		return !slices.ContainsFunc(servers, func(s router.Server) bool { return s.ID == id })
	})
}

// otherServers returns the other servers of the region that gossip knows.
func (s *Server) otherServers() []router.Server {
	return slices.DeleteFunc(s.router.InRegion(s.config.Region), func(srv router.Server) bool { return srv.ID == s.nodeID })
}

// runTokenUsage keeps what this server knows of the use of tokens together with what
// the others know, so that it outlives each of them and is the same at every leader.
func (s *Server) runTokenUsage(ctx context.Context) {
	if !s.auth.Enabled() {
		return
	}
	for round := 1; ; round++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(usageInterval):
		}
		servers := s.otherServers()
		s.usageOf.keepOnly(servers)
		for _, srv := range servers {
			if err := s.pullUsage(ctx, srv); err != nil {
				s.logger.Debug("could not ask which tokens were used", "server", srv.Name, "error", err)
			}
		}
		if round%usageTidy == 0 {
			sn := s.state.Snapshot()
			s.usage.Forget(func(accessor string) bool { return sn.ACLToken(nil, accessor) != nil })
		}
	}
}

// pullUsage merges what has changed at another server since the last time. One that
// has learnt of older uses meanwhile, or has begun anew, is asked for everything.
func (s *Server) pullUsage(ctx context.Context, srv router.Server) error {
	known := s.usageOf.get(srv.ID)
	reply, err := s.askUsage(ctx, srv, known.next)
	if err == nil && known.next > 0 && !reply.Since.Equal(known.since) {
		reply, err = s.askUsage(ctx, srv, 0)
	}
	if err != nil {
		return err
	}
	s.usage.Merge(reply.LastUsed, reply.Since)
	now := time.Now()
	s.usageOf.set(srv.ID, usagePeer{heard: now, since: reply.Since, next: auth.Minute(now) - usageOverlap})
	return nil
}

func (s *Server) askUsage(ctx context.Context, srv router.Server, after int64) (*structs.ACLTokenUsageResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, usageTimeout)
	defer cancel()
	req := &structs.ACLTokenUsageRequest{AfterMinute: after, QueryOptions: structs.QueryOptions{AllowStale: true, Region: s.config.Region}}
	reply := &structs.ACLTokenUsageResponse{}
	err := s.pool.Call(ctx, srv.Addr, "ACL.TokenUsage", req, reply, wire.CallOptions{})
	return reply, err
}
