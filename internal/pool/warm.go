package pool

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/wire"
)

const (
	// firstRedial is about how long after the loss of its last connection an
	// address that is kept warm is dialed again: others lost theirs at the same time.
	firstRedial = 500 * time.Millisecond
	// maxRedial is about the longest pause between two tries.
	maxRedial = 30 * time.Second
)

// keeper keeps one address warm.
type keeper struct {
	addr   string
	cancel context.CancelFunc
	// lost is told when the last connection has ended; capacity 1.
	lost chan struct{}
}

// Keep has the pool hold a connection to each of addrs, dialed ahead of use, and no
// longer to those of the last Keep that are not among them, which end when they are
// idle. It needs Config.Ping, and returns at once.
func (p *Pool) Keep(addrs []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for addr, k := range p.kept {
		if !slices.Contains(addrs, addr) {
			k.cancel()
			delete(p.kept, addr)
		}
	}
	for _, addr := range addrs {
		if p.closed || p.kept[addr] != nil {
			continue
		}
		k := &keeper{addr: addr, lost: make(chan struct{}, 1)}
		var ctx context.Context
		ctx, k.cancel = context.WithCancel(p.ctx)
		p.kept[addr] = k
		p.wg.Add(1)
		go func() {
			defer p.wg.Done()
			p.keep(ctx, k)
		}()
	}
}

// keep pings the address so often that neither side takes the connection for
// unused, and soon after it was lost, until ctx ends.
func (p *Pool) keep(ctx context.Context, k *keeper) {
	redial := firstRedial
	pause := jitter(firstRedial)
	for sleep(ctx, pause, nil) {
		select {
		case <-k.lost: // this ping makes up for it
		default:
		}
		if err := p.ping(ctx, k.addr); err != nil {
			pause = jitter(redial)
			redial = min(2*redial, maxRedial)
			continue
		}
		redial = firstRedial
		if pause = 0; !sleep(ctx, jitter(p.cfg.IdleTimeout/3), k.lost) {
			pause = jitter(firstRedial)
		}
	}
}

// ping calls the server once and reports how that went.
func (p *Pool) ping(ctx context.Context, addr string) error {
	limited, cancel := context.WithTimeout(ctx, p.cfg.DialTimeout)
	defer cancel()
	err := p.Call(limited, addr, p.cfg.Ping, emptyMap, nil, wire.CallOptions{})
	switch {
	case ctx.Err() != nil:
		return nil
	case errors.Is(err, errs.Deadline) && limited.Err() != nil:
		p.Retire(addr) // half open, or its process stands still
	case !Lost(err):
		err = nil // whatever it says, it is there
	}
	if p.cfg.Pinged != nil {
		p.cfg.Pinged(addr, err)
	}
	return err
}

// emptyMap is the argument of a ping: a request without fields.
var emptyMap = wire.Raw{0x80}

// jitter returns d give or take half.
func jitter(d time.Duration) time.Duration { return d/2 + rand.N(d) }

// sleep reports whether d has passed before ctx ended or wake came; nil never comes.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-wake:
	case <-ctx.Done():
	}
	return false
}

// Stats is what a Pool holds, and what it has done since New.
type Stats struct {
	// Conns are open, Calls under way on them. Cold are addresses to be kept warm
	// that have no connection.
	Conns, Calls, Cold int
	// Dials were begun, Failed of them in vain.
	Dials, Failed uint64
}

// Stats returns the counters.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Stats{Conns: len(p.retired), Dials: p.dials, Failed: p.dialsFailed}
	for c := range p.retired {
		s.Calls += c.calls
	}
	for _, pe := range p.peers {
		s.Conns += len(pe.conns)
		s.Calls += pe.outstanding()
	}
	for addr := range p.kept {
		if pe := p.peers[addr]; pe == nil || len(pe.conns) == 0 {
			s.Cold++
		}
	}
	return s
}

// Peer is an address that the Pool has connections to.
type Peer struct {
	Addr string
	// Conns are open, Calls under way on them.
	Conns, Calls int
}

// Peers returns the addresses that there are connections to, in their order.
func (p *Pool) Peers() []Peer {
	p.mu.Lock()
	defer p.mu.Unlock()
	byAddr := map[string]Peer{}
	count := func(c *conn) {
		have := byAddr[c.addr]
		byAddr[c.addr] = Peer{c.addr, have.Conns + 1, have.Calls + c.calls}
	}
	for c := range p.retired {
		count(c)
	}
	for _, pe := range p.peers {
		for _, c := range pe.conns {
			count(c)
		}
	}
	return slices.SortedFunc(maps.Values(byAddr), func(a, b Peer) int { return cmp.Compare(a.Addr, b.Addr) })
}

// Outstanding returns how many calls are under way at addr.
func (p *Pool) Outstanding(addr string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pe := p.peers[addr]; pe != nil {
		return pe.outstanding()
	}
	return 0
}

// outstanding needs the mu of the Pool.
func (pe *peer) outstanding() int {
	n := 0
	for _, c := range pe.conns {
		n += c.calls
	}
	return n
}
