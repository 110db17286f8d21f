package state

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func rule(n int, method, selector string) *structs.ACLBindingRule {
	return &structs.ACLBindingRule{ID: id(n), AuthMethod: method, Selector: selector, BindType: structs.ACLBindingRuleBindTypeManagement,
		CreateTime: time.Unix(int64(n), 0).UTC()}
}

func rulesOf(list ...*structs.ACLBindingRule) *structs.ACLBindingRulesUpsertRequest {
	return &structs.ACLBindingRulesUpsertRequest{ACLBindingRules: list}
}

func (s *testStore) rules(list ...*structs.ACLBindingRule) {
	s.t.Helper()
	must(s.t, s.UpsertACLBindingRules(s.NextIndex(), rulesOf(list...)))
}

func TestACLBindingRuleUpsert(t *testing.T) {
	s := newStore(t)
	s.methods(method("jwt", "JWT", false), method("sso", "OIDC", false))
	s.rules(rule(2, "jwt", ""), rule(1, "sso", ""), rule(3, "jwt", ""))
	first := s.LatestIndex()
	ws := memdb.NewWatchSet()
	list := func(method string) []string {
		return keysOf(ACLBindingRules, s.Snapshot().ACLBindingRules(ws, method))
	}
	if got := list("jwt"); !slices.Equal(got, []string{id(2), id(3)}) {
		t.Errorf("of jwt: %v", got)
	}
	if got := list(""); !slices.Equal(got, []string{id(1), id(2), id(3)}) {
		t.Errorf("all: %v", got)
	}
	change := rule(2, "jwt", "value.x == y")
	change.CreateTime = time.Unix(99, 0)
	s.rules(change)
	got := s.Snapshot().ACLBindingRule(nil, id(2))
	if got.CreateIndex != first || got.ModifyIndex != s.LatestIndex() || got.Selector == "" || len(got.Hash) == 0 ||
		!got.CreateTime.Equal(time.Unix(2, 0)) || !fired(ws) {
		t.Errorf("stored %+v, woken %v", got, fired(ws))
	}
	drop := func(ids ...string) error {
		return s.DeleteACLBindingRules(s.NextIndex(), &structs.ACLBindingRulesDeleteRequest{ACLBindingRuleIDs: ids})
	}
	refused(t, drop(id(3), id(4)), errs.NotFound, id(4))
	must(t, drop(id(3)))
	want := []string{
		"4 ACLBindingRule ACLBindingRuleUpserted /" + id(2), "6 ACLBindingRule ACLBindingRuleDeleted /" + id(3),
	}
	if diff := cmp.Diff(want, describe(s.events[5:])); diff != "" {
		t.Error(diff)
	}
	checkVisible(t, ACLBindingRules, got, acl.ACLBindingRuleRead)
}

func TestACLBindingRuleRefused(t *testing.T) {
	s := newStore(t)
	s.methods(method("jwt", "JWT", false), method("sso", "OIDC", false))
	s.rules(rule(1, "jwt", ""))
	before := s.persist()
	for about, bad := range map[string]*structs.ACLBindingRule{
		"without an ID": nil, `"nope"`: rule(2, "nope", ""), "cannot change": rule(1, "sso", ""),
	} {
		refused(t, s.UpsertACLBindingRules(s.LatestIndex(), rulesOf(rule(3, "jwt", ""), bad)), errs.Invalid, about)
	}
	refused(t, s.UpsertACLBindingRules(s.LatestIndex(), rulesOf(&structs.ACLBindingRule{AuthMethod: "jwt"})), errs.Invalid, "without an ID")
	if !slices.Equal(before, s.persist()) {
		t.Error("half of a refused request was stored")
	}
	early := rulesOf(rule(4, "later", ""))
	early.AllowMissingAuthMethods = true
	must(t, s.UpsertACLBindingRules(s.NextIndex(), early))
}
