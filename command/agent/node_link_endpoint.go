package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/internal/mux"
	"github.com/cairn-project/cairn/nomad/nodelink"
	"github.com/cairn-project/cairn/nomad/structs"
)

// nodeLinkReply is the links of the region as HTTP shows them.
type nodeLinkReply struct {
	Links []*structs.NodeLinkInfo
	// Unreachable are the servers that did not say which links they have.
	Unreachable []string
}

// nodeKickReply says at which server a link was ended.
type nodeKickReply struct{ Server string }

// nodeLinkRoutes are the routes of the links of node agents. Each method has a route
// of its own.
func nodeLinkRoutes() []route {
	out := []route{
		local[nothing](doc{methods: "GET", pattern: nodelink.WebSocketPath + "{version}", status: []int{410, 426, 501, 503},
			failure: reflect.TypeFor[nodelink.Refusal](), summary: "Dial the link of a node agent as a WebSocket: the servers call the agent over it."}, serveNodeLink),
		local[nothing](doc{methods: "GET", pattern: nodelink.PortPath, status: []int{426, 501, 503},
			summary: "Open, as a WebSocket, what the server port has for node agents: for those that only get out over HTTP."}, serveNodePort),
		local[nodeLinkReply](doc{methods: "GET", pattern: "/v1/node/links", rpc: "NodeLink.List", region: true,
			summary: "List the links of node agents, with the server that has each."}, serveNodeLinks),
		local[*structs.NodeLinkInfo](doc{methods: "GET", pattern: "/v1/node/{id}/link", rpc: "NodeLink.List", region: true, status: []int{404},
			summary: "Read the link of a node."}, serveOneNodeLink),
		local[nodeKickReply](doc{methods: "DELETE", pattern: "/v1/node/{id}/link", rpc: "NodeLink.Kick", region: true, status: []int{404},
			summary: "End the link of a node; its agent dials again."}, kickNodeLink),
	}
	for _, m := range nodelink.Methods {
		if m.Class == nodelink.Stream {
			out = append(out, local[nothing](doc{methods: "GET", pattern: "/v1/node/{id}/stream/" + m.Name, region: true, media: octets,
				summary: "Stream the data of " + m.Name + " of the agent of a node; needs " + m.Rule + ". One that was cut off ends without its last chunk.",
				params:  nodeStreamParams, failure: reflect.TypeFor[structs.NodeCallFailure](), status: []int{404, 409, 422, 429, 501, 502, 503, 504}},
				func(r *request) error { return streamNode(r, m.Name) }))
			continue
		}
		out = append(out, local[json.RawMessage](doc{methods: "PUT POST", pattern: "/v1/node/{id}/call/" + m.Name, rpc: "NodeLink.Call", region: true,
			summary: "Call " + m.Name + " of the agent of a node; needs " + m.Rule + ".", params: nodeCallParams,
			body: reflect.TypeFor[map[string]any](), optionalBody: true, failure: reflect.TypeFor[structs.NodeCallFailure](), status: []int{404, 409, 422, 429, 501, 502, 503, 504}},
			func(r *request) error { return callNode(r, m.Name) }))
	}
	return out
}

var nodeCallParams = []param{
	{name: "timeout", kind: "string", summary: "how long the call may take, 30s at most and by default"},
	{name: "link_wait", kind: "string", summary: "how long to wait for a link of the node, 0s by default"},
	{name: "revision", kind: "integer", summary: "the lowest revision of the method that will do"},
}

// octets is the type of data that nobody interprets.
const octets = "application/octet-stream"

var nodeStreamParams = []param{
	{name: "argument", kind: "string", summary: "the argument of the method, JSON"},
	{name: "revision", kind: "integer", summary: "the lowest revision of the method that will do"},
}

// serveNodeLink takes the link of an agent. It lasts as long as the link.
func serveNodeLink(r *request) error {
	version, err := strconv.Atoi(r.rest)
	if err != nil {
		return errs.Newf(errs.Invalid, "%q is no version of the link protocol", r.rest)
	}
	if why := r.api.server.LinkRefusal(version); why != nil {
		nodelink.RefuseHTTP(r.w, why)
		return nil
	}
	s, err := nodelink.AcceptWebSocket(r.w, r.Request, mux.SessionConfig{Logger: r.api.logger})
	if err != nil {
		r.api.logger.Debug("no link", "remote", r.RemoteAddr, "error", err)
		return nil // it was answered
	}
	r.api.server.ServeLink(context.WithoutCancel(r.Context()), s, nodelink.From{Remote: r.RemoteAddr, Transport: "websocket"})
	return nil
}

// serveNodePort takes a node agent that comes over HTTP. It lasts as long as the
// connection.
func serveNodePort(r *request) error {
	if why := r.api.server.LinkRefusal(nodelink.NewestVersion); why != nil {
		nodelink.RefuseHTTP(r.w, why)
		return nil
	}
	conn, err := nodelink.AcceptPort(r.w, r.Request)
	if err != nil {
		r.api.logger.Debug("no node agent", "remote", r.RemoteAddr, "error", err)
		return nil // it was answered
	}
	r.api.server.ServeNodePort(conn)
	return nil
}

func (r *request) nodeLinks(id string) (*structs.NodeLinkListResponse, error) {
	args, reply := &structs.NodeLinkListRequest{NodeID: id}, &structs.NodeLinkListResponse{}
	if err := r.readOptions(&args.QueryOptions); err != nil {
		return nil, err
	}
	return reply, r.api.server.RPC(r.Context(), "NodeLink.List", args, reply)
}

func serveNodeLinks(r *request) error {
	reply, err := r.nodeLinks("")
	if err != nil {
		return err
	}
	return r.writeJSON(http.StatusOK, nodeLinkReply{list(reply.Links), list(reply.Unreachable)})
}

func serveOneNodeLink(r *request) error {
	if err := r.needRest("node ID"); err != nil {
		return err
	}
	reply, err := r.nodeLinks(r.rest)
	switch {
	case err != nil:
		return err
	case len(reply.Links) == 0:
		return errs.Newf(errs.NotFound, "no server of the region has a link to the node %q", r.rest)
	}
	return r.writeJSON(http.StatusOK, reply.Links[0])
}

func kickNodeLink(r *request) error {
	if err := r.needRest("node ID"); err != nil {
		return err
	}
	args, reply := &structs.NodeLinkKickRequest{NodeID: r.rest}, &structs.NodeLinkKickResponse{}
	if err := r.readOptions(&args.QueryOptions); err != nil {
		return err
	}
	if err := r.api.server.RPC(r.Context(), "NodeLink.Kick", args, reply); err != nil {
		return err
	}
	return r.writeJSON(http.StatusOK, nodeKickReply{reply.Server})
}

// callNode calls a method of a node's agent and answers with its reply, or with how
// the call ended and the status for that.
func callNode(r *request, method string) error {
	if err := r.needRest("node ID"); err != nil {
		return err
	}
	args, reply := &structs.NodeCallRequest{NodeID: r.rest, Method: method}, &structs.NodeCallResponse{}
	if err := r.bindNodeCall(args); err != nil {
		return err
	}
	if err := r.api.server.RPC(r.Context(), "NodeLink.Call", args, reply); err != nil {
		return err
	}
	if reply.Server != "" {
		r.w.Header()["X-Cairn-Link-Server"] = []string{reply.Server}
	}
	f := reply.Failure
	if f == nil {
		return r.writeJSON(http.StatusOK, reply.Result)
	}
	return r.writeFailure(nodelink.FromWire(f), f)
}

// writeFailure answers with how a call ended that has no result.
func (r *request) writeFailure(how *nodelink.Failure, body any) error {
	if how.RetryAfter > 0 {
		r.setRetryAfter(how.RetryAfter)
	}
	return r.writeJSON(how.HTTPStatus(), body)
}

// streamNode calls a streaming method of a node's agent and answers with its data. A
// stream that breaks off after some of that breaks the connection off, so that
// nobody takes the part for the whole.
func streamNode(r *request, method string) error {
	if err := r.needRest("node ID"); err != nil {
		return err
	}
	args := &structs.NodeCallRequest{NodeID: r.rest, Method: method, Body: json.RawMessage(r.query.Get("argument"))}
	if err := r.bindCallOptions(args); err != nil {
		return err
	}
	if len(args.Body) > 0 && !json.Valid(args.Body) {
		return errs.New(errs.Invalid, "Invalid argument: it is not JSON")
	}
	w := &frames{w: r.w, plain: true, media: octets}
	_, err := r.api.server.StreamNode(r.Context(), args, w)
	f := new(nodelink.Failure)
	switch {
	case err == nil && !w.began:
		w.begin()
	case err != nil && w.began:
		panic(http.ErrAbortHandler)
	case errors.As(err, &f):
		return r.writeFailure(f, f)
	}
	return err
}

// bindNodeCall reads the options and the argument of a call.
func (r *request) bindNodeCall(args *structs.NodeCallRequest) (err error) {
	if err := r.bindCallOptions(args); err != nil {
		return err
	}
	if args.Timeout, err = r.span("timeout"); err != nil {
		return err
	}
	if args.Wait, err = r.span("link_wait"); err != nil {
		return err
	}
	args.Body, err = r.argument()
	return err
}

// bindCallOptions reads what calls and streams have in common.
func (r *request) bindCallOptions(args *structs.NodeCallRequest) (err error) {
	if err := r.readOptions(&args.QueryOptions); err != nil {
		return err
	}
	if v := r.query.Get("revision"); v != "" {
		if args.Revision, err = strconv.Atoi(v); err != nil || args.Revision < 0 {
			return errs.Newf(errs.Invalid, "Invalid revision: %q", v)
		}
	}
	return nil
}

// span reads a parameter that is a duration.
func (r *request) span(name string) (time.Duration, error) {
	v := r.query.Get(name)
	if v == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 {
		return 0, errs.Newf(errs.Invalid, "Invalid %s: %q is no duration, give one like 10s", name, v)
	}
	return d, nil
}

// argument reads the body as JSON that is passed on as it is, nil for none.
func (r *request) argument() (json.RawMessage, error) {
	var buf bytes.Buffer // its bytes are kept
	if err := r.readBody(&buf); err != nil {
		return nil, err
	}
	b := bytes.TrimSpace(buf.Bytes())
	if len(b) == 0 {
		return nil, nil
	}
	if !json.Valid(b) {
		return nil, errs.New(errs.Invalid, "Request body is not JSON")
	}
	return b, nil
}
