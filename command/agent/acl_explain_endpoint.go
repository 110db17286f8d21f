package agent

import (
	"reflect"

	"github.com/cairn-project/cairn/nomad/structs"
)

// explainBody is a question about rights. Namespace is that of a variable; the
// query parameter of the same name is used where it is "".
type explainBody struct {
	AccessorID string   `json:",omitempty"`
	Policies   []string `json:",omitempty"`
	Rules      []string `json:",omitempty"`
	Kind       string
	Namespace  string `json:",omitempty"`
	Name       string `json:",omitempty"`
	Capability string
}

// explainReply is the answer, without what the headers say.
type explainReply struct {
	Allowed   bool
	Reason    string
	Rules     []*structs.ACLExplainRule
	Overruled []*structs.ACLExplainRule
	// MissingPolicies and MissingRoles are those of the token that do not exist.
	MissingPolicies []string `json:",omitempty"`
	MissingRoles    []string `json:",omitempty"`
}

func aclExplainRoutes() []route {
	return []route{
		read(doc{methods: "PUT POST", pattern: "/v1/acl/explain", rpc: "ACL.Explain",
			summary: "Say whether an operation is allowed, and by which rule: for a token, for policies, or for the caller.",
			body:    reflect.TypeFor[explainBody](), status: []int{404}},
			func(r *request, q *structs.ACLExplainRequest) error {
				var b explainBody
				if err := r.decodeBody(&b); err != nil {
					return err
				}
				q.AccessorID, q.Policies, q.Rules = b.AccessorID, b.Policies, b.Rules
				q.Kind, q.Name, q.Capability = b.Kind, b.Name, b.Capability
				if b.Namespace != "" {
					q.Namespace = b.Namespace
				}
				return nil
			},
			func(_ *request, p *structs.ACLExplainResponse) (explainReply, error) {
				return explainReply{p.Allowed, p.Reason, list(p.Rules), list(p.Overruled), p.MissingPolicies, p.MissingRoles}, nil
			}),
	}
}
