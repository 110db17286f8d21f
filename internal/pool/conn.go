package pool

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/wire"
)

// conn is a warm connection.
type conn struct {
	addr   string
	client *wire.Client

	// These belong to Pool.mu.
	calls    int       // between acquire and release
	used     bool      // by any call so far
	retired  bool      // the peer asked to make no more calls on it
	lastUsed time.Time // of the last release, or of the dial
}

// dialing is a dial that callers wait for together. conn and err are set before
// done is closed and not changed afterwards.
type dialing struct {
	done chan struct{}
	conn *conn
	err  error
}

// begin counts a call; it needs Pool.mu.
func (c *conn) begin() {
	c.calls++
	c.used = true
}

var errClosed = errors.New("connection pool is closed")

// acquire returns the least loaded connection to addr with a call added to it,
// and whether it was dialed for this call.
func (p *Pool) acquire(ctx context.Context, addr string) (c *conn, fresh bool, err error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, false, errs.Lost(errs.ExecutedNo, "this agent is shutting down: ask another one", errClosed)
	}
	pe := p.peers[addr]
	if pe == nil {
		pe = &peer{}
		p.peers[addr] = pe
	}
	c = pe.leastLoaded()
	if c == nil || p.wantsMoreLocked(pe, c) {
		p.dialLocked(addr, pe)
	}
	if c != nil {
		c.begin()
		p.mu.Unlock()
		return c, false, nil
	}
	d := pe.dialing
	p.mu.Unlock()
	c, err = p.await(ctx, addr, d)
	return c, true, err
}

// leastLoaded returns nil when there is no connection.
func (pe *peer) leastLoaded() *conn {
	var best *conn
	for _, c := range pe.conns {
		if best == nil || c.calls < best.calls {
			best = c
		}
	}
	return best
}

// wantsMoreLocked reports whether even the least loaded connection has enough to do.
func (p *Pool) wantsMoreLocked(pe *peer, least *conn) bool {
	full := max(1, p.cfg.Limits.MaxInFlight/2)
	switch n := len(pe.conns); {
	case n < p.cfg.ConnsPerAddr:
		return least.calls >= min(loadedCalls, full)
	case n < p.cfg.MaxConnsPerAddr:
		return least.calls >= full
	}
	return false
}

// dialLocked starts a dial unless one is under way.
func (p *Pool) dialLocked(addr string, pe *peer) {
	if pe.dialing != nil {
		return
	}
	d := &dialing{done: make(chan struct{})}
	pe.dialing = d
	p.dials++
	p.wg.Add(1)
	go func() {
		defer p.wg.Done()
		ctx, cancel := context.WithTimeout(p.ctx, p.cfg.DialTimeout)
		defer cancel()
		nc, err := p.dialProtocol(ctx, addr, mux.ProtoRPC)
		p.dialed(addr, d, nc, err)
	}()
}

// dialed ends d and, on success, adds the connection to the pool.
func (p *Pool) dialed(addr string, d *dialing, nc net.Conn, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	defer close(d.done)
	pe := p.peers[addr]
	pe.dialing = nil
	switch {
	case err != nil:
		p.dialsFailed++
		p.cfg.Logger.Debug("dial failed", "addr", addr, "error", errors.Unwrap(err))
		d.err = err
	case p.closed:
		nc.Close()
		d.err = errs.Lost(errs.ExecutedNo, "this agent is shutting down: ask another one", errClosed)
	default:
		d.conn = &conn{addr: addr, client: wire.NewClient(nc, p.cfg.Limits), lastUsed: time.Now()}
		pe.conns = append(pe.conns, d.conn)
		p.wg.Add(1)
		go p.watch(d.conn)
		time.AfterFunc(unusedTimeout, func() { p.dropUnused(d.conn) })
	}
	p.tidyLocked(addr)
}

// await waits for a dial as long as ctx allows; the dial goes on without it.
func (p *Pool) await(ctx context.Context, addr string, d *dialing) (*conn, error) {
	select {
	case <-d.done:
	case <-ctx.Done():
		return nil, late(ctx, addr)
	}
	if d.err != nil {
		return nil, d.err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	d.conn.begin()
	return d.conn, nil
}

// late is the error of a call whose ctx ended before there was a connection.
func late(ctx context.Context, addr string) error {
	err := errs.Wrap(errs.Deadline, "the time was up before "+addr+" could be reached", ctx.Err())
	err.Executed = errs.ExecutedNo
	return err
}

// dialProtocol connects to addr and asks for the protocol.
func (p *Pool) dialProtocol(ctx context.Context, addr string, proto mux.Protocol) (net.Conn, error) {
	nc, err := p.cfg.Dial(ctx, addr)
	if err == nil {
		var secure *tls.Config
		if p.cfg.Secure != nil {
			secure = p.cfg.Secure(addr)
		}
		nc, err = mux.Select(ctx, nc, proto, secure)
	}
	if err != nil {
		return nil, errs.Lost(errs.ExecutedNo, "cannot connect to "+addr+": "+err.Error(), err)
	}
	return nc, nil
}

// release takes a call off c.
func (p *Pool) release(c *conn) {
	p.mu.Lock()
	c.calls--
	c.lastUsed = time.Now()
	over := c.retired && c.calls == 0
	p.mu.Unlock()
	if over {
		c.client.Close()
	}
}

// watch removes c as soon as it is dead, or its peer wants no more calls on it.
func (p *Pool) watch(c *conn) {
	defer p.wg.Done()
	select {
	case <-c.client.Done():
	case <-c.client.Draining():
		p.retire(c)
		<-c.client.Done()
	}
	p.remove(c)
	c.client.Close() // waits for its goroutines
}

// retire keeps new calls off c, which ends with the last of those under way.
func (p *Pool) retire(c *conn) {
	p.mu.Lock()
	over := p.retireLocked(c)
	p.mu.Unlock()
	if over {
		c.client.Close()
	}
}

// retireLocked is retire, and reports whether c is over already.
func (p *Pool) retireLocked(c *conn) (over bool) {
	p.removeLocked(c)
	c.retired = true
	p.retired[c] = true
	return c.calls == 0 || p.closed
}

// remove takes c out of the pool; the rest of it is up to watch.
func (p *Pool) remove(c *conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.removeLocked(c)
}

func (p *Pool) removeLocked(c *conn) {
	delete(p.retired, c)
	pe := p.peers[c.addr]
	if pe == nil {
		return
	}
	if i := slices.Index(pe.conns, c); i >= 0 {
		pe.conns = slices.Delete(pe.conns, i, i+1)
	}
	p.tidyLocked(c.addr)
}

// dropUnused closes a connection that was dialed ahead and that no call wanted.
func (p *Pool) dropUnused(c *conn) {
	p.mu.Lock()
	unused := !c.used
	if unused {
		p.removeLocked(c)
	}
	p.mu.Unlock()
	if unused {
		c.client.Close()
	}
}

// tidyLocked forgets an address without connections, and tells who keeps it warm.
func (p *Pool) tidyLocked(addr string) {
	pe := p.peers[addr]
	if pe == nil || len(pe.conns) > 0 || pe.dialing != nil {
		return
	}
	delete(p.peers, addr)
	if k := p.kept[addr]; k != nil {
		select {
		case k.lost <- struct{}{}:
		default:
		}
	}
}

// reap closes idle connections until Close.
func (p *Pool) reap() {
	defer p.wg.Done()
	ticker := time.NewTicker(max(p.cfg.IdleTimeout/2, time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			closeAll(p.takeIdle(time.Now().Add(-p.cfg.IdleTimeout)))
		case <-p.ctx.Done():
			return
		}
	}
}

// takeIdle removes and returns the connections not used since.
func (p *Pool) takeIdle(since time.Time) []*conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	var idle []*conn
	for addr, pe := range p.peers {
		pe.conns = slices.DeleteFunc(pe.conns, func(c *conn) bool {
			if c.calls > 0 || c.lastUsed.After(since) {
				return false
			}
			idle = append(idle, c)
			return true
		})
		p.tidyLocked(addr)
	}
	return idle
}
