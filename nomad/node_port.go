package nomad

import (
	"context"
	"net"
	"sync"

	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/nodelink"
)

// nodePort is the part of the server port that node agents need, for those that
// only get out over HTTP: they open it there, and speak through it as they would on
// the port, within TLS where that speaks TLS.
type nodePort struct {
	mux   *mux.Mux
	conns *handedConns
}

func (s *Server) setupNodePort(port mux.Config, streams *wire.StreamRegistry) {
	p := &nodePort{mux: mux.New(port), conns: &handedConns{next: make(chan net.Conn), closed: make(chan struct{}), addr: s.config.RPCListener.Addr()}}
	p.mux.Handle(mux.ProtoRPC, func(ctx context.Context, conn net.Conn, info mux.Info) {
		id := s.agentIdentity(info)
		if info.Session != nil {
			id.Session = nodeSession{info.Session, info.Protocol == mux.ProtoMultiplexV2}
		}
		s.rpc.ServeConn(ctx, conn, id)
	})
	p.mux.Handle(mux.ProtoStreaming, func(ctx context.Context, conn net.Conn, info mux.Info) {
		streams.ServeConn(ctx, conn, s.agentIdentity(info))
	})
	p.mux.Handle(mux.ProtoNodeLink, func(ctx context.Context, conn net.Conn, info mux.Info) {
		s.serveLinkOver(ctx, conn, nodelink.From{Remote: info.Remote.String(), Transport: "websocket"})
	})
	s.nodePort = p
	s.wg.Go(func() {
		if err := p.mux.Serve(s.ctx, p.conns); err != nil && s.ctx.Err() == nil {
			s.logger.Error("the port for agents that come over HTTP failed", "error", err)
		}
	})
}

// agentIdentity is identity for a peer that came over HTTP: it is no server, also
// where no certificate tells.
func (s *Server) agentIdentity(info mux.Info) *wire.Identity {
	id := s.identity(info)
	id.Server = false
	if id.TLSNames == nil {
		id.TLSNames = []string{}
	}
	return id
}

// ServeNodePort takes a connection of a node agent that came over HTTP, and returns
// when it has ended. It owns conn.
func (s *Server) ServeNodePort(conn net.Conn) {
	handed := &handedConn{Conn: conn, ended: make(chan struct{})}
	select {
	case s.nodePort.conns.next <- handed:
	case <-s.nodePort.conns.closed:
		_ = conn.Close()
		return
	}
	<-handed.ended
}

// handedConns is a listener for connections that something else has accepted.
type handedConns struct {
	next   chan net.Conn
	addr   net.Addr
	once   sync.Once
	closed chan struct{}
}

// Accept returns the next one.
func (l *handedConns) Accept() (net.Conn, error) {
	select {
	case c := <-l.next:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close refuses what comes.
func (l *handedConns) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr is that of the server port.
func (l *handedConns) Addr() net.Addr { return l.addr }

// handedConn tells when it is closed.
type handedConn struct {
	net.Conn
	once  sync.Once
	ended chan struct{}
}

// Close closes the connection.
func (c *handedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.ended) })
	return err
}
