package agent

import (
	"net/http"

	"github.com/cairn-project/cairn/nomad/structs"
)

func systemRoutes() []route {
	return []route{
		local[nothing](doc{methods: "PUT", pattern: "/v1/system/gc", rpc: "System.GarbageCollect", region: true,
			summary: "Delete at once what would be deleted in time: expired tokens and nodes that are down."},
			func(r *request) error {
				args := &structs.SystemRequest{}
				r.writeOptions(&args.WriteRequest)
				if err := r.api.server.RPC(r.Context(), "System.GarbageCollect", args, &structs.GenericResponse{}); err != nil {
					return err
				}
				return r.writeJSON(http.StatusOK, nothing{})
			}),
	}
}
