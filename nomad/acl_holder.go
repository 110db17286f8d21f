package nomad

import (
	"iter"

	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// holder is whoever has several policies at once: a token, or whatever a login by
// one auth method, or a workload, can get at most.
type holder struct {
	method   string // "" for a token
	policies []string
	roles    []string // IDs
	// anything is set where a login decides on the names; policies are all there are then.
	anything bool
}

// holders walks all holders but management tokens.
func holders(sn *state.Snapshot) iter.Seq[*holder] {
	return func(yield func(*holder) bool) {
		for t := range sn.ACLTokens(nil, state.ACLTokenQuery{}) {
			if t.IsManagement() {
				continue
			}
			h := &holder{policies: tokenPolicies(sn, t)}
			for _, link := range t.Roles {
				h.roles = append(h.roles, link.ID)
			}
			if !yield(h) {
				return
			}
		}
		for _, h := range logins(sn) {
			if !yield(h) {
				return
			}
		}
		yield(workloads(sn))
	}
}

// workloads returns a holder of all policies of workloads, those of different jobs too.
func workloads(sn *state.Snapshot) *holder {
	h := &holder{}
	for p := range sn.ACLPolicies(nil, "") {
		if p.JobACL != nil {
			h.policies = append(h.policies, p.Name)
		}
	}
	return h
}

// logins returns a holder for each auth method that has rules.
func logins(sn *state.Snapshot) map[string]*holder {
	out := map[string]*holder{}
	for r := range sn.ACLBindingRules(nil, "") {
		if out[r.AuthMethod] == nil {
			out[r.AuthMethod] = &holder{method: r.AuthMethod}
		}
		out[r.AuthMethod].bind(sn, r)
	}
	return out
}

// bind adds what a binding rule gives.
func (h *holder) bind(sn *state.Snapshot, r *structs.ACLBindingRule) {
	switch {
	case r.BindType == structs.ACLBindingRuleBindTypeManagement:
	case isTemplate(r):
		if h.anything {
			return
		}
		h.anything = true
		for p := range sn.ACLPolicies(nil, "") {
			h.policies = append(h.policies, p.Name)
		}
	case r.BindType == structs.ACLBindingRuleBindTypePolicy:
		h.policies = append(h.policies, r.BindName)
	default:
		if role := sn.ACLRoleByName(nil, r.BindName); role != nil {
			h.roles = append(h.roles, role.ID)
			h.policies = append(h.policies, rolePolicies(role)...)
		}
	}
}
