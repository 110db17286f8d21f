package nomad

import (
	"context"

	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/structs"
)

// ACL answers the RPCs on access control itself. While that is off, all of them
// but WhoAmI are refused before they come here.
type ACL struct{ srv *Server }

// newResolver returns the resolver of callers, on the server's own store and keyring.
func (s *Server) newResolver(enabled bool) *auth.Resolver {
	return auth.New(auth.Config{
		Enabled: enabled,
		Usage:   s.usage,
		Store:   func() auth.Store { return s.state.Snapshot() },
		Verify:  s.keyring.Verify,
		Agent:   s.agentSecret,
	})
}

// commit puts one entry into the log and returns its index.
func (c *leaderCall) commit(ctx context.Context, t structs.MessageType, entry any) (uint64, error) {
	res, err := c.apply(ctx, t, entry)
	return res.index, err
}
