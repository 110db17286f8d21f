package nomad

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/serf/serf"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/router"
	"github.com/cairn-project/cairn/nomad/structs"
)

// askPeersBudget bounds asking the other servers for a link that nobody told of.
const askPeersBudget = 300 * time.Millisecond

// callAgent calls a method of a node's agent over its link, here or at the server
// that has it. The reply holds how that ended; an error is for a request that makes
// no sense or may not be made.
func (s *Server) callAgent(ctx context.Context, r *structs.NodeCallRequest, reply *structs.NodeCallResponse) error {
	method := nodelink.Lookup(r.Method)
	switch {
	case r.NodeID == "":
		return errs.New(errs.Invalid, "missing node ID")
	case method == nil:
		reply.Failure = nodelink.ToWire(&nodelink.Failure{Outcome: nodelink.Unsupported, Help: "agents have no method " + r.Method})
		return nil
	case method.Class == nodelink.Stream:
		reply.Failure = nodelink.ToWire(&nodelink.Failure{Outcome: nodelink.Unsupported, Help: r.Method + " is a stream: use its own route"})
		return nil
	}
	q := *r
	if q.Timeout <= 0 || q.Timeout > nodeCallTimeout {
		q.Timeout = nodeCallTimeout
	}
	if q.Trace == "" {
		q.Trace = uuid.NewString()
	}
	q.Caller = callerOf(ctx) // whoever passed the call on passed the token on too
	q.AllowStale, q.Region = true, s.config.Region
	ctx, cancel := context.WithTimeout(ctx, q.Timeout)
	defer cancel()
	return s.routeToAgent(ctx, method, &q, reply)
}

// routeToAgent tries the ways to a node until one of them has an answer, the time
// to wait for a link is over, or another try could run the call twice.
func (s *Server) routeToAgent(ctx context.Context, m *nodelink.Method, r *structs.NodeCallRequest, reply *structs.NodeCallResponse) error {
	until := time.Now().Add(r.Wait)
	for {
		changed := s.links.changed.next()
		err := s.tryAgent(ctx, r, reply)
		f := reply.Failure
		if err != nil || f == nil || len(r.Passed) > 0 || !waitsForLink(f, m) {
			return err
		}
		left := time.Until(until)
		if left <= 0 {
			return nil
		}
		pause := time.NewTimer(min(left, askPeersBudget))
		select {
		case <-changed:
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return nil
		}
		pause.Stop()
		*reply = structs.NodeCallResponse{}
	}
}

// waitsForLink reports whether another link may serve a call that failed.
func waitsForLink(f *structs.NodeCallFailure, m *nodelink.Method) bool {
	switch nodelink.Outcome(f.Outcome) {
	case nodelink.NoLink, nodelink.NotSent, nodelink.Moved:
		return true
	case nodelink.MayHaveRun:
		return m.Idempotent
	}
	return false
}

// tryAgent calls over the link of this server, or passes the call on once.
func (s *Server) tryAgent(ctx context.Context, r *structs.NodeCallRequest, reply *structs.NodeCallResponse) error {
	n, err := s.knownNode(ctx, r.NodeID)
	if err != nil {
		return err
	}
	s.links.held.Fence(r.NodeID, n.LinkEpoch)
	if l := s.links.held.Get(r.NodeID); l != nil {
		s.overLink(ctx, l, r, reply)
		return nil
	}
	if len(r.Passed) > 0 {
		reply.Server = s.config.NodeName
		reply.Failure = nodelink.ToWire(s.moved(r))
		return nil
	}
	for _, owners := range []func(context.Context, string) []router.Server{s.toldOwners, s.askOwner} {
		for _, peer := range owners(ctx, r.NodeID) {
			if err := s.passToOwner(ctx, peer, r, reply); err != nil {
				return err
			}
			if f := reply.Failure; f == nil || !elsewhere(nodelink.Outcome(f.Outcome)) {
				return nil
			}
		}
	}
	*reply = structs.NodeCallResponse{Failure: nodelink.ToWire(errNoLink)}
	return nil
}

// elsewhere reports whether a call that ended so at one server did not reach the
// node, and may be tried at the next one.
func elsewhere(o nodelink.Outcome) bool { return o == nodelink.Moved || o == nodelink.NotSent }

// knownNode returns a node of the store. One that is not there may have registered
// with a leader that this server is behind.
func (s *Server) knownNode(ctx context.Context, id string) (*structs.Node, error) {
	n := s.state.Snapshot().Node(nil, id)
	if n == nil && !s.IsLeader() {
		wait, cancel := context.WithTimeout(ctx, unknownWait)
		defer cancel()
		if s.catchUpWith(wait) == nil {
			n = s.state.Snapshot().Node(nil, id)
		}
	}
	if n == nil {
		return nil, errs.Newf(errs.NotFound, "Unknown node %q", id)
	}
	return n, nil
}

// errNoLink is the end of a call to a node that no server has a link to.
var errNoLink = &nodelink.Failure{Outcome: nodelink.NoLink,
	Help: "no server of the region has a link to the node: see whether its agent runs and can reach a server"}

// overLink calls over a link of this server.
func (s *Server) overLink(ctx context.Context, l *nodelink.Link, r *structs.NodeCallRequest, reply *structs.NodeCallResponse) {
	reply.Server = s.config.NodeName
	result, err := l.Call(ctx, &nodelink.Request{Method: r.Method, Body: r.Body, Revision: r.Revision, Trace: r.Trace, Caller: r.Caller, Hops: r.Passed})
	if f := new(nodelink.Failure); errors.As(err, &f) {
		reply.Failure = nodelink.ToWire(f)
	}
	reply.Result = result
	s.links.stats.count(r.Method, outcomeOf(err))
}

// outcomeOf names how a call ended: the outcome of a failure, "result" for none.
func outcomeOf(err error) string {
	f := new(nodelink.Failure)
	switch {
	case err == nil:
		return "result"
	case errors.As(err, &f):
		return string(f.Outcome)
	}
	return "error"
}

// moved says that this server does not have a link, and who may.
func (s *Server) moved(r *structs.NodeCallRequest) *nodelink.Failure {
	f := &nodelink.Failure{Outcome: nodelink.Moved, Help: "the server that was asked no longer has the link of the node"}
	for _, id := range s.links.directory.Owners(r.NodeID) {
		if peer, ok := s.router.ByID(id); ok && peer.Status == serf.StatusAlive {
			f.Hint = peer.Addr
			break
		}
	}
	return f
}

// ownersOf returns the servers to try for a node: those that said they have its
// link, and if none did the one that says so when asked.
func (s *Server) ownersOf(ctx context.Context, node string) []router.Server {
	if told := s.toldOwners(ctx, node); len(told) > 0 {
		return told
	}
	return s.askOwner(ctx, node)
}

// toldOwners returns the servers that said they have the link of a node.
func (s *Server) toldOwners(_ context.Context, node string) (out []router.Server) {
	for _, id := range s.links.directory.Owners(node) {
		if peer, ok := s.router.ByID(id); ok && peer.Status == serf.StatusAlive && peer.Region == s.config.Region {
			out = append(out, peer)
		}
	}
	return out
}

// askOwner returns the server that has the link of a node, as far as one says so
// within a short time.
func (s *Server) askOwner(ctx context.Context, node string) []router.Server {
	ctx, cancel := context.WithTimeout(ctx, askPeersBudget)
	defer cancel()
	addr := s.findNode(ctx, node, func(r *structs.NodeConnQueryResponse) bool { return r.Linked })
	if peer, ok := s.router.ByAddr(addr); ok {
		return []router.Server{peer}
	}
	return nil
}

// passToOwner passes a call on to a server that may have the link, and once more to
// the one that this names instead. It is never passed on from there.
func (s *Server) passToOwner(ctx context.Context, peer router.Server, r *structs.NodeCallRequest, reply *structs.NodeCallResponse) error {
	q := *r
	q.Passed = append([]string(nil), r.Passed...)
	q.Passed = append(q.Passed, s.config.NodeName)
	addr := peer.Addr
	for range 2 {
		*reply = structs.NodeCallResponse{}
		if deadline, ok := ctx.Deadline(); ok {
			q.Timeout = max(time.Millisecond, time.Until(deadline))
		}
		err := s.pool.Call(ctx, addr, nodeLinkCallName, &q, reply, wire.CallOptions{Hops: maxHops, RequestID: r.Trace})
		if err != nil {
			return hopFailed(ctx, err, reply)
		}
		f := reply.Failure
		if f == nil || nodelink.Outcome(f.Outcome) != nodelink.Moved {
			return nil
		}
		s.links.stats.moved.Add(1)
		s.links.directory.Forget(peer.ID, r.NodeID)
		if next, ok := s.router.ByAddr(f.Hint); !ok || next.ID == s.nodeID || next.ID == peer.ID {
			return nil
		} else {
			peer, addr = next, next.Addr
		}
	}
	return nil
}

// hopFailed turns the failure of a hop into that of the call; an answer of the
// server that is an error stays one.
func hopFailed(ctx context.Context, err error, reply *structs.NodeCallResponse) error {
	f := &nodelink.Failure{Text: err.Error()}
	switch {
	case ctx.Err() != nil || errors.Is(err, errs.Deadline):
		f.Outcome, f.Help = nodelink.Late, "the node did not answer in time"
	case errs.NotSent(err):
		f.Outcome, f.Help = nodelink.Moved, "the server that has the link of the node cannot be reached"
	case errors.Is(err, errs.Unavailable):
		f.Outcome, f.Help = nodelink.MayHaveRun, "the server that has the link of the node broke off before the answer came: the call may have run"
	default:
		return err
	}
	*reply = structs.NodeCallResponse{Failure: nodelink.ToWire(f)}
	return nil
}

// callLinked calls a method of a node's agent, and decodes its reply into reply. An
// error of the agent has its code.
func (s *Server) callLinked(ctx context.Context, r *structs.NodeCallRequest, reply any) error {
	var answer structs.NodeCallResponse
	if err := s.callAgent(ctx, r, &answer); err != nil {
		return err
	}
	if answer.Failure != nil {
		return nodelink.FromWire(answer.Failure)
	}
	if err := json.Unmarshal(answer.Result, reply); err != nil {
		return errs.Wrap(errs.Internal, "the node answered what this server does not understand", err)
	}
	return nil
}
