package nodelink

import (
	"slices"
	"strings"

	"github.com/cairn-project/cairn/acl"
)

// Class is what a method needs of an agent; each class has limits of its own.
type Class string

// The classes.
const (
	// Read looks and changes nothing.
	Read Class = "read"
	// Write changes the node.
	Write Class = "write"
	// Stream sends data until somebody ends it.
	Stream Class = "stream"
)

// Method describes one method that agents serve.
type Method struct {
	// Name is "Service.Method".
	Name string
	// Since is the first version of the protocol that has the method.
	Since int
	// Revision counts the additive changes of its arguments, from 1.
	Revision int
	// Class is read, write or stream.
	Class Class
	// Idempotent methods may be called again when nobody knows whether they ran.
	Idempotent bool
	// Kinds says that the argument is a union with a Kind, which must be one of those
	// that the agent announced.
	Kinds bool
	// Allow says who may call it through the API; Rule is that in words.
	Allow func(*acl.ACL) bool
	Rule  string
}

// Methods is the table of the methods that agents may offer, by name. An agent
// of an earlier release serves fewer.
var Methods = []Method{
	{"Agent.Host", 2, 1, Read, true, false, (*acl.ACL).AllowAgentRead, "agent:read"},
	{"Agent.Monitor", 2, 1, Stream, true, false, (*acl.ACL).AllowAgentRead, "agent:read"},
	{"Agent.MonitorExport", 2, 1, Stream, true, false, (*acl.ACL).AllowAgentRead, "agent:read"},
	{"Agent.Profile", 2, 1, Read, true, false, (*acl.ACL).AllowAgentWrite, "agent:write"},
	{"ClientStats.Stats", 1, 1, Read, true, false, (*acl.ACL).AllowNodeRead, "node:read"},
	{"FS.List", 2, 1, Read, true, false, (*acl.ACL).AllowOperatorWrite, "operator:write"},
	{"FS.Read", 2, 1, Read, true, false, (*acl.ACL).AllowOperatorWrite, "operator:write"},
	{"FS.Stat", 2, 1, Read, true, false, (*acl.ACL).AllowOperatorWrite, "operator:write"},
	{"FS.Stream", 2, 1, Stream, true, false, (*acl.ACL).AllowOperatorWrite, "operator:write"},
	{"Node.Apply", 2, 1, Write, false, true, (*acl.ACL).AllowNodeWrite, "node:write"},
	{"Node.Export", 1, 1, Read, true, false, (*acl.ACL).AllowOperatorRead, "operator:read"},
	{"Node.Identity", 2, 1, Write, false, false, (*acl.ACL).AllowNodeWrite, "node:write"},
	{"Node.NotifyChange", 2, 1, Write, true, false, (*acl.ACL).AllowNodeWrite, "node:write"},
	{"Node.Ping", 1, 1, Read, true, false, (*acl.ACL).AllowNodeRead, "node:read"},
	{"Node.SyncStatus", 2, 1, Read, true, false, (*acl.ACL).AllowNodeRead, "node:read"},
	{"Node.Version", 1, 1, Read, true, false, (*acl.ACL).AllowNodeRead, "node:read"},
	{"Op.Status", 2, 1, Read, true, false, (*acl.ACL).AllowNodeRead, "node:read"},
}

// Lookup returns the method of a name, nil for none.
func Lookup(name string) *Method {
	i, ok := slices.BinarySearchFunc(Methods, name, func(m Method, name string) int { return strings.Compare(m.Name, name) })
	if !ok {
		return nil
	}
	return &Methods[i]
}
