package agent

import (
	"net/http"

	"github.com/cairn-project/cairn/nomad/structs"
)

func statusRoutes() []route {
	return []route{
		plain[string](doc{methods: "GET", pattern: "/v1/status/leader", rpc: "Status.Leader",
			summary: "Tell the address of the leader, empty when there is none."}),
		plain[[]string](doc{methods: "GET", pattern: "/v1/status/peers", rpc: "Status.Peers",
			summary: "List the Raft addresses of the servers."}),
		local[[]string](doc{methods: "GET", pattern: "/v1/regions", rpc: "Region.List",
			summary: "List the regions known from gossip."}, getRegions),
	}
}

// getRegions answers from this agent whatever region is asked for: it is what
// helps after a wrong one.
func getRegions(r *request) error {
	args, reply := &structs.GenericRequest{}, []string{}
	args.AuthToken = r.secret()
	if err := r.api.server.RPC(r.Context(), "Region.List", args, &reply); err != nil {
		return err
	}
	return r.writeJSON(http.StatusOK, list(reply))
}
