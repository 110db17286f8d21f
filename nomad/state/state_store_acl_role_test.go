package state

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func role(id, name string, policies ...string) *structs.ACLRole {
	r := &structs.ACLRole{ID: id, Name: name}
	for _, p := range policies {
		r.Policies = append(r.Policies, &structs.ACLRolePolicyLink{Name: p})
	}
	return r
}

func rolesOf(list ...*structs.ACLRole) *structs.ACLRolesUpsertRequest {
	return &structs.ACLRolesUpsertRequest{ACLRoles: list}
}

func (s *testStore) roles(list ...*structs.ACLRole) {
	s.t.Helper()
	must(s.t, s.UpsertACLRoles(s.NextIndex(), rolesOf(list...)))
}

func (s *testStore) dropRoles(ids ...string) error {
	return s.DeleteACLRolesByID(s.NextIndex(), &structs.ACLRolesDeleteByIDRequest{ACLRoleIDs: ids})
}

func TestACLRoleUpsert(t *testing.T) {
	s := newStore(t)
	s.policies(policy("ops", "x"))
	s.roles(role(id(1), "one", "ops"), role(id(2), "two", "ops"))
	first := s.LatestIndex()
	ws := memdb.NewWatchSet()
	s.Snapshot().ACLRoleByName(ws, "one")
	s.roles(role(id(1), "one", "ops"))
	if got := s.Snapshot().ACLRole(nil, id(1)); got.ModifyIndex != first || got.CreateIndex != first || fired(ws) {
		t.Errorf("the same role again is a change: %+v", got)
	}
	s.roles(role(id(1), "uno", "ops"))
	sn := s.Snapshot()
	if got := sn.ACLRoleByName(nil, "uno"); got == nil || got.ID != id(1) || got.CreateIndex != first || got.ModifyIndex != s.LatestIndex() {
		t.Errorf("renamed to %+v", got)
	}
	if sn.ACLRoleByName(nil, "one") != nil || !fired(ws) {
		t.Errorf("the old name is there, woken %v", fired(ws))
	}
	must(t, s.dropRoles(id(2)))
	want := []string{
		"3 ACLRole ACLRoleUpserted /" + id(1), "3 ACLRole ACLRoleUpserted /" + id(2),
		"5 ACLRole ACLRoleUpserted /" + id(1), "6 ACLRole ACLRoleDeleted /" + id(2),
	}
	if diff := cmp.Diff(want, describe(s.events[1:])); diff != "" {
		t.Error(diff)
	}
	checkVisible(t, ACLRoles, sn.ACLRole(nil, id(1)), acl.ACLRoleRead)
}

func TestACLRoleRefused(t *testing.T) {
	s := newStore(t)
	s.policies(policy("ops", "x"))
	s.roles(role(id(1), "one", "ops"))
	before := s.persist()
	broken := role(id(3), "three", "ops")
	broken.Policies = append(broken.Policies, nil)
	for name, tc := range map[string]struct {
		role  *structs.ACLRole
		code  errs.Code
		about string
	}{
		"null":                  {nil, errs.Invalid, "without an ID"},
		"no ID":                 {role("", "x", "ops"), errs.Invalid, "without an ID"},
		"no name":               {role(id(3), "", "ops"), errs.Invalid, "a name"},
		"the name of another":   {role(id(3), "one", "ops"), errs.Conflict, `"one"`},
		"a policy that is null": {broken, errs.Invalid, "null"},
		"an unknown policy":     {role(id(3), "x", "ops", "nope"), errs.Invalid, `"nope"`},
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, s.UpsertACLRoles(s.LatestIndex(), rolesOf(role(id(2), "two", "ops"), tc.role)), tc.code, tc.about)
			if !slices.Equal(before, s.persist()) {
				t.Error("half of a refused request was stored")
			}
		})
	}
	refused(t, s.dropRoles(id(1), id(9)), errs.NotFound, id(9))
	must(t, s.UpsertACLRoles(s.NextIndex(), &structs.ACLRolesUpsertRequest{
		ACLRoles: []*structs.ACLRole{role(id(4), "early", "later")}, AllowMissingPolicies: true}))
}

// TestACLRoleNamesWithinABatch checks that names move between roles within one
// transaction, and that the index of names holds what the rows say.
func TestACLRoleNamesWithinABatch(t *testing.T) {
	s := newStore(t)
	s.policies(policy("ops", "x"))
	s.roles(role(id(1), "one", "ops"), role(id(2), "two", "ops"), role(id(3), "three", "ops"))
	s.Batch(func(b *StateStore) {
		rename := func(r *structs.ACLRole) error { return b.UpsertACLRoles(b.NextIndex(), rolesOf(r)) }
		refused(t, rename(role(id(1), "two", "ops")), errs.Conflict, "two")
		refused(t, b.UpsertACLRoles(b.NextIndex(), rolesOf(role(id(2), "free", "ops"), role(id(1), "two", "ops"), role(id(9), "three", "ops"))),
			errs.Conflict, "three")
		refused(t, rename(role(id(1), "two", "ops")), errs.Conflict, "two") // that was reverted
		must(t, rename(role(id(1), "spare", "ops")))
		must(t, rename(role(id(2), "one", "ops")))
		must(t, rename(role(id(1), "two", "ops")))
		must(t, b.DeleteACLRolesByID(b.NextIndex(), &structs.ACLRolesDeleteByIDRequest{ACLRoleIDs: []string{id(3)}}))
		must(t, rename(role(id(4), "three", "ops")))
		refused(t, rename(role(id(5), "three", "ops")), errs.Conflict, id(4))
	})
	sn := s.Snapshot()
	for name, want := range map[string]string{"one": id(2), "two": id(1), "three": id(4)} {
		if got := sn.ACLRoleByName(nil, name); got == nil || got.ID != want || got.Name != name {
			t.Errorf("the role %q is %+v, want %s", name, got, want)
		}
	}
	for _, name := range []string{"spare", "free", ""} {
		if got := sn.ACLRoleByName(nil, name); got != nil {
			t.Errorf("the role %q is %+v", name, got)
		}
	}
	if got := keysOf(ACLRoles, sn.ACLRoles(nil, id(1)[:30])); !slices.Equal(got, []string{id(1), id(2), id(4)}) {
		t.Errorf("listed %v", got)
	}
	if got := keysOf(ACLRoles, sn.ACLRoles(nil, "f")); len(got) != 0 {
		t.Errorf("listed with a foreign prefix %v", got)
	}
}
