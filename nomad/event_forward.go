package nomad

import (
	"context"
	"errors"
	"net"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/internal/pool"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/stream"
	"github.com/cairn-project/cairn/nomad/structs"
)

// eventStreamInfo is what limits of requests need to know of a stream.
var eventStreamInfo = methodInfo{name: stream.Method, kind: localKind, class: limit.Bulk}

// errEventsStop ends the streams of a server that stops.
var errEventsStop = errs.New(errs.Unavailable, "this server is about to stop: go on at another server")

// eventsOfRegion has a server of another region send its events.
func (s *Server) eventsOfRegion(ctx context.Context, r *structs.EventStreamRequest, send func([]byte) error) error {
	if r.Forwarded {
		return errs.Newf(errs.NoPath, "a stream for region %q came to region %q, check the region names of the servers", r.Region, s.config.Region)
	}
	q := *r
	q.Forwarded = true
	local, err := s.localToken(ctx, r.AuthToken)
	if err != nil {
		return err
	}
	if local {
		q.AuthToken = "" // its secret is nobody's business there
	}
	conn, err := s.eventSource(ctx, r.Region)
	if err != nil {
		return err
	}
	bound, end := s.untilDrain(ctx)
	err = stream.Relay(bound, conn, &q, send)
	switch drained := end(); {
	case drained:
		return errEventsStop
	case local && errors.Is(err, errs.PermissionDenied):
		return errs.Newf(errs.PermissionDenied, "Permission denied: the token is local to region %q, so that region %q knows its holder as anonymous; use a global token",
			s.config.Region, r.Region)
	}
	return err
}

// eventSource opens the streaming call at a server of a region.
func (s *Server) eventSource(ctx context.Context, region string) (conn net.Conn, err error) {
	err = s.noPath(region)
	for range len(s.router.InRegion(region)) {
		peer, ok := s.router.Pick(region)
		if !ok {
			break
		}
		if conn, err = s.pool.Stream(ctx, peer.Addr, stream.Method); err == nil || !pool.Lost(err) {
			return conn, err
		}
		s.router.MarkFailed(peer.Addr)
	}
	return nil, err
}

// serveEventStream answers a stream that another server or an agent passed on.
func (s *Server) serveEventStream(ctx context.Context, conn net.Conn, id *wire.Identity) {
	if err := stream.Serve(ctx, conn, s.StreamEvents); err != nil {
		s.logger.Debug("a stream of events broke off", "remote", id.Remote, "error", err)
	}
}
