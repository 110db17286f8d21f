package agent

import (
	"reflect"

	"github.com/cairn-project/cairn/nomad/structs"
)

func aclBindingRuleRoutes() []route {
	body := reflect.TypeFor[structs.ACLBindingRule]()
	return []route{
		read(doc{methods: "GET", pattern: "/v1/acl/binding-rules", rpc: "ACL.ListBindingRules",
			summary: "List the rules that turn the claims of a login into rights."},
			asIs[structs.ACLBindingRulesListRequest],
			func(_ *request, p *structs.ACLBindingRulesListResponse) ([]*structs.ACLBindingRuleListStub, error) {
				return list(p.ACLBindingRules), nil
			}),
		write(doc{methods: "PUT POST", pattern: "/v1/acl/binding-rule", rpc: "ACL.UpsertBindingRules",
			summary: "Create a binding rule; the servers choose its ID.", body: body},
			bindBindingRule, writtenBindingRule),
		read(doc{methods: "GET", pattern: "/v1/acl/binding-rule/{id}", rpc: "ACL.GetBindingRule",
			summary: "Read a binding rule.", status: []int{404}},
			func(r *request, q *structs.ACLBindingRuleRequest) error {
				q.ACLBindingRuleID = r.rest
				return r.needRest("binding rule ID")
			},
			func(_ *request, p *structs.ACLBindingRuleResponse) (*structs.ACLBindingRule, error) {
				return found(p.ACLBindingRule, "ACL binding rule")
			}),
		write(doc{methods: "PUT POST", pattern: "/v1/acl/binding-rule/{id}", rpc: "ACL.UpsertBindingRules",
			summary: "Update a binding rule; the body must have the same ID, and the auth method stays.", body: body, status: []int{404}},
			bindBindingRule, writtenBindingRule),
		write(doc{methods: "DELETE", pattern: "/v1/acl/binding-rule/{id}", rpc: "ACL.DeleteBindingRules",
			summary: "Delete a binding rule.", status: []int{404}},
			func(r *request, q *structs.ACLBindingRulesDeleteRequest) error {
				q.ACLBindingRuleIDs = []string{r.rest}
				return r.needRest("binding rule ID")
			}, done[structs.ACLBindingRulesDeleteResponse]),
	}
}

func bindBindingRule(r *request, q *structs.ACLBindingRulesUpsertRequest) error {
	rule := &structs.ACLBindingRule{}
	if err := r.bodyNamed(rule, &rule.ID, "binding rule ID"); err != nil {
		return err
	}
	q.ACLBindingRules = []*structs.ACLBindingRule{rule}
	return nil
}

func writtenBindingRule(_ *request, p *structs.ACLBindingRulesUpsertResponse) (*structs.ACLBindingRule, error) {
	return only(p.ACLBindingRules)
}
