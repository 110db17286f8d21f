package raftnet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// scratchSize holds a heartbeat or a vote; what raft may keep is never in it.
	scratchSize = 512
	// silentBuffer is the read buffer of a peer that has said nothing yet, readBuffer
	// that of others.
	silentBuffer, readBuffer = 16, 16 << 10
)

// serveConn is the inbound side of one connection. The goroutine of HandleConn
// reads; a second one, started with the first request for raft's main loop,
// writes the answers in order.
type serveConn struct {
	t       *Transport
	ctx     context.Context
	fail    context.CancelCauseFunc
	conn    net.Conn
	r       *bufio.Reader
	scratch []byte
	idle    time.Duration // 0 waits for ever
	quick   chan raft.RPCResponse
	out     []byte // belongs to whoever may write
	queue   chan queued
	writer  sync.WaitGroup
	// unwritten counts what was queued and is not written. Only the reader adds;
	// while it is 0 the reader may write itself.
	unwritten atomic.Int32
}

// queued is a request that raft's main loop has not answered.
type queued struct {
	kind  kind
	term  uint64 // of an append, 0 otherwise
	reply chan raft.RPCResponse
}

// HandleConn serves an inbound connection whose protocol byte has been read. It
// blocks until the connection ends, by either side, by ctx or by Close, and
// closes conn.
func (t *Transport) HandleConn(ctx context.Context, conn net.Conn) {
	ctx, fail := context.WithCancelCause(ctx)
	stopConn := context.AfterFunc(ctx, func() { conn.Close() })
	defer stopConn()
	stopTransport := context.AfterFunc(t.ctx, func() { fail(errClosed) })
	defer stopTransport()
	s := &serveConn{
		t: t, ctx: ctx, fail: fail, conn: conn,
		r:     bufio.NewReaderSize(conn, silentBuffer),
		idle:  t.cfg.IdleTimeout,
		quick: make(chan raft.RPCResponse, 1),
	}
	fail(s.serve())
	conn.Close()
	s.writer.Wait()
	t.logEnd(conn, context.Cause(ctx))
}

// logEnd says why a connection ended if the peer is to blame.
func (t *Transport) logEnd(conn net.Conn, err error) {
	if errors.Is(err, errMalformed) {
		t.stats.rejected.Add(1)
		t.logger.Warn("closed a raft connection", "remote", conn.RemoteAddr(), "error", err)
		return
	}
	t.logger.Trace("raft connection ended", "remote", conn.RemoteAddr(), "reason", err)
}

// serve reads requests until something ends the connection; the error says what.
func (s *serveConn) serve() error {
	defer func() {
		if s.queue != nil {
			close(s.queue)
		}
	}()
	for {
		k, body, err := s.next()
		if err != nil {
			return err
		}
		if k == kindWatch {
			s.idle = 0
			continue
		}
		cmd, err := decodeRequest(k, body)
		if err != nil {
			return err
		}
		ae, _ := cmd.(*raft.AppendEntriesRequest)
		if fn := s.t.fastPath(ae); fn != nil && s.unwritten.Load() == 0 {
			err = s.answerNow(fn, cmd)
		} else {
			s.keep(body)
			err = s.submit(k, cmd, ae)
		}
		if err != nil {
			return err
		}
	}
}

// next reads one frame: as long as it takes for the first byte, then within the
// timeout.
func (s *serveConn) next() (kind, []byte, error) {
	var idleUntil time.Time
	if s.idle > 0 {
		idleUntil = time.Now().Add(s.idle)
	}
	if err := s.conn.SetReadDeadline(idleUntil); err != nil {
		return 0, nil, err
	}
	if _, err := s.r.Peek(1); err != nil {
		return 0, nil, err
	}
	if s.scratch == nil { // the peer speaks for the first time
		s.r, s.scratch = bufio.NewReaderSize(s.r, readBuffer), make([]byte, 0, scratchSize)
	}
	if err := s.hurry(headerLen); err != nil {
		return 0, nil, err
	}
	k, n, err := peekHeader(s.r, s.t.cfg.MaxMessage)
	if err != nil {
		return 0, nil, err
	}
	if err := s.hurry(headerLen + n); err != nil {
		return 0, nil, err
	}
	body, err := readBody(s.r, n, s.scratch)
	s.t.stats.bytesReceived.Add(uint64(headerLen + n))
	return k, body, err
}

// hurry bounds the wait for n bytes unless they are here already.
func (s *serveConn) hurry(n int) error {
	if s.r.Buffered() >= n {
		return nil
	}
	return s.conn.SetReadDeadline(time.Now().Add(s.t.cfg.Timeout))
}

// keep gives body away when it is the scratch space: raft holds on to entries
// and observers to votes. Entries alias the frame they came in; the log cache
// then pins at most the frames that its last entries came in.
func (s *serveConn) keep(body []byte) {
	if cap(body) > 0 && cap(s.scratch) > 0 && &body[:1][0] == &s.scratch[:1][0] {
		s.scratch = make([]byte, 0, scratchSize)
	}
}

// fastPath returns the heartbeat handler if it may take the request. It may when
// the main loop has answered an append of that term before: from then on this
// server is a follower of that term or in a later one, so the handler, which runs
// beside the main loop, changes neither term nor state. Without that a heartbeat
// that races with a vote could take the term back, and a read confirmed by it
// could be stale.
func (t *Transport) fastPath(ae *raft.AppendEntriesRequest) func(raft.RPC) {
	if ae == nil || !isHeartbeat(ae) || ae.Term > t.settled.Load() {
		return nil
	}
	if fn := t.heartbeat.Load(); fn != nil {
		return *fn
	}
	return nil
}

// answerNow runs the handler and writes its answer from this goroutine.
func (s *serveConn) answerNow(fn func(raft.RPC), cmd any) error {
	fn(raft.RPC{Command: cmd, RespChan: s.quick})
	select {
	case resp := <-s.quick:
		return s.write(kindAppend, resp)
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

// submit hands the request to raft's main loop and queues the place of its answer.
func (s *serveConn) submit(k kind, cmd any, ae *raft.AppendEntriesRequest) error {
	rpc := raft.RPC{Command: cmd}
	q := queued{kind: k, reply: make(chan raft.RPCResponse, 1)}
	rpc.RespChan = q.reply
	if ae != nil {
		q.term = ae.Term
		s.t.hear(ae)
	}
	var chunks *chunkReader
	if snap, ok := cmd.(*raft.InstallSnapshotRequest); ok {
		if s.unwritten.Load() != 0 {
			return fmt.Errorf("%w: snapshot behind unanswered requests", errMalformed)
		}
		chunks = &chunkReader{conn: s.conn, r: s.r, size: snap.Size, timeout: s.t.cfg.Timeout}
		rpc.Reader = chunks
	}
	select {
	case s.t.consumer <- rpc:
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
	if chunks != nil {
		return s.finishSnapshot(q, chunks)
	}
	if s.queue == nil {
		s.queue = make(chan queued, s.t.cfg.MaxInFlight)
		s.writer.Go(func() { s.answer(s.queue) })
	}
	s.unwritten.Add(1)
	select {
	case s.queue <- q:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

// finishSnapshot waits until raft has consumed the chunks and answered. Nothing
// else may read meanwhile. After a snapshot that was cut short the connection
// has lost its place.
func (s *serveConn) finishSnapshot(q queued, chunks *chunkReader) error {
	select {
	case resp := <-q.reply:
		if err := s.write(q.kind, resp); err != nil {
			return err
		}
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
	if chunks.err != io.EOF {
		return errors.Join(errors.New("snapshot ended early"), chunks.err)
	}
	return nil
}

// answer writes the answers in the order of the requests.
func (s *serveConn) answer(queue <-chan queued) {
	for q := range queue {
		select {
		case resp := <-q.reply:
			s.t.settle(q.term, resp)
			if err := s.write(q.kind, resp); err != nil {
				s.fail(err)
				return
			}
			s.unwritten.Add(-1)
		case <-s.ctx.Done():
			return
		}
	}
}

// settle notes the term in which raft's main loop took the sender for its leader.
func (t *Transport) settle(term uint64, resp raft.RPCResponse) {
	r, ok := resp.Response.(*raft.AppendEntriesResponse)
	if !ok || resp.Error != nil || r.Term != term {
		return
	}
	for {
		old := t.settled.Load()
		if term <= old || t.settled.CompareAndSwap(old, term) {
			return
		}
	}
}

// write sends one answer. Only one goroutine may be here at a time.
func (s *serveConn) write(k kind, resp raft.RPCResponse) error {
	if resp.Response == nil {
		resp.Response = zeroReply(k)
	}
	var err error
	if s.out, err = putReply(s.out[:0], k, resp.Response, resp.Error); err != nil {
		return err
	}
	if err := s.conn.SetWriteDeadline(time.Now().Add(s.t.cfg.Timeout)); err != nil {
		return err
	}
	n, err := s.conn.Write(s.out)
	s.t.stats.bytesSent.Add(uint64(n))
	return err
}
