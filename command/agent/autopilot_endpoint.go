package agent

import (
	"net/http"
	"reflect"
	"strconv"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func autopilotRoutes() []route {
	cas := param{name: "cas", kind: "integer", summary: "replace only settings whose ModifyIndex this is; answer false if it is another one"}
	return []route{
		read(doc{methods: "GET", pattern: "/v1/operator/autopilot/configuration", rpc: "Operator.AutopilotGetConfiguration",
			summary: "Show when a server counts as healthy, and which dead ones are removed."},
			asIs[structs.GenericRequest],
			func(_ *request, p *structs.AutopilotConfigResponse) (*structs.AutopilotConfig, error) {
				return p.Config, nil
			}),
		write(doc{methods: "PUT", pattern: "/v1/operator/autopilot/configuration", rpc: "Operator.AutopilotSetConfiguration",
			summary: "Change when a server counts as healthy, and which dead ones are removed.", params: []param{cas},
			body: reflect.TypeFor[structs.AutopilotConfig]()},
			autopilotSettings,
			func(_ *request, p *structs.AutopilotSetConfigResponse) (bool, error) { return p.Updated, nil }),
		local[structs.OperatorHealthReply](doc{methods: "GET", pattern: "/v1/operator/autopilot/health", rpc: "Operator.ServerHealth",
			summary: "Show the health of the servers, as the leader sees it: status 429 while one is not healthy.", region: true, status: []int{429}}, serverHealth),
	}
}

func autopilotSettings(r *request, args *structs.AutopilotRequest) error {
	if err := r.decodeBody(&args.Config); err != nil {
		return err
	}
	if args.CAS = r.has("cas"); !args.CAS {
		return nil
	}
	index, err := strconv.ParseUint(r.query.Get("cas"), 10, 64)
	if err != nil {
		return errs.Newf(errs.Invalid, "Invalid cas: %q is not an index", r.query.Get("cas"))
	}
	args.Config.ModifyIndex = index
	return nil
}

func serverHealth(r *request) error {
	args, reply := &structs.GenericRequest{}, &structs.OperatorHealthReply{}
	if err := r.readOptions(&args.QueryOptions); err != nil {
		return err
	}
	if err := r.api.server.RPC(r.Context(), "Operator.ServerHealth", args, reply); err != nil {
		return err
	}
	status := http.StatusOK
	if !reply.Healthy {
		status = http.StatusTooManyRequests
	}
	return r.writeJSON(status, reply)
}
