package agent

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// port is a listener that can stop without breaking connections: to close a
// listener resets those that the system has completed and nobody has accepted,
// when their clients may have sent something.
type port struct {
	*net.TCPListener
	ending  atomic.Bool   // stop has begun
	stopped chan struct{} // closed by stop
	rest    chan net.Conn // what stop has accepted
	taken   chan struct{} // closed when Accept has returned all of rest
	closed  chan struct{}
	// once each closes its channel
	stopOnce, takeOnce, closeOnce sync.Once
}

// gentle makes ln a port, where it is a TCP listener.
func gentle(ln net.Listener) net.Listener {
	tcp, ok := ln.(*net.TCPListener)
	if !ok {
		return ln
	}
	return &port{
		TCPListener: tcp, stopped: make(chan struct{}), rest: make(chan net.Conn, maxRest),
		taken: make(chan struct{}), closed: make(chan struct{}),
	}
}

// Accept returns the next connection. After stop it first returns the rest, and then
// blocks until Close.
func (p *port) Accept() (net.Conn, error) {
	select {
	case <-p.stopped:
	default:
		c, err := p.TCPListener.Accept()
		if err == nil || !p.stopping() {
			return c, err
		}
	}
	select {
	case c := <-p.rest:
		return c, nil
	default:
	}
	p.takeOnce.Do(func() { close(p.taken) })
	<-p.closed
	return nil, net.ErrClosed
}

// stopping reports whether an error of Accept comes from stop, and waits for the
// rest then.
func (p *port) stopping() bool {
	if !p.ending.Load() {
		return false
	}
	<-p.stopped
	return true
}

const (
	// maxRest bounds how many connections are accepted at the end.
	maxRest = 4096
	// maxTake bounds how long it takes whoever accepts to fetch them.
	maxTake = time.Second
)

// stop refuses new connections and waits until Accept has returned those that were
// complete.
func (p *port) stop() {
	p.stopOnce.Do(func() {
		p.ending.Store(true)
		for _, c := range p.lastOnes() {
			select {
			case p.rest <- c:
			default:
				_ = c.Close()
			}
		}
		close(p.stopped)
	})
	select {
	case <-p.taken:
	case <-p.closed:
	case <-time.After(maxTake):
	}
}

// Close closes the listener.
func (p *port) Close() error {
	p.closeOnce.Do(func() { close(p.closed) })
	return p.TCPListener.Close()
}
