package nomadtest

import (
	"context"
	"net"
	"sync"

	"github.com/cairn-project/cairn/internal/mux"
)

// pipeSession is one end of a session in memory, with a pipe per stream.
type pipeSession struct {
	peer     *pipeSession
	accepted chan net.Conn
	shared   *pipeShared
}

// pipeShared is what both ends share.
type pipeShared struct {
	done chan struct{}

	mu     sync.Mutex
	closed bool       // guarded by mu
	conns  []net.Conn // guarded by mu
}

var _ mux.Session = (*pipeSession)(nil)

// Sessions returns the two ends of a session in memory. It works inside of a
// bubble, where yamux does not.
func Sessions() (a, b mux.Session) {
	shared := &pipeShared{done: make(chan struct{})}
	x := &pipeSession{accepted: make(chan net.Conn), shared: shared}
	y := &pipeSession{accepted: make(chan net.Conn), shared: shared, peer: x}
	x.peer = y
	return x, y
}

// Open starts a stream to the other end, which has to accept it.
func (s *pipeSession) Open(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	s.shared.mu.Lock()
	if s.shared.closed {
		s.shared.mu.Unlock()
		return nil, net.ErrClosed
	}
	s.shared.conns = append(s.shared.conns, near, far)
	s.shared.mu.Unlock()
	select {
	case s.peer.accepted <- far:
		return near, nil
	case <-s.shared.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Accept waits for a stream of the other end.
func (s *pipeSession) Accept() (net.Conn, error) {
	select {
	case conn := <-s.accepted:
		return conn, nil
	case <-s.shared.done:
		return nil, net.ErrClosed
	}
}

// Close ends the session for both ends.
func (s *pipeSession) Close() error {
	s.shared.mu.Lock()
	defer s.shared.mu.Unlock()
	if s.shared.closed {
		return nil
	}
	s.shared.closed = true
	close(s.shared.done)
	for _, conn := range s.shared.conns {
		_ = conn.Close()
	}
	return nil
}

// Done is closed when the session has ended.
func (s *pipeSession) Done() <-chan struct{} { return s.shared.done }
