package nomad

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/cairn-project/cairn/nomad/state"
	"github.com/cairn-project/cairn/nomad/structs"
)

const (
	aclAccessor = "00000000-0000-4000-8000-000000000001"
	aclRoleID   = "00000000-0000-4000-8000-000000000002"
	aclRuleID   = "00000000-0000-4000-8000-000000000003"
)

// aclEntries are entries that make one object of each sort.
func aclEntries(t testing.TB) [][]byte {
	at := time.Unix(500, 7).UTC()
	return [][]byte{
		entry(t, structs.ACLPolicyUpsertRequestType, &structs.ACLPolicyUpsertRequest{
			Policies: []*structs.ACLPolicy{{Name: "ops", Rules: "node {}", JobACL: &structs.JobACL{Namespace: "default"}}}}),
		entry(t, structs.ACLRolesUpsertRequestType, &structs.ACLRolesUpsertRequest{
			ACLRoles: []*structs.ACLRole{{ID: aclRoleID, Name: "team", Policies: []*structs.ACLRolePolicyLink{{Name: "ops"}}}}}),
		entry(t, structs.ACLTokenBootstrapRequestType, &structs.ACLTokenBootstrapRequest{
			Token: &structs.ACLToken{AccessorID: "boot", SecretID: "boot-secret", Type: structs.ACLManagementToken, Global: true}}),
		entry(t, structs.ACLTokenUpsertRequestType, &structs.ACLTokenUpsertRequest{Tokens: []*structs.ACLToken{{AccessorID: aclAccessor,
			SecretID: "secret", Type: structs.ACLClientToken, Roles: []*structs.ACLTokenRoleLink{{Name: "team"}}, CreateTime: at, ExpirationTime: &at}}}),
		entry(t, structs.OneTimeTokenUpsertRequestType, &structs.OneTimeTokenUpsertRequest{
			OneTimeToken: &structs.OneTimeToken{OneTimeSecretID: "once", AccessorID: aclAccessor, ExpiresAt: at}}),
		entry(t, structs.ACLAuthMethodsUpsertRequestType, &structs.ACLAuthMethodUpsertRequest{
			AuthMethods: []*structs.ACLAuthMethod{{Name: "jwt", Type: structs.ACLAuthMethodTypeJWT, Default: true, Config: &structs.ACLAuthMethodConfig{
				ClaimMappings: map[string]string{"b": "2", "a": "1", "c": "3"}}}}}),
		entry(t, structs.ACLBindingRulesUpsertRequestType, &structs.ACLBindingRulesUpsertRequest{
			ACLBindingRules: []*structs.ACLBindingRule{{ID: aclRuleID, AuthMethod: "jwt", BindType: structs.ACLBindingRuleBindTypeManagement}}}),
	}
}

// aclRemovals are entries that delete what aclEntries makes.
func aclRemovals(t testing.TB) [][]byte {
	return [][]byte{
		entry(t, structs.ACLBindingRulesDeleteRequestType, &structs.ACLBindingRulesDeleteRequest{ACLBindingRuleIDs: []string{aclRuleID}}),
		entry(t, structs.ACLAuthMethodsDeleteRequestType, &structs.ACLAuthMethodDeleteRequest{Names: []string{"jwt"}}),
		entry(t, structs.OneTimeTokenDeleteRequestType, &structs.OneTimeTokenDeleteRequest{AccessorIDs: []string{aclAccessor}}),
		entry(t, structs.OneTimeTokenExpireRequestType, &structs.OneTimeTokenExpireRequest{Timestamp: time.Unix(501, 0)}),
		entry(t, structs.ACLTokenDeleteRequestType, &structs.ACLTokenDeleteRequest{AccessorIDs: []string{aclAccessor}}),
		entry(t, structs.ACLRolesDeleteByIDRequestType, &structs.ACLRolesDeleteByIDRequest{ACLRoleIDs: []string{aclRoleID}}),
		entry(t, structs.ACLPolicyDeleteRequestType, &structs.ACLPolicyDeleteRequest{Names: []string{"ops"}}),
	}
}

// aclObjects counts what is there of aclEntries, the bootstrap token aside.
func aclObjects(n *nomadFSM) int {
	sn, count := n.state.Snapshot(), 0
	for _, there := range []bool{
		sn.ACLPolicy(nil, "ops") != nil, sn.ACLRoleByName(nil, "team") != nil, sn.ACLTokenBySecret(nil, "secret") != nil,
		sn.OneTimeToken(nil, "once") != nil, sn.DefaultACLAuthMethod("JWT") != nil, sn.ACLBindingRule(nil, aclRuleID) != nil,
	} {
		if there {
			count++
		}
	}
	return count
}

func TestACLWritesGoThroughTheLog(t *testing.T) {
	whole, pieces := testFSM(nil), testFSM(nil)
	run := func(entries [][]byte, want int) {
		t.Helper()
		out := whole.Apply(command(whole.seen.Load()+1, structs.AppendBatch(nil, entries))).([]opResult)
		for i, e := range entries {
			r := pieces.Apply(command(pieces.seen.Load()+1, e)).([]opResult)[0]
			if out[i].err != nil || r.err != nil {
				t.Errorf("entry %d of type %d: %v in a batch, %v alone", i, e[0], out[i].err, r.err)
			}
		}
		if a, b := aclObjects(whole), aclObjects(pieces); a != want || b != want {
			t.Errorf("%d objects in a batch, %d alone, want %d", a, b, want)
		}
	}
	run(aclEntries(t), 6)
	if got := whole.state.Snapshot().ACLTokenBySecret(nil, "boot-secret"); got == nil || !got.IsManagement() {
		t.Errorf("bootstrapped %v", got)
	}
	restored := testFSM(nil)
	if err := restored.Restore(io.NopCloser(bytes.NewReader(snapshotOf(t, whole)))); err != nil {
		t.Fatal(err)
	}
	if aclObjects(restored) != 6 || restored.state.Snapshot().ACLBootstrapIndex() == 0 {
		t.Error("a restore lost something")
	}
	run(aclRemovals(t), 0)
}

// A write that depends on what access control was is applied if that has not changed,
// also by what is before it in the same group; a refusal is not what becomes of its
// request.
func TestCheckedEntries(t *testing.T) {
	n := testFSM(nil)
	checked := func(since uint64, inner []byte) []byte {
		return entry(t, structs.ACLCheckedRequestType, &structs.ACLCheckedRequest{Checked: since, Entry: inner})
	}
	policy := func(name string) []byte {
		return entry(t, structs.ACLPolicyUpsertRequestType, &structs.ACLPolicyUpsertRequest{Policies: []*structs.ACLPolicy{{Name: name}}})
	}
	run := func(e []byte) []opResult { return n.Apply(command(n.seen.Load()+1, e)).([]opResult) }
	run(policy("a"))
	now := n.state.Snapshot().ACLIndex()
	run(upsertNamespace(t, "elsewhere"))
	group := run(structs.AppendBatch(nil, [][]byte{tagged(1, 0, checked(now, policy("b"))), tagged(2, 0, checked(now, policy("c"))), upsertNamespace(t, "x")}))
	if group[0].err != nil || !errors.Is(group[1].err, state.ErrACLChanged) || group[2].err != nil {
		t.Errorf("in a group: %v, %v, %v", group[0].err, group[1].err, group[2].err)
	}
	if n.state.Snapshot().ACLPolicy(nil, "c") != nil {
		t.Error("a refused write was applied")
	}
	later := checked(n.state.Snapshot().ACLIndex(), policy("c"))
	first, again := run(tagged(2, 0, later)), run(tagged(2, 0, later))
	if first[0].err != nil || again[0].err != nil || again[0].index != first[0].index {
		t.Errorf("checked again: %+v, then %+v", first[0], again[0])
	}
	for name, bad := range map[string][]byte{"nothing": nil, "no access control": upsertNamespace(t, "y"), "itself": checked(9, policy("d")), "damaged": {byte(structs.ACLPolicyUpsertRequestType), 0xc1}} {
		if _, err := n.planOne(checked(99, bad)); err == nil {
			t.Errorf("an entry with %s is applied", name)
		}
	}
	restored := testFSM(nil)
	if err := restored.Restore(io.NopCloser(bytes.NewReader(snapshotOf(t, n)))); err != nil {
		t.Fatal(err)
	}
	if a, b := n.state.Snapshot().ACLIndex(), restored.state.Snapshot().ACLIndex(); a != b {
		t.Errorf("restored, access control changed at %d, not %d: servers would not agree", b, a)
	}
}

// The token of a login depends on what binds it, and not on other tokens.
func TestCheckedLogins(t *testing.T) {
	n := testFSM(nil)
	run := func(e []byte) error { return n.Apply(command(n.seen.Load()+1, e)).([]opResult)[0].err }
	token := func(secret string) []byte {
		return entry(t, structs.ACLTokenUpsertRequestType, &structs.ACLTokenUpsertRequest{Tokens: []*structs.ACLToken{
			{AccessorID: secret, SecretID: secret, Type: structs.ACLManagementToken}}})
	}
	login := func(since uint64, secret string) []byte {
		return entry(t, structs.ACLCheckedRequestType, &structs.ACLCheckedRequest{Checked: since, Login: true, Entry: token(secret)})
	}
	policy := entry(t, structs.ACLPolicyUpsertRequestType, &structs.ACLPolicyUpsertRequest{Policies: []*structs.ACLPolicy{{Name: "a"}}})
	if err := run(policy); err != nil {
		t.Fatal(err)
	}
	now := n.state.Snapshot().BindingIndex()
	for _, e := range [][]byte{token("other"), login(now, "one"), login(now, "two")} {
		if err := run(e); err != nil {
			t.Error(err)
		}
	}
	if err := run(entry(t, structs.ACLPolicyDeleteRequestType, &structs.ACLPolicyDeleteRequest{Names: []string{"a"}})); err != nil {
		t.Fatal(err)
	}
	if err := run(login(now, "late")); !errors.Is(err, state.ErrACLChanged) || n.state.Snapshot().ACLTokenBySecret(nil, "late") != nil {
		t.Errorf("a login that was bound by what is gone: %v", err)
	}
}
