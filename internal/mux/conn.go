package mux

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/cairn-project/cairn/internal/tlsconf"
)

// trackedConn is an accepted connection. It counts against its client's budget
// until it is closed, by whomever.
type trackedConn struct {
	net.Conn
	mux  *Mux
	host string
	once sync.Once
	err  error

	// These belong to limiter.mu.
	class           class
	inClient, inAll *list.Element
}

// Close closes the connection and gives its budget back.
func (c *trackedConn) Close() error {
	c.once.Do(func() {
		c.err = c.Conn.Close()
		c.mux.limits.remove(c)
		c.mux.counters.openConns.Add(-1)
	})
	return c.err
}

// CloseWrite ends the outgoing half where the transport can.
func (c *trackedConn) CloseWrite() error {
	return closeWrite(c.Conn)
}

// hostOf returns what the connections of one client have in common.
func hostOf(addr net.Addr) string {
	if addr == nil {
		return ""
	}
	if tcp, ok := addr.(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap().WithZone("").String()
	}
	host, _, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String()
	}
	return host
}

// admit starts to serve conn.
func (m *Mux) admit(ctx context.Context, conn net.Conn) {
	remote := conn.RemoteAddr()
	c := &trackedConn{Conn: conn, mux: m, host: hostOf(remote)}
	m.counters.accepted.Add(1)
	m.counters.openConns.Add(1)
	if evicted, why := m.limits.add(c); evicted != nil {
		m.refused(why, Info{Remote: evicted.RemoteAddr()}, nil)
		evicted.Close()
	}
	m.wg.Add(1)
	go func() {
		defer m.wg.Done()
		m.serveConn(ctx, c, Info{Remote: remote})
	}()
}

// serveConn reads the first byte, shakes hands where that asks for TLS, and
// passes conn on.
func (m *Mux) serveConn(ctx context.Context, c *trackedConn, info Info) {
	conn, proto, err := m.firstByte(c)
	if err == nil && (proto == ProtoTLS || proto == protoHello) {
		info.Protocol = proto // until it is known what is within
		if m.cfg.TLS == nil {
			m.refuse(conn, RefusedTLS, info, errors.New("tls is not configured"))
			return
		}
		if proto == protoHello {
			conn = again(conn, []byte{byte(protoHello)})
		}
		conn, proto, err = m.handshake(ctx, conn, &info)
		if err != nil {
			m.refusePending(ctx, c, RefusedTLS, info, err)
			return
		}
	}
	switch {
	case errors.Is(err, errPreface):
		m.refusePending(ctx, c, RefusedUnknown, info, err)
		return
	case err != nil:
		m.refusePending(ctx, c, RefusedSilent, info, err)
		return
	}
	info.Protocol = proto
	if err := c.SetDeadline(time.Time{}); err != nil {
		conn.Close()
		return
	}
	m.dispatch(ctx, c, conn, info)
}

// expect bounds the wait for what follows the protocol.
func (m *Mux) expect(conn net.Conn, info Info) net.Conn {
	return expect(conn, m.cfg.SilenceTimeout, func() { m.refused(RefusedSilent, info, errSilent) })
}

func (m *Mux) firstByte(conn net.Conn) (net.Conn, Protocol, error) {
	if err := conn.SetDeadline(time.Now().Add(m.cfg.HandshakeTimeout)); err != nil {
		return conn, 0, err
	}
	return readProtocol(conn)
}

// handshake serves TLS on conn, fills info.TLS and info.Peer and returns the
// protocol within: the one that the handshake chose by name, or the next byte.
func (m *Mux) handshake(ctx context.Context, conn net.Conn, info *Info) (net.Conn, Protocol, error) {
	if err := conn.SetDeadline(time.Now().Add(m.cfg.HandshakeTimeout)); err != nil {
		return conn, 0, err
	}
	secure := tls.Server(conn, m.cfg.TLS)
	if err := secure.HandshakeContext(ctx); err != nil {
		return conn, 0, err
	}
	state := secure.ConnectionState()
	info.TLS, info.Peer = &state, tlsconf.PeerOf(&state)
	if r := byALPN(state.NegotiatedProtocol); r != nil {
		return secure, r.Protocol, nil
	}
	inner, proto, err := readProtocol(secure)
	if err == nil && (proto == ProtoTLS || proto == protoHello) {
		err = errors.New("tls within tls")
	}
	return inner, proto, err
}

// dispatch hands conn, whose raw connection is c, to the handler of its protocol.
func (m *Mux) dispatch(ctx context.Context, c *trackedConn, conn net.Conn, info Info) {
	budget, h := classRPC, m.handlers[info.Protocol]
	switch info.Protocol {
	case ProtoRaft, ProtoSnapshot:
		budget = classRaft
	case ProtoStreaming:
		budget = classStream
	case ProtoMultiplex, ProtoMultiplexV2:
		h = m.serveSession
	}
	switch {
	case h == nil:
		m.refuse(conn, RefusedUnknown, info, nil)
		return
	case (m.cfg.RequireTLS || info.Protocol == ProtoJoin) && info.TLS == nil:
		m.refuse(conn, RefusedPlain, info, nil)
		return
	case info.TLS != nil && m.cfg.Region != "" && !row(info.Protocol).Access.Allows(info.Peer, m.cfg.Region):
		m.refuse(conn, RefusedRole, info, fmt.Errorf("the certificate is for %q, wanted is a %s",
			info.Peer.Names, row(info.Protocol).Access))
		return
	}
	if why, ok := m.limits.classify(c, budget); !ok {
		m.refused(why, info, nil)
		m.explain(ctx, conn, info, why)
		return
	}
	h(ctx, m.expect(conn, info), info)
}

// refusePending is refuse for a connection without a class yet, unless it failed
// because we closed it.
func (m *Mux) refusePending(ctx context.Context, c *trackedConn, why Reason, info Info, err error) {
	if ctx.Err() == nil && m.limits.holds(c) {
		m.refused(why, info, err)
	}
	c.Close()
}

// maxExplained bounds the refusals that are explained at once.
const maxExplained = 32

// explain tells the peer of an RPC connection or stream why it is refused, if
// few others are being told, and closes it. It blocks meanwhile.
func (m *Mux) explain(ctx context.Context, conn net.Conn, info Info, why Reason) {
	defer conn.Close()
	if m.cfg.Explain == nil || info.Protocol != ProtoRPC && !info.Multiplexed {
		return
	}
	select {
	case m.explains <- struct{}{}:
		defer func() { <-m.explains }()
		m.cfg.Explain(ctx, m.expect(conn, info), info, why)
	default:
	}
}

func (m *Mux) refuse(conn net.Conn, why Reason, info Info, err error) {
	m.refused(why, info, err)
	conn.Close()
}
