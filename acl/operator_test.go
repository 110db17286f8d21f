package acl

import (
	"slices"
	"strings"
	"testing"
)

// What delegates management is never a part of something coarser.
func TestPolicyWordsDelegateNothing(t *testing.T) {
	a := mustACL(t, mustPolicy(t, "", `operator { policy = "write" }
namespace "*" { policy = "write" }
node_pool "*" { policy = "write" }`))
	for _, c := range delegated {
		if a.AllowOperatorCapability(OperatorCapability(c)) {
			t.Errorf("policy = \"write\" grants %s", c)
		}
	}
}

// What makes its holder management is given by its own name alone, told of by Lint, and by
// Explain.
func TestSovereignCapabilities(t *testing.T) {
	for _, c := range delegated {
		p := mustPolicy(t, "p", `operator { capabilities = ["`+c+`"] }`)
		warned := slices.ContainsFunc(p.Lint(), func(w Warning) bool {
			return strings.HasPrefix(w.Text, c+": ") && strings.Contains(w.Text, "management")
		})
		if want := slices.Contains(sovereign, c); warned != want {
			t.Errorf("%s: warned %v, want %v", c, warned, want)
		}
		a := mustACL(t, p)
		e, err := a.Explain(Operation{Kind: KindOperator, Capability: c})
		if err != nil || !e.Allowed || strings.Contains(e.Reason, "management") != slices.Contains(sovereign, c) {
			t.Errorf("%s: %+v, %v", c, e, err)
		}
		for _, other := range sovereign {
			gives := c == other || c == "replication-read" && other == "acl-token-secrets"
			if got := a.AllowOperatorCapability(OperatorCapability(other)); got != gives {
				t.Errorf("%s grants %s: %v", c, other, got)
			}
		}
	}
}

func TestWithdrawnCapabilities(t *testing.T) {
	for _, c := range withdrawn {
		src := `operator { capabilities = ["` + c + `", "raft-read"] }`
		if _, err := Parse(src); err == nil || !strings.Contains(err.Error(), c) || !strings.Contains(err.Error(), "leave it out") {
			t.Errorf("%s: %v", c, err)
		}
		p, err := ParseStored(src)
		if err != nil || !slices.Equal(p.Rules[0].Capabilities, []string{"raft-read"}) {
			t.Errorf("%s, stored: %v, %v", c, p, err)
		}
	}
}

// Whoever copies for another region sees all that is copied, whatever else is denied: what it did
// not see would be deleted there.
func TestReplicationReadSeesAll(t *testing.T) {
	a := mustACL(t, mustPolicy(t, "", `operator { capabilities = ["replication-read"] }
namespace "prod" { policy = "deny" }
node_pool "gpu" { policy = "deny" }`))
	if !a.AllowNamespaceRead("prod") || !a.AllowNodePoolRead("gpu") {
		t.Error("a deny hides something")
	}
	for c, want := range map[OperatorCapability]bool{ACLPolicyRead: true, ACLRoleRead: true, ACLTokenRead: true, ACLTokenSecrets: true, ACLAuthMethodRead: true,
		ACLAuthMethodSecrets: true, ACLBindingRuleRead: true, ACLTokenWrite: false, ManageNamespaces: false, VariableLockRead: false} {
		if a.AllowOperatorCapability(c) != want {
			t.Errorf("%s: %v", c, !want)
		}
	}
	if a.AllowNodePoolOperation("gpu", NodePoolWrite) || a.AllowVariable("default", "x", VariablesList) || a.AllowNamespaceWrite("prod") {
		t.Error("more than what is copied")
	}
}
