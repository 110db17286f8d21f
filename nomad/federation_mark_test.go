package nomad

import (
	"slices"
	"testing"
)

// regionalWrites belong to one region each. Every other write says which of its
// requests belong in the authoritative region.
var regionalWrites = []string{
	"ACL.UpsertOneTimeToken", "ACL.ExchangeOneTimeToken", "ACL.ExpireOneTimeTokens",
	"ACL.CreateClientIntroductionToken",
	"Node.Register", "Node.UpdateStatus", "Node.UpdateDrain", "Node.UpdateEligibility", "Node.EmitEvents", "Node.Evaluate",
	"Node.Deregister", "Node.BatchDeregister",
	"System.GarbageCollect",
	"Variables.Apply", "Variables.RenewLock", "WorkloadEvent.Raise",
	"Operator.ReplicationAccept", "Operator.AutopilotSetConfiguration", "Operator.RaftRemovePeerByID", "Operator.TransferLeadershipToPeer",
	"Authority.Join", "Authority.Rotate", "JoinToken.Create", "JoinToken.Delete", "Operation.Upsert",
}

func TestEveryWriteSaysWhereItBelongs(t *testing.T) {
	for name, m := range methods {
		if m.kind != writeKind {
			continue
		}
		if regional := slices.Contains(regionalWrites, name); regional == m.global {
			t.Errorf("%s: add .shared(…) if it changes what all regions share, else add it to regionalWrites (shared %v, listed %v)", name, m.global, regional)
		}
	}
}
