package nomad

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/serf/serf"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/structs"
)

// findNodeTimeout bounds the search for the server that a node is connected to.
const findNodeTimeout = 3 * time.Second

// onNode has the agent of a node answer a call: over its link, or, for an agent
// that serves none, over its connection to this server,
// or through the server of the region that has one. A call that was passed on is
// not passed on again. What comes over a link is decoded into linked, a part of reply.
func (s *Server) onNode(ctx context.Context, id, method string, args structs.Query, reply, linked any) error {
	overSession, err := s.onSession(ctx, id, method, args, reply)
	if overSession {
		return err
	}
	if err != nil || s.links.held.Get(id) != nil || len(s.links.directory.Owners(id)) > 0 {
		q := &structs.NodeCallRequest{NodeID: id, Method: method}
		q.AuthToken = args.QueryOpts().AuthToken // for the server that has the link
		return s.callLinked(ctx, q, linked)
	}
	hops := 0
	if c, ok := wire.CallFrom(ctx); ok {
		hops = c.Hops
	}
	if hops >= maxHops {
		return errNodeAway
	}
	addr := s.findNode(ctx, id, func(r *structs.NodeConnQueryResponse) bool { return r.Connected })
	if addr == "" {
		return errNodeAway
	}
	return s.pool.Call(ctx, addr, method, args, reply, wire.CallOptions{Hops: maxHops})
}

// onSession has the agent of a node answer a call over the session that it dialled to
// this server. It reports false where there is none or this server has the link, and,
// with an error, where the agent serves the method over its link only.
func (s *Server) onSession(ctx context.Context, id, method string, args, reply any) (bool, error) {
	if s.nodeConns.session(id) == nil || s.links.held.Get(id) != nil {
		return false, nil
	}
	err := s.callNode(ctx, id, method, args, reply)
	if errors.Is(err, errs.Unsupported) {
		if n := s.state.Snapshot().Node(nil, id); n != nil && n.LinkInstance != "" {
			return false, err
		}
	}
	return true, err
}

// findNode asks the other servers of the region which of them a node is connected
// to, and returns the address of the first that says so, "" for none.
func (s *Server) findNode(ctx context.Context, id string, has func(*structs.NodeConnQueryResponse) bool) string {
	ctx, cancel := context.WithTimeout(ctx, findNodeTimeout)
	defer cancel()
	found := make(chan string, 1)
	var wg sync.WaitGroup
	for _, server := range s.router.InRegion(s.config.Region) {
		if server.ID == s.nodeID || server.Status != serf.StatusAlive {
			continue
		}
		wg.Go(func() {
			var reply structs.NodeConnQueryResponse
			err := s.pool.Call(ctx, server.Addr, statusHasNodeConn.name, &structs.NodeSpecificRequest{NodeID: id}, &reply, wire.CallOptions{Hops: maxHops})
			if err == nil && has(&reply) {
				select {
				case found <- server.Addr:
					cancel()
				default:
				}
			}
		})
	}
	wg.Wait()
	select {
	case addr := <-found:
		return addr
	default:
		return ""
	}
}
