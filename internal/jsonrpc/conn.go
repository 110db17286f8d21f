package jsonrpc

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// socketConn is one connection. A goroutine reads one message ahead, so that it
// notices when the peer leaves while a call runs; the other one answers.
type socketConn struct {
	sock   *Socket
	conn   *net.UnixConn
	turn   turn
	cancel context.CancelFunc // the peer has left
	frames framer

	inbox    chan []byte
	readErr  error         // why the reader ended, valid once inbox is closed
	read     chan struct{} // closed when the reader has ended
	worked   chan struct{} // closed when the other one takes no more messages
	busy     atomic.Bool   // a message is being worked on
	draining atomic.Bool   // the server stops
}

func newSocketConn(s *Socket, conn *net.UnixConn, life context.Context) *socketConn {
	c := &socketConn{sock: s, conn: conn, inbox: make(chan []byte), read: make(chan struct{}), worked: make(chan struct{})}
	ctx, cancel := context.WithCancel(life)
	c.cancel = cancel
	c.turn = turn{s: s.srv, ctx: ctx, life: life, caller: s.cfg.Identify(conn)}
	c.frames = framer{r: conn, max: s.srv.cfg.MaxMessage, maxDepth: s.srv.cfg.MaxDepth}
	c.frames.began = func() { c.readLimit(s.cfg.MessageTimeout) }
	return c
}

// serve works on the connection until it ends.
func (c *socketConn) serve() {
	defer c.sock.remove(c)
	go func() {
		defer close(c.read)
		c.readAhead()
	}()
	c.work()
	close(c.worked)
	c.cancel()
	_ = c.conn.Close()
	<-c.read
}

// work answers messages in the order in which they came.
func (c *socketConn) work() {
	for msg := range c.inbox {
		c.busy.Store(true)
		answer := c.answer(msg)
		c.busy.Store(false)
		if answer != nil && !c.write(answer) {
			c.cancel()
			return
		}
	}
	_ = c.conn.SetReadDeadline(longAgo) // the reader looks for the end of the peer, and linger reads
	<-c.read
	if answer := c.lastWord(); answer != nil && c.write(answer) {
		c.linger()
	}
}

// answer runs a message, unless the server has begun to stop since it was read.
func (c *socketConn) answer(msg []byte) []byte {
	if !c.draining.Load() {
		return c.turn.serve(msg)
	}
	return failure(parseRequest(msg, false).id, busy(errStopping.Error(), 0))
}

// lastWord is what a peer gets that broke the protocol, nil for all others.
func (c *socketConn) lastWord() []byte {
	var syntax *syntaxError
	var depth *depthError
	switch err := c.readErr; {
	case errors.As(err, &syntax), errors.As(err, &depth), errors.Is(err, errMessageTooLarge):
		c.sock.srv.logger.Debug("closed a connection that broke the protocol", "caller", c.turn.caller, "error", err)
		return c.sock.srv.refuse(err).Body
	case errors.Is(err, os.ErrDeadlineExceeded) && c.frames.inside && !c.draining.Load():
		return failure(nil, &Error{Code: CodeTimeout, Message: "message was not complete in time",
			Data: []Detail{{Code: ErrataRetry, Message: "send a message within " + c.sock.cfg.MessageTimeout.String()}}})
	}
	return nil
}

// readAhead cuts the stream into messages. It ends the calls of a peer that left; what
// such a peer has sent and gets no answer to is run all the same.
func (c *socketConn) readAhead() {
	for {
		if !c.frames.inside {
			c.readLimit(c.sock.cfg.IdleTimeout)
		}
		msg, err := c.frames.next()
		if errors.Is(err, os.ErrDeadlineExceeded) && c.busy.Load() && !c.frames.inside && !c.draining.Load() {
			continue // nobody is idle while a call runs
		}
		if err != nil {
			c.readErr = err
			_ = c.conn.SetReadDeadline(time.Time{})
			close(c.inbox)
			c.watch(err)
			return
		}
		if !c.hand(msg) {
			c.readErr = c.turn.ctx.Err()
			close(c.inbox)
			return
		}
	}
}

// hand gives a message to the worker. While that is busy, it looks whether the peer
// leaves. It returns false when the worker has ended.
func (c *socketConn) hand(msg []byte) bool {
	select {
	case c.inbox <- msg:
		return true
	default:
	}
	_ = c.conn.SetReadDeadline(time.Time{})
	looked := make(chan struct{})
	go func() {
		defer close(looked)
		c.endIfGone()
	}()
	defer func() {
		_ = c.conn.SetReadDeadline(longAgo)
		<-looked
	}()
	select {
	case c.inbox <- msg:
		return true
	case <-c.worked:
		return false
	}
}

// endIfGone ends the calls of the peer once that has left. It returns when the time
// for reading is up, too.
func (c *socketConn) endIfGone() {
	if waitGone(c.conn) {
		c.cancel()
	}
}

// watch waits, after the last message was read, for the peer to leave.
func (c *socketConn) watch(err error) {
	var op *net.OpError
	switch {
	case c.draining.Load():
	case errors.As(err, &op) && !errors.Is(err, os.ErrDeadlineExceeded):
		c.cancel() // reset by the peer
	default: // also of what broke the protocol, while a call runs
		c.endIfGone()
	}
}

// readLimit bounds the reads that follow. A connection that drains has no time left.
func (c *socketConn) readLimit(d time.Duration) {
	_ = c.conn.SetReadDeadline(time.Now().Add(d))
	if c.draining.Load() {
		_ = c.conn.SetReadDeadline(longAgo)
	}
}

var longAgo = time.Unix(1, 0)

// drain stops the reader; the worker ends after what it works on.
func (c *socketConn) drain() {
	c.draining.Store(true)
	_ = c.conn.SetReadDeadline(longAgo)
}

// writeChunk is what a peer has to take within the write timeout.
const writeChunk = 64 << 10

// write sends an answer and its line feed. A peer that does not read loses the connection.
func (c *socketConn) write(answer []byte) bool {
	answer = append(answer, '\n')
	for len(answer) > 0 {
		n := min(len(answer), writeChunk)
		_ = c.conn.SetWriteDeadline(time.Now().Add(c.sock.cfg.WriteTimeout))
		if _, err := c.conn.Write(answer[:n]); err != nil {
			c.sock.srv.logger.Debug("cannot send an answer", "caller", c.turn.caller, "error", err)
			return false
		}
		answer = answer[n:]
	}
	return true
}

// What is read and dropped of a peer that broke the protocol, so that it reads
// our last word before its connection breaks.
const (
	lingerTime  = 2 * time.Second
	lingerBytes = 64 << 20
)

// linger lets the peer finish sending what nobody will look at.
func (c *socketConn) linger() {
	_ = c.conn.CloseWrite()
	_ = c.conn.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, c.conn, lingerBytes)
}

// reject answers a connection that was not taken in.
func (c *socketConn) reject(reason string) {
	defer c.conn.Close()
	c.cancel()
	c.write(failure(nil, busy(reason, time.Second)))
}
