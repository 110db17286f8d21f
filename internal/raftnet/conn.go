package raftnet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
)

// replyLimit caps an answer; none of them grows with the log.
const replyLimit = 1 << 16

// keepBuffer is the largest send buffer that stays with a connection.
const keepBuffer = 1 << 20

// class separates connections that must not wait for each other.
type class uint8

const (
	classRPC class = iota
	classHeartbeat
)

type poolKey struct {
	class class
	addr  raft.ServerAddress
}

// connPool holds the outgoing connections: the idle ones by class and address,
// and all of them so that Close can end what blocks.
type connPool struct {
	t      *Transport
	mu     sync.Mutex
	idle   map[poolKey][]*outConn
	all    map[*outConn]struct{}
	closed bool
}

func (p *connPool) init(t *Transport) {
	p.t, p.idle, p.all = t, map[poolKey][]*outConn{}, map[*outConn]struct{}{}
}

// outConn is an outgoing connection, used by one goroutine at a time (a pipeline:
// by one for each direction).
type outConn struct {
	net.Conn
	pool   *connPool
	r      *bufio.Reader
	out    []byte // request being built
	in     []byte // space for answers
	reused bool   // came from the pool, so the peer may have ended it
}

// dial opens a connection that belongs to no class yet.
func (p *connPool) dial(ctx context.Context, by Dialer, addr raft.ServerAddress) (*outConn, error) {
	if by == nil {
		return nil, errs.New(errs.Internal, "raft transport has no dialer")
	}
	ctx, cancel := context.WithTimeout(ctx, p.t.cfg.Timeout)
	defer cancel()
	stop := context.AfterFunc(p.t.ctx, cancel)
	defer stop()
	p.t.stats.dials.Add(1)
	raw, err := by(ctx, string(addr))
	if err != nil {
		p.t.stats.dialFailures.Add(1)
		return nil, fmt.Errorf("dial %s: %w", addr, err)
	}
	c := &outConn{Conn: raw, pool: p, r: bufio.NewReaderSize(raw, 4<<10), in: make([]byte, 512)}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		raw.Close()
		return nil, errClosed
	}
	p.all[c] = struct{}{}
	return c, nil
}

// get returns an idle connection of the class or a new one.
func (p *connPool) get(key poolKey) (*outConn, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errClosed
	}
	if idle := p.idle[key]; len(idle) > 0 {
		c := idle[len(idle)-1]
		idle[len(idle)-1] = nil
		p.idle[key] = idle[:len(idle)-1]
		p.mu.Unlock()
		c.reused = true
		return c, nil
	}
	p.mu.Unlock()
	return p.dial(context.Background(), p.t.cfg.Dial, key.addr)
}

// put makes c available again, or closes it when there are enough.
func (p *connPool) put(key poolKey, c *outConn) {
	p.mu.Lock()
	if !p.closed && len(p.idle[key]) < p.t.cfg.IdleConns {
		p.idle[key] = append(p.idle[key], c)
		p.mu.Unlock()
		return
	}
	p.mu.Unlock()
	c.Close()
}

// drop closes what is idle for the address: when one connection turns out dead
// the others are.
func (p *connPool) drop(key poolKey) {
	p.mu.Lock()
	idle := p.idle[key]
	delete(p.idle, key)
	p.mu.Unlock()
	for _, c := range idle {
		c.Close()
	}
}

func (p *connPool) close() {
	p.mu.Lock()
	p.closed = true
	all := p.all
	p.all, p.idle = map[*outConn]struct{}{}, map[poolKey][]*outConn{}
	p.mu.Unlock()
	for c := range all {
		c.Conn.Close()
	}
}

// Close ends the connection and forgets it.
func (c *outConn) Close() error {
	c.pool.mu.Lock()
	delete(c.pool.all, c)
	c.pool.mu.Unlock()
	return c.Conn.Close()
}

// send writes one request.
func (c *outConn) send(cmd any) error {
	var err error
	if c.out, err = putRequest(c.out[:0], cmd); err != nil {
		return err
	}
	err = c.write(c.out)
	if cap(c.out) > keepBuffer {
		c.out = nil
	}
	return err
}

func (c *outConn) write(frame []byte) error { return c.writeWithin(frame, c.pool.t.cfg.Timeout) }

func (c *outConn) writeWithin(frame []byte, within time.Duration) error {
	if err := c.SetWriteDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	n, err := c.Write(frame)
	c.pool.t.stats.bytesSent.Add(uint64(n))
	return err
}

// receive reads the answer to k within the time given. The first result is the
// peer's own error, after which the connection is still good.
func (c *outConn) receive(k kind, within time.Duration, resp any) (remote, err error) {
	if err := c.SetReadDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	got, n, err := peekHeader(c.r, replyLimit)
	if err != nil {
		return nil, noEOF(err)
	}
	if got != k|kindReply {
		return nil, fmt.Errorf("%w: kind %d as the answer to %d", errMalformed, got, k)
	}
	body, err := readBody(c.r, n, c.in)
	if err != nil {
		return nil, err
	}
	return decodeReply(body, resp)
}

func kindOf(cmd any) kind {
	switch cmd.(type) {
	case *raft.AppendEntriesRequest:
		return kindAppend
	case *raft.RequestVoteRequest:
		return kindVote
	case *raft.RequestPreVoteRequest:
		return kindPreVote
	case *raft.InstallSnapshotRequest:
		return kindSnapshot
	default:
		return kindTimeoutNow
	}
}

// call sends one request and waits for its answer. Every request of raft may be
// repeated, so one that meets a pooled connection which the peer had ended, as
// after a restart, is sent again on a new one.
func (t *Transport) call(cl class, id raft.ServerID, addr raft.ServerAddress, cmd, resp any) error {
	key := poolKey{cl, addr}
	for {
		c, err := t.conns.get(key)
		if err != nil {
			return err
		}
		err = c.send(cmd)
		var remote error
		if err == nil {
			remote, err = c.receive(kindOf(cmd), t.cfg.Timeout, resp)
		}
		if err == nil {
			t.conns.put(key, c)
			t.seen(id)
			return remote
		}
		c.Close()
		if !c.reused || errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("call to %s: %w", addr, err)
		}
		t.conns.drop(key)
	}
}
