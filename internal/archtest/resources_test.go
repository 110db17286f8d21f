package archtest

import (
	"strings"
	"testing"
)

// A resource as it should be: every rule of the checklist is silent on it.
const goodResource = `-- nomad/structs/structs.go --
package structs
const (
	PoolUpsertRequestType MessageType = 97
	BatchRequestType      MessageType = 96
)
-- nomad/structs/pool.go --
package structs
type PoolUpsertRequest struct{}
-- nomad/state/state_store_pool.go --
package state
-- nomad/state/state_store_pool_test.go --
package state
-- nomad/fsm.go --
package nomad
func (f *fsm) apply(t structs.MessageType) any {
	switch t {
	case structs.PoolUpsertRequestType:
		return nil
	}
	return nil
}
-- nomad/pool_endpoint.go --
package nomad
type Pools struct{}
var poolUpsert = newWrite("Pool.Upsert", structs.PoolUpsertRequestType, anyone, noCheck)
var poolSync = newRead[structs.PoolSyncRequest]("Pool.Sync", nil, anyone, run)
func (p *Pools) Upsert(ctx context.Context, q *structs.PoolUpsertRequest, r *structs.GenericResponse) error {
	return poolUpsert.serve(ctx, p.srv, q, r)
}
func (p *Pools) Sync(ctx context.Context, q *structs.PoolSyncRequest, r *structs.GenericResponse) error {
	return poolSync.serve(ctx, p.srv, q, r)
}
-- nomad/server.go --
package nomad
func (s *Server) endpoints() map[string]any { return map[string]any{"Pool": &Pools{s}} }
-- command/agent/pool_endpoint.go --
package agent
var _ = local(doc{pattern: "/v1/pool", rpc: "Pool.List Pool.Upsert"})
`

func poolRoutes(t *tree) []problem {
	return checkRoutes(t, map[string]string{"Pool.Sync": "servers copy pools with it"})
}

var resourceRules = []func(*tree) []problem{
	checkRequestStructs, checkFSMCases, checkStateFiles, checkEndpointMethods, checkRegistered, poolRoutes,
}

func TestGoodResourcePasses(t *testing.T) {
	for _, rule := range resourceRules {
		bites(t, rule, "", goodResource)
	}
}

func TestForgottenStepIsNamed(t *testing.T) {
	for name, c := range map[string]struct {
		rule            func(*tree) []problem
		old, new, wants string
	}{
		"request struct": {checkRequestStructs, "type PoolUpsertRequest struct{}", "", "no request struct PoolUpsertRequest"},
		"case":           {checkFSMCases, "case structs.PoolUpsertRequestType:", "default:", "no case structs.PoolUpsertRequestType"},
		"state test":     {checkStateFiles, "state_store_pool_test.go", "other_test.go", "state_store_pool_test.go"},
		"structs file":   {checkStateFiles, "nomad/structs/pool.go", "nomad/structs/pond.go", "nomad/structs/pool.go"},
		"one line":       {checkEndpointMethods, "return poolUpsert.serve(", "p.audit(q)\n\treturn poolUpsert.serve(", "must be one line"},
		"constructor":    {checkEndpointMethods, `newRead[structs.PoolSyncRequest](`, "makeRead(", "must be one line"},
		"name":           {checkEndpointMethods, `"Pool.Sync"`, `"Pool.Copy"`, "the names must agree"},
		"served":         {checkEndpointMethods, "func (p *Pools) Sync(", "func (p *Pools) sync(", "no endpoint method serves it"},
		"registration":   {checkRegistered, "&Pools{s}", "nil", "Pools is not registered"},
		"route":          {poolRoutes, "Pool.List Pool.Upsert", "Pool.List", "no route"},
		"internal reason": {func(src *tree) []problem { return checkRoutes(src, map[string]string{"Pool.Sync": " "}) },
			"package agent", "package agent", `"Pool.Sync" has no route`},
		"internal no more": {poolRoutes, "Pool.List Pool.Upsert", "Pool.Sync Pool.Upsert", "remove it from internalOnly"},
	} {
		t.Run(name, func(t *testing.T) {
			bites(t, c.rule, c.wants, replaceOnce(t, goodResource, c.old, c.new))
		})
	}
}

func replaceOnce(t *testing.T, s, old, new string) string {
	t.Helper()
	before, after, ok := strings.Cut(s, old)
	if !ok {
		t.Fatalf("%q is not in the source", old)
	}
	return before + new + after
}
