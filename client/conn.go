package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// connectTimeout bounds a connection to one server, its first answer included.
	connectTimeout = 5 * time.Second
	// firstByteTimeout bounds how long a server may take to say what a stream is.
	firstByteTimeout = 10 * time.Second
	// reconnectPause is the least time until a lost session is replaced; it is spread,
	// so that a server's agents do not all come back at once.
	reconnectPause = 250 * time.Millisecond
	// maxInFlight bounds the calls that wait for one server's answers.
	maxInFlight = 4096
)

// serverConn is a session with one server: calls go out over one of its streams,
// and the server opens others to call the node.
type serverConn struct {
	addr    string
	session mux.Session
	calls   *wire.Client
	since   time.Time
}

// connect opens a session with the server at addr and has it answer once.
func (c *Client) connect(ctx context.Context, addr string) (_ *serverConn, err error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	raw, err := c.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	conn, err := mux.Select(ctx, raw, mux.ProtoMultiplexV2, c.secure())
	if err != nil {
		return nil, err
	}
	session, err := mux.Client(conn, mux.SessionConfig{Logger: c.logger})
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	s := &serverConn{addr: addr, session: session, since: time.Now()}
	stream, err := openRPC(ctx, session)
	if err != nil {
		return nil, errors.Join(err, session.Close())
	}
	limits := wire.DefaultLimits()
	limits.MaxInFlight = maxInFlight
	s.calls = wire.NewClient(stream, limits)
	if err := s.calls.Call(ctx, "Status.Ping", &structs.GenericRequest{}, nil, wire.CallOptions{}); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

// dial opens a connection to a server port, over HTTP if addr says so.
func (c *Client) dial(ctx context.Context, addr string) (net.Conn, error) {
	if isWeb(addr) {
		return nodelink.DialPortOverHTTP(ctx, addr, c.secureHTTP())
	}
	return c.config.Dial(ctx, addr)
}

// secureHTTP returns the TLS configuration of one connection to an HTTPS server, nil
// for that of the system.
func (c *Client) secureHTTP() *tls.Config {
	if c.config.SecureHTTP == nil {
		return nil
	}
	return c.config.SecureHTTP()
}

// openRPC opens a stream for calls.
func openRPC(ctx context.Context, session mux.Session) (net.Conn, error) {
	stream, err := session.Open(ctx)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = stream.SetWriteDeadline(deadline)
	}
	if _, err := stream.Write([]byte{byte(mux.ProtoRPC)}); err != nil {
		return nil, errors.Join(err, stream.Close())
	}
	return stream, stream.SetWriteDeadline(time.Time{})
}

// alive reports whether calls can be made.
func (s *serverConn) alive() bool {
	select {
	case <-s.calls.Done():
		return false
	case <-s.session.Done():
		return false
	default:
		return true
	}
}

// close ends the session and all calls on it.
func (s *serverConn) close() {
	_ = s.session.Close()
	_ = s.calls.Close()
}

// retire closes the session once its calls have ended, or after a while.
func (s *serverConn) retire(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for left := retireSeconds; left > 0 && s.alive() && s.calls.Pending() > 0; left-- {
		select {
		case <-ctx.Done():
			left = 0
		case <-tick.C:
		}
	}
	s.close()
}

// retireSeconds is how long a session that was replaced is kept for its calls.
const retireSeconds = 600

// accept serves the streams that the server opens, until the session ends. If no
// other took its place, the servers are called soon, so that they can call back.
func (c *Client) accept(s *serverConn) {
	for {
		stream, err := s.session.Accept()
		if err != nil {
			s.close()
			if c.current.Load() == s && sleep(c.looping, spread(reconnectPause)) {
				c.wake()
			}
			return
		}
		c.wg.Go(func() { c.serveStream(stream, s.addr) })
	}
}

// serveStream answers the calls that come over one stream.
func (c *Client) serveStream(stream net.Conn, addr string) {
	first := make([]byte, 1)
	_ = stream.SetReadDeadline(time.Now().Add(firstByteTimeout))
	if _, err := stream.Read(first); err != nil {
		_ = stream.Close()
		return
	}
	_ = stream.SetReadDeadline(time.Time{})
	if mux.Protocol(first[0]) != mux.ProtoRPC {
		c.logger.Debug("a server opened a stream of an unknown protocol", "server", addr, "protocol", first[0])
		_ = stream.Close()
		return
	}
	c.rpc.ServeConn(c.ctx, stream, &wire.Identity{Remote: stream.RemoteAddr(), Protocol: mux.ProtoRPC.String(), Server: true})
}

// lost reports whether err came from the connection and not from the server.
func lost(err error) bool {
	var e *errs.Error
	return errors.As(err, &e) && e.Code == errs.Unavailable && e.Unwrap() != nil
}
