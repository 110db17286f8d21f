package drpc

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cairn-project/cairn/internal/errs"
)

// Session is one connection of a peer. Its end is the end of the peer's
// process, or of its wish to keep what it holds: locks are tied to it.
type Session struct {
	id     uint64
	peer   Peer
	opened time.Time
	server *Server
	link   *Link
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	calls   int      // in flight
	bytes   int      // of those calls and of their answers
	ended   bool     // the peer is gone
	onClose []func() // nil once ended
	wg      sync.WaitGroup
}

func newSession(ctx context.Context, server *Server, link *Link, peer Peer) *Session {
	s := &Session{id: server.lastID, peer: peer, opened: time.Now(), server: server, link: link}
	s.ctx, s.cancel = context.WithCancel(ctx)
	return s
}

// ID is unique among the sessions of a server's life, and grows.
func (s *Session) ID() uint64 { return s.id }

// Peer returns who is at the other end.
func (s *Session) Peer() Peer { return s.peer }

// Opened returns when the peer connected.
func (s *Session) Opened() time.Time { return s.opened }

// Calls returns how many calls are in flight.
func (s *Session) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// OnClose has f run when the session ends, at once if it has. It runs in the
// session's own goroutine and must not block for long.
func (s *Session) OnClose(f func()) {
	s.mu.Lock()
	if !s.ended {
		s.onClose = append(s.onClose, f)
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	s.guard(f)
}

// Close ends the session from the server's side.
func (s *Session) Close() { s.link.Close() }

// serve runs the session from its first byte to the end of its last handler.
func (s *Session) serve() {
	log := s.server.cfg.Logger
	if f := s.server.cfg.Opened; f != nil {
		s.guard(func() { f(s) })
	}
	log.Debug("session opened", "session", s.id, "peer", s.peer.String())
	err := s.read()
	s.link.drop()
	s.cancel()
	s.link.Close()
	s.server.forget(s)
	for _, f := range s.end() {
		s.guard(f)
	}
	if f := s.server.cfg.Closed; f != nil {
		s.guard(func() { f(s) })
	}
	log.Debug("session closed", "session", s.id, "peer", s.peer.String(), "error", err)
	s.wg.Wait()
	s.server.release(s.peer.UID)
}

// end marks the session as over and returns what is to run now, last first.
func (s *Session) end() []func() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	out := make([]func(), 0, len(s.onClose))
	for i := range s.onClose {
		out = append(out, s.onClose[len(s.onClose)-1-i])
	}
	s.onClose = nil
	return out
}

// guard runs a hook, whose panic is logged.
func (s *Session) guard(f func()) {
	defer func() {
		if p := recover(); p != nil {
			s.server.cfg.Logger.Error("hook of the agent's socket panicked", "session", s.id, "panic", p)
		}
	}()
	f()
}

// read takes calls until the connection ends, and returns why it did, nil
// where the peer just left. It never waits for a handler: the end of the
// connection is noticed while calls are in flight.
func (s *Session) read() error {
	for {
		msg, err := s.link.Read()
		var broken *FrameError
		switch {
		case err == nil:
			if err := s.take(msg); err != nil {
				return err
			}
		case errors.Is(err, errPacketTooLong):
			if err := s.send(respond(-1, nil, Fail(Status_TOO_LARGE, err.Error()), ""), false); err != nil {
				return err
			}
		case errors.As(err, &broken):
			s.link.Refuse(respond(-1, nil, Fail(statusOfFrame(broken), broken.Error()), ""))
			return err
		case errors.Is(err, errs.Busy):
			s.link.Refuse(respond(-1, nil, err, ""))
			return err
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
	}
}

func statusOfFrame(e *FrameError) Status {
	if e.Class == MessageTooLarge || e.Class == ChunkTooBig {
		return Status_TOO_LARGE
	}
	return Status_FAILED_UNMARSHAL_CALL
}

// take starts a call, or refuses it where the session has too much in flight.
func (s *Session) take(msg Message) error {
	if !s.reserve(len(msg.Data)) {
		return s.send(s.server.refuseBusy(s, msg.Data), msg.Framed)
	}
	closing := s.server.begin()
	s.wg.Go(func() {
		defer s.server.end()
		c := &inFlight{session: s, msg: msg, started: time.Now()}
		c.run(closing)
		c.leave()
	})
	return nil
}

// reserve counts a call of n bytes. What is in flight stays below four of the
// largest messages, unless it is one call, and within the user's share.
func (s *Session) reserve(n int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	cfg := &s.server.cfg
	if s.calls > 0 && (s.calls >= cfg.MaxCalls || s.bytes+n > 4*cfg.MaxMessage) {
		return false
	}
	if !s.link.share.take(n) {
		return false
	}
	s.calls++
	s.bytes += n
	return true
}

// hold counts an answer's bytes on top.
func (s *Session) hold(n int) {
	s.mu.Lock()
	s.bytes += n
	s.mu.Unlock()
	s.link.share.add(n)
}

func (s *Session) free(n int) {
	s.mu.Lock()
	s.calls--
	s.bytes -= n
	s.mu.Unlock()
	s.link.share.give(n)
}

// send encodes and writes an answer. An error ends the session: a peer that
// does not read would hold the answers of all its calls.
func (s *Session) send(resp *Response, framed bool) error {
	_, b := encode(resp, framed, s.server.cfg.MaxMessage)
	return s.write(b, framed, func() {})
}

// write sends bytes and runs begin before the first of them.
func (s *Session) write(b []byte, framed bool, begin func()) error {
	err := s.link.writeAfter(Message{Data: b, Framed: framed}, s.server.cfg.MessageTimeout, begin)
	if err != nil {
		s.link.Close()
	}
	return err
}

// encode returns the bytes of an answer, and of another one in its place where
// they are too many for the way that the call came.
func encode(resp *Response, framed bool, maxMessage int) (*Response, []byte) {
	b, err := proto.Marshal(resp)
	var why error
	switch {
	case err != nil:
		why = failf(Status_FAILED_MARSHAL, "encode the answer: %w", err)
	case len(b) > maxMessage:
		why = tooLarge(len(b), maxMessage, "ask for less")
	case !framed && !Fits(b):
		why = tooLarge(len(b), MaxPacket, "send the call in a frame, and the answer comes in frames")
	default:
		return resp, b
	}
	resp = respond(resp.Sequence, nil, why, "")
	b, _ = proto.Marshal(resp) // numbers and clean text
	return resp, b
}

func tooLarge(have, limit int, help string) error {
	return failf(Status_TOO_LARGE, "the answer has %d bytes, at most %d can be sent: %s", have, limit, help)
}
