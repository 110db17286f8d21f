package raftnet

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
)

var errDeposed = errs.New(errs.NoLeader, "this server no longer leads: try again")

// round is a question to a majority that several callers of Confirm share.
// Callers may join until the first heartbeat for it is about to be sent.
type round struct {
	ticket uint64
	term   uint64
	voters []raft.Server
	need   int  // answers of others that make a majority
	shared bool // by several callers
	done   chan struct{}
	err    error // set before done is closed
	timer  *time.Timer
}

const (
	// hedgeDelay is how long the voters asked first may take before the others
	// are asked too.
	hedgeDelay = 10 * time.Millisecond
	// confirmPace is the shortest time between two heartbeats to a voter while
	// callers come faster than it answers: the next round then serves more of them.
	confirmPace = 60 * time.Microsecond
)

func (r *round) asks(id raft.ServerID) bool {
	return slices.ContainsFunc(r.voters, func(s raft.Server) bool { return s.ID == id })
}

// confirmer runs the rounds. Every other voter has a goroutine and a connection
// with at most one heartbeat on its way, so a dead voter holds up nobody; an
// answer counts for the rounds that were closed to callers when its heartbeat
// was sent.
type confirmer struct {
	t      *Transport
	mu     sync.Mutex
	term   uint64 // highest asked about or heard of
	ticket uint64 // of the newest round
	open   *round // that callers may join, nil for none
	sealed []*round
	voters []raft.Server // of the newest round
	peers  map[raft.ServerID]*confirmPeer
	order  []*confirmPeer // scratch of rouseLocked
	closed bool
	wg     sync.WaitGroup
}

func (c *confirmer) init(t *Transport) {
	c.t, c.peers = t, map[raft.ServerID]*confirmPeer{}
}

// Confirm returns nil once a majority of voters has acknowledged that this server
// leads the term, each with the answer to a heartbeat sent after the call began.
// The local server counts as one if it is among voters: unless Config.Term is set
// the caller must check after Confirm that the local raft is still in term.
//
// Errors: errs.NoLeader when the term is over or no majority answers within the
// timeout, errs.Deadline when ctx ends, errs.Unavailable after Close. voters must
// not change during the call.
func (t *Transport) Confirm(ctx context.Context, term uint64, voters []raft.Server) error {
	t.stats.confirms.Add(1)
	if err := ctx.Err(); err != nil {
		return errs.Wrap(errs.Deadline, "leadership was not confirmed in time", err)
	}
	r, err := t.confirm.join(term, voters)
	if err != nil {
		return err
	}
	if r != nil {
		select {
		case <-r.done:
			err = r.err
		case <-ctx.Done():
			return errs.Wrap(errs.Deadline, "leadership was not confirmed in time", ctx.Err())
		}
	}
	if err == nil && t.cfg.Term != nil && t.cfg.Term() != term {
		return errDeposed
	}
	return err
}

// Depose fails the calls of Confirm for term and all before it, now and later:
// the local raft leads in them no more.
func (t *Transport) Depose(term uint64) {
	c := &t.confirm
	c.mu.Lock()
	defer c.mu.Unlock()
	if term >= c.term {
		c.deposeLocked(term + 1)
	}
}

// join returns the round that the caller takes part in, nil if it needs no answer.
func (c *confirmer) join(term uint64, voters []raft.Server) (*round, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errClosed
	}
	if term < c.term {
		return nil, errDeposed
	}
	if term > c.term {
		c.deposeLocked(term)
	}
	if c.open != nil && slices.Equal(c.open.voters, voters) {
		c.open.shared = true
		return c.open, nil
	}
	need, err := c.needed(voters)
	if err != nil || need == 0 {
		return nil, err
	}
	c.sealLocked()
	c.openLocked(term, voters, need)
	return c.open, nil
}

// needed returns how many others must answer.
func (c *confirmer) needed(voters []raft.Server) (int, error) {
	if len(voters) == 0 {
		return 0, errs.New(errs.NoLeader, "the cluster has no voters")
	}
	need := len(voters)/2 + 1
	if slices.ContainsFunc(voters, func(s raft.Server) bool { return s.ID == c.t.cfg.LocalID }) {
		need--
	}
	return need, nil
}

// openLocked starts a round and wakes those it asks. The caller holds mu.
func (c *confirmer) openLocked(term uint64, voters []raft.Server, need int) {
	c.ticket++
	r := &round{ticket: c.ticket, term: term, voters: slices.Clone(voters), need: need, done: make(chan struct{})}
	r.timer = time.AfterFunc(hedgeDelay, func() { c.hedge(r) })
	c.open = r
	c.t.stats.confirmRounds.Add(1)
	if !slices.Equal(c.voters, r.voters) {
		c.voters = r.voters
		c.setPeersLocked()
	}
	c.rouseLocked(r)
}

// rouseLocked wakes as many voters as the round needs, those first that answered
// last: the others would only repeat the answer. The caller holds mu.
func (c *confirmer) rouseLocked(r *round) {
	c.order = c.order[:0]
	for _, p := range c.peers {
		c.order = append(c.order, p)
	}
	slices.SortFunc(c.order, func(a, b *confirmPeer) int {
		return cmp.Or(cmp.Compare(b.acked, a.acked), cmp.Compare(a.id, b.id))
	})
	for _, p := range c.order[:min(r.need, len(c.order))] {
		p.rouse()
	}
}

// hedge asks everybody when those asked first are slow, and gives the round until
// the timeout.
func (c *confirmer) hedge(r *round) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open != r && !slices.Contains(c.sealed, r) {
		return
	}
	r.timer = time.AfterFunc(c.t.cfg.Timeout-hedgeDelay, func() { c.expire(r) })
	c.rouseAllLocked()
}

// rouseAll wakes every voter, as one that was asked did not answer.
func (c *confirmer) rouseAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rouseAllLocked()
}

func (c *confirmer) rouseAllLocked() {
	for _, p := range c.peers {
		p.rouse()
	}
}

// sealLocked closes the open round to callers. The caller holds mu.
func (c *confirmer) sealLocked() {
	if c.open != nil {
		c.sealed = append(c.sealed, c.open)
		c.open = nil
	}
}

// setPeersLocked makes the goroutines match the newest voters. One that is not
// among them goes when no older round asks it; one that is new answers none but the
// newest round, lest a voter that went and came back counts twice. The caller holds mu.
func (c *confirmer) setPeersLocked() {
	for _, p := range c.peers {
		p.addr = ""
	}
	for _, s := range c.voters {
		if s.ID == c.t.cfg.LocalID {
			continue
		}
		p := c.peers[s.ID]
		if p == nil {
			p = &confirmPeer{c: c, id: s.ID, wake: make(chan struct{}, 1), acked: c.ticket - 1}
			c.peers[s.ID] = p
			c.wg.Add(1)
			go p.run()
		}
		p.addr = s.Address
	}
}

// deposeLocked fails all rounds of terms before term. The caller holds mu.
func (c *confirmer) deposeLocked(term uint64) {
	c.term = term
	c.sealLocked()
	c.finishLocked(errDeposed, func(*round) bool { return true })
}

// finishLocked ends the sealed rounds that over selects. The caller holds mu.
func (c *confirmer) finishLocked(err error, over func(*round) bool) {
	c.sealed = slices.DeleteFunc(c.sealed, func(r *round) bool {
		if !over(r) {
			return false
		}
		r.timer.Stop()
		r.err = err
		close(r.done)
		return true
	})
}

// expire fails a round that got no majority in time.
func (c *confirmer) expire(r *round) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == r {
		c.sealLocked()
	}
	err := errs.Newf(errs.NoLeader, "no majority of the servers answered within %s: try again", c.t.cfg.Timeout)
	c.finishLocked(err, func(s *round) bool { return s == r })
}

// question is what a voter is to be asked: ticket 0 for nothing.
type question struct {
	ticket, term uint64
	addr         raft.ServerAddress
	shared       bool // several callers wait for the answer
}

// take closes the open round and returns what p has to ask. retired is true when
// p is not needed any more.
func (c *confirmer) take(p *confirmPeer) (q question, retired bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sealLocked()
	for i := len(c.sealed) - 1; i >= 0; i-- {
		r := c.sealed[i]
		if r.ticket <= p.acked {
			break
		}
		if j := slices.IndexFunc(r.voters, func(s raft.Server) bool { return s.ID == p.id }); j >= 0 {
			return question{r.ticket, r.term, r.voters[j].Address, r.shared}, false
		}
	}
	if p.addr == "" || c.closed {
		if c.peers[p.id] == p {
			delete(c.peers, p.id)
		}
		return question{}, true
	}
	return question{}, false
}

// settle counts p's answer to the heartbeat sent for ticket in term. It returns
// false when the answer means nothing.
func (c *confirmer) settle(p *confirmPeer, ticket, term uint64, resp *raft.AppendEntriesResponse) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if resp.Term > term {
		if resp.Term > c.term {
			c.deposeLocked(resp.Term)
		}
		return true
	}
	if !resp.Success || resp.Term != term {
		return false
	}
	before := p.acked
	p.acked = ticket
	c.finishLocked(nil, func(r *round) bool {
		if r.term == term && r.ticket > before && r.ticket <= ticket && r.asks(p.id) {
			r.need--
		}
		return r.need == 0
	})
	return true
}

// close fails all rounds and waits for the goroutines. Connections are closed by
// the pool before.
func (c *confirmer) close() {
	c.mu.Lock()
	c.closed = true
	c.sealLocked()
	c.finishLocked(errClosed, func(*round) bool { return true })
	c.mu.Unlock()
	c.wg.Wait()
}
