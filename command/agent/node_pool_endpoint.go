package agent

import (
	"reflect"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// nodeStubParams are the parameters of lists of nodes.
var nodeStubParams = []param{
	{name: "resources", kind: "boolean", summary: "add what each node has and what of it is reserved"},
	{name: "os", kind: "boolean", summary: "add the name of each node's operating system"},
}

func nodePoolRoutes() []route {
	body := reflect.TypeFor[structs.NodePool]()
	return []route{
		read(doc{methods: "GET", pattern: "/v1/node/pools", rpc: "NodePool.List",
			summary: "List the node pools that the caller may see.", lists: "prefix per_page next_token filter reverse"},
			asIs[structs.NodePoolListRequest],
			func(_ *request, p *structs.NodePoolListResponse) ([]*structs.NodePool, error) {
				return list(p.NodePools), nil
			}),
		write(doc{methods: "PUT POST", pattern: "/v1/node/pools", rpc: "NodePool.UpsertNodePools",
			summary: "Create or update the node pool in the body.", body: body},
			bindNodePool, done[structs.GenericResponse]),
		read(doc{methods: "GET", pattern: "/v1/node/pool/{name}", rpc: "NodePool.GetNodePool",
			summary: "Read a node pool.", status: []int{404}},
			func(r *request, q *structs.NodePoolSpecificRequest) error {
				q.Name = r.rest
				return r.needRest("node pool name")
			},
			func(_ *request, p *structs.SingleNodePoolResponse) (*structs.NodePool, error) {
				return found(p.NodePool, "node pool")
			}),
		write(doc{methods: "PUT POST", pattern: "/v1/node/pool/{name}", rpc: "NodePool.UpsertNodePools",
			summary: "Create or update a node pool; the body must name the same one.", body: body},
			bindNodePool, done[structs.GenericResponse]),
		write(doc{methods: "DELETE", pattern: "/v1/node/pool/{name}", rpc: "NodePool.DeleteNodePools",
			summary: "Delete a node pool that is not in use.", status: []int{404}},
			func(r *request, q *structs.NodePoolDeleteRequest) error {
				q.Names = []string{r.rest}
				return r.needRest("node pool name")
			}, done[structs.GenericResponse]),
		read(doc{methods: "GET", pattern: "/v1/node/pool/{name}/nodes", rpc: "NodePool.ListNodes",
			summary: "List the nodes of a pool.", lists: "per_page next_token filter reverse", params: nodeStubParams, status: []int{404}},
			bindPoolNodes,
			func(_ *request, p *structs.NodePoolNodesResponse) ([]*structs.NodeListStub, error) {
				return list(p.Nodes), nil
			}),
		read(doc{methods: "GET", pattern: "/v1/node/pool/{name}/jobs", rpc: "NodePool.ListJobs",
			summary: "List the jobs of a pool; there are none, as no work is placed on nodes.", lists: "per_page next_token filter reverse",
			params: []param{{name: "meta", kind: "boolean", summary: "add the metadata of each job"}}, status: []int{404}},
			bindPoolJobs,
			func(_ *request, p *structs.NodePoolJobsResponse) ([]*structs.JobListStub, error) {
				return list(p.Jobs), nil
			}),
	}
}

func bindNodePool(r *request, q *structs.NodePoolUpsertRequest) error {
	p := &structs.NodePool{}
	if err := r.bodyNamed(p, &p.Name, "node pool name"); err != nil {
		return err
	}
	q.NodePools = []*structs.NodePool{p}
	return nil
}

func bindPoolJobs(r *request, q *structs.NodePoolJobsRequest) error {
	if r.has("prefix") {
		return errPoolPrefix
	}
	q.Name = r.rest
	meta, err := r.flag("meta")
	q.Fields = &structs.JobStubFields{Meta: meta}
	return err
}

var errPoolPrefix = errs.New(errs.Invalid, "prefix query parameter not allowed: what a pool has is listed all")

func bindPoolNodes(r *request, q *structs.NodePoolNodesRequest) (err error) {
	if r.has("prefix") {
		return errPoolPrefix
	}
	q.Name = r.rest
	q.Fields, err = r.nodeStubFields()
	return err
}

// nodeStubFields reads what a list of nodes is to tell, nil for the usual.
func (r *request) nodeStubFields() (*structs.NodeStubFields, error) {
	resources, err := r.flag("resources")
	if err != nil {
		return nil, err
	}
	os, err := r.flag("os")
	if err != nil || !resources && !os {
		return nil, err
	}
	return &structs.NodeStubFields{Resources: resources, OS: os}, nil
}
