package state

import (
	"fmt"
	"iter"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// id is the UUID that the tests give to the object n.
func id(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

func policy(name, rules string) *structs.ACLPolicy {
	return &structs.ACLPolicy{Name: name, Rules: rules}
}

func (s *testStore) policies(list ...*structs.ACLPolicy) {
	s.t.Helper()
	must(s.t, s.UpsertACLPolicies(s.NextIndex(), &structs.ACLPolicyUpsertRequest{Policies: list}))
}

// keysOf returns the IDs of the rows that a read yields.
func keysOf[T any](t *Table[T], rows iter.Seq[*T]) []string {
	out := []string{}
	for row := range rows {
		out = append(out, t.key(row).ID)
	}
	return out
}

// delegate returns the rights of a policy that has operator capabilities.
func delegate(t testing.TB, capabilities ...string) *acl.ACL {
	t.Helper()
	p, err := acl.Parse(fmt.Sprintf("operator { capabilities = [%s] }", quoted(capabilities)))
	must(t, err)
	a, err := acl.New(false, p)
	must(t, err)
	return a
}

func quoted(words []string) string {
	out := ""
	for _, w := range words {
		out += fmt.Sprintf("%q,", w)
	}
	return out
}

// checkVisible checks who sees a row of a table and its event: management and the
// holder of the capability only.
func checkVisible[T any](t *testing.T, table *Table[T], row *T, capability acl.OperatorCapability) {
	t.Helper()
	management, err := acl.New(true)
	must(t, err)
	e := &structs.Event{Topic: table.Topic(), Payload: table.events.payload(row)}
	for name, tc := range map[string]struct {
		acl  *acl.ACL
		want bool
	}{
		"management":         {management, true},
		"the capability":     {delegate(t, string(capability)), true},
		"another capability": {delegate(t, "metrics-read"), false},
		"nobody":             {nil, false},
	} {
		if got := table.Visible(tc.acl, row); got != tc.want {
			t.Errorf("%s: a row is visible: %v", name, got)
		}
		if got := EventVisible(tc.acl, e); got != tc.want {
			t.Errorf("%s: an event is visible: %v", name, got)
		}
	}
	if EventVisible(management, &structs.Event{Topic: table.Topic(), Payload: "text"}) {
		t.Error("an event with another payload is visible")
	}
}

func TestACLPolicyUpsert(t *testing.T) {
	s := newStore(t)
	given := policy("ops", "node {}")
	s.policies(given, policy("dev", "agent {}"))
	first := s.LatestIndex()
	if given.Hash != nil || given.CreateIndex != 0 {
		t.Error("the request was changed")
	}
	got := s.Snapshot().ACLPolicy(nil, "ops")
	if got.CreateIndex != first || got.ModifyIndex != first || len(got.Hash) == 0 {
		t.Errorf("stored %+v", got)
	}
	ws := memdb.NewWatchSet()
	s.Snapshot().ACLPolicy(ws, "ops")
	s.policies(policy("ops", "node {}"))
	if s.Snapshot().ACLPolicy(nil, "ops").ModifyIndex != first || fired(ws) {
		t.Error("the same policy again is a change")
	}
	s.policies(policy("ops", "quota {}"))
	got = s.Snapshot().ACLPolicy(nil, "ops")
	if got.CreateIndex != first || got.ModifyIndex != s.LatestIndex() || got.Rules != "quota {}" || !fired(ws) {
		t.Errorf("changed to %+v, woken %v", got, fired(ws))
	}
	must(t, s.DeleteACLPolicies(s.NextIndex(), &structs.ACLPolicyDeleteRequest{Names: []string{"nobody", "ops"}}))
	want := []string{
		"2 ACLPolicy ACLPolicyUpserted /ops", "2 ACLPolicy ACLPolicyUpserted /dev",
		"4 ACLPolicy ACLPolicyUpserted /ops", "5 ACLPolicy ACLPolicyDeleted /ops",
	}
	if diff := cmp.Diff(want, describe(s.events)); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []*structs.ACLPolicy{nil, {}} {
		err := s.UpsertACLPolicies(s.NextIndex(), &structs.ACLPolicyUpsertRequest{Policies: []*structs.ACLPolicy{policy("new", "x"), bad}})
		refused(t, err, errs.Invalid, "without a name")
	}
	if s.Snapshot().ACLPolicy(nil, "new") != nil {
		t.Error("half of a refused request was stored")
	}
}

func TestACLPolicyLists(t *testing.T) {
	s := newStore(t)
	work := policy("b-work", "x")
	work.JobACL = &structs.JobACL{Namespace: "default", JobID: "web"}
	s.policies(policy("b", "x"), policy("a", "x"), work, policy("ba", "x"))
	sn := s.Snapshot()
	if got := keysOf(ACLPolicies, sn.ACLPolicies(nil, "b")); !slices.Equal(got, []string{"b", "b-work", "ba"}) {
		t.Errorf("with a prefix: %v", got)
	}
	if got := keysOf(ACLPolicies, sn.WorkloadACLPolicies(nil)); !slices.Equal(got, []string{"b-work"}) {
		t.Errorf("of workloads: %v", got)
	}
	s.policies(policy("b-work", "x"))
	if got := keysOf(ACLPolicies, s.Snapshot().WorkloadACLPolicies(nil)); len(got) != 0 {
		t.Errorf("of workloads, when there is none any more: %v", got)
	}
	checkVisible(t, ACLPolicies, work, acl.ACLPolicyRead)
}
