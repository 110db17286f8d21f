package agent

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// noteTimeout bounds telling the servers of an operation, or asking them for theirs.
	noteTimeout = 5 * time.Second
	// lostAfter is how long after the time that it may take an operation of an agent
	// counts as lost, unless the agent has said how it ended.
	lostAfter = time.Minute
	// lostMessage is what is said of it then.
	lostMessage = "lost with its agent, which has not said how it ended"
)

type operationsParams struct {
	Operation string `json:"operation,omitempty"`
	Token     string `json:"token,omitempty"`
	Kind      string `json:"kind,omitempty"`
	Node      string `json:"node,omitempty"`
	Count     int    `json:"count,omitempty"`
	// Local leaves out what the servers know.
	Local bool `json:"local,omitempty"`
}

type operationsResult struct {
	Operations []*operation `json:"operations"`
	// Incomplete says why operations of the region are missing, "" when they are not.
	Incomplete string `json:"incomplete,omitempty"`
}

// errCount refuses a number of operations that is none.
var errCount = jsonrpc.InvalidParams("/count", "must not be negative; without it all are shown")

func (p *operationsParams) match(o *operation) bool {
	return (p.Operation == "" || o.ID == p.Operation) && (p.Token == "" || o.Token == p.Token) &&
		(p.Kind == "" || o.Kind == p.Kind) && (p.Node == "" || o.Node == p.Node)
}

// getOperations shows what this agent does and what the servers keep for the region.
func (n *rpcNode) getOperations(ctx context.Context, p operationsParams) (operationsResult, error) {
	if p.Count < 0 {
		return operationsResult{}, errCount
	}
	out := operationsResult{Operations: n.operations.find(p.match, 0)}
	if !p.Local {
		region, err := n.regionOperations(ctx, p)
		if err != nil {
			out.Incomplete = "operations of the region: " + err.Error()
		}
		for _, o := range region {
			if !slices.ContainsFunc(out.Operations, func(own *operation) bool { return own.ID == o.ID }) {
				out.Operations = append(out.Operations, o)
			}
		}
		slices.SortStableFunc(out.Operations, func(a, b *operation) int { return b.Created.Compare(a.Created) })
	}
	if p.Count > 0 {
		out.Operations = out.Operations[:min(p.Count, len(out.Operations))]
	}
	return out, nil
}

// regionOperations asks the servers in the name of the caller.
func (n *rpcNode) regionOperations(ctx context.Context, p operationsParams) ([]*operation, error) {
	ctx, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	args, reply := &structs.OperationListRequest{ID: p.Operation, Token: p.Token, Kind: p.Kind, NodeID: p.Node}, &structs.OperationListResponse{}
	args.AuthToken, args.AllowStale = jsonrpc.CallerOf(ctx).Token, true
	if err := n.server.RPC(ctx, "Operation.List", args, reply); err != nil {
		return nil, err
	}
	var out []*operation
	for _, o := range reply.Operations {
		out = append(out, ofRegion(o, time.Now()))
	}
	return out, nil
}

// ofRegion returns an operation of the servers as it shows at now.
func ofRegion(o *structs.Operation, now time.Time) *operation {
	if o.Lost(now) {
		o = o.Copy()
		o.Finish(structs.OperationFailed, lostMessage, o.Expires)
	}
	out := &operation{ID: o.ID, Token: o.Token, Kind: o.Kind, Name: o.Name, Caller: o.Caller, AccessorID: o.AccessorID, Reason: o.Reason,
		Node: o.NodeID, Agent: cmp.Or(o.Agent, "the leader"), State: o.State, Message: o.Message, Created: o.Created, Finished: atTime(o.Finished)}
	for _, s := range o.Steps {
		step := &operation{Name: s.Name, State: s.State, Message: s.Message, Created: s.Created, Finished: atTime(s.Finished)}
		for _, p := range s.Parts {
			step.Steps = append(step.Steps, &operation{Name: p.Name, State: p.State, Message: p.Message, Created: s.Created})
		}
		out.Steps = append(out.Steps, step)
	}
	return out
}

// atTime returns nil for the zero time.
func atTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// forRegion returns an operation of this agent as the servers keep it.
func (n *rpcNode) forRegion(o *operation) *structs.Operation {
	cut := func(text string) string { // which may end within a character
		if len(text) <= structs.MaxOperationText {
			return text
		}
		return strings.ToValidUTF8(text[:structs.MaxOperationText], "")
	}
	out := &structs.Operation{ID: o.ID, Token: o.Token, Kind: o.Kind, Name: cut(o.Name), Caller: cut(o.Caller), Agent: cut(n.config.NodeName),
		Expires: o.Created.Add(n.config.RPC.CallTimeout + lostAfter), State: o.State, Message: cut(o.Message), Created: o.Created}
	if o.Finished != nil {
		out.Finished = *o.Finished
	}
	for _, s := range o.Steps {
		step := &structs.OperationStep{Name: cut(s.Name), State: s.State, Message: cut(s.Message), Created: s.Created}
		if s.Finished != nil {
			step.Finished = *s.Finished
		}
		for _, p := range s.Steps[:min(len(s.Steps), structs.MaxOperationSteps/2)] {
			step.Parts = append(step.Parts, &structs.OperationPart{Name: cut(p.Name), State: p.State, Message: cut(p.Message)})
		}
		out.Steps = append(out.Steps, step)
	}
	return out
}

// tellRegion has the servers keep how far an operation of this agent is, as far as
// the rights of whoever began it allow that.
func (n *rpcNode) tellRegion(ctx context.Context, token, id string) {
	found := n.operations.find(func(o *operation) bool { return o.ID == id }, 1)
	if len(found) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	args := &structs.OperationUpsertRequest{Operation: n.forRegion(found[0])}
	args.AuthToken = token
	if err := n.server.RPC(ctx, "Operation.Upsert", args, &structs.OperationUpsertResponse{}); err != nil {
		n.logger.Warn("the servers were not told of an operation, only this agent shows it", "operation", id, "error", err)
	}
}
