package nomad

import (
	"context"
	"encoding/json"
	"io"
	"net"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/msgp"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/router"
	"github.com/cairn-project/cairn/nomad/structs"
)

// streamMethod is the name of the streaming call between servers.
const streamMethod = "NodeLink.Stream"

// serveLinkStream answers a stream that another server passed on.
func (s *Server) serveLinkStream(ctx context.Context, conn net.Conn, _ *wire.Identity) {
	nodelink.ServeStream(ctx, conn, func(ctx context.Context, b []byte, w io.Writer) (json.RawMessage, error) {
		r := new(structs.NodeCallRequest)
		if err := msgp.Unmarshal(b, r); err != nil {
			return nil, errs.Wrap(errs.Invalid, "cannot decode the call of a stream", err)
		}
		return s.StreamNode(ctx, r, w)
	})
}

// StreamNode calls a streaming method of a node's agent and writes the data that it
// sends to w, until the agent or ctx ends it. The reply comes after the data.
func (s *Server) StreamNode(ctx context.Context, r *structs.NodeCallRequest, w io.Writer) (json.RawMessage, error) {
	m := nodelink.Lookup(r.Method)
	switch {
	case m == nil || m.Class != nodelink.Stream:
		return nil, &nodelink.Failure{Outcome: nodelink.Unsupported, Help: "agents have no stream " + r.Method}
	case r.NodeID == "" && (r.ServerID == "" || !streamsOfServers(r.Method)):
		return nil, errs.New(errs.Invalid, "missing node ID")
	}
	q := *r
	if q.Trace == "" {
		q.Trace = uuid.NewString()
	}
	if q.Region != "" && q.Region != s.config.Region {
		return s.streamToRegion(ctx, &q, w)
	}
	id, err := s.authenticate(ctx, q.AuthToken)
	if err != nil {
		return nil, err
	}
	if !mayReach(id.ACL, m) {
		s.countDenial(id.ACL, func(a *acl.ACL) { m.Allow(a) })
		return nil, errPermissionDenied
	}
	q.Caller = callerOf(withCaller(ctx, id))
	if q.NodeID == "" {
		return s.followLog(ctx, &q, w)
	}
	n, err := s.knownNode(ctx, q.NodeID)
	if err != nil {
		return nil, err
	}
	s.links.held.Fence(q.NodeID, n.LinkEpoch)
	return s.streamToAgent(ctx, &q, w)
}

// streamToAgent uses the link of this server, or that of the one that has it.
func (s *Server) streamToAgent(ctx context.Context, r *structs.NodeCallRequest, w io.Writer) (json.RawMessage, error) {
	if l := s.links.held.Get(r.NodeID); l != nil {
		reply, err := l.Stream(ctx, &nodelink.Request{Method: r.Method, Body: r.Body, Revision: r.Revision, Trace: r.Trace, Caller: r.Caller, Hops: r.Passed}, w)
		s.links.stats.count(r.Method, outcomeOf(err))
		return reply, err
	}
	if len(r.Passed) > 0 {
		return nil, s.moved(r)
	}
	for _, owners := range []func(context.Context, string) []router.Server{s.toldOwners, s.askOwner} {
		for _, peer := range owners(ctx, r.NodeID) {
			reply, err := s.passStream(ctx, peer.Addr, r, w)
			if !elsewhere(nodelink.Outcome(outcomeOf(err))) {
				return reply, err
			}
			s.links.stats.moved.Add(1)
			s.links.directory.Forget(peer.ID, r.NodeID)
		}
	}
	return nil, errNoLink
}

func (s *Server) streamToRegion(ctx context.Context, r *structs.NodeCallRequest, w io.Writer) (json.RawMessage, error) {
	peer, ok := s.router.Pick(r.Region)
	if !ok {
		return nil, errs.Newf(errNoPath.Code, "%s %q", errNoPath.Msg, r.Region)
	}
	q := *r
	return s.openStream(ctx, peer.Addr, &q, w)
}

// passStream passes a stream on to a server that may have the link.
func (s *Server) passStream(ctx context.Context, addr string, r *structs.NodeCallRequest, w io.Writer) (json.RawMessage, error) {
	q := *r
	q.Passed, q.AllowStale, q.Region = append(append([]string(nil), r.Passed...), s.config.NodeName), true, s.config.Region
	return s.openStream(ctx, addr, &q, w)
}

func (s *Server) openStream(ctx context.Context, addr string, r *structs.NodeCallRequest, w io.Writer) (json.RawMessage, error) {
	b, err := msgp.Marshal(r)
	if err != nil {
		return nil, err
	}
	conn, err := s.pool.Stream(ctx, addr, streamMethod)
	if err != nil {
		var reply structs.NodeCallResponse
		if err := hopFailed(ctx, err, &reply); err != nil {
			return nil, err
		}
		return nil, nodelink.FromWire(reply.Failure)
	}
	return nodelink.PassStream(ctx, conn, b, w)
}
