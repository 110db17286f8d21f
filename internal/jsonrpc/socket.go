package jsonrpc

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
)

// SocketConfig is what a Socket is made from. Start from DefaultSocketConfig.
type SocketConfig struct {
	// Path of the socket, absolute. A lock file stands beside it, with ".lock" at its end.
	Path string
	// Mode of the socket, such as 0600 or 0666.
	Mode os.FileMode
	// GID is the group that the socket is given to, -1 for the process's own.
	GID int
	// MaxConns bounds the connections, MaxConnsPerUID those of one user; root and
	// the agent's user are bound by MaxConns only, an eighth of which is left for them.
	MaxConns, MaxConnsPerUID int
	// IdleTimeout ends connections on which nothing was asked for so long.
	IdleTimeout time.Duration
	// MessageTimeout is how long a message may take from its first byte to its last.
	MessageTimeout time.Duration
	// WriteTimeout is how long a peer may take for 64 KiB of an answer.
	WriteTimeout time.Duration
	// Grace is how long calls that run may go on when the server stops.
	Grace time.Duration
	// Identify says who is at the other end; nil asks the kernel.
	Identify func(*net.UnixConn) Caller
}

// DefaultSocketConfig returns the limits of the product; the path is left to set.
func DefaultSocketConfig() SocketConfig {
	return SocketConfig{
		Mode: 0o600, GID: -1, MaxConns: 128, MaxConnsPerUID: 16, IdleTimeout: 10 * time.Minute,
		MessageTimeout: 30 * time.Second, WriteTimeout: 10 * time.Second, Grace: 5 * time.Second,
	}
}

// Validate returns every problem of the configuration at once.
func (c SocketConfig) Validate() error {
	var errata []errs.Erratum
	if err := checkSocketPath(c.Path); err != nil {
		errata = append(errata, errs.Erratum{Field: "Path", Msg: strings.TrimPrefix(err.Error(), socketPathWords)})
	}
	if c.Mode&0o600 != 0o600 || c.Mode != c.Mode.Perm() {
		errata = append(errata, errs.Erratum{Field: "Mode", Msg: "must be permissions that let the owner read and write"})
	}
	for _, limit := range []struct {
		field string
		v     int64
	}{{"MaxConns", int64(c.MaxConns)}, {"MaxConnsPerUID", int64(c.MaxConnsPerUID)}, {"IdleTimeout", int64(c.IdleTimeout)},
		{"MessageTimeout", int64(c.MessageTimeout)}, {"WriteTimeout", int64(c.WriteTimeout)}} {
		if limit.v <= 0 {
			errata = append(errata, errs.Erratum{Field: limit.field, Msg: "must be above zero"})
		}
	}
	return invalid("invalid configuration of the json-rpc socket", errata)
}

// Socket serves connections on a Unix socket. A connection carries JSON values one
// after another; they are answered in their order, each answer ended by a line
// feed. Connections are served at the same time.
type Socket struct {
	srv   *Server
	cfg   SocketConfig
	claim *claim

	mu     sync.Mutex
	conns  map[*socketConn]struct{}
	users  map[uint32]int // connections by uid
	closed bool
}

// Listen binds the socket. Serve must be called next; it gives the socket back.
func (s *Server) Listen(cfg SocketConfig) (*Socket, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.Identify == nil {
		cfg.Identify = func(c *net.UnixConn) Caller { return Caller{Transport: TransportSocket, Peer: peerCred(c)} }
	}
	c, err := listenUnix(cfg.Path, cfg.Mode, cfg.GID)
	if err != nil {
		return nil, err
	}
	return &Socket{srv: s, cfg: cfg, claim: c, conns: map[*socketConn]struct{}{}, users: map[uint32]int{}}, nil
}

// Conns returns how many connections are open.
func (s *Socket) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// Path returns the path of the socket.
func (s *Socket) Path() string { return s.cfg.Path }

// Users returns how many connections are open by the user that the kernel named.
func (s *Socket) Users() map[uint32]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.users)
}

// Serve accepts and serves connections until ctx ends. Then it stops accepting, removes
// the socket, lets the messages that run finish for the time of grace, ends what is left,
// and returns nil when no goroutine of a connection is left. Handlers that do not
// heed their context may run on.
func (s *Socket) Serve(ctx context.Context) error {
	life, kill := context.WithCancelCause(context.WithoutCancel(ctx))
	defer kill(errStopping)
	stop := context.AfterFunc(ctx, func() { _ = s.claim.listener.Close() })
	defer stop()
	var wg sync.WaitGroup
	err := s.accept(life, &wg)
	if ctx.Err() != nil {
		err = nil
	}
	s.claim.release()
	s.drain()
	timer := time.AfterFunc(s.cfg.Grace, func() { kill(errStopping) })
	defer timer.Stop()
	wg.Wait()
	return err
}

// accept takes connections until the listener is closed or breaks.
func (s *Socket) accept(life context.Context, wg *sync.WaitGroup) error {
	var wait time.Duration
	for {
		conn, err := s.claim.listener.AcceptUnix()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			// Out of file descriptors, most of the time: others have to end first.
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			s.srv.logger.Error("cannot accept a connection", "error", err, "retry_in", wait)
			time.Sleep(wait)
			continue
		}
		wait = 0
		c := newSocketConn(s, conn, life)
		if reason := s.add(c); reason != "" {
			s.srv.logger.Warn("refused a connection", "caller", c.turn.caller, "reason", reason)
			wg.Go(func() { c.reject(reason) })
			continue
		}
		wg.Go(c.serve)
	}
}

// add takes a connection in, or says why not.
func (s *Socket) add(c *socketConn) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	peer, owner := c.turn.caller.Peer, c.turn.caller.isOwner()
	switch {
	case s.closed:
		return errStopping.Error()
	case len(s.conns) >= s.cfg.MaxConns, !owner && len(s.conns) >= s.cfg.MaxConns-s.cfg.MaxConns/8:
		return "too many connections"
	case peer != nil && !owner && s.users[peer.UID] >= s.cfg.MaxConnsPerUID:
		return "too many connections of this user"
	}
	s.conns[c] = struct{}{}
	if peer != nil {
		s.users[peer.UID]++
	}
	return ""
}

// remove forgets a connection that add took in.
func (s *Socket) remove(c *socketConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if peer := c.turn.caller.Peer; peer != nil {
		if s.users[peer.UID]--; s.users[peer.UID] == 0 {
			delete(s.users, peer.UID)
		}
	}
}

// drain has every connection end once the message that it works on is answered.
func (s *Socket) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for c := range s.conns {
		c.drain()
	}
}
