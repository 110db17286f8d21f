package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	// maxFanout bounds how many nodes are called at a time, maxFanoutSteps how many in
	// the background: each is a step of an operation.
	maxFanout      = 16
	maxFanoutSteps = structs.MaxOperationSteps
	// nodeCallLimit bounds a call to one node with the way there, fanoutLimit one to many.
	nodeCallLimit = 40 * time.Second
	fanoutLimit   = 10 * time.Minute
	// maxFanoutBytes bounds the results of all nodes together.
	maxFanoutBytes = 32 << 20
)

// nodeCallOptions are how agents are called.
type nodeCallOptions struct {
	// Method is "Service.Method" of the node's agent, Args its argument, anything.
	Method string          `json:"method"`
	Args   json.RawMessage `json:"args,omitempty"`
	// Timeout bounds one call, Wait the time to wait for a link of a node: durations such as 10s.
	Timeout string `json:"timeout,omitempty"`
	Wait    string `json:"wait,omitempty"`
	// Revision is the lowest one of the method that will do, 0 for any.
	Revision int `json:"revision,omitempty"`
}

type linkCallParams struct {
	Node string `json:"node"`
	nodeCallOptions
}

type nodeCallResult struct {
	// Server is the name of the server that has the link of the node.
	Server string          `json:"server"`
	Result json.RawMessage `json:"result"`
}

type fanoutParams struct {
	nodeCallOptions
	// Selector is an expression over nodes, "" for all of them.
	Selector   string `json:"selector,omitempty"`
	Background bool   `json:"background,omitempty"`
}

// fanoutNode is how the call to one node ended.
type fanoutNode struct {
	Node   string          `json:"node"`
	Name   string          `json:"name"`
	Server string          `json:"server,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	// Kind and Message are of the error, "" for none.
	Kind    errs.Code `json:"kind,omitempty"`
	Message string    `json:"message,omitempty"`
	// Executed says of a call that was lost whether it ran.
	Executed errs.Executed `json:"executed,omitempty"`
}

// fanoutResult has an operation, or the nodes.
type fanoutResult struct {
	*operationRef
	// Nodes is left out of an operation.
	Nodes []fanoutNode `json:"nodes,omitzero"`
	// Failed counts the nodes that answered with an error or could not, Unreachable
	// those of them that were not reached or did not answer in time.
	Failed      int `json:"failed"`
	Unreachable int `json:"unreachable"`
}

type notifyParams struct {
	Node string `json:"node"`
	// Kind is node or servers.
	Kind  string `json:"kind"`
	Index uint64 `json:"index,omitempty"`
}

// nodeCallMethods call the agents of nodes; the servers decide by the caller's token.
func (n *rpcNode) nodeCallMethods() []operatorMethod {
	call := newOperatorMethod("node_call", "call a method of the agent of a node over its link", byServer, n.callNode)
	call.Examples = []jsonrpc.Example{{Params: json.RawMessage(`{"node":"1f3a2b4c-0000-4000-8000-000000000000","method":"Node.Version"}`)}}
	call.Privileged, call.Timeout = true, nodeCallLimit
	fanout := newOperatorMethod("node_fanout", "call a method of the agents of many nodes at the same time; with background it becomes an operation with a step for each",
		byServer, n.fanout)
	fanout.Examples = []jsonrpc.Example{{Params: json.RawMessage(`{"method":"Node.Ping","selector":"NodePool == \"default\""}`)}}
	fanout.Privileged, fanout.Timeout = true, fanoutLimit
	notify := newOperatorMethod("notify_change", "have the agent of a node look at what the servers say of it now, instead of soon", byServer,
		func(ctx context.Context, p notifyParams) (noParams, error) {
			args, err := json.Marshal(map[string]any{"Kind": p.Kind, "Index": p.Index})
			if err == nil {
				_, err = n.callNode(ctx, linkCallParams{p.Node, nodeCallOptions{Method: "Node.NotifyChange", Args: args}})
			}
			if err != nil {
				n.logger.Info("a node was not notified of a change", "node_id", p.Node, "error", err)
			}
			return noParams{}, err
		})
	notify.Kind, notify.Result, notify.Timeout = jsonrpc.KindNotification, nil, nodeCallLimit
	return []operatorMethod{call, fanout, notify, n.nodeMethodsMethod()}
}

// request returns the RPC's request for a node.
func (o *nodeCallOptions) request(node, token string) (*structs.NodeCallRequest, error) {
	q := &structs.NodeCallRequest{NodeID: node, Method: o.Method, Body: o.Args, Revision: o.Revision}
	q.AuthToken = token
	for field, into := range map[string]*time.Duration{"timeout": &q.Timeout, "wait": &q.Wait} {
		text := map[string]string{"timeout": o.Timeout, "wait": o.Wait}[field]
		if text == "" {
			continue
		}
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 {
			return nil, jsonrpc.InvalidParams("/"+field, "must be a duration such as 10s")
		}
		*into = d
	}
	return q, nil
}

func (n *rpcNode) callNode(ctx context.Context, p linkCallParams) (nodeCallResult, error) {
	q, err := p.request(p.Node, jsonrpc.CallerOf(ctx).Token)
	if err != nil {
		return nodeCallResult{}, err
	}
	return n.callLinked(ctx, q)
}

// callLinked makes the call of a request. Its error has a code.
func (n *rpcNode) callLinked(ctx context.Context, q *structs.NodeCallRequest) (nodeCallResult, error) {
	var reply structs.NodeCallResponse
	if err := n.server.RPC(ctx, "NodeLink.Call", q, &reply); err != nil {
		return nodeCallResult{}, err
	}
	if f := reply.Failure; f != nil {
		return nodeCallResult{Server: reply.Server}, nodelink.FromWire(f)
	}
	if reply.Result == nil {
		reply.Result = json.RawMessage("null")
	}
	return nodeCallResult{Server: reply.Server, Result: reply.Result}, nil
}

func (n *rpcNode) fanout(ctx context.Context, p fanoutParams) (fanoutResult, error) {
	caller := jsonrpc.CallerOf(ctx)
	if _, err := p.request("", caller.Token); err != nil {
		return fanoutResult{}, err
	}
	args, reply := &structs.NodeListRequest{}, &structs.NodeListResponse{}
	args.AuthToken, args.Filter = caller.Token, p.Selector
	if err := n.server.RPC(ctx, "Node.List", args, reply); err != nil {
		return fanoutResult{}, err
	}
	if p.Background {
		ref, err := n.fanoutLater(p, caller, reply.Nodes)
		return fanoutResult{operationRef: &ref}, err
	}
	out := fanoutResult{Nodes: make([]fanoutNode, len(reply.Nodes))}
	var size atomic.Int64
	eachOf(len(reply.Nodes), func(i int) {
		one, _ := n.fanoutTo(ctx, p, caller.Token, reply.Nodes[i])
		if size.Add(int64(len(one.Result))) > maxFanoutBytes && len(one.Result) > 0 {
			one.Result, one.Kind, one.Executed = nil, errs.TooLarge, errs.ExecutedYes
			one.Message = fmt.Sprintf("the results of all nodes have more than %d bytes: select fewer nodes", maxFanoutBytes)
		}
		out.Nodes[i] = one
	})
	for _, one := range out.Nodes {
		if one.Kind != "" {
			out.Failed++
		}
		switch one.Kind {
		case errs.Unavailable, errs.NoPath, errs.Deadline:
			out.Unreachable++
		}
	}
	return out, nil
}

// fanoutLater begins an operation that calls the nodes.
func (n *rpcNode) fanoutLater(p fanoutParams, caller jsonrpc.Caller, nodes []*structs.NodeListStub) (operationRef, error) {
	if len(nodes) > maxFanoutSteps {
		return operationRef{}, jsonrpc.InvalidParams("/selector", fmt.Sprintf("selects %d nodes, at most %d are called in the background: select fewer", len(nodes), maxFanoutSteps))
	}
	spec := operationSpec{kind: "node_fanout", name: "call " + p.Method + " of nodes", caller: caller.String(), prefix: "op-"}
	for _, stub := range nodes {
		spec.steps = append(spec.steps, stub.Name+" "+stub.ID)
	}
	spec.tell = func(ctx context.Context, id string) { n.tellRegion(ctx, caller.Token, id) }
	return n.operations.begin(spec, func(ctx context.Context, run *operationRun) error {
		ctx, cancel := context.WithTimeout(ctx, fanoutLimit)
		defer cancel()
		var mu sync.Mutex
		var all []error
		eachOf(len(nodes), func(i int) {
			err := run.step(i, func() error {
				_, err := n.fanoutTo(ctx, p, caller.Token, nodes[i])
				return err
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				all = append(all, fmt.Errorf("%s: %w", nodes[i].Name, err))
			}
		})
		return errors.Join(all...)
	})
}

// eachOf runs f for 0 to n-1, some at a time, and waits for all.
func eachOf(n int, f func(int)) {
	slots := make(chan struct{}, maxFanout)
	var wg sync.WaitGroup
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			f(i)
		})
	}
	wg.Wait()
}

// fanoutTo calls one of the nodes.
func (n *rpcNode) fanoutTo(ctx context.Context, p fanoutParams, token string, stub *structs.NodeListStub) (fanoutNode, error) {
	out := fanoutNode{Node: stub.ID, Name: stub.Name}
	q, err := p.request(stub.ID, token)
	if err != nil {
		return out, err
	}
	reply, err := n.callLinked(ctx, q)
	out.Server, out.Result = reply.Server, reply.Result
	if err != nil {
		e := errs.From(err, "")
		out.Kind, out.Message, out.Executed = e.Code, err.Error(), e.Executed
	}
	return out, err
}
