package nomad

import (
	"slices"
	"strings"

	"github.com/cairn-project/cairn/internal/limit"
)

// urgent lists the calls that keep the cluster alive or in hand, beside
// those about the state of servers: they are the last to be refused.
var urgent = []string{
	"ACL.Bootstrap",
	"Node.UpdateDrain",
	"Node.UpdateEligibility",
	"Node.UpdateStatus",
	"Operator.RaftGetConfiguration",
	"Operator.RaftRemovePeerByID",
	"Operator.ServerHealth",
	"Operator.TransferLeadershipToPeer",
	"Region.LatestIndex",
	"Region.List",
	"Variables.RenewLock",
}

// growing lists the reads whose answer grows with the store, beside those whose
// verb says so.
var growing = []string{
	"Alloc.GetAllocs",
	"Node.GetAllocs",
	"Node.GetClientAllocs",
}

// classOf returns the class of a method: by its kind, unless it is listed above or
// its verb is List.
func classOf(m *methodInfo) limit.Class {
	_, verb, _ := strings.Cut(m.name, ".")
	switch {
	case strings.HasPrefix(m.name, "Status.") || slices.Contains(urgent, m.name):
		return limit.Control
	case m.kind == writeKind:
		return limit.Write
	case strings.HasPrefix(verb, "List") || slices.Contains(growing, m.name):
		return limit.Bulk
	}
	return limit.Read
}

// ClassOf returns what a call of a method counts as, Read for one that there is not.
func ClassOf(method string) limit.Class {
	if m := methods[method]; m != nil {
		return m.class
	}
	return limit.Read
}
