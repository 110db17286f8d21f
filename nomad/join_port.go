package nomad

import (
	"context"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/internal/wire"
	"github.com/cairn-project/cairn/nomad/structs"
)

// joinIdle bounds what a joiner may take for its one call, and joinMessage how
// long that may be, in bytes: whoever it is has proved nothing yet.
const (
	joinIdle    = 10 * time.Second
	joinMessage = 64 << 10
)

// joinRates bound how often joiners may try. Nobody guesses a token; but a try costs the
// leader a look and its log a line, and takes no right. Who is put off tries again.
var joinRates = limit.Rates{
	Mode:       limit.Enforcing,
	PerAddress: limit.PerClass[limit.Rate]{Control: limit.Rate{PerSecond: 10, Burst: 100}},
	Global:     limit.PerClass[limit.Rate]{Control: limit.Rate{PerSecond: 50, Burst: 500}},
}

// setupJoin answers agents without a certificate, where the region has its own
// authority.
func (s *Server) setupJoin(logger hclog.Logger) {
	if s.config.TLS.auto() == nil {
		return
	}
	limits := wire.Limits{
		MaxInFlight: 1, MaxMessage: joinMessage,
		IdleTimeout: joinIdle, HeaderTimeout: joinIdle, BodyTimeout: joinIdle, WriteTimeout: joinIdle,
	}
	tries := limit.New(joinRates)
	calls := wire.NewServer(func(ctx context.Context, c *wire.Call) (any, error) {
		if r := tries.Take(limit.Control, limit.Payer{Address: addrOf(c.Identity.Remote)}); r != nil {
			s.sayRefused(authorityJoin.name, r) // whatever they call, in as many words as they like
			return nil, r.Err()
		}
		return s.handleJoin(ctx, c)
	}, limits, logger.Named("join"))
	s.mux.Handle(mux.ProtoJoin, func(ctx context.Context, conn net.Conn, info mux.Info) {
		calls.ServeConn(ctx, conn, s.identity(info))
	})
}

// handleJoin answers the one call that needs no certificate.
func (s *Server) handleJoin(ctx context.Context, c *wire.Call) (any, error) {
	if c.Method != authorityJoin.name {
		return nil, errs.Newf(errs.PermissionDenied, "%s needs a certificate, without one only %s can be called", c.Method, authorityJoin.name)
	}
	if err := s.chargeCall(ctx, authorityJoin.methodInfo, c, ""); err != nil {
		return nil, err
	}
	args, reply := &structs.AuthorityJoinRequest{}, &structs.AuthorityJoinResponse{}
	if err := c.Decode(args); err != nil {
		return nil, err
	}
	if args.Region != s.config.Region {
		return nil, errs.Newf(errs.Invalid, "this server is of region %q, the joiner of region %q: make a join token in that region", s.config.Region, args.Region)
	}
	args.Address = c.Identity.Remote.String()
	args.WriteRequest = structs.WriteRequest{Region: args.Region}
	if err := s.RPC(ctx, c.Method, args, reply); err != nil {
		return nil, err
	}
	return reply, nil
}
