package agent

import (
	"context"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/nomad"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// blockingTimeout bounds a generated read: as long as a blocking query may wait,
// the sixteenth that servers add, and time to answer.
const blockingTimeout = structs.MaxBlockingWait + structs.MaxBlockingWait/16 + 10*time.Second

// notGenerated lists public RPCs that get no method of their own, with the reason.
var notGenerated = map[string]string{}

// tokenless RPCs are their own proof: a token that expired must not spoil them.
var tokenless = map[string]bool{
	"ACL.Bootstrap": true, "ACL.ExchangeOneTimeToken": true, "ACL.Login": true, "ACL.OIDCAuthURL": true, "ACL.OIDCCompleteAuth": true,
}

// operatorNames are further names of generated methods, under which operators look
// for them. Those that change something are privileged: every call is audited.
var operatorNames = []struct {
	name, rpc, summary string
	privileged         bool
}{
	{"get_raft_configuration", "Operator.RaftGetConfiguration", "the Raft peers, and which one leads", false},
	{"admin_raft_transfer_leader", "Operator.TransferLeadershipToPeer", "hand leadership to the server with this ID or Address", true},
	{"admin_raft_remove_peer", "Operator.RaftRemovePeerByID", "remove the Raft peer with this ID", true},
	{"get_autopilot_health", "Operator.ServerHealth", "the health of the servers, as the leader sees it", false},
	{"get_autopilot_configuration", "Operator.AutopilotGetConfiguration", "when a server counts as healthy, and which dead ones are removed", false},
	{"admin_autopilot_set", "Operator.AutopilotSetConfiguration", "replace the settings of autopilot by Config; with CAS only if Config.ModifyIndex is that of what there is", true},
	{"admin_gc", "System.GarbageCollect", "forget what nobody needs any more", true},
	{"get_nodes", "Node.List", "the nodes of the cluster", false},
	{"get_node_links", "NodeLink.List", "the links of node agents: who has each, since when, and what its agent offers", false},
}

// alsoPrivileged RPCs do what a privileged method of the agent does, so that nobody gets
// round its audit: admin_node_start_drain and its end, admin_node_set_status, node_call and
// admin_profile.
var alsoPrivileged = map[string]bool{"Node.UpdateDrain": true, "Node.UpdateEligibility": true, "NodeLink.Call": true, "Agent.Profile": true}

// acting RPCs do something without a write into the state: their calls keep their place
// in a batch, as writes do.
var acting = map[string]bool{
	"Agent.Profile": true, "NodeIdentity.Renew": true, "NodeLink.Call": true, "NodeLink.Kick": true, "NodeMeta.Apply": true,
}

// resourceMethods returns a method for every RPC that the HTTP API offers.
func (n *rpcNode) resourceMethods() []jsonrpc.Method {
	public := RoutedRPCs()
	summaries := routeSummaries()
	var out []jsonrpc.Method
	for _, m := range nomad.Methods() {
		if !slices.Contains(public, m.Name) || notGenerated[m.Name] != "" {
			continue
		}
		method := n.resourceMethod(m)
		method.Summary = summaries[m.Name]
		for _, o := range operatorNames {
			if o.rpc != m.Name {
				continue
			}
			method.Privileged = o.privileged // under either name
			further := method
			further.Name, further.Summary = o.name, o.summary
			if o.privileged {
				n.asOperation(&further, m)
			}
			n.rpcs[further.Name] = m.Name
			out = append(out, further)
		}
		n.rpcs[method.Name] = m.Name
		out = append(out, method)
	}
	return out
}

// routeSummaries returns what the route table says about each RPC. The first row wins.
func routeSummaries() map[string]string {
	out := map[string]string{ // whose first row is about a part of what they do
		"NodeLink.Call":       "call a method of the agent of a node over its link; needs what get_node_methods names",
		"Variables.RenewLock": "keep the lock of a variable for another time of its TTL",
	}
	for _, r := range routes() {
		for _, rpc := range strings.Fields(r.rpc) {
			if out[rpc] == "" {
				out[rpc] = strings.ToLower(r.summary[:1]) + strings.TrimSuffix(r.summary[1:], ".")
			}
		}
	}
	return out
}

func (n *rpcNode) resourceMethod(m nomad.MethodDescription) jsonrpc.Method {
	c := resourceCall{node: n, method: m}
	out := jsonrpc.Method{
		Name: rpcName(m.Name), Parallel: !m.Writes && !acting[m.Name], Privileged: alsoPrivileged[m.Name],
		Params:  requestSchema(m.Name, reflect.TypeOf(m.NewArgs()).Elem(), m.Writes),
		Result:  schemaOf(reflect.TypeOf(m.NewReply()).Elem()),
		Handler: c.serve,
	}
	if !m.Writes {
		out.Timeout = blockingTimeout
	}
	return out
}

// asOperation lets callers have a method run in the background.
func (n *rpcNode) asOperation(method *jsonrpc.Method, m nomad.MethodDescription) {
	method.Params = withBackground(method.Params)
	method.Result = eitherSchema(reflect.TypeOf(m.NewReply()).Elem(), reflect.TypeFor[operationRef]())
	name, c := method.Name, resourceCall{node: n, method: m}
	method.Handler = func(ctx context.Context, raw json.RawMessage) (any, error) {
		background, raw, err := takeBackground(raw)
		if err != nil {
			return nil, err
		}
		if !background {
			return c.serve(ctx, raw)
		}
		args, _, err := c.request(ctx, raw)
		if err != nil {
			return nil, err
		}
		spec := operationSpec{kind: name, name: m.Name, caller: jsonrpc.CallerOf(ctx).String(), prefix: "op-", steps: []string{"call " + m.Name}}
		token := jsonrpc.CallerOf(ctx).Token
		spec.tell = func(ctx context.Context, id string) { n.tellRegion(ctx, token, id) }
		return n.operations.begin(spec, func(ctx context.Context, run *operationRun) error {
			ctx, cancel := context.WithTimeout(ctx, n.config.RPC.CallTimeout)
			defer cancel()
			return run.step(0, func() error { return n.server.RPC(ctx, m.Name, args, m.NewReply()) })
		})
	}
}

// takeBackground takes the parameter of that name out of raw.
func takeBackground(raw json.RawMessage) (bool, json.RawMessage, error) {
	fields := map[string]json.RawMessage{}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &fields); err != nil {
			return false, nil, jsonrpc.InvalidParams("", err.Error())
		}
	}
	background := string(fields["background"]) == "true"
	delete(fields, "background")
	raw, err := json.Marshal(fields)
	return background, raw, err
}

// resourceCall serves one generated method.
type resourceCall struct {
	node   *rpcNode
	method nomad.MethodDescription
}

// callOptions are the parameters beside the fields of the request.
type callOptions struct {
	Region           string `json:"region"`
	Namespace        string `json:"namespace"`
	Stale            bool   `json:"stale"`
	Index            uint64 `json:"index"`
	Wait             string `json:"wait"`
	Prefix           string `json:"prefix"`
	Filter           string `json:"filter"`
	PerPage          int64  `json:"per_page"`
	NextToken        string `json:"next_token"`
	Reverse          bool   `json:"reverse"`
	IdempotencyToken string `json:"idempotency_token"`
}

// serve runs the RPC in the name of the caller's token.
func (c resourceCall) serve(ctx context.Context, raw json.RawMessage) (any, error) {
	args, opts, err := c.request(ctx, raw)
	if err != nil {
		return nil, err
	}
	reply := c.method.NewReply()
	if opts.Index == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.node.config.RPC.CallTimeout)
		defer cancel()
	}
	if err := c.node.server.RPC(ctx, c.method.Name, args, reply); err != nil {
		return nil, err
	}
	if called, ok := reply.(*structs.NodeCallResponse); ok && called.Failure != nil {
		return nil, nodelink.FromWire(called.Failure)
	}
	if !c.method.Writes && isAbsent(reply) {
		return nil, errs.Newf(errs.NotFound, "%s: not found", rpcName(c.method.Name))
	}
	return reply, nil
}

// request makes the RPC's request of the parameters, with the caller's token.
func (c resourceCall) request(ctx context.Context, raw json.RawMessage) (any, *callOptions, error) {
	opts, err := c.options(&raw)
	if err != nil {
		return nil, nil, err
	}
	args := c.method.NewArgs()
	if err := json.Unmarshal(raw, args); err != nil {
		return nil, nil, jsonrpc.NotDecoded(raw, err)
	}
	token := jsonrpc.CallerOf(ctx).Token
	if tokenless[c.method.Name] {
		token = ""
	}
	return args, opts, opts.apply(args, token)
}

// options takes the options out of the parameters and leaves the fields of the request.
func (c resourceCall) options(raw *json.RawMessage) (*callOptions, error) {
	names := readOptionSchemas
	if c.method.Writes {
		names = writeOptionSchemas
	}
	fields, given := map[string]json.RawMessage{}, map[string]json.RawMessage{}
	if len(*raw) > 0 {
		if err := json.Unmarshal(*raw, &fields); err != nil {
			return nil, jsonrpc.InvalidParams("", err.Error())
		}
	}
	for name := range names {
		if v, ok := fields[name]; ok {
			given[name] = v
			delete(fields, name)
		}
	}
	opts := &callOptions{}
	taken, err := json.Marshal(given)
	if err == nil {
		err = json.Unmarshal(taken, opts)
	}
	if err != nil {
		return nil, jsonrpc.NotDecoded(taken, err)
	}
	if *raw, err = json.Marshal(fields); err != nil {
		return nil, jsonrpc.InvalidParams("", err.Error())
	}
	return opts, nil
}

// apply sets the options of a request. All of them are overwritten, those too
// that only servers set.
func (o *callOptions) apply(args any, token string) error {
	switch a := args.(type) {
	case structs.Query:
		q := structs.QueryOptions{
			Region: o.Region, Namespace: o.Namespace, MinQueryIndex: o.Index, AllowStale: o.Stale, Prefix: o.Prefix,
			AuthToken: token, Filter: o.Filter, NextToken: o.NextToken, Reverse: o.Reverse,
		}
		if o.Wait != "" {
			d, err := time.ParseDuration(o.Wait)
			if err != nil || d < 0 {
				return jsonrpc.InvalidParams("/wait", "must be a duration such as 60s")
			}
			q.MaxQueryTime = min(d, structs.MaxBlockingWait)
		}
		q.PerPage = int32(min(max(o.PerPage, 0), math.MaxInt32))
		*a.QueryOpts() = q
		if search, ok := a.(*structs.SearchRequest); ok {
			search.Prefix = search.SearchPrefix()
		}
	case structs.Write:
		*a.WriteOpts() = structs.WriteRequest{Region: o.Region, Namespace: o.Namespace, AuthToken: token, IdempotencyToken: o.IdempotencyToken}
	}
	return nil
}

// isAbsent reports whether a reply is there to hold one object and holds none.
func isAbsent(reply any) bool {
	v := reflect.ValueOf(reply).Elem()
	own := ownFields(v.Type())
	if len(own) != 1 || own[0].Type.Kind() != reflect.Pointer {
		return false
	}
	return v.FieldByName(own[0].Name).IsNil()
}
