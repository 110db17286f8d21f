package nomad

import (
	"context"
	"errors"
	"time"
)

// errStopping is why a server that drains is not healthy.
var errStopping = errors.New("this server is stopping")

// Drain prepares the end of the server while it still answers everything: it says
// that it is not healthy, answers blocking queries with what there is, hands
// leadership over and asks its peers to use other connections. It reports whether
// other servers carry on; where none does there is nothing to move. Shutdown must
// follow. It is safe to call more than once.
func (s *Server) Drain() bool {
	s.startDrain()
	s.giveUpRoom()
	s.transferLeadership()
	s.rpc.Drain()
	return len(voters(s.raft.GetConfiguration().Configuration())) > 1
}

// untilDrain returns a context for a query that waits, which ends when the server
// drains. end must be called; it reports whether that happened.
func (s *Server) untilDrain(ctx context.Context) (bound context.Context, end func() bool) {
	bound, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(s.draining, cancel)
	return bound, func() bool {
		drained := !stop()
		cancel()
		return drained && ctx.Err() == nil
	}
}

// drainWait bounds how long a server that stops waits for the calls of its peers.
const drainWait = time.Second

// awaitPeers waits until no call of a peer runs, once they were asked to move.
func (s *Server) awaitPeers() {
	if s.draining.Err() == nil {
		return
	}
	for end := time.Now().Add(drainWait); s.rpc.InFlight() > 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
}

// serve answers one call on the server that received it. A query that waits is
// asked again without waiting when the server drains.
func (m *readMethod[Req, Resp]) serve(ctx context.Context, s *Server, args *Req, reply *Resp) error {
	if m.query(args).MinQueryIndex == 0 {
		return m.serveOnce(ctx, s, args, reply)
	}
	bound, end := s.untilDrain(ctx)
	err := m.serveOnce(bound, s, args, reply)
	if drained := end(); err == nil || !drained {
		return err
	}
	now := *args
	m.query(&now).MinQueryIndex = 0
	*reply = *new(Resp)
	return m.serveOnce(ctx, s, &now, reply)
}
