package nomad

import (
	"context"
	"iter"
	"time"

	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

// copiedTables are the tables that one region owns for all. Every other table is in
// regionalTables.
var copiedTables = []follower{copiedNamespaces, copiedNodePools, copiedPolicies, copiedRoles, copiedTokens, copiedAuthMethods, copiedBindingRules}

// regionalTables are the tables that each region has for itself.
var regionalTables = []string{
	"acl_bootstrap", "autopilot-config", "cluster_meta", "join_tokens", "nodes", "one_time_token", "operations", "root_keys", "tls_authorities", "variables", "variables_quota",
}

// lists asks for a list and makes a map of it.
func lists[Req, Resp, S, T any, Q interface {
	*Req
	structs.Query
}, R interface {
	*Resp
	structs.QueryReply
}](method string, rows func(*Resp) []*S, one func(*S) (string, listed[T])) func(context.Context, *Server, structs.QueryOptions) (map[string]listed[T], uint64, error) {
	return func(ctx context.Context, s *Server, q structs.QueryOptions) (map[string]listed[T], uint64, error) {
		req, reply := Q(new(Req)), R(new(Resp))
		*req.QueryOpts() = q
		if err := s.RPC(ctx, method, req, reply); err != nil {
			return nil, 0, err
		}
		out := map[string]listed[T]{}
		for _, stub := range rows(reply) {
			id, l := one(stub)
			out[id] = l
		}
		return out, reply.Meta().Index, nil
	}
}

var copiedNamespaces = &copied[structs.Namespace]{
	table: state.Namespaces.Name(),
	list: lists[structs.NamespaceListRequest]("Namespace.ListNamespaces",
		func(r *structs.NamespaceListResponse) []*structs.Namespace { return r.Namespaces },
		func(n *structs.Namespace) (string, listed[structs.Namespace]) {
			return n.Name, listed[structs.Namespace]{modified: n.ModifyIndex, row: n}
		}),
	local: func(sn *state.Snapshot) iter.Seq[*structs.Namespace] { return sn.Namespaces(nil, "") },
	id:    func(n *structs.Namespace) string { return n.Name },
	bare: func(n *structs.Namespace) *structs.Namespace {
		c := *n
		c.CreateIndex, c.ModifyIndex = 0, 0
		return &c
	},
	put: func(rows []*structs.Namespace) (structs.MessageType, any) {
		return structs.NamespaceUpsertRequestType, &structs.NamespaceUpsertRequest{Namespaces: rows}
	},
	drop: func(names []string) (structs.MessageType, any) {
		return structs.NamespaceDeleteRequestType, &structs.NamespaceDeleteRequest{Namespaces: names}
	},
}

var copiedNodePools = &copied[structs.NodePool]{
	table: state.NodePools.Name(),
	list: lists[structs.NodePoolListRequest]("NodePool.List",
		func(r *structs.NodePoolListResponse) []*structs.NodePool { return r.NodePools },
		func(n *structs.NodePool) (string, listed[structs.NodePool]) {
			return n.Name, listed[structs.NodePool]{modified: n.ModifyIndex, row: n}
		}),
	local: func(sn *state.Snapshot) iter.Seq[*structs.NodePool] { return sn.NodePools(nil, state.NodePoolQuery{}) },
	id:    func(n *structs.NodePool) string { return n.Name },
	bare: func(n *structs.NodePool) *structs.NodePool {
		c := *n
		c.CreateIndex, c.ModifyIndex = 0, 0
		return &c
	},
	fixed: structs.IsBuiltinNodePool,
	put: func(rows []*structs.NodePool) (structs.MessageType, any) {
		return structs.NodePoolUpsertRequestType, &structs.NodePoolUpsertRequest{NodePools: rows}
	},
	drop: func(names []string) (structs.MessageType, any) {
		return structs.NodePoolDeleteRequestType, &structs.NodePoolDeleteRequest{Names: names}
	},
}

var copiedPolicies = &copied[structs.ACLPolicy]{
	table: state.ACLPolicies.Name(),
	list: lists[structs.ACLPolicyListRequest](aclListPolicies.name,
		func(r *structs.ACLPolicyListResponse) []*structs.ACLPolicyListStub { return r.Policies },
		func(p *structs.ACLPolicyListStub) (string, listed[structs.ACLPolicy]) {
			return p.Name, listed[structs.ACLPolicy]{hash: p.Hash, modified: p.ModifyIndex}
		}),
	fetch: func(ctx context.Context, s *Server, q structs.QueryOptions, names []string) (map[string]*structs.ACLPolicy, error) {
		var reply structs.ACLPolicySetResponse
		err := s.RPC(ctx, aclGetPolicies.name, &structs.ACLPolicySetRequest{Names: names, QueryOptions: q}, &reply)
		return reply.Policies, err
	},
	local:  func(sn *state.Snapshot) iter.Seq[*structs.ACLPolicy] { return sn.ACLPolicies(nil, "") },
	id:     func(p *structs.ACLPolicy) string { return p.Name },
	digest: func(p *structs.ACLPolicy) []byte { return p.Hash },
	bare: func(p *structs.ACLPolicy) *structs.ACLPolicy {
		c := *p
		c.CreateIndex, c.ModifyIndex = 0, 0
		return &c
	},
	put: func(rows []*structs.ACLPolicy) (structs.MessageType, any) {
		return structs.ACLPolicyUpsertRequestType, &structs.ACLPolicyUpsertRequest{Policies: rows}
	},
	drop: func(names []string) (structs.MessageType, any) {
		return structs.ACLPolicyDeleteRequestType, &structs.ACLPolicyDeleteRequest{Names: names}
	},
}

var copiedRoles = &copied[structs.ACLRole]{
	table: state.ACLRoles.Name(),
	list: lists[structs.ACLRolesListRequest](aclListRoles.name,
		func(r *structs.ACLRolesListResponse) []*structs.ACLRoleListStub { return r.ACLRoles },
		func(r *structs.ACLRoleListStub) (string, listed[structs.ACLRole]) {
			return r.ID, listed[structs.ACLRole]{hash: r.Hash, modified: r.ModifyIndex}
		}),
	fetch: func(ctx context.Context, s *Server, q structs.QueryOptions, ids []string) (map[string]*structs.ACLRole, error) {
		var reply structs.ACLRolesByIDResponse
		err := s.RPC(ctx, aclGetRolesByID.name, &structs.ACLRolesByIDRequest{ACLRoleIDs: ids, QueryOptions: q}, &reply)
		return reply.ACLRoles, err
	},
	local:  func(sn *state.Snapshot) iter.Seq[*structs.ACLRole] { return sn.ACLRoles(nil, "") },
	id:     func(r *structs.ACLRole) string { return r.ID },
	digest: func(r *structs.ACLRole) []byte { return r.Hash },
	bare: func(r *structs.ACLRole) *structs.ACLRole {
		c := *r
		c.CreateIndex, c.ModifyIndex = 0, 0
		return &c
	},
	put: func(rows []*structs.ACLRole) (structs.MessageType, any) {
		return structs.ACLRolesUpsertRequestType, &structs.ACLRolesUpsertRequest{ACLRoles: rows, AllowMissingPolicies: true}
	},
	drop: func(ids []string) (structs.MessageType, any) {
		return structs.ACLRolesDeleteByIDRequestType, &structs.ACLRolesDeleteByIDRequest{ACLRoleIDs: ids}
	},
}

var copiedTokens = &copied[structs.ACLToken]{
	table: state.ACLTokens.Name(),
	list: func(ctx context.Context, s *Server, q structs.QueryOptions) (map[string]listed[structs.ACLToken], uint64, error) {
		var reply structs.ACLTokenListResponse
		if err := s.RPC(ctx, aclListTokens.name, &structs.ACLTokenListRequest{GlobalOnly: true, QueryOptions: q}, &reply); err != nil {
			return nil, 0, err
		}
		out := map[string]listed[structs.ACLToken]{}
		for _, t := range reply.Tokens {
			if t.Global {
				out[t.AccessorID] = listed[structs.ACLToken]{hash: t.Hash, modified: t.ModifyIndex}
			}
		}
		return out, reply.Index, nil
	},
	fetch: func(ctx context.Context, s *Server, q structs.QueryOptions, ids []string) (map[string]*structs.ACLToken, error) {
		var reply structs.ACLTokenSetResponse
		err := s.RPC(ctx, aclGetTokens.name, &structs.ACLTokenSetRequest{AccessorIDS: ids, QueryOptions: q}, &reply)
		return reply.Tokens, err
	},
	local: func(sn *state.Snapshot) iter.Seq[*structs.ACLToken] {
		global := true
		return sn.ACLTokens(nil, state.ACLTokenQuery{Global: &global})
	},
	id:     func(t *structs.ACLToken) string { return t.AccessorID },
	digest: func(t *structs.ACLToken) []byte { return t.Hash },
	bare: func(t *structs.ACLToken) *structs.ACLToken {
		c := t.Copy()
		c.CreateIndex, c.ModifyIndex = 0, 0
		for _, link := range c.Roles {
			link.Name = ""
		}
		return c
	},
	remade: func(here, there *structs.ACLToken) bool {
		return here.SecretID != there.SecretID || !here.CreateTime.Equal(there.CreateTime) || !sameTime(here.ExpirationTime, there.ExpirationTime)
	},
	put: func(rows []*structs.ACLToken) (structs.MessageType, any) {
		return structs.ACLTokenUpsertRequestType, &structs.ACLTokenUpsertRequest{Tokens: rows, AllowMissingRoles: true}
	},
	drop: func(ids []string) (structs.MessageType, any) {
		return structs.ACLTokenDeleteRequestType, &structs.ACLTokenDeleteRequest{AccessorIDs: ids}
	},
}

func sameTime(a, b *time.Time) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Equal(*b)
}

var copiedAuthMethods = &copied[structs.ACLAuthMethod]{
	table: state.ACLAuthMethods.Name(),
	list: lists[structs.ACLAuthMethodListRequest](aclListAuthMethods.name,
		func(r *structs.ACLAuthMethodListResponse) []*structs.ACLAuthMethodListStub { return r.AuthMethods },
		func(m *structs.ACLAuthMethodListStub) (string, listed[structs.ACLAuthMethod]) {
			return m.Name, listed[structs.ACLAuthMethod]{hash: m.Hash, modified: m.ModifyIndex}
		}),
	fetch: func(ctx context.Context, s *Server, q structs.QueryOptions, names []string) (map[string]*structs.ACLAuthMethod, error) {
		var reply structs.ACLAuthMethodsGetResponse
		err := s.RPC(ctx, aclGetAuthMethods.name, &structs.ACLAuthMethodsGetRequest{Names: names, QueryOptions: q}, &reply)
		return reply.AuthMethods, err
	},
	local:  func(sn *state.Snapshot) iter.Seq[*structs.ACLAuthMethod] { return sn.ACLAuthMethods(nil) },
	id:     func(m *structs.ACLAuthMethod) string { return m.Name },
	digest: func(m *structs.ACLAuthMethod) []byte { return m.Hash },
	bare: func(m *structs.ACLAuthMethod) *structs.ACLAuthMethod {
		c := *m
		c.CreateIndex, c.ModifyIndex, c.CreateTime = 0, 0, time.Time{}
		return &c
	},
	put: func(rows []*structs.ACLAuthMethod) (structs.MessageType, any) {
		return structs.ACLAuthMethodsUpsertRequestType, &structs.ACLAuthMethodUpsertRequest{AuthMethods: rows}
	},
	drop: func(names []string) (structs.MessageType, any) {
		return structs.ACLAuthMethodsDeleteRequestType, &structs.ACLAuthMethodDeleteRequest{Names: names}
	},
}

var copiedBindingRules = &copied[structs.ACLBindingRule]{
	table: state.ACLBindingRules.Name(),
	list: lists[structs.ACLBindingRulesListRequest](aclListBindingRules.name,
		func(r *structs.ACLBindingRulesListResponse) []*structs.ACLBindingRuleListStub {
			return r.ACLBindingRules
		},
		func(r *structs.ACLBindingRuleListStub) (string, listed[structs.ACLBindingRule]) {
			return r.ID, listed[structs.ACLBindingRule]{hash: r.Hash, modified: r.ModifyIndex}
		}),
	fetch: func(ctx context.Context, s *Server, q structs.QueryOptions, ids []string) (map[string]*structs.ACLBindingRule, error) {
		var reply structs.ACLBindingRulesResponse
		err := s.RPC(ctx, aclGetBindingRules.name, &structs.ACLBindingRulesRequest{ACLBindingRuleIDs: ids, QueryOptions: q}, &reply)
		return reply.ACLBindingRules, err
	},
	local:  func(sn *state.Snapshot) iter.Seq[*structs.ACLBindingRule] { return sn.ACLBindingRules(nil, "") },
	id:     func(r *structs.ACLBindingRule) string { return r.ID },
	digest: func(r *structs.ACLBindingRule) []byte { return r.Hash },
	bare: func(r *structs.ACLBindingRule) *structs.ACLBindingRule {
		c := *r
		c.CreateIndex, c.ModifyIndex, c.CreateTime = 0, 0, time.Time{}
		return &c
	},
	remade: func(here, there *structs.ACLBindingRule) bool { return here.AuthMethod != there.AuthMethod },
	put: func(rows []*structs.ACLBindingRule) (structs.MessageType, any) {
		return structs.ACLBindingRulesUpsertRequestType, &structs.ACLBindingRulesUpsertRequest{ACLBindingRules: rows, AllowMissingAuthMethods: true}
	},
	drop: func(ids []string) (structs.MessageType, any) {
		return structs.ACLBindingRulesDeleteRequestType, &structs.ACLBindingRulesDeleteRequest{ACLBindingRuleIDs: ids}
	},
}
