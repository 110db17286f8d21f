package acl

import "testing"

// rights lists every question that an ACL answers.
func rights(a *ACL) map[string]bool {
	return map[string]bool{
		"management":      a.IsManagement(),
		"namespace":       a.AllowNamespace("default"),
		"variable read":   a.AllowVariable("default", "app/db", VariablesRead),
		"variable write":  a.AllowVariable("default", "app/db", VariablesWrite),
		"variable search": a.AllowVariableSearch("default"),
		"agent read":      a.AllowAgentRead(),
		"agent write":     a.AllowAgentWrite(),
		"node read":       a.AllowNodeRead(),
		"operator read":   a.AllowOperatorRead(),
		"operator write":  a.AllowOperatorWrite(),
		"server":          a.AllowServerOp(),
	}
}

func TestAllowAll(t *testing.T) {
	for right, ok := range rights(AllowAll) {
		if !ok {
			t.Errorf("%s is denied", right)
		}
	}
}

func TestNobodyMayDoAnything(t *testing.T) {
	for name, a := range map[string]*ACL{"nil": nil, "deny all": DenyAll, "zero": {}} {
		for right, ok := range rights(a) {
			if ok {
				t.Errorf("%s: %s is allowed", name, right)
			}
		}
	}
}
