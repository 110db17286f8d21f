package nomad

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/nomad/structs"
)

// counted returns what was refused since before.
func counted(s *Server, before map[denialKey]uint64) []denialKey {
	var out []denialKey
	for k, n := range s.deniedSoFar() {
		if n > before[k] {
			out = append(out, k)
		}
	}
	return out
}

func (s *Server) deniedSoFar() map[denialKey]uint64 {
	s.metrics.denied.mu.Lock()
	defer s.metrics.denied.mu.Unlock()
	return maps.Clone(s.metrics.denied.count)
}

// TestEveryMethodCanBeDelegated holds that no method needs a management token, and that
// a refused call names a right that the policy which allows the call has.
func TestEveryMethodCanBeDelegated(t *testing.T) {
	s := startEnforced(t)
	without := tokenWith(t, s, bootstrapped(t, s), structs.ACLClientToken, unrelated)
	for name, g := range guards {
		if g.rules == "" {
			t.Errorf("%s (write: %v) needs a management token: give it a capability", name, methods[name].kind == writeKind)
			continue
		}
		before := s.deniedSoFar()
		if attempt(t, s, name, g, without.SecretID) {
			t.Errorf("%s is not refused", name)
			continue
		}
		got := counted(s, before)
		if len(got) != 1 {
			t.Errorf("%s: counted %v", name, got)
			continue
		}
		policy, err := acl.Parse(g.rules)
		if err != nil {
			t.Fatal(err)
		}
		kind, capability, _ := strings.Cut(got[0].capability, ":")
		rights, _ := acl.New(false, policy)
		switch acl.Kind(kind) {
		case acl.KindOperator:
			if !rights.AllowOperatorCapability(acl.OperatorCapability(capability)) {
				t.Errorf("%s: counted as %v, and is allowed by %s", name, got[0], g.rules)
			}
		case acl.KindNamespace, acl.KindVariables:
			if got[0].namespace == "" {
				t.Errorf("%s: counted as %v, with no namespace", name, got[0])
			}
			fallthrough
		default:
			if !strings.Contains(g.rules, kind) {
				t.Errorf("%s: counted as %v, and is allowed by %s", name, got[0], g.rules)
			}
		}
	}
}

func TestDenialsAreCountedInBoundedSpace(t *testing.T) {
	s := startEnforced(t)
	admin := bootstrapped(t, s)
	without := tokenWith(t, s, admin, structs.ACLClientToken, unrelated).SecretID
	read := func(ns string) guard {
		return guard{args: func() any {
			r := &structs.VariablesReadRequest{Path: "a"}
			r.Namespace = ns
			return r
		}}
	}
	for i := range 100 {
		attempt(t, s, "Variables.Read", read(fmt.Sprintf("no-%d", i)), without)
	}
	attempt(t, s, "Variables.Read", read("secret"), without)
	attempt(t, s, "Variables.Read", read("secret"), uuid.NewString())
	attempt(t, s, "Variables.Read", read("secret"), admin)
	attempt(t, s, "ACL.ExchangeOneTimeToken", guard{}, admin)
	want := map[denialKey]uint64{
		{"variables:read", otherNamespace}: 100, {"variables:read", "secret"}: 1, {deniedToken, ""}: 1, {deniedProof, ""}: 1,
	}
	if got := s.deniedSoFar(); !maps.Equal(got, want) {
		t.Errorf("counted %v", got)
	}
	var d denials
	for i := range 2 * maxDenials {
		d.add(denialKey{"variables:read", fmt.Sprint(i)})
	}
	if n := d.count[denialKey{"variables:read", otherNamespace}]; len(d.count) != maxDenials+1 || n != maxDenials {
		t.Errorf("%d pairs, %d of others", len(d.count), n)
	}
}

func TestDelegateThatGivesTooMuchIsCounted(t *testing.T) {
	s := startEnforced(t)
	d := tokenWith(t, s, bootstrapped(t, s), structs.ACLClientToken, operator("acl-policy-write").rules).SecretID
	attempt(t, s, "ACL.UpsertPolicies", guard{args: func() any {
		return &structs.ACLPolicyUpsertRequest{Policies: []*structs.ACLPolicy{{Name: "p", Rules: unrelated}}}
	}}, d)
	if got := slices.Collect(maps.Keys(s.deniedSoFar())); len(got) != 1 || got[0].capability != deniedGrant {
		t.Errorf("counted %v", got)
	}
}
