package nomad

import (
	"cmp"
	"context"
	"strings"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Operation answers the RPCs on long work that concerns the region.
type Operation struct{ srv *Server }

var operationList = newRead("Operation.List", []string{state.Operations.Name()},
	func(a *acl.ACL, _ *structs.OperationListRequest) bool { return a.AllowOperatorRead() },
	func(v *view, r *structs.OperationListRequest, reply *structs.OperationListResponse) error {
		reply.Operations = v.Operations(v.ws, func(o *structs.Operation) bool {
			return state.Operations.Visible(v.acl, o) && (r.ID == "" || o.ID == r.ID) && (r.Token == "" || o.Token == r.Token) &&
				(r.Kind == "" || o.Kind == r.Kind) && (r.NodeID == "" || o.NodeID == r.NodeID)
		})
		return nil
	})

// operationUpsert takes what an agent says of work that it runs itself.
var operationUpsert = newLeader("Operation.Upsert",
	func(a *acl.ACL, _ *structs.OperationUpsertRequest) bool { return a.AllowOperatorWrite() },
	func(ctx context.Context, c *leaderCall, r *structs.OperationUpsertRequest, reply *structs.OperationUpsertResponse) error {
		if err := r.Operation.Validate(); err != nil {
			return err
		}
		if r.Operation.Agent == "" || r.Operation.Kind == structs.OperationKindDrain {
			return errs.New(errs.Invalid, "an agent notes work that it runs itself, under its name")
		}
		op := *r.Operation
		op.AccessorID = c.accessor()
		index, err := c.commit(ctx, structs.OperationUpsertRequestType|structs.IgnoreUnknownTypeFlag, &structs.OperationUpsertRequest{Operation: &op})
		reply.Index = index
		return err
	})

// noteOperation stores how far an operation is, by an entry that a server which does
// not know it skips.
func (s *Server) noteOperation(ctx context.Context, op *structs.Operation) (uint64, error) {
	res, err := s.apply(ctx, structs.OperationUpsertRequestType|structs.IgnoreUnknownTypeFlag, &structs.OperationUpsertRequest{Operation: op})
	return res.index, err
}

// drainOperation returns the operation of the drain of a node that has not ended, a
// copy; nil for none.
func (s *Server) drainOperation(node string) *structs.Operation {
	found := s.state.Snapshot().Operations(nil, func(o *structs.Operation) bool {
		return o.Kind == structs.OperationKindDrain && !o.State.Done() && o.NodeID == node
	})
	if len(found) == 0 {
		return nil
	}
	return found[0].Copy()
}

// trimText cuts a text to what an operation takes.
func trimText(text string) string {
	return strings.ToValidUTF8(text[:min(len(text), structs.MaxOperationText)], "")
}

// drainReason returns why a node drains, as whoever asked for it said.
func drainReason(meta map[string]string) string {
	return trimText(cmp.Or(meta["reason"], meta["message"]))
}

// List lists the operations of the region.
func (o *Operation) List(ctx context.Context, args *structs.OperationListRequest, reply *structs.OperationListResponse) error {
	return operationList.serve(ctx, o.srv, args, reply)
}

// Upsert notes how far an operation is that an agent runs.
func (o *Operation) Upsert(ctx context.Context, args *structs.OperationUpsertRequest, reply *structs.OperationUpsertResponse) error {
	return operationUpsert.serve(ctx, o.srv, args, reply)
}
