package nomad

import (
	"context"
	"time"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/nomad/structs"
)

// WorkloadEvent takes what programs on nodes tell the cluster.
type WorkloadEvent struct{ srv *Server }

// workloadEventRaise writes an entry that a server which does not know it skips.
var workloadEventRaise = newLeader("WorkloadEvent.Raise",
	func(a *acl.ACL, r *structs.WorkloadEventRaiseRequest) bool {
		namespace := r.RequestNamespace()
		if r.Event != nil {
			namespace = r.Event.Namespace
		}
		return a.AllowNamespaceOperation(namespace, acl.RaiseEvent)
	},
	func(ctx context.Context, c *leaderCall, r *structs.WorkloadEventRaiseRequest, reply *structs.WorkloadEventRaiseResponse) error {
		if err := r.Event.Validate(); err != nil {
			return err
		}
		event := *r.Event
		event.Time = time.Now().UnixNano()
		res, err := c.apply(ctx, structs.WorkloadEventRaiseRequestType|structs.IgnoreUnknownTypeFlag,
			&structs.WorkloadEventRaiseRequest{Event: &event})
		reply.Index = res.index
		return err
	})

// Raise puts an event into the stream.
func (e *WorkloadEvent) Raise(ctx context.Context, args *structs.WorkloadEventRaiseRequest, reply *structs.WorkloadEventRaiseResponse) error {
	return workloadEventRaise.serve(ctx, e.srv, args, reply)
}
