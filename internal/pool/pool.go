// Package pool keeps outgoing RPC connections to servers, by address. Calls are
// pipelined: a few warm connections per address carry all of them.
package pool

import (
	"context"
	"crypto/tls"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/wire"
)

// Defaults of Config.
const (
	DefaultDialTimeout     = 10 * time.Second
	DefaultConnsPerAddr    = 2
	DefaultMaxConnsPerAddr = 32
	DefaultIdleTimeout     = 2 * time.Minute
)

// loadedCalls is how many calls in flight on each connection make another one
// worth while.
const loadedCalls = 8

// unusedTimeout is how long a connection that no call has used yet is kept: less
// than a server gives it, so that no call meets its end.
const unusedTimeout = mux.DefaultSilenceTimeout / 2

// Dialer connects to a server port, before any protocol is asked for. It must
// return when ctx ends.
type Dialer func(ctx context.Context, addr string) (net.Conn, error)

// Config tunes a Pool. Zero values mean the defaults.
type Config struct {
	// Dial must be set.
	Dial Dialer
	// Secure returns the TLS configuration of one connection to an address; it,
	// or its result, is nil for one in clear.
	Secure      func(addr string) *tls.Config
	DialTimeout time.Duration
	// ConnsPerAddr is how many connections share the load of one address.
	ConnsPerAddr int
	// MaxConnsPerAddr is how many there may be while long calls fill the others
	// up to half of what the peer serves at once on one.
	MaxConnsPerAddr int
	// IdleTimeout is how long a connection without a call is kept, give or take half.
	IdleTimeout time.Duration
	// Ping is a method that every server answers at once, for Keep.
	Ping string
	// Pinged is told how each ping of Keep went, nil for nobody; its err is nil for
	// any answer. It must not block.
	Pinged func(addr string, err error)
	// Limits bounds each connection; MaxInFlight is taken for the peer's, too.
	Limits wire.Limits
	// Logger may be nil.
	Logger hclog.Logger
}

func (c Config) withDefaults() Config {
	if c.DialTimeout <= 0 {
		c.DialTimeout = DefaultDialTimeout
	}
	if c.ConnsPerAddr <= 0 {
		c.ConnsPerAddr = DefaultConnsPerAddr
	}
	if c.MaxConnsPerAddr <= 0 {
		c.MaxConnsPerAddr = DefaultMaxConnsPerAddr
	}
	c.MaxConnsPerAddr = max(c.MaxConnsPerAddr, c.ConnsPerAddr)
	if c.IdleTimeout <= 0 {
		c.IdleTimeout = DefaultIdleTimeout
	}
	if c.Limits.MaxInFlight <= 0 {
		c.Limits.MaxInFlight = wire.DefaultLimits().MaxInFlight
	}
	if c.Limits.WriteTimeout <= 0 {
		c.Limits.WriteTimeout = wire.DefaultLimits().WriteTimeout
	}
	if c.Logger == nil {
		c.Logger = hclog.NewNullLogger()
	}
	return c
}

// Pool makes calls to servers. All methods are safe for concurrent use.
type Pool struct {
	cfg    Config
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // the reaper, dials and watchers

	mu     sync.Mutex
	closed bool
	peers  map[string]*peer
	// retired are connections that end with the calls on them.
	retired map[*conn]bool
	kept    map[string]*keeper // by address, see Keep
	// dials counts all, dialsFailed those in vain.
	dials, dialsFailed uint64
}

// peer is what is known of one address; it belongs to the mu of its Pool and
// is forgotten when it is empty.
type peer struct {
	conns   []*conn
	dialing *dialing
}

// New returns a Pool without connections. Close ends it.
func New(cfg Config) *Pool {
	ctx, cancel := context.WithCancel(context.Background())
	p := &Pool{cfg: cfg.withDefaults(), ctx: ctx, cancel: cancel, peers: make(map[string]*peer),
		retired: make(map[*conn]bool), kept: make(map[string]*keeper)}
	p.wg.Add(1)
	go p.reap()
	return p
}

// Call calls method at addr, see wire.Client.Call for args, reply and errors.
// A server that cannot be reached gives errs.Unavailable with ExecutedNo. A
// call that found its connection dead before it was sent is sent once more on
// another.
func (p *Pool) Call(ctx context.Context, addr, method string, args, reply any, opts wire.CallOptions) error {
	for again := false; ; again = true {
		c, fresh, err := p.acquire(ctx, addr)
		if err != nil {
			return err
		}
		err = c.client.Call(ctx, method, args, reply, opts)
		p.release(c)
		if !Lost(err) {
			return err
		}
		p.remove(c)
		if again || fresh || !errs.NotSent(err) || ctx.Err() != nil {
			return err
		}
	}
}

// Lost reports whether err came from the connection itself, or from there being
// none: an error of the peer, which may be about a connection of the peer, has no local cause.
func Lost(err error) bool {
	var e *errs.Error
	return errors.As(err, &e) && e.Code == errs.Unavailable && e.Unwrap() != nil
}

// Stream opens a streaming call of method at addr on a connection of its own.
// The caller must close it; Drop and Close do not. ctx counts until Stream returns.
func (p *Pool) Stream(ctx context.Context, addr, method string) (net.Conn, error) {
	limited, cancel := context.WithTimeout(ctx, p.cfg.DialTimeout+p.cfg.Limits.WriteTimeout)
	defer cancel()
	nc, err := p.dialProtocol(limited, addr, mux.ProtoStreaming)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, late(ctx, addr)
	case err != nil:
		return nil, err
	}
	if err := wire.OpenStream(limited, nc, method, p.cfg.Limits); err != nil {
		nc.Close()
		return nil, err
	}
	return nc, nil
}

// Drop closes the connections to addr, for example those to a deposed leader
// that hangs. Calls in flight there fail. The next call dials again.
func (p *Pool) Drop(addr string) {
	p.mu.Lock()
	var doomed []*conn
	if pe := p.peers[addr]; pe != nil {
		doomed, pe.conns = pe.conns, nil
		p.tidyLocked(addr)
	}
	for c := range p.retired {
		if c.addr == addr {
			doomed = append(doomed, c)
		}
	}
	p.mu.Unlock()
	closeAll(doomed)
}

// Retire makes no more calls on the connections to addr that there are, for example
// those to a deposed leader. Calls in flight there go on. The next call dials again.
func (p *Pool) Retire(addr string) {
	p.mu.Lock()
	var doomed []*conn
	if pe := p.peers[addr]; pe != nil {
		for _, c := range slices.Clone(pe.conns) {
			if p.retireLocked(c) {
				doomed = append(doomed, c)
			}
		}
	}
	p.mu.Unlock()
	closeAll(doomed)
}

// Close closes all connections, ends dials and waits for both. Calls in flight
// and later ones fail.
func (p *Pool) Close() error {
	p.mu.Lock()
	p.closed = true
	var doomed []*conn
	for _, pe := range p.peers {
		doomed = append(doomed, pe.conns...)
		pe.conns = nil
	}
	doomed = slices.AppendSeq(doomed, maps.Keys(p.retired))
	p.mu.Unlock()
	p.cancel()
	closeAll(doomed)
	p.wg.Wait()
	return nil
}

func closeAll(conns []*conn) {
	for _, c := range conns {
		c.client.Close()
	}
}
