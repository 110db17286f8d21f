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
	readErr  error       // why the reader ended, valid once inbox is closed
	busy     atomic.Bool // a message is being worked on
	draining atomic.Bool // the server stops
}

func newSocketConn(s *Socket, conn *net.UnixConn, life context.Context) *socketConn {
	c := &socketConn{sock: s, conn: conn, inbox: make(chan []byte)}
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
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.read()
	}()
	c.work()
	c.cancel()
	_ = c.conn.Close()
	<-done
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

// read cuts the stream into messages. It ends the calls of a peer that left.
func (c *socketConn) read() {
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
			close(c.inbox)
			c.watch(err)
			return
		}
		select {
		case c.inbox <- msg:
		case <-c.turn.ctx.Done():
			c.readErr = c.turn.ctx.Err()
			close(c.inbox)
			return
		}
	}
}

// watch waits, after the last message was read, for the peer to leave.
func (c *socketConn) watch(err error) {
	var op *net.OpError
	switch {
	case err == io.EOF && !c.draining.Load():
		_ = c.conn.SetReadDeadline(time.Time{})
		if waitGone(c.conn) {
			c.cancel()
		}
	case errors.As(err, &op) && !errors.Is(err, os.ErrDeadlineExceeded):
		c.cancel() // reset by the peer
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
