// Package grpcport answers the usual gRPC tools on the server port: health,
// reflection and a status service. It only serves, and it serves connections
// that others have accepted and checked.
package grpcport

import (
	"context"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
)

// Bounds of one connection and of one call.
const (
	maxStreams      = 64
	maxMessage      = 64 << 10
	maxHeaders      = 16 << 10
	handshakeLimit  = 10 * time.Second
	idleLimit       = 5 * time.Minute
	pingEvery       = time.Minute
	pingLimit       = 10 * time.Second
	fewestPingPause = 10 * time.Second
)

// Server is the gRPC side of the port.
type Server struct {
	grpc  *grpc.Server
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

// New returns a server that tells what status returns; ready returns nil while
// the server can serve. Both are called for each question. Stop ends it.
func New(status func() Status, ready func() error) *Server {
	s := &Server{conns: make(chan net.Conn), done: make(chan struct{})}
	s.grpc = grpc.NewServer(
		grpc.Creds(insecure.NewCredentials()), // TLS is the port's business
		grpc.MaxConcurrentStreams(maxStreams), grpc.MaxRecvMsgSize(maxMessage), grpc.MaxHeaderListSize(maxHeaders),
		grpc.ConnectionTimeout(handshakeLimit),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: idleLimit, Time: pingEvery, Timeout: pingLimit}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: fewestPingPause, PermitWithoutStream: true}),
		grpc.InitialWindowSize(maxMessage), grpc.InitialConnWindowSize(2*maxMessage),
		grpc.ReadBufferSize(4<<10), grpc.WriteBufferSize(4<<10),
	)
	healthpb.RegisterHealthServer(s.grpc, &health{ready: ready})
	s.grpc.RegisterService(statusService(status), nil)
	reflection.Register(s.grpc)
	go s.grpc.Serve(s) // ends with Stop
	return s
}

// ServeConn takes over a connection, from its HTTP/2 preface on, and returns at once.
func (s *Server) ServeConn(ctx context.Context, conn net.Conn) {
	select {
	case s.conns <- conn:
	case <-s.done:
		conn.Close()
	case <-ctx.Done():
		conn.Close()
	}
}

// Stop ends all connections and waits for their calls.
func (s *Server) Stop() { s.grpc.Stop() }

// Accept returns the next connection; part of net.Listener.
func (s *Server) Accept() (net.Conn, error) {
	select {
	case conn := <-s.conns:
		return conn, nil
	case <-s.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept; part of net.Listener.
func (s *Server) Close() error {
	s.once.Do(func() { close(s.done) })
	return nil
}

// Addr names the listener; part of net.Listener.
func (*Server) Addr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "tcp" }
func (address) String() string  { return "server port" }
