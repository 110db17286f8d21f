package state

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

func method(name, typ string, isDefault bool) *structs.ACLAuthMethod {
	return &structs.ACLAuthMethod{Name: name, Type: typ, Default: isDefault, CreateTime: time.Unix(int64(len(name)), 0).UTC(),
		Config: &structs.ACLAuthMethodConfig{OIDCClientSecret: "hush"}}
}

func methodsOf(list ...*structs.ACLAuthMethod) *structs.ACLAuthMethodUpsertRequest {
	return &structs.ACLAuthMethodUpsertRequest{AuthMethods: list}
}

func (s *testStore) methods(list ...*structs.ACLAuthMethod) {
	s.t.Helper()
	must(s.t, s.UpsertACLAuthMethods(s.NextIndex(), methodsOf(list...)))
}

func TestACLAuthMethodUpsert(t *testing.T) {
	s := newStore(t)
	s.methods(method("b", "JWT", false), method("a", "OIDC", false))
	first := s.LatestIndex()
	change := method("b", "JWT", false)
	change.MaxTokenTTL, change.CreateTime = time.Hour, time.Unix(99, 0)
	s.methods(change)
	got := s.Snapshot().ACLAuthMethod(nil, "b")
	if got.CreateIndex != first || got.ModifyIndex != s.LatestIndex() || got.MaxTokenTTL != time.Hour ||
		!got.CreateTime.Equal(time.Unix(1, 0)) || len(got.Hash) == 0 || got.Config.OIDCClientSecret != "hush" {
		t.Errorf("stored %#v %+v", got, got.Config)
	}
	if got := keysOf(ACLAuthMethods, s.Snapshot().ACLAuthMethods(nil)); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("listed %v", got)
	}
	drop := func(names ...string) error {
		return s.DeleteACLAuthMethods(s.NextIndex(), &structs.ACLAuthMethodDeleteRequest{Names: names})
	}
	refused(t, drop("a", "z"), errs.NotFound, `"z"`)
	must(t, drop("a"))
	want := []string{
		"2 ACLAuthMethod ACLAuthMethodUpserted /b", "2 ACLAuthMethod ACLAuthMethodUpserted /a",
		"3 ACLAuthMethod ACLAuthMethodUpserted /b", "5 ACLAuthMethod ACLAuthMethodDeleted /a",
	}
	if diff := cmp.Diff(want, describe(s.events)); diff != "" {
		t.Error(diff)
	}
	for _, e := range s.events {
		if secret := e.Payload.(*structs.ACLAuthMethod).Config.OIDCClientSecret; secret != structs.ACLRedacted {
			t.Errorf("an event has the secret %q", secret)
		}
	}
	checkVisible(t, ACLAuthMethods, got, acl.ACLAuthMethodRead)
}

// A method is created once, and takes its binding rules along when it goes.
func TestACLAuthMethodCreateAndDelete(t *testing.T) {
	s := newStore(t)
	s.methods(method("jwt", "JWT", false), method("sso", "OIDC", false))
	again := methodsOf(method("new", "JWT", false), method("sso", "OIDC", false))
	again.Create = true
	before := s.persist()
	refused(t, s.UpsertACLAuthMethods(s.LatestIndex(), again), errs.Invalid, "sso already exists")
	if !slices.Equal(before, s.persist()) {
		t.Error("half of a refused request was stored")
	}
	again.AuthMethods = again.AuthMethods[:1]
	must(t, s.UpsertACLAuthMethods(s.NextIndex(), again))

	s.rules(rule(1, "jwt", ""), rule(2, "sso", ""), rule(3, "jwt", ""))
	seen := len(s.events)
	must(t, s.DeleteACLAuthMethods(s.NextIndex(), &structs.ACLAuthMethodDeleteRequest{Names: []string{"jwt"}}))
	if got := keysOf(ACLBindingRules, s.Snapshot().ACLBindingRules(nil, "")); !slices.Equal(got, []string{id(2)}) {
		t.Errorf("rules left: %v", got)
	}
	at := strconv.FormatUint(s.LatestIndex(), 10)
	want := []string{at + " ACLAuthMethod ACLAuthMethodDeleted /jwt", at + " ACLBindingRule ACLAuthMethodDeleted /" + id(1), at + " ACLBindingRule ACLAuthMethodDeleted /" + id(3)}
	if diff := cmp.Diff(want, describe(s.events[seen:])); diff != "" {
		t.Error(diff)
	}
	s.methods(method("jwt", "JWT", false))
	if got := keysOf(ACLBindingRules, s.Snapshot().ACLBindingRules(nil, "jwt")); len(got) != 0 {
		t.Errorf("a new method has the rules %v", got)
	}
}

func TestDefaultACLAuthMethods(t *testing.T) {
	s := newStore(t)
	if s.Snapshot().DefaultACLAuthMethod("JWT") != nil {
		t.Error("there is a default of nothing")
	}
	s.methods(method("a", "JWT", true), method("b", "OIDC", true), method("c", "JWT", false))
	before := s.persist()
	refused(t, s.UpsertACLAuthMethods(s.LatestIndex(), methodsOf(method("c", "JWT", true))), errs.Conflict, `"a" and "c"`)
	for _, bad := range []*structs.ACLAuthMethod{nil, {}} {
		refused(t, s.UpsertACLAuthMethods(s.LatestIndex(), methodsOf(method("d", "JWT", false), bad)), errs.Invalid, "without a name")
	}
	if !slices.Equal(before, s.persist()) {
		t.Error("half of a refused request was stored")
	}
	s.methods(method("c", "JWT", true), method("a", "JWT", false))
	for typ, want := range map[string]string{"JWT": "c", "OIDC": "b"} {
		if got := s.Snapshot().DefaultACLAuthMethod(typ); got == nil || got.Name != want {
			t.Errorf("the default of %s is %v, want %s", typ, got, want)
		}
	}
}
