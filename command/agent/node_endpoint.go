package agent

import (
	"reflect"
	"time"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// nodeReply is a node as HTTP shows it.
type nodeReply struct {
	*structs.Node
	// Drain says whether work is being moved off the node.
	Drain bool
}

// The bodies of writes on nodes. A body need not name the node of the path.
type (
	nodeDrainBody struct {
		NodeID string `json:",omitempty"`
		// DrainSpec is null to end the drain.
		DrainSpec    *structs.DrainSpec
		MarkEligible bool              `json:",omitempty"`
		Meta         map[string]string `json:",omitempty"`
	}
	nodeEligibilityBody struct {
		NodeID      string `json:",omitempty"`
		Eligibility string
		// Reason is kept while the node is ineligible. Until is when it becomes eligible
		// by itself.
		Reason string    `json:",omitempty"`
		Until  time.Time `json:",omitzero"`
	}
	// nodeWriteReply answers them.
	nodeWriteReply struct {
		NodeModifyIndex uint64
		EvalIDs         []string
		EvalCreateIndex uint64
	}
	// nodeEvaluateReply also names the first evaluation, "" for none.
	nodeEvaluateReply struct {
		EvalID string
		nodeWriteReply
	}
)

func nodeRoutes() []route {
	return append(nodeWriteRoutes(),
		read(doc{methods: "GET", pattern: "/v1/nodes", rpc: "Node.List",
			summary: "List the nodes.", lists: "prefix per_page next_token filter reverse", params: nodeStubParams},
			func(r *request, q *structs.NodeListRequest) (err error) {
				q.Fields, err = r.nodeStubFields()
				return err
			},
			func(_ *request, p *structs.NodeListResponse) ([]*structs.NodeListStub, error) {
				return list(p.Nodes), nil
			}),
		read(doc{methods: "GET", pattern: "/v1/node/{id}", rpc: "Node.GetNode",
			summary: "Read a node, without its secret.", status: []int{404}},
			bindNode,
			func(_ *request, p *structs.SingleNodeResponse) (nodeReply, error) {
				n, err := found(p.Node, "node")
				if err != nil {
					return nodeReply{}, err
				}
				return nodeReply{n, n.Draining()}, nil
			}),
		read(doc{methods: "GET", pattern: "/v1/node/{id}/allocations", rpc: "Node.GetAllocs",
			summary: "List the allocations of a node."},
			bindNode,
			func(_ *request, p *structs.NodeAllocsResponse) ([]*structs.Allocation, error) {
				return list(p.Allocs), nil
			}),
		write(doc{methods: "PUT POST", pattern: "/v1/acl/identity/client-introduction-token", rpc: "ACL.CreateClientIntroductionToken",
			summary: "Make a token with which a new node may register.",
			body:    reflect.TypeFor[introductionBody](), optionalBody: true},
			bindIntroduction,
			func(_ *request, p *structs.ACLCreateClientIntroductionTokenResponse) (introductionReply, error) {
				return introductionReply{p.JWT}, nil
			}),
	)
}

// introductionBody and introductionReply are the bodies of the route that makes
// introduction tokens. TTL may also be a number of nanoseconds.
type (
	introductionBody struct {
		TTL, NodeName, NodePool string `json:",omitempty"`
	}
	introductionReply struct{ JWT string }
)

func bindIntroduction(r *request, q *structs.ACLCreateClientIntroductionTokenRequest) error {
	if err := r.decodeBody(q); err != nil && err != errEmptyBody {
		return err
	}
	return nil
}

func nodeWriteRoutes() []route {
	return []route{
		write(doc{methods: "PUT POST", pattern: "/v1/node/{id}/drain", rpc: "Node.UpdateDrain",
			summary: "Begin, change or end the drain of a node.", body: reflect.TypeFor[nodeDrainBody](), status: []int{404}},
			bindNodeDrain,
			func(_ *request, p *structs.NodeDrainUpdateResponse) (nodeWriteReply, error) {
				return nodeWriteReply{p.NodeModifyIndex, list(p.EvalIDs), p.EvalCreateIndex}, nil
			}),
		write(doc{methods: "PUT POST", pattern: "/v1/node/{id}/eligibility", rpc: "Node.UpdateEligibility",
			summary: "Say whether work may be placed on a node.", body: reflect.TypeFor[nodeEligibilityBody](), status: []int{404}},
			bindNodeEligibility,
			func(_ *request, p *structs.NodeEligibilityUpdateResponse) (nodeWriteReply, error) {
				return nodeWriteReply{p.NodeModifyIndex, list(p.EvalIDs), p.EvalCreateIndex}, nil
			}),
		write(doc{methods: "PUT POST", pattern: "/v1/node/{id}/purge", rpc: "Node.Deregister",
			summary: "Forget a node.", status: []int{404}},
			func(r *request, q *structs.NodeDeregisterRequest) error {
				q.NodeID = r.rest
				return r.needRest("node ID")
			},
			func(r *request, p *structs.NodeUpdateResponse) (nodeWriteReply, error) {
				r.setQueryMeta(&structs.QueryMeta{Index: p.Index, KnownLeader: true}) // as SDKs read them here
				return nodeWriteReply{p.NodeModifyIndex, list(p.EvalIDs), p.EvalCreateIndex}, nil
			}),
		write(doc{methods: "PUT POST", pattern: "/v1/node/{id}/evaluate", rpc: "Node.Evaluate",
			summary: "Place the work of a node again.", status: []int{404}},
			func(r *request, q *structs.NodeEvaluateRequest) error {
				q.NodeID = r.rest
				return r.needRest("node ID")
			},
			func(_ *request, p *structs.NodeUpdateResponse) (nodeEvaluateReply, error) {
				reply := nodeEvaluateReply{nodeWriteReply: nodeWriteReply{p.NodeModifyIndex, list(p.EvalIDs), p.EvalCreateIndex}}
				if len(p.EvalIDs) > 0 {
					reply.EvalID = p.EvalIDs[0]
				}
				return reply, nil
			}),
	}
}

func bindNode(r *request, q *structs.NodeSpecificRequest) error {
	q.NodeID = r.rest
	return r.needRest("node ID")
}

// nodeBody reads a body that may name the node of the path.
func (r *request) nodeBody(v any, id *string) error {
	if err := r.needRest("node ID"); err != nil {
		return err
	}
	if err := r.decodeBody(v); err != nil {
		return err
	}
	if *id != "" && *id != r.rest {
		return errs.Newf(errs.Invalid, "node ID does not match request path: the body has %q, the path %q", *id, r.rest)
	}
	return nil
}

func bindNodeDrain(r *request, q *structs.NodeUpdateDrainRequest) error {
	var b nodeDrainBody
	if err := r.nodeBody(&b, &b.NodeID); err != nil {
		return err
	}
	q.NodeID, q.MarkEligible, q.Meta = r.rest, b.MarkEligible, b.Meta
	if b.DrainSpec != nil {
		q.DrainStrategy = &structs.DrainStrategy{DrainSpec: *b.DrainSpec}
	}
	return nil
}

func bindNodeEligibility(r *request, q *structs.NodeUpdateEligibilityRequest) error {
	var b nodeEligibilityBody
	if err := r.nodeBody(&b, &b.NodeID); err != nil {
		return err
	}
	q.NodeID, q.Eligibility, q.Reason, q.Until = r.rest, b.Eligibility, b.Reason, b.Until
	return nil
}
