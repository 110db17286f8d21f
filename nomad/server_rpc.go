package nomad

import (
	"context"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/msgp"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/pool"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/stream"
	"github.com/cairn-project/cairn/nomad/structs"
)

// dialTimeout bounds opening a connection to another server.
const dialTimeout = 10 * time.Second

// maxInFlight bounds the calls of one connection that run at once, blocking
// queries included: servers pass those of all their clients on over a few.
const maxInFlight = 4096

// maxConns and maxStreams bound the connections of the port and the streams of
// all its sessions.
const (
	maxConns   = 16384
	maxStreams = 65536
)

func (s *Server) setupRPC(logger hclog.Logger) error {
	s.registry = wire.NewRegistry()
	for name, endpoint := range endpoints(s) {
		if err := s.registry.Register(name, endpoint); err != nil {
			return err
		}
	}
	limits := wire.DefaultLimits()
	limits.MaxInFlight, limits.Held = maxInFlight, s.config.Held
	s.rpc = wire.NewServer(s.handleRPC, limits, logger.Named("rpc"))
	s.pool = pool.New(pool.Config{
		Dial: s.dial, Secure: s.secureTo, DialTimeout: dialTimeout, Ping: statusPing.name, Pinged: s.pinged,
		Limits: limits, Logger: logger.Named("pool"),
	})
	s.router.Balance(s.pool.Outstanding)
	port := mux.Config{
		Logger: logger.Named("mux"), HandshakeTimeout: s.config.RPCHandshakeTimeout,
		MaxConnsPerClient: s.config.RPCMaxConnsPerClient, MaxConns: maxConns, MaxStreamsTotal: maxStreams,
		Explain: s.explainRefusal,
	}
	s.config.TLS.secure(&port, s.config.Region)
	s.mux = mux.New(port)
	streams := wire.NewStreamRegistry(limits, logger.Named("streams"))
	if err := streams.Register(streamMethod, s.serveLinkStream); err != nil {
		return err
	}
	for method, handler := range map[string]wire.StreamHandler{
		stream.Method:         s.serveEventStream,
		snapshotSaveInfo.name: s.serveStream(&snapshotSaveInfo, s.serveSnapshotSave),
		snapshotRestInfo.name: s.serveStream(&snapshotRestInfo, s.serveSnapshotRestore),
	} {
		if err := streams.Register(method, handler); err != nil {
			return err
		}
	}
	s.mux.Handle(mux.ProtoRPC, func(ctx context.Context, conn net.Conn, info mux.Info) {
		id := s.identity(info)
		if info.Session != nil {
			id.Session = nodeSession{info.Session, info.Protocol == mux.ProtoMultiplexV2}
		}
		s.rpc.ServeConn(ctx, conn, id)
	})
	s.mux.Handle(mux.ProtoStreaming, func(ctx context.Context, conn net.Conn, info mux.Info) {
		streams.ServeConn(ctx, conn, s.identity(info))
	})
	s.mux.Handle(mux.ProtoNodeLink, s.serveLink)
	s.setupNodePort(port, streams)
	s.setupJoin(logger)
	s.setupGRPC()
	return nil
}

// dial opens a connection to a server port, on which nothing was asked for yet.
func (s *Server) dial(ctx context.Context, addr string) (net.Conn, error) {
	if s.config.Dial != nil {
		return s.config.Dial(ctx, addr)
	}
	d := net.Dialer{Timeout: dialTimeout}
	return d.DialContext(ctx, "tcp", addr)
}

// RPC calls a method in this process. args and reply are pointers to the
// method's own types; args must not be changed while the call runs.
func (s *Server) RPC(ctx context.Context, method string, args, reply any) error {
	m := methods[method]
	if m == nil {
		return wire.UnknownMethod(method)
	}
	return m.invoke(ctx, s, args, reply)
}

// handleRPC answers a call that came in over the wire. A call for elsewhere is
// passed on as the bytes it came in.
func (s *Server) handleRPC(ctx context.Context, c *wire.Call) (any, error) {
	m, ok := s.registry.Lookup(c.Method)
	info := methods[c.Method]
	if !ok || info == nil {
		return nil, wire.UnknownMethod(c.Method)
	}
	if err := s.checkPeer(info, c.Identity); err != nil {
		return nil, err
	}
	ctx = wire.WithCall(ctx, c)
	r, err := scanRouting(c.Body)
	if err != nil {
		return nil, err
	}
	r.stale = r.stale && !info.fresh
	if err := s.chargeCall(ctx, info, c, r.token); err != nil {
		return nil, err
	}
	var answer any
	var raw wire.Raw
	passed := &call{methodInfo: info, routing: r, args: c.Body, reply: &raw, began: time.Now()}
	if info.once {
		s.name(ctx, passed, idempotency(c))
	}
	if passed.id, err = s.admit(ctx, passed); err != nil {
		return nil, passed.unsure(err)
	}
	passed.answer = func(ctx context.Context, s *Server, _ *call) error {
		c.WriteID, c.WriteSince = passed.request.id, passed.since
		c.Body, _ = passed.args.(wire.Raw) // with what is left of its wait
		args, reply := m.NewArgs(), m.NewReply()
		if err := c.Decode(args); err != nil {
			return err
		}
		answer = reply
		return info.invoke(ctx, s, args, reply)
	}
	way := s.route
	if info.global && s.federated() { // the body decides where it belongs
		way = func(ctx context.Context, c *call) error { return c.answer(ctx, s, c) }
	}
	if err := way(ctx, passed); err != nil {
		return nil, err
	}
	s.noteNode(c)
	if answer != nil {
		return answer, nil
	}
	return raw, nil
}

// idempotency returns what of a request, beside its method, makes the ID of a
// write; nil if the server that passed it on has given it one.
func idempotency(c *wire.Call) *structs.WriteRequest {
	if c.WriteID != [16]byte{} {
		return nil
	}
	w := &structs.WriteRequest{}
	r := msgp.NewReader(c.Body)
	for range r.MapHeader() {
		switch string(r.StringKey()) {
		case "IdempotencyToken":
			w.IdempotencyToken = r.String()
		case "AuthToken":
			w.AuthToken = r.String()
		case "Namespace":
			w.Namespace = r.String()
		default:
			r.Skip()
		}
		if r.Err() != nil {
			break
		}
	}
	return w
}

// scanRouting reads the fields of a request that decide where it is answered,
// without decoding the rest.
func scanRouting(body wire.Raw) (r routing, err error) {
	var index uint64
	var wait time.Duration
	rd := msgp.NewReader(body)
	for range rd.MapHeader() {
		switch string(rd.StringKey()) {
		case "Region":
			r.region = rd.String()
		case "AllowStale":
			r.stale = rd.Bool()
		case "Forwarded":
			r.forwarded = rd.Bool()
		case "AuthToken":
			r.token = rd.String()
		case "MinQueryIndex":
			index = rd.Uint64()
		case "MaxQueryTime":
			wait = time.Duration(rd.Int64())
		default:
			rd.Skip()
		}
		if rd.Err() != nil {
			break
		}
	}
	if err := rd.Err(); err != nil {
		return r, errs.Wrap(errs.Invalid, "rpc: the request cannot be decoded", err)
	}
	r.blocking = longestWait(index, wait)
	return r, nil
}
