package nomadtest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// How many connections wait to be accepted, and how many datagrams to be read
// before more are lost.
const (
	connBacklog   = 128
	packetBacklog = 1024
)

// endpoint takes the connections to one address.
type endpoint struct {
	fabric  *Fabric
	addr    string
	backlog chan net.Conn
	done    chan struct{}
	once    sync.Once
}

func newEndpoint(f *Fabric, addr string) *endpoint {
	return &endpoint{fabric: f, addr: addr, backlog: make(chan net.Conn, connBacklog), done: make(chan struct{})}
}

// Accept implements net.Listener.
func (e *endpoint) Accept() (net.Conn, error) {
	select {
	case <-e.done:
		return nil, opError("accept", e.addr, net.ErrClosed)
	default:
	}
	select {
	case conn := <-e.backlog:
		return conn, nil
	case <-e.done:
		return nil, opError("accept", e.addr, net.ErrClosed)
	}
}

// Close implements net.Listener. Connections not yet accepted are reset.
func (e *endpoint) Close() error {
	e.once.Do(func() {
		e.fabric.mu.Lock()
		if e.fabric.endpoints[e.addr] == e {
			delete(e.fabric.endpoints, e.addr)
		}
		e.fabric.mu.Unlock()
		close(e.done)
	})
	e.drain()
	return nil
}

// drain resets what nobody will accept any more.
func (e *endpoint) drain() {
	for {
		select {
		case conn := <-e.backlog:
			conn.(*fabricConn).reset()
		default:
			return
		}
	}
}

// Addr implements net.Listener.
func (e *endpoint) Addr() net.Addr { return toNetAddr(e.addr) }

// transport is memberlist's view of the fabric.
type transport struct {
	*endpoint
	packets chan *memberlist.Packet
}

// Transport returns the gossip transport of addr, "ip:port", and replaces one
// that was there before. A host that crashed is up again with it.
func (f *Fabric) Transport(addr string) memberlist.Transport {
	f.mu.Lock()
	old := f.endpoints[addr]
	f.mu.Unlock()
	if old != nil {
		old.Close()
	}
	t := &transport{endpoint: newEndpoint(f, addr), packets: make(chan *memberlist.Packet, packetBacklog)}
	if err := f.register(t.endpoint); err != nil {
		t.endpoint.Close()
		return t
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.packets[addr] = t
	return t
}

// FinalAdvertiseAddr implements memberlist.Transport; the fabric knows no
// address but the one of the transport.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	host, port, err := net.SplitHostPort(t.addr)
	if err != nil {
		return nil, 0, err
	}
	ip := net.ParseIP(host)
	n, err := strconv.Atoi(port)
	if ip == nil || err != nil {
		return nil, 0, fmt.Errorf("gossip address %q is not ip:port", t.addr)
	}
	return ip, n, nil
}

// WriteTo implements memberlist.Transport. It never blocks and, as with UDP,
// a lost datagram is no error.
func (t *transport) WriteTo(b []byte, to string) (time.Time, error) {
	now, f := time.Now(), t.fabric
	f.mu.Lock()
	lost := f.random.Float64() < f.drop
	delay := f.delays[linkOf(t.addr, to)]
	f.mu.Unlock()
	if lost {
		return now, nil
	}
	p := &memberlist.Packet{Buf: bytes.Clone(b), From: toNetAddr(t.addr)}
	if delay == 0 {
		t.deliver(p, to)
	} else {
		time.AfterFunc(delay, func() { t.deliver(p, to) })
	}
	return now, nil
}

// deliver drops p when the hosts are cut, either is down, or the reader is slow.
func (t *transport) deliver(p *memberlist.Packet, to string) {
	f := t.fabric
	f.mu.Lock()
	defer f.mu.Unlock()
	there := f.packets[to]
	if f.packets[t.addr] != t || there == nil || f.isCutLocked(t.addr, to) {
		return
	}
	p.Timestamp = time.Now()
	select {
	case there.packets <- p:
	default:
	}
}

// PacketCh implements memberlist.Transport.
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// DialTimeout implements memberlist.Transport. A transport that was replaced or
// shut down reaches nobody.
func (t *transport) DialTimeout(to string, timeout time.Duration) (net.Conn, error) {
	select {
	case <-t.done:
		return nil, opError("dial", to, net.ErrClosed)
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return t.fabric.Dial(ctx, t.addr, to)
}

// StreamCh implements memberlist.Transport.
func (t *transport) StreamCh() <-chan net.Conn { return t.backlog }

// Shutdown implements memberlist.Transport.
func (t *transport) Shutdown() error {
	f := t.fabric
	f.mu.Lock()
	if f.packets[t.addr] == t {
		delete(f.packets, t.addr)
	}
	f.mu.Unlock()
	return t.endpoint.Close()
}
