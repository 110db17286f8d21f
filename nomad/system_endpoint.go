package nomad

import (
	"context"
	"time"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/nomad/structs"
)

// System answers the RPCs on the upkeep of the store.
type System struct{ srv *Server }

var systemGarbageCollect = newLeader("System.GarbageCollect",
	delegated[structs.SystemRequest](acl.SystemGC),
	func(ctx context.Context, c *leaderCall, _ *structs.SystemRequest, _ *structs.GenericResponse) error {
		now := time.Now()
		if c.srv.auth.Enabled() {
			if err := c.srv.deleteExpired(ctx, now); err != nil {
				return err
			}
		}
		_, err := c.srv.forgetNodes(ctx, now)
		return err
	})

// GarbageCollect deletes at once what the leader would delete in time: tokens that
// have expired and nodes that are down, for however short a while.
func (s *System) GarbageCollect(ctx context.Context, args *structs.SystemRequest, reply *structs.GenericResponse) error {
	return systemGarbageCollect.serve(ctx, s.srv, args, reply)
}
