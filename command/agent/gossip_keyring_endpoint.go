package agent

import (
	"net/http"
	"reflect"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/nomad/structs"
)

func gossipKeyringRoutes() []route {
	change := func(name string, op structs.GossipKeyOp, summary string) route {
		return local[structs.GossipKeyResponse](doc{methods: "PUT POST", pattern: "/v1/agent/keyring/" + name,
			summary: summary, body: reflect.TypeFor[structs.GossipKeyRequest]()},
			func(r *request) error { return serveGossipKeys(r, op) })
	}
	return []route{
		local[structs.GossipKeyResponse](doc{methods: "GET PUT POST", pattern: "/v1/agent/keyring/list",
			summary: "List the gossip keys of all members of the gossip pool."},
			func(r *request) error { return serveGossipKeys(r, structs.GossipKeyList) }),
		change("install", structs.GossipKeyInstall, "Give all members of the gossip pool one more key, which they understand and do not use yet."),
		change("use", structs.GossipKeyUse, "Make all members of the gossip pool encrypt with an installed key."),
		change("remove", structs.GossipKeyRemove, "Take a key that is no longer used from all members of the gossip pool."),
	}
}

func serveGossipKeys(r *request, op structs.GossipKeyOp) error {
	if err := r.allow((*acl.ACL).AllowAgentWrite); err != nil {
		return err
	}
	var in structs.GossipKeyRequest
	if op != structs.GossipKeyList {
		if err := r.decodeBody(&in); err != nil {
			return err
		}
	}
	out, err := r.api.server.GossipKeys(r.Context(), op, in.Key)
	if err != nil {
		return err
	}
	return r.writeJSON(http.StatusOK, out)
}
