package nomad

import (
	"context"
	"net"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-memdb"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// nodeLinks is what a server knows of the links of node agents.
type nodeLinks struct {
	// host takes links, held are those that this server has.
	host *nodelink.Host
	held *nodelink.Links
	// directory is what the other servers have, as they said.
	directory *nodelink.Directory
	// boot is random since the start of this server, so that others see a restart.
	boot string
	// wake has a token when there is something to tell the other servers, changed is
	// closed and replaced when a link came or went, here or elsewhere.
	wake    chan struct{}
	changed *signal
	stats   linkStats
}

func (s *Server) setupLinks(logger hclog.Logger) {
	l := &s.links
	l.held, l.directory, l.boot = nodelink.NewLinks(), nodelink.NewDirectory(), uuid.NewString()
	l.wake, l.changed = make(chan struct{}, 1), newSignal()
	l.held.Changed = func() {
		l.changed.raise()
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
	l.directory.Changed = l.changed.raise
	l.held.Storm = s.linkStorm
	l.host = nodelink.NewHost(nodelink.HostConfig{ServerID: s.nodeID, ServerName: s.config.NodeName, Region: s.config.Region,
		PingInterval: s.config.LinkPingInterval, MaxAge: s.config.LinkMaxAge, Admit: s.admitLink, Links: l.held, Logger: logger.Named("link")})
}

// serveLink is the handler of links on the server port.
func (s *Server) serveLink(ctx context.Context, conn net.Conn, info mux.Info) {
	s.serveLinkOver(ctx, conn, nodelink.From{Remote: info.Remote.String(), Transport: "port"})
}

func (s *Server) serveLinkOver(ctx context.Context, conn net.Conn, from nodelink.From) {
	conn, err := mux.AwaitPeer(ctx, conn)
	if err != nil {
		_ = conn.Close()
		return
	}
	session, err := mux.Server(conn, mux.SessionConfig{Logger: s.logger})
	if err != nil {
		_ = conn.Close()
		return
	}
	s.ServeLink(ctx, session, from)
}

// ServeLink takes the link of an agent that dialled a session, and serves it until
// it or ctx ends, or the server stops. It owns the session.
func (s *Server) ServeLink(ctx context.Context, session mux.Session, from nodelink.From) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.ctx, cancel)()
	s.links.host.Serve(ctx, session, from)
}

// LinkRefusal returns why a link of a version cannot be taken now, nil if it can.
func (s *Server) LinkRefusal(version int) *nodelink.Refusal {
	if why := nodelink.CheckVersion(version, version); why != nil {
		return why
	}
	if s.links.host.Leaving() {
		return nodelink.ErrLeaving()
	}
	return nil
}

// admitWait is how long a hello may wait for the registration that it tells of to
// reach this server, and admitRetry when an agent that is not known may come back.
const (
	admitWait  = 5 * time.Second
	admitRetry = 5 * time.Second
)

// admitLink checks who an agent is. This server may be behind the leader that the
// node registered with.
func (s *Server) admitLink(ctx context.Context, h *nodelink.Hello) *nodelink.Refusal {
	ctx, cancel := context.WithTimeout(ctx, admitWait)
	defer cancel()
	for {
		ws := memdb.NewWatchSet()
		abandoned := s.state.AbandonCh()
		n := s.state.Snapshot().Node(ws, h.NodeID)
		switch {
		case n != nil && !sameSecret(n, h.Secret):
			return &nodelink.Refusal{Reason: nodelink.BadIdentity, RetryAfter: admitRetry, Help: "the node registered with another secret"}
		case n != nil && n.LinkEpoch > h.Epoch && n.LinkInstance == h.Instance: // it registered again while this waited
			h.Epoch = n.LinkEpoch
			return nil
		case n != nil && n.LinkEpoch > h.Epoch:
			return nodelink.ErrSuperseded()
		case n != nil && n.LinkEpoch == h.Epoch && n.LinkInstance == h.Instance:
			return nil
		case n != nil && n.LinkEpoch == h.Epoch:
			return &nodelink.Refusal{Reason: nodelink.BadIdentity, RetryAfter: admitRetry, Help: "the node registered from another process: register first"}
		}
		ws.Add(abandoned)
		if ws.WatchCtx(ctx) != nil {
			return &nodelink.Refusal{Reason: nodelink.BadIdentity, RetryAfter: admitRetry, Help: "no such registration of the node is known here: register first"}
		}
	}
}

// linkStorm tells operators that the links of a node push each other out.
func (s *Server) linkStorm(node, older, newer string) {
	s.logger.Warn("links of a node push each other out: two machines may share one data directory", "node_id", node, "older", older, "newer", newer)
	e := structs.NewNodeEvent(structs.NodeEventSubsystemCluster, "Links of the node push each other out", time.Now())
	e.Details = map[string]string{"older": older, "newer": newer}
	req := &structs.EmitNodeEventsRequest{NodeEvents: map[string][]*structs.NodeEvent{node: {e}}}
	if n := s.state.Snapshot().Node(nil, node); n != nil {
		req.AuthToken = n.SecretID
	}
	s.wg.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, nodeCallTimeout)
		defer cancel()
		if err := s.RPC(ctx, nodeEmitEvents.name, req, &structs.EmitNodeEventsResponse{}); err != nil {
			s.logger.Warn("cannot note it as an event of the node", "node_id", node, "error", err)
		}
	})
}

// callerKey is under which the identity of the caller of a local method is in its context.
type callerKey struct{}

func withCaller(ctx context.Context, id *auth.Identity) context.Context {
	return context.WithValue(ctx, callerKey{}, id)
}

// callerOf returns the accessor ID of the token that a local method was called with.
func callerOf(ctx context.Context) string {
	if id, _ := ctx.Value(callerKey{}).(*auth.Identity); id != nil && id.Token != nil {
		return id.Token.AccessorID
	}
	return ""
}

var (
	descLinks     = prometheus.NewDesc("cairn_node_links", "Links of node agents that this server has, by version of the protocol.", []string{"version"}, nil)
	descLinkKicks = prometheus.NewDesc("cairn_node_link_kicks_total", "Links that another link of the same node pushed out.", nil, nil)
	descLinkMoved = prometheus.NewDesc("cairn_node_link_moved_total", "Calls passed on to a server that no longer had the link.", nil, nil)
	descLinkCalls = prometheus.NewDesc("cairn_node_link_calls_total", "Calls to agents over links of this server, by method and outcome.", []string{"method", "outcome"}, nil)
)

func describeLinks(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descLinks, descLinkKicks, descLinkMoved, descLinkCalls} {
		ch <- d
	}
}
