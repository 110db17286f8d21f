package nomad

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/msgp"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/wire"
)

// nodeSession is a multiplexed connection of a peer.
type nodeSession struct {
	mux.Session
	// typed says that streams begin with the byte of their protocol.
	typed bool
}

// Open starts a stream of RPCs to the peer.
func (n nodeSession) Open(ctx context.Context) (net.Conn, error) {
	conn, err := n.Session.Open(ctx)
	if err != nil || !n.typed {
		return conn, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetWriteDeadline(deadline)
	}
	if _, err := conn.Write([]byte{byte(mux.ProtoRPC)}); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, conn.SetWriteDeadline(time.Time{})
}

// nodeConns is which nodes can be called from this server: those whose agent has
// registered or called over a session that it dialled to here. It is soft state;
// a node that dials another server is known there with its next heartbeat.
type nodeConns struct {
	mu   sync.Mutex
	held map[string]wire.Session // by node ID, the session it used last; guarded by mu
	// nodes are the IDs that a session ever stood for, so that one goroutine per
	// session waits for its end; guarded by mu.
	nodes map[wire.Session]map[string]bool
}

func newNodeConns() *nodeConns {
	return &nodeConns{held: map[string]wire.Session{}, nodes: map[wire.Session]map[string]bool{}}
}

// hold notes that a node is at the other end of a session, until that ends.
func (n *nodeConns) hold(id string, s wire.Session) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.held[id] = s
	if n.nodes[s] == nil {
		n.nodes[s] = map[string]bool{}
		go n.drop(s)
	}
	n.nodes[s][id] = true
}

// drop forgets a session once it has ended.
func (n *nodeConns) drop(s wire.Session) {
	<-s.Done()
	n.mu.Lock()
	defer n.mu.Unlock()
	for id := range n.nodes[s] {
		if n.held[id] == s {
			delete(n.held, id)
		}
	}
	delete(n.nodes, s)
}

// session returns the session of a node, nil if it has none here.
func (n *nodeConns) session(id string) wire.Session {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.held[id]
}

// noteNode remembers the session of a node whose registration or heartbeat was
// accepted, here or where it was passed on to.
func (s *Server) noteNode(c *wire.Call) {
	if c.Identity == nil || c.Identity.Session == nil || c.Hops > 0 {
		return
	}
	switch c.Method {
	case nodeRegister.name, nodeUpdateStatus.name:
	default:
		return
	}
	if id := nodeOf(c.Body); id != "" {
		s.nodeConns.hold(id, c.Identity.Session)
	}
}

// nodeOf returns the ID of the node that a registration or a heartbeat is of, ""
// if it names none.
func nodeOf(body wire.Raw) (id string) {
	rd := msgp.NewReader(body)
	for range rd.MapHeader() {
		switch string(rd.StringKey()) {
		case "NodeID":
			id = rd.String()
		case "Node":
			for range rd.MapHeader() {
				if string(rd.StringKey()) == "ID" {
					id = rd.String()
				} else {
					rd.Skip()
				}
				if rd.Err() != nil {
					return ""
				}
			}
		default:
			rd.Skip()
		}
		if rd.Err() != nil {
			return ""
		}
	}
	return id
}

// errNodeAway is returned for a node whose agent is not connected here.
var errNodeAway = errs.New(errs.NoPath, "No path to node")

// callNode calls a method of the agent of a node over the session that the agent
// dialled to this server.
func (s *Server) callNode(ctx context.Context, id, method string, args, reply any) error {
	session := s.nodeConns.session(id)
	if session == nil {
		return errNodeAway
	}
	ctx, cancel := context.WithTimeout(ctx, nodeCallTimeout)
	defer cancel()
	conn, err := session.Open(ctx)
	if err != nil {
		return errs.Wrap(errs.Unavailable, "the node does not answer", err)
	}
	client := wire.NewClient(conn, wire.DefaultLimits())
	defer client.Close()
	return client.Call(ctx, method, args, reply, wire.CallOptions{})
}

// nodeCallTimeout bounds a call to a node.
const nodeCallTimeout = 30 * time.Second
