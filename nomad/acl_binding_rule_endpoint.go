package nomad

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

var aclBindingRuleTables = []string{state.ACLBindingRules.Name()}

var aclListBindingRules = newRead("ACL.ListBindingRules", aclBindingRuleTables,
	delegated[structs.ACLBindingRulesListRequest](acl.ACLBindingRuleRead, acl.ACLBindingRuleWrite),
	func(v *view, _ *structs.ACLBindingRulesListRequest, reply *structs.ACLBindingRulesListResponse) error {
		reply.ACLBindingRules = []*structs.ACLBindingRuleListStub{}
		for rule := range v.ACLBindingRules(v.ws, "") {
			reply.ACLBindingRules = append(reply.ACLBindingRules, rule.Stub())
		}
		return nil
	})

var aclGetBindingRules = newRead("ACL.GetBindingRules", aclBindingRuleTables,
	delegated[structs.ACLBindingRulesRequest](acl.ACLBindingRuleRead, acl.ACLBindingRuleWrite),
	func(v *view, r *structs.ACLBindingRulesRequest, reply *structs.ACLBindingRulesResponse) error {
		reply.ACLBindingRules = make(map[string]*structs.ACLBindingRule, len(r.ACLBindingRuleIDs))
		for _, id := range r.ACLBindingRuleIDs {
			if rule := v.ACLBindingRule(v.ws, id); rule != nil {
				reply.ACLBindingRules[id] = rule
			}
		}
		return nil
	})

var aclGetBindingRule = newRead("ACL.GetBindingRule", aclBindingRuleTables,
	delegated[structs.ACLBindingRuleRequest](acl.ACLBindingRuleRead, acl.ACLBindingRuleWrite),
	func(v *view, r *structs.ACLBindingRuleRequest, reply *structs.ACLBindingRuleResponse) error {
		if reply.ACLBindingRule = v.ACLBindingRule(v.ws, r.ACLBindingRuleID); reply.ACLBindingRule != nil {
			v.index = reply.ACLBindingRule.ModifyIndex
		}
		return nil
	})

var aclUpsertBindingRules = newLeader("ACL.UpsertBindingRules",
	delegated[structs.ACLBindingRulesUpsertRequest](acl.ACLBindingRuleWrite),
	func(ctx context.Context, c *leaderCall, r *structs.ACLBindingRulesUpsertRequest, reply *structs.ACLBindingRulesUpsertResponse) error {
		sn, now := c.srv.state.Snapshot(), time.Now()
		entry := &structs.ACLBindingRulesUpsertRequest{AllowMissingAuthMethods: r.AllowMissingAuthMethods && c.unbounded()}
		for _, rule := range r.ACLBindingRules {
			row := rule.Copy()
			if row != nil {
				if err := c.completeRule(sn, row, entry.AllowMissingAuthMethods); err != nil {
					return err
				}
				row.Canonicalize(now)
			}
			entry.ACLBindingRules = append(entry.ACLBindingRules, row)
		}
		if err := entry.Validate(); err != nil {
			return err
		}
		for _, row := range entry.ACLBindingRules {
			if err := c.mayBind(sn, row); err != nil {
				return err
			}
			if row.ID == "" {
				row.ID = uuid.NewString()
			}
			row.SetHash()
		}
		res, err := c.apply(ctx, structs.ACLBindingRulesUpsertRequestType, entry)
		if err != nil {
			return err
		}
		return tellBindingRules(ctx, c, r, reply, res)
	}).shared(always[structs.ACLBindingRulesUpsertRequest])

// tellBindingRules answers with the rules that were written.
func tellBindingRules(_ context.Context, c *leaderCall, _ *structs.ACLBindingRulesUpsertRequest, reply *structs.ACLBindingRulesUpsertResponse, res applied) (err error) {
	sn := c.srv.state.Snapshot()
	reply.Index = res.index
	reply.ACLBindingRules, err = storedRows(res, func(id string) *structs.ACLBindingRule { return sn.ACLBindingRule(nil, id) })
	return err
}

// completeRule fills in what an update leaves out or cannot change, and checks
// what the rule leads to. It changes row.
func (c *leaderCall) completeRule(sn *state.Snapshot, row *structs.ACLBindingRule, missing bool) error {
	existing := sn.ACLBindingRule(nil, row.ID)
	row.CreateTime = time.Time{}
	switch {
	case existing != nil:
		if row.AuthMethod == "" {
			row.AuthMethod = existing.AuthMethod
		}
		if row.AuthMethod != existing.AuthMethod {
			return errs.New(errs.Invalid, "the auth method of a binding rule cannot change: create another rule")
		}
		row.CreateTime = existing.CreateTime
		if err := c.mayChangeRule(sn, existing, row); err != nil {
			return err
		}
	case row.ID != "" && !missing:
		return errs.Newf(errs.NotFound, "cannot find binding rule %s", row.ID)
	}
	if !missing && sn.ACLAuthMethod(nil, row.AuthMethod) == nil {
		return errs.Newf(errs.Invalid, "ACL auth method %s not found", row.AuthMethod)
	}
	return nil
}

var aclDeleteBindingRules = newLeader("ACL.DeleteBindingRules",
	delegated[structs.ACLBindingRulesDeleteRequest](acl.ACLBindingRuleWrite),
	func(ctx context.Context, c *leaderCall, r *structs.ACLBindingRulesDeleteRequest, reply *structs.ACLBindingRulesDeleteResponse) (err error) {
		if err := r.Validate(); err != nil {
			return err
		}
		sn := c.srv.state.Snapshot()
		for _, id := range r.ACLBindingRuleIDs {
			rule := sn.ACLBindingRule(nil, id)
			if rule == nil {
				return errs.New(errs.NotFound, "ACL binding rule not found")
			}
			if err := c.mayChangeRule(sn, rule, nil); err != nil {
				return err
			}
		}
		reply.Index, err = c.commit(ctx, structs.ACLBindingRulesDeleteRequestType, &structs.ACLBindingRulesDeleteRequest{ACLBindingRuleIDs: r.ACLBindingRuleIDs})
		return err
	}).shared(always[structs.ACLBindingRulesDeleteRequest])

// ListBindingRules lists binding rules.
func (a *ACL) ListBindingRules(ctx context.Context, args *structs.ACLBindingRulesListRequest, reply *structs.ACLBindingRulesListResponse) error {
	return aclListBindingRules.serve(ctx, a.srv, args, reply)
}

// GetBindingRules reads several binding rules.
func (a *ACL) GetBindingRules(ctx context.Context, args *structs.ACLBindingRulesRequest, reply *structs.ACLBindingRulesResponse) error {
	return aclGetBindingRules.serve(ctx, a.srv, args, reply)
}

// GetBindingRule reads one binding rule.
func (a *ACL) GetBindingRule(ctx context.Context, args *structs.ACLBindingRuleRequest, reply *structs.ACLBindingRuleResponse) error {
	return aclGetBindingRule.serve(ctx, a.srv, args, reply)
}

// UpsertBindingRules creates or updates binding rules, all or none.
func (a *ACL) UpsertBindingRules(ctx context.Context, args *structs.ACLBindingRulesUpsertRequest, reply *structs.ACLBindingRulesUpsertResponse) error {
	return aclUpsertBindingRules.serve(ctx, a.srv, args, reply)
}

// DeleteBindingRules deletes binding rules, all or none.
func (a *ACL) DeleteBindingRules(ctx context.Context, args *structs.ACLBindingRulesDeleteRequest, reply *structs.ACLBindingRulesDeleteResponse) error {
	return aclDeleteBindingRules.serve(ctx, a.srv, args, reply)
}
