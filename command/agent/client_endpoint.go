package agent

import (
	"net/http"
	"reflect"

	"github.com/cairn-project/cairn/nomad/structs"
)

var nodeIDParam = []param{{name: "node_id", kind: "string", summary: "the node to ask, by default that of this agent"}}

// metadataBody is the body of a change of metadata. A body need not name the node.
type metadataBody struct {
	NodeID string `json:",omitempty"`
	// Meta sets keys; null hides one of the configuration and forgets any other.
	Meta map[string]*string
}

// clientRoutes are the routes that node agents answer over their connection to the servers.
func clientRoutes() []route {
	return []route{
		local[*structs.HostStats](doc{methods: "GET", pattern: "/v1/client/stats", rpc: "ClientStats.Stats", region: true,
			summary: "Tell how busy a node is; its agent answers over its connection to the servers.", status: []int{404},
			params: nodeIDParam}, serveClientStats),
		local[structs.NodeMetaResponse](doc{methods: "GET", pattern: "/v1/client/metadata", rpc: "NodeMeta.Read", region: true,
			summary: "Show the metadata of a node, from the configuration and as it was changed since.", status: []int{404},
			params: nodeIDParam}, serveMetadata),
		local[structs.NodeMetaResponse](doc{methods: "POST", pattern: "/v1/client/metadata", rpc: "NodeMeta.Apply", region: true,
			summary: "Change the metadata of a node while its agent runs.", status: []int{404},
			body: reflect.TypeFor[metadataBody](), params: nodeIDParam}, changeMetadata),
		local[structs.NodeIdentityResponse](doc{methods: "GET", pattern: "/v1/client/identity", rpc: "NodeIdentity.Get", region: true,
			summary: "Show the claims of the signed identity of a node.", status: []int{404}, params: nodeIDParam}, serveIdentity),
		local[structs.NodeIdentityRenewResponse](doc{methods: "PUT POST", pattern: "/v1/client/identity/renew", rpc: "NodeIdentity.Renew", region: true,
			summary: "Have a node ask for a new signed identity.", status: []int{404},
			body: reflect.TypeFor[renewalBody](), optionalBody: true, params: nodeIDParam}, renewIdentity),
	}
}

// renewalBody is the body of a request for a new identity. It need not name the node.
type renewalBody struct {
	NodeID string `json:",omitempty"`
}

// nodeAsked returns the node that a route of node agents is about: the one that is
// named, else that of this process, "" for none.
func (r *request) nodeAsked() string {
	if id := r.query.Get("node_id"); id != "" || r.api.client == nil {
		return id
	}
	return r.api.client.NodeID()
}

func serveClientStats(r *request) error {
	args, reply := &structs.NodeSpecificRequest{}, &structs.ClientStatsResponse{}
	if err := r.readOptions(&args.QueryOptions); err != nil {
		return err
	}
	args.NodeID = r.nodeAsked()
	if err := r.api.server.RPC(r.Context(), "ClientStats.Stats", args, reply); err != nil {
		return err
	}
	return r.writeJSON(http.StatusOK, reply.HostStats)
}

func serveMetadata(r *request) error {
	args, reply := &structs.NodeSpecificRequest{}, &structs.NodeMetaResponse{}
	if err := r.readOptions(&args.QueryOptions); err != nil {
		return err
	}
	args.NodeID = r.nodeAsked()
	if err := r.api.server.RPC(r.Context(), "NodeMeta.Read", args, reply); err != nil {
		return err
	}
	return r.writeJSON(http.StatusOK, reply)
}

func changeMetadata(r *request) error {
	args, reply := &structs.NodeMetaApplyRequest{}, &structs.NodeMetaResponse{}
	if err := r.readOptions(&args.QueryOptions); err != nil {
		return err
	}
	var body metadataBody
	if err := r.decodeBody(&body); err != nil {
		return err
	}
	args.Meta = body.Meta
	if args.NodeID = body.NodeID; args.NodeID == "" || r.query.Get("node_id") != "" {
		args.NodeID = r.nodeAsked()
	}
	if err := r.api.server.RPC(r.Context(), "NodeMeta.Apply", args, reply); err != nil {
		return err
	}
	return r.writeJSON(http.StatusOK, reply)
}

func serveIdentity(r *request) error {
	args, reply := &structs.NodeSpecificRequest{}, &structs.NodeIdentityResponse{}
	if err := r.readOptions(&args.QueryOptions); err != nil {
		return err
	}
	args.NodeID = r.nodeAsked()
	if err := r.api.server.RPC(r.Context(), "NodeIdentity.Get", args, reply); err != nil {
		return err
	}
	return r.writeJSON(http.StatusOK, reply)
}

func renewIdentity(r *request) error {
	args, reply := &structs.NodeSpecificRequest{}, &structs.NodeIdentityRenewResponse{}
	if err := r.readOptions(&args.QueryOptions); err != nil {
		return err
	}
	var body renewalBody
	if err := r.decodeBody(&body); err != nil && err != errEmptyBody {
		return err
	}
	if args.NodeID = body.NodeID; args.NodeID == "" || r.query.Get("node_id") != "" {
		args.NodeID = r.nodeAsked()
	}
	if err := r.api.server.RPC(r.Context(), "NodeIdentity.Renew", args, reply); err != nil {
		return err
	}
	return r.writeJSON(http.StatusOK, reply)
}
