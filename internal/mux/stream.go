package mux

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

// serveSession is the handler of the two multiplex protocols. A peer that says nothing
// gets no session, which holds several goroutines and their buffers. A live one may have
// nothing to say for long, but answers a ping at once.
func (m *Mux) serveSession(ctx context.Context, conn net.Conn, info Info) {
	conn, err := AwaitPeer(ctx, conn)
	if err != nil {
		conn.Close() // it was silent, or has gone
		return
	}
	sess, err := newSession(accepting, conn, m.cfg.Session)
	if err != nil {
		m.log.Error("session not started", "remote", info.Remote, "error", err)
		conn.Close()
		return
	}
	m.ServeSession(ctx, sess, info)
}

// AwaitPeer sends a ping of yamux on a connection that was accepted, and returns it once
// the peer has sent anything: until then there is nothing to hold for it.
func AwaitPeer(ctx context.Context, conn net.Conn) (net.Conn, error) {
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	ping := [frameHeader]byte{1: frameTypePing, 3: frameFlagSYN, 8: 0xff, 9: 0xff, 10: 0xff, 11: 0xff} // a number that no session comes to
	if _, err := conn.Write(ping[:]); err != nil {
		return conn, err
	}
	var first [1]byte
	if _, err := io.ReadFull(conn, first[:]); err != nil {
		return conn, err
	}
	return again(conn, first[:]), nil
}

// ServeSession serves the streams that the peer opens on s until s or ctx ends,
// and closes s. It is for the side that dialed, where the server opens streams
// back; info.Protocol says whether streams begin with a byte. The handlers that
// it started may still run when it returns.
func (m *Mux) ServeSession(ctx context.Context, s Session, info Info) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	info.Session, info.Multiplexed = s, true
	if m.cfg.OnSession != nil {
		m.wg.Add(1)
		go func() {
			defer m.wg.Done()
			m.cfg.OnSession(ctx, s, info)
		}()
	}
	for {
		st, err := s.Accept()
		if err == nil {
			m.admitStream(ctx, s, st, info)
			continue
		}
		select {
		case <-s.Done():
			s.Close() // waits for the session's own goroutines
			return
		default: // only that stream failed
		}
	}
}

// admitStream starts to serve st without reading from it, so that a silent
// stream delays no other. Streams that were closed on one side only still
// count; a peer that piles them up beyond twice the bound loses the session.
func (m *Mux) admitStream(ctx context.Context, s Session, st net.Conn, info Info) {
	if own, ok := s.(*session); ok && own.y.NumStreams() > m.cfg.MaxStreams {
		m.refuseStream(ctx, st, info)
		if own.y.NumStreams() > 2*m.cfg.MaxStreams {
			own.Close()
		}
		return
	}
	if all := m.counters.openStreams.Add(1); m.cfg.MaxStreamsTotal > 0 && all > int64(m.cfg.MaxStreamsTotal) {
		m.counters.openStreams.Add(-1)
		m.refuseStream(ctx, st, info)
		return
	}
	counted := &countedStream{Conn: st, mux: m}
	m.wg.Add(1)
	go func() {
		defer m.wg.Done()
		m.serveStream(ctx, counted, info)
	}()
}

// refuseStream refuses a stream above a bound, and says so where the stream is
// for calls. As many as may be explained at once wait for their first byte.
func (m *Mux) refuseStream(ctx context.Context, st net.Conn, info Info) {
	m.refused(RefusedStreams, info, nil)
	if m.cfg.Explain == nil || len(m.explains) == cap(m.explains) {
		st.Close()
		return
	}
	m.wg.Go(func() {
		if info.Protocol == ProtoMultiplexV2 {
			inner, proto, err := m.firstByte(st)
			if err != nil || proto != ProtoRPC {
				st.Close()
				return
			}
			st = inner
		}
		m.explain(ctx, st, info, RefusedStreams)
	})
}

func (m *Mux) serveStream(ctx context.Context, st net.Conn, info Info) {
	proto := ProtoRPC
	if info.Protocol == ProtoMultiplexV2 {
		var err error
		if st, proto, err = m.firstByte(st); err != nil {
			if ctx.Err() == nil {
				m.refused(RefusedSilent, info, err)
			}
			st.Close()
			return
		}
		if err := st.SetDeadline(time.Time{}); err != nil {
			st.Close()
			return
		}
	}
	h := m.handlers[proto]
	if r := row(proto); h == nil || !r.Stream {
		m.refuse(st, RefusedUnknown, info, nil)
		return
	}
	h(ctx, m.expect(st, info), info)
}

// countedStream counts as open until it is closed.
type countedStream struct {
	net.Conn
	mux  *Mux
	once sync.Once
}

func (c *countedStream) Close() error {
	c.once.Do(func() { c.mux.counters.openStreams.Add(-1) })
	return c.Conn.Close()
}
