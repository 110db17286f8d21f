package agent

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// aclRoutes are all routes of access control.
func aclRoutes() []route {
	return slices.Concat(aclPolicyRoutes(), aclTokenRoutes(), aclRoleRoutes(), aclAuthMethodRoutes(), aclBindingRuleRoutes(), aclLoginRoutes(),
		aclExplainRoutes())
}

func aclPolicyRoutes() []route {
	return []route{
		read(doc{methods: "GET", pattern: "/v1/acl/policies", rpc: "ACL.ListPolicies",
			summary: "List the policies that the caller may see, without their rules.", lists: "prefix"},
			asIs[structs.ACLPolicyListRequest], policyStubs),
		aclPolicySelf(),
		read(doc{methods: "GET", pattern: "/v1/acl/policy/{name}", rpc: "ACL.GetPolicy",
			summary: "Read a policy.", status: []int{404}},
			func(r *request, q *structs.ACLPolicySpecificRequest) error {
				q.Name = r.rest
				return r.needRest("policy name")
			},
			func(_ *request, p *structs.SingleACLPolicyResponse) (*structs.ACLPolicy, error) {
				return found(p.Policy, "ACL policy")
			}),
		write(doc{methods: "PUT POST", pattern: "/v1/acl/policy/{name}", rpc: "ACL.UpsertPolicies",
			summary: "Create or update a policy; the body must name the same one.", body: reflect.TypeFor[structs.ACLPolicy]()},
			bindPolicy, done[structs.GenericResponse]),
		write(doc{methods: "DELETE", pattern: "/v1/acl/policy/{name}", rpc: "ACL.DeletePolicies",
			summary: "Delete a policy."},
			func(r *request, q *structs.ACLPolicyDeleteRequest) error {
				q.Names = []string{r.rest}
				return r.needRest("policy name")
			}, done[structs.GenericResponse]),
	}
}

// aclPolicySelf asks one of two RPCs: the claims of a workload name no policies,
// so the servers look for those that are meant for it.
func aclPolicySelf() route {
	d := doc{methods: "GET", pattern: "/v1/acl/policy/self", rpc: "ACL.ListPolicies ACL.GetClaimPolicies",
		summary: "List the policies of the caller: of its token, or of its workload identity."}
	byToken := read(doc{rpc: "ACL.ListPolicies"},
		func(_ *request, q *structs.ACLPolicyListRequest) error {
			q.Own = true
			return nil
		}, policyStubs)
	byClaims := read(doc{rpc: "ACL.GetClaimPolicies"}, asIs[structs.GenericRequest],
		func(_ *request, p *structs.ACLPolicySetResponse) ([]*structs.ACLPolicyListStub, error) {
			out := []*structs.ACLPolicyListStub{}
			for _, name := range slices.Sorted(maps.Keys(p.Policies)) {
				if policy := p.Policies[name]; policy != nil {
					out = append(out, policy.Stub())
				}
			}
			return out, nil
		})
	byToken.doc, byToken.serve = d, func(serve func(*request) error) func(*request) error {
		return func(r *request) error {
			if isJWT(r.secret()) {
				return byClaims.serve(r)
			}
			return serve(r)
		}
	}(byToken.serve)
	return byToken
}

// isJWT tells signed claims from the secrets of tokens by their three parts (RFC 7515).
func isJWT(secret string) bool { return strings.Count(secret, ".") == 2 }

func policyStubs(_ *request, p *structs.ACLPolicyListResponse) ([]*structs.ACLPolicyListStub, error) {
	return list(p.Policies), nil
}

func bindPolicy(r *request, q *structs.ACLPolicyUpsertRequest) error {
	p := &structs.ACLPolicy{}
	if err := r.bodyNamed(p, &p.Name, "policy name"); err != nil {
		return err
	}
	q.Policies = []*structs.ACLPolicy{p}
	return nil
}

// needRest refuses a path that ends where what, the name of an object, should stand.
func (r *request) needRest(what string) error {
	if r.rest == "" {
		return errs.New(errs.Invalid, "missing "+what)
	}
	return nil
}

// bodyNamed reads the body into v and checks that name, a field of v, is what the
// path says. Patterns without a name in the path take any.
func (r *request) bodyNamed(v any, name *string, what string) error {
	if strings.HasSuffix(r.URL.Path, "/") {
		if err := r.needRest(what); err != nil {
			return err
		}
	}
	if err := r.decodeBody(v); err != nil {
		return err
	}
	if r.rest != "" && *name != r.rest {
		return errs.Newf(errs.Invalid, "%s does not match request path: the body has %q, the path %q", what, *name, r.rest)
	}
	return nil
}

// found returns v, or that there is no such thing.
func found[T any](v *T, what string) (*T, error) {
	if v == nil {
		return nil, errs.New(errs.NotFound, what+" not found")
	}
	return v, nil
}

// only returns the one object that a write of one object answers with.
func only[T any](objects []*T) (*T, error) {
	if len(objects) != 1 || objects[0] == nil {
		return nil, errs.Newf(errs.Internal, "a write of one object was answered with %d", len(objects))
	}
	return objects[0], nil
}
