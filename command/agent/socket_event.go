package agent

import (
	"cmp"
	"context"

	"github.com/cairn-project/cairn/drpc/agentpb"
	"github.com/cairn-project/cairn/internal/drpc"
	"github.com/cairn-project/cairn/nomad/structs"
)

// eventRate and eventBurst bound the events of one local user, per second and at
// once: each is an entry of the log.
const eventRate, eventBurst = 10, 100

// raiseEvent answers 303.
func (s *agentSockets) raiseEvent(ctx context.Context, req *drpc.Request, in *agentpb.EventRequest) (*agentpb.EventReply, error) {
	event := &structs.WorkloadEvent{Namespace: cmp.Or(in.Namespace, structs.DefaultNamespace), Type: in.Type, Key: in.Key,
		Source: s.identityOf(req.Peer)}
	if in.DetailsJson != "" {
		event.Details = []byte(in.DetailsJson)
	}
	if err := event.Validate(); err != nil {
		return nil, err
	}
	if err := s.eventLimits.take(req.Peer.UID, "events"); err != nil {
		return nil, err
	}
	args := &structs.WorkloadEventRaiseRequest{Event: event}
	args.Namespace, args.AuthToken = event.Namespace, in.Token
	var reply structs.WorkloadEventRaiseResponse
	if err := s.call(ctx, "WorkloadEvent.Raise", args, &reply); err != nil {
		return nil, err
	}
	return &agentpb.EventReply{Index: reply.Index}, nil
}
