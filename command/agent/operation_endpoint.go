package agent

import (
	"github.com/cairn-project/cairn/nomad/structs"
)

func operationRoutes() []route {
	return []route{
		read(doc{methods: "GET", pattern: "/v1/operator/operations", rpc: "Operation.List",
			summary: "List the long work that concerns the region, newest first: drains, and what operators began in the background.",
			params: []param{
				{name: "id", kind: "string", summary: "the operation of this ID only"},
				{name: "kind", kind: "string", summary: "operations of this kind only, such as drain"},
				{name: "node_id", kind: "string", summary: "operations about this node only"},
			}},
			func(r *request, q *structs.OperationListRequest) error {
				q.ID, q.Kind, q.NodeID = r.query.Get("id"), r.query.Get("kind"), r.query.Get("node_id")
				return nil
			},
			func(_ *request, p *structs.OperationListResponse) ([]*structs.Operation, error) {
				return list(p.Operations), nil
			}),
	}
}
