package nomadtest

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Fabric is a network in memory. Addresses are "host:port" and need no
// set-up; hosts can be cut from each other, slowed down and crashed. Make one
// inside the bubble and Close it there; every goroutine that it blocks goes on
// then. It starts none of its own. All methods are safe for concurrent use.
type Fabric struct {
	done chan struct{} // closed by Close

	mu        sync.Mutex // taken before the mu of a half, never held while blocked
	closed    bool
	endpoints map[string]*endpoint
	packets   map[string]*transport
	conns     map[*fabricConn]struct{}
	cuts      map[link]bool // true cut, false healed in spite of isolated
	isolated  map[string]bool
	crashed   map[string]bool
	delays    map[link]time.Duration
	drop      float64
	random    *rand.Rand
	lastPort  int
	changed   chan struct{} // closed and replaced when a link heals
}

// link is an unordered pair of hosts.
type link struct{ low, high string }

func linkOf(a, b string) link {
	a, b = hostOf(a), hostOf(b)
	if b < a {
		a, b = b, a
	}
	return link{low: a, high: b}
}

// hostOf accepts host:port and a bare host.
func hostOf(addr string) string {
	if host, _, err := net.SplitHostPort(addr); err == nil {
		return host
	}
	return addr
}

// NewFabric returns a network where every host reaches every other at once.
// Its randomness is the same in every run.
func NewFabric() *Fabric {
	return &Fabric{
		done:      make(chan struct{}),
		endpoints: make(map[string]*endpoint),
		packets:   make(map[string]*transport),
		conns:     make(map[*fabricConn]struct{}),
		cuts:      make(map[link]bool),
		isolated:  make(map[string]bool),
		crashed:   make(map[string]bool),
		delays:    make(map[link]time.Duration),
		random:    rand.New(rand.NewPCG(1, 2)),
		lastPort:  firstEphemeral - 1,
		changed:   make(chan struct{}),
	}
}

const firstEphemeral = 32768

// fabricAddr is the address of a host without an IP address.
type fabricAddr string

func (fabricAddr) Network() string  { return "tcp" }
func (a fabricAddr) String() string { return string(a) }

func toNetAddr(addr string) net.Addr {
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		return net.TCPAddrFromAddrPort(ap)
	}
	return fabricAddr(addr)
}

// Listen takes connections to addr. A host that crashed is up again with it.
func (f *Fabric) Listen(addr string) (net.Listener, error) {
	e := newEndpoint(f, addr)
	if err := f.register(e); err != nil {
		return nil, err
	}
	return e, nil
}

func (f *Fabric) register(e *endpoint) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return opError("listen", e.addr, net.ErrClosed)
	case f.endpoints[e.addr] != nil:
		return opError("listen", e.addr, syscall.EADDRINUSE)
	}
	delete(f.crashed, hostOf(e.addr))
	f.endpoints[e.addr] = e
	return nil
}

func opError(op, addr string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Addr: toNetAddr(addr), Err: err}
}

// Dial connects the host of from to addr to. It fails at once, with
// syscall.ECONNREFUSED, when nobody listens there, and blocks until ctx ends
// while the two are cut.
func (f *Fabric) Dial(ctx context.Context, from, to string) (net.Conn, error) {
	if err := f.reach(ctx, from, to); err != nil {
		return nil, opError("dial", to, err)
	}
	e, conn, err := f.connect(from, to)
	if err != nil {
		return nil, opError("dial", to, err)
	}
	select {
	case e.backlog <- conn.peer:
	case <-e.done:
		err = syscall.ECONNREFUSED
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		conn.reset()
		conn.peer.reset()
		return nil, opError("dial", to, err)
	}
	select {
	case <-e.done: // nobody will take it
		e.drain()
	default:
	}
	return conn, nil
}

// reach blocks for the round trip of a handshake, and as long as from and to are cut.
func (f *Fabric) reach(ctx context.Context, from, to string) error {
	for {
		f.mu.Lock()
		changed, delay := f.changed, f.delays[linkOf(from, to)]
		cut, crashed, closed := f.isCutLocked(from, to), f.crashed[hostOf(from)], f.closed
		f.mu.Unlock()
		switch {
		case closed:
			return net.ErrClosed
		case crashed:
			return syscall.ENETDOWN
		case !cut && delay == 0:
			return ctx.Err()
		}
		var arrived <-chan time.Time
		if !cut {
			arrived = time.After(2 * delay)
		}
		select {
		case <-arrived:
			return nil
		case <-changed:
		case <-f.done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// connect makes the two ends of a connection.
func (f *Fabric) connect(from, to string) (*endpoint, *fabricConn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := f.endpoints[to]
	switch {
	case f.crashed[hostOf(from)]:
		return nil, nil, syscall.ENETDOWN
	case f.closed || e == nil:
		return nil, nil, syscall.ECONNREFUSED
	}
	if f.lastPort++; f.lastPort > 65535 {
		f.lastPort = firstEphemeral
	}
	local := toNetAddr(net.JoinHostPort(hostOf(from), strconv.Itoa(f.lastPort)))
	conn := newConnPair(f, local, toNetAddr(to))
	conn.link = linkOf(from, to)
	conn.peer.link = conn.link
	conn.host, conn.peer.host = hostOf(from), hostOf(to)
	for _, c := range []*fabricConn{conn, conn.peer} {
		c.out.condition(f.isCutLocked(from, to), f.delays[c.link])
		f.conns[c] = struct{}{}
	}
	return e, conn, nil
}

// forget drops a connection when both ends are closed: until then what one
// end sent may still be held back.
func (f *Fabric) forget(c *fabricConn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	c.ended = true
	if c.peer.ended {
		delete(f.conns, c)
		delete(f.conns, c.peer)
	}
}

// Close ends everything: listeners, transports, connections and blocked dials.
func (f *Fabric) Close() {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	f.closed = true
	close(f.done)
	f.mu.Unlock()
	f.HealAll()
	f.kill(func(string) bool { return true })
}

// kill closes all that belongs to the hosts chosen.
func (f *Fabric) kill(chosen func(host string) bool) {
	f.mu.Lock()
	var endpoints []*endpoint
	for addr, e := range f.endpoints {
		if chosen(hostOf(addr)) {
			endpoints = append(endpoints, e)
		}
	}
	for addr := range f.packets {
		if chosen(hostOf(addr)) {
			delete(f.packets, addr)
		}
	}
	var conns []*fabricConn
	for c := range f.conns {
		if chosen(c.host) {
			conns = append(conns, c)
		}
	}
	f.mu.Unlock()
	for _, e := range endpoints {
		e.Close()
	}
	for _, c := range conns {
		c.reset()
	}
}
