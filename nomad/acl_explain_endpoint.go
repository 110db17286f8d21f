package nomad

import (
	"context"
	"fmt"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/auth"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

var aclExplainTables = []string{state.ACLPolicies.Name(), state.ACLTokens.Name(), state.ACLRoles.Name()}

var aclExplain = newRead("ACL.Explain", aclExplainTables,
	anyone[structs.ACLExplainRequest],
	func(v *view, r *structs.ACLExplainRequest, reply *structs.ACLExplainResponse) error {
		if !v.mayAsk(r) {
			return errPermissionDenied
		}
		if err := r.Validate(); err != nil {
			return err
		}
		rights, holder, err := v.subject(r)
		if err != nil {
			return err
		}
		op := acl.Operation{Kind: acl.Kind(r.Kind), Name: r.Name, Capability: r.Capability}
		if op.Kind == acl.KindVariables {
			op.Namespace = r.RequestNamespace()
		}
		why, err := rights.Explain(op)
		if err != nil {
			return err
		}
		reply.Allowed, reply.Reason = why.Allowed, why.Reason
		reply.Rules, reply.Overruled = explainRules(why.Rules), explainRules(why.Overruled)
		reply.MissingPolicies, reply.MissingRoles = v.missing(holder)
		return nil
	})

// missing returns the policies and the roles of a caller that do not exist, none for
// nobody.
func (v *view) missing(id *auth.Identity) (policies, roles []string) {
	if id == nil {
		return nil, nil
	}
	for _, name := range id.Policies {
		if v.ACLPolicy(v.ws, name) == nil {
			policies = append(policies, name)
		}
	}
	if id.Token == nil {
		return policies, nil
	}
	for _, link := range id.Token.Roles {
		if v.ACLRole(v.ws, link.ID) == nil {
			roles = append(roles, link.ID)
		}
	}
	return policies, roles
}

// mayAsk reports whether the caller may ask about the subject. About oneself
// everybody may; policies tell what they hold, so that one must be allowed to read them.
func (v *view) mayAsk(r *structs.ACLExplainRequest) bool {
	if allowsOne(v.acl, acl.ACLExplain) {
		return true
	}
	own := r.AccessorID == "" || v.isOwn(r.AccessorID)
	return own && (len(r.Policies) == 0 || every(r.Policies, v.seesPolicy))
}

// subject returns the rights that the question is about, and whose they are, nil
// for those of policies.
func (v *view) subject(r *structs.ACLExplainRequest) (*acl.ACL, *auth.Identity, error) {
	switch {
	case r.AccessorID != "":
		token := v.ACLToken(v.ws, r.AccessorID)
		if token == nil {
			return nil, nil, errTokenNotFound
		}
		id, err := v.srv.auth.Holder(v.Snapshot, token)
		if err != nil {
			return nil, nil, errs.New(errs.Invalid, err.Error())
		}
		return id.ACL, id, nil
	case len(r.Policies)+len(r.Rules) == 0:
		return v.acl, v.id, nil
	}
	rights, err := v.sum(r)
	return rights, nil, err
}

// sum returns the rights of the policies and the sources of a question.
func (v *view) sum(r *structs.ACLExplainRequest) (*acl.ACL, error) {
	var policies []*acl.Policy
	for _, name := range r.Policies {
		stored := v.ACLPolicy(v.ws, name)
		if stored == nil {
			return nil, errs.Newf(errs.NotFound, "ACL policy not found: %s", name)
		}
		p, err := acl.ParseStored(stored.Rules)
		if err != nil {
			return nil, err
		}
		p.Name = name
		policies = append(policies, p)
	}
	for i, src := range r.Rules {
		p, err := acl.Parse(src)
		if err != nil {
			return nil, err
		}
		p.Name = fmt.Sprintf("rules %d", i+1)
		policies = append(policies, p)
	}
	return acl.New(false, policies...)
}

func explainRules(refs []acl.RuleRef) []*structs.ACLExplainRule {
	out := make([]*structs.ACLExplainRule, len(refs))
	for i, r := range refs {
		out[i] = &structs.ACLExplainRule{Policy: r.Policy, Line: r.Line, Column: r.Column, Rule: r.Rule, Effect: r.Effect}
	}
	return out
}

// Explain says whether an operation is allowed, and by which rule of which policy.
func (a *ACL) Explain(ctx context.Context, args *structs.ACLExplainRequest, reply *structs.ACLExplainResponse) error {
	return aclExplain.serve(ctx, a.srv, args, reply)
}
