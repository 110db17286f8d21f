package command

import (
	"github.com/hashicorp/nomad/api"
	"github.com/posener/complete"
)

func policyNames(s *session, a complete.Args) []string {
	client, err := s.client()
	if err != nil {
		return nil
	}
	q := s.query()
	q.Prefix = a.Last
	list, _, err := client.ACLPolicies().List(q)
	return names(list, err, func(p *api.ACLPolicyListStub) string { return p.Name })
}

func tokenAccessors(s *session, a complete.Args) []string {
	client, err := s.client()
	if err != nil {
		return nil
	}
	q := s.query()
	q.Prefix = a.Last
	list, _, err := client.ACLTokens().List(q)
	return names(list, err, func(t *api.ACLTokenListStub) string { return t.AccessorID })
}

func roleIDs(s *session, a complete.Args) []string {
	client, err := s.client()
	if err != nil {
		return nil
	}
	q := s.query()
	q.Prefix = a.Last
	list, _, err := client.ACLRoles().List(q)
	return names(list, err, func(r *api.ACLRoleListStub) string { return r.ID })
}

func authMethodNames(s *session, _ complete.Args) []string {
	client, err := s.client()
	if err != nil {
		return nil
	}
	list, _, err := client.ACLAuthMethods().List(s.query())
	return names(list, err, func(m *api.ACLAuthMethodListStub) string { return m.Name })
}

func bindingRuleIDs(s *session, _ complete.Args) []string {
	client, err := s.client()
	if err != nil {
		return nil
	}
	list, _, err := client.ACLBindingRules().List(s.query())
	return names(list, err, func(r *api.ACLBindingRuleListStub) string { return r.ID })
}
