package agent

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/internal/limit"
	"github.com/cairn-project/cairn/nomad"
)

// localUser is the name under which the requests of a local user are counted.
func localUser(uid int) string { return fmt.Sprintf("uid %d", uid) }

// unknownUser is the name of those of whom the system says nothing.
const unknownUser = "unknown local user"

// charge implements the Charge of jsonrpc.Config: each call of a batch counts once,
// as the RPC that it makes. What the agent answers itself is a read, or for
// operators only and then as urgent as anything.
func (n *rpcNode) charge(ctx context.Context, c jsonrpc.Caller, m *jsonrpc.Method) error {
	r := nomad.Charged{Method: n.rpcs[m.Name], Name: m.Name, Class: limit.Read, Secret: c.Token, Remote: c.Remote}
	if m.Privileged {
		r.Class = limit.Control
	}
	switch {
	case c.Peer != nil:
		r.User = localUser(int(c.Peer.UID))
	case c.Transport == jsonrpc.TransportSocket:
		r.User = unknownUser
	}
	return n.server.Charge(ctx, r)
}

// socketClasses says what the methods of the agent sockets are counted as. Those that
// give back what is held, or answer somebody else's call, are refused last.
var socketClasses = map[int32]limit.Class{
	0:   limit.Read, // the greeting
	101: limit.Read, 102: limit.Read, 103: limit.Read,
	201: limit.Read, 202: limit.Read, 203: limit.Control, 204: limit.Control, 205: limit.Control, 206: limit.Read, 207: limit.Read, 208: limit.Control,
	301: limit.Write, 302: limit.Control, 303: limit.Write, 304: limit.Write, 305: limit.Write, 306: limit.Control, 307: limit.Read,
	401: limit.Read,
	501: limit.Write, 502: limit.Control, 503: limit.Control, 504: limit.Control,
}

// charge implements the Charge of drpc.Config: every call counts for its user.
func (s *agentSockets) charge(ctx context.Context, p drpc.Peer, m *drpc.Method) error {
	user := unknownUser
	if p.Known {
		user = localUser(p.UID)
	}
	return s.server.Charge(ctx, nomad.Charged{Name: m.Name, Class: socketClasses[m.ID], User: user})
}

// localLimits holds the local users of a node agent to the rates of its own
// configuration. Who asks over HTTP is counted by the server that answers.
type localLimits struct{ *limit.Limiter }

func newLocalLimits(c *Config) localLimits {
	return localLimits{limit.New(c.Limits.RequestLimits.limits().Rates)}
}

// Charge counts the requests of local users; part of caller.
func (l localLimits) Charge(_ context.Context, r nomad.Charged) error {
	if r.User == "" || !l.On() {
		return nil
	}
	if r.Method != "" {
		r.Class = nomad.ClassOf(r.Method)
	}
	refused := l.Take(r.Class, limit.Payer{Address: netip.Addr{}, Token: func() string { return r.User }})
	if refused == nil || !refused.Enforced {
		return nil
	}
	return refused.Err()
}

// SetLimits replaces the rates; part of runner. How many calls run at once is up to
// the servers.
func (l localLimits) SetLimits(c nomad.LimitConfig) { l.Set(c.Rates) }
