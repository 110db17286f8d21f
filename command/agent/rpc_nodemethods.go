package agent

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/cairn-project/cairn/client"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/jsonrpc"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// nodeMethodsResult is the result of get_node_methods.
type nodeMethodsResult struct {
	Node string `json:"node"`
	// Server is the name of the server that has the link, Build the version of the
	// agent, Protocol that of the link.
	Server   string       `json:"server"`
	Build    string       `json:"build"`
	Protocol int          `json:"protocol"`
	Methods  []nodeMethod `json:"methods"`
}

// nodeMethod is a method of the agent of a node.
type nodeMethod struct {
	Name     string `json:"name"`
	Revision int    `json:"revision"`
	// Class is read, write or stream.
	Class string `json:"class"`
	// Needs is the right that a token must have.
	Needs string `json:"needs"`
	// Idempotent methods may be called again when nobody knows whether they ran.
	Idempotent bool `json:"idempotent"`
	// Kinds are those that the argument may name, empty for methods without.
	Kinds []string `json:"kinds,omitempty"`
	// Args is the schema of the argument as agents of this version take it; it is left
	// out for methods without one.
	Args json.RawMessage `json:"args,omitempty"`
}

// nodeArguments are the schemas of the arguments of the agents' methods, nil for none.
var nodeArguments = map[string]func() json.RawMessage{
	"Agent.Host": nil, "Agent.Monitor": paramsFor[client.MonitorRequest], "Agent.MonitorExport": paramsFor[client.LogExportRequest],
	"Agent.Profile": paramsFor[client.ProfileRequest], "ClientStats.Stats": nil,
	"FS.List": paramsFor[client.FileRequest], "FS.Read": paramsFor[client.FileRequest],
	"FS.Stat": paramsFor[client.FileRequest], "FS.Stream": paramsFor[client.FileRequest],
	"Node.Apply": paramsFor[client.ApplyRequest], "Node.Export": nil, "Node.Identity": paramsFor[client.IdentityRequest],
	"Node.NotifyChange": paramsFor[client.ChangeNotice], "Node.Ping": nil, "Node.SyncStatus": paramsFor[client.SyncRequest],
	"Node.Version": nil, "Op.Status": paramsFor[client.OperationRequest],
}

// nodeMethodsMethod lists what can be called of the agent of a node.
func (n *rpcNode) nodeMethodsMethod() operatorMethod {
	m := newOperatorMethod("get_node_methods", "the methods of the agent of a node, for node_call and node_fanout: those that it announced on its link", byServer, n.methodsOfNode)
	m.Parallel, m.Timeout = true, nodeCallLimit
	return m
}

func (n *rpcNode) methodsOfNode(ctx context.Context, p nodeParams) (nodeMethodsResult, error) {
	if p.Node == "" {
		return nodeMethodsResult{}, jsonrpc.InvalidParams("/node", "must be the ID of a node: get_nodes lists them")
	}
	args, reply := &structs.NodeLinkListRequest{NodeID: p.Node}, &structs.NodeLinkListResponse{}
	args.AuthToken = jsonrpc.CallerOf(ctx).Token
	err := n.server.RPC(ctx, "NodeLink.List", args, reply)
	switch {
	case err != nil:
		return nodeMethodsResult{}, err
	case len(reply.Links) == 0 && len(reply.Unreachable) > 0:
		return nodeMethodsResult{}, errs.Newf(errs.NoPath, "no link to the node %q was found, but these servers did not answer: %s", p.Node, strings.Join(reply.Unreachable, ", "))
	case len(reply.Links) == 0:
		return nodeMethodsResult{}, errs.Newf(errs.NoPath, "no server of the region has a link to the node %q: get_nodes says whether it is there and up", p.Node)
	}
	l := reply.Links[0]
	out := nodeMethodsResult{Node: l.NodeID, Server: l.Server, Build: l.Build, Protocol: l.Protocol, Methods: []nodeMethod{}}
	for _, m := range nodelink.Methods {
		revision, offered := l.Methods[m.Name]
		if len(l.Methods) == 0 { // it announces none: its version says which it has
			revision, offered = 1, m.Since <= l.Protocol
		}
		if !offered {
			continue
		}
		one := nodeMethod{Name: m.Name, Revision: revision, Class: string(m.Class), Needs: m.Rule, Idempotent: m.Idempotent}
		if m.Kinds {
			one.Kinds = l.Kinds
		}
		if schema := nodeArguments[m.Name]; schema != nil {
			one.Args = schema()
		}
		out.Methods = append(out.Methods, one)
	}
	return out, nil
}
