package raftnet

import (
	"time"

	"github.com/hashicorp/raft"
)

// confirmBackoff is the first pause after a voter failed to answer, doubled up to
// confirmBackoffMax.
const (
	confirmBackoff    = 5 * time.Millisecond
	confirmBackoffMax = 500 * time.Millisecond
)

// confirmPeer asks one voter. All but acked, addr and wake belongs to run.
type confirmPeer struct {
	c     *confirmer
	id    raft.ServerID
	wake  chan struct{}
	addr  raft.ServerAddress // "" when the newest voters are without it; under confirmer.mu
	acked uint64             // newest ticket answered; under confirmer.mu

	conn     *outConn
	connAddr raft.ServerAddress
	req      raft.AppendEntriesRequest
}

// rouse makes run look for work. It does not block.
func (p *confirmPeer) rouse() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *confirmPeer) run() {
	defer p.c.wg.Done()
	defer p.hangUp()
	t := p.c.t
	p.req.RPCHeader = t.header()
	p.req.Leader = t.EncodePeer(t.cfg.LocalID, t.cfg.LocalAddr)
	var pause time.Duration
	for {
		q, retired := p.c.take(p)
		if retired {
			return
		}
		if q.ticket == 0 {
			select {
			case <-p.wake:
				continue
			case <-t.ctx.Done():
				return
			}
		}
		start := time.Now()
		if p.ask(q) {
			pause = 0
			if q.shared {
				time.Sleep(confirmPace - time.Since(start))
			}
			continue
		}
		p.c.rouseAll()
		pause = min(max(2*pause, confirmBackoff), confirmBackoffMax)
		select {
		case <-time.After(pause):
		case <-t.ctx.Done():
			return
		}
	}
}

// ask sends a heartbeat and hands in the answer; false means none that counts.
func (p *confirmPeer) ask(q question) bool {
	for !p.c.t.silent.Load() {
		if p.conn == nil || p.connAddr != q.addr {
			p.hangUp()
			conn, err := p.c.t.conns.dial(p.c.t.ctx, p.c.t.cfg.Dial, q.addr)
			if err != nil {
				return false
			}
			p.conn, p.connAddr = conn, q.addr
		}
		var resp raft.AppendEntriesResponse
		err := p.exchange(q.term, &resp)
		if err == nil {
			p.conn.reused = true
			return p.c.settle(p, q.ticket, q.term, &resp)
		}
		retry := p.conn.reused && p.c.t.ctx.Err() == nil
		p.hangUp()
		if !retry {
			return false
		}
	}
	return false
}

func (p *confirmPeer) exchange(term uint64, resp *raft.AppendEntriesResponse) error {
	p.c.t.stats.confirmHB.Add(1)
	p.req.Term = term
	if err := p.conn.send(&p.req); err != nil {
		return err
	}
	remote, err := p.conn.receive(kindAppend, p.c.t.cfg.Timeout, resp)
	if err != nil {
		return err
	}
	p.c.t.seen(p.id)
	return remote
}

func (p *confirmPeer) hangUp() {
	if p.conn != nil {
		p.conn.Close()
		p.conn = nil
	}
}
