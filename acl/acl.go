// Package acl decides what a caller may do. An ACL is immutable and safe for
// concurrent use; nil allows nothing.
package acl

// ACL is the sum of a caller's rights.
type ACL struct {
	management bool
}

// AllowAll is the ACL of every caller while access control is off.
var AllowAll = &ACL{management: true}

// DenyAll is the ACL of a caller without any right.
var DenyAll = &ACL{}

// IsManagement reports whether the caller may do everything.
func (a *ACL) IsManagement() bool { return a != nil && a.management }

// AllowNamespace reports whether the caller has any right at all in the namespace.
func (a *ACL) AllowNamespace(string) bool { return a.IsManagement() }

// VariableCapability is a right on variables.
type VariableCapability string

// The variable capabilities. Read implies list.
const (
	VariablesList    VariableCapability = "list"
	VariablesRead    VariableCapability = "read"
	VariablesWrite   VariableCapability = "write"
	VariablesDestroy VariableCapability = "destroy"
)

// AllowVariable reports whether the caller may do c to the variable at path.
func (a *ACL) AllowVariable(_, _ string, _ VariableCapability) bool {
	return a.IsManagement()
}

// AllowVariableSearch reports whether some variable of the namespace could be
// visible to the caller, so that a list is worth running.
func (a *ACL) AllowVariableSearch(string) bool { return a.IsManagement() }

// AllowAgentRead reports whether the caller may read the agent's own state.
func (a *ACL) AllowAgentRead() bool { return a.IsManagement() }

// AllowAgentWrite reports whether the caller may change the agent.
func (a *ACL) AllowAgentWrite() bool { return a.IsManagement() }

// AllowNodeRead reports whether the caller may read nodes and members.
func (a *ACL) AllowNodeRead() bool { return a.IsManagement() }

// AllowOperatorRead reports whether the caller may read the cluster's configuration.
func (a *ACL) AllowOperatorRead() bool { return a.IsManagement() }

// AllowOperatorWrite reports whether the caller may change the cluster's configuration.
func (a *ACL) AllowOperatorWrite() bool { return a.IsManagement() }

// AllowServerOp reports whether the caller is a server of the cluster.
func (a *ACL) AllowServerOp() bool { return a.IsManagement() }
