package state

import (
	"bytes"
	"iter"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// ACLPolicies is the table of policies, by name. Its partial index holds those
// that apply to workloads.
var ACLPolicies = newTable("acl_policy", structs.ACLPolicySnapshot,
	func(p *structs.ACLPolicy) Key { return Key{ID: p.Name} },
	func(a *acl.ACL, _ *structs.ACLPolicy) bool { return readsPolicies(a) },
	events[structs.ACLPolicy]{
		topic:   structs.TopicACLPolicy,
		payload: func(p *structs.ACLPolicy) structs.EventPayload { return p },
		row:     sameRow[structs.ACLPolicy],
		follows: follower(readsPolicies),
	}).withPartial(func(p *structs.ACLPolicy) bool { return p.JobACL != nil }).notSearched()

func readsPolicies(a *acl.ACL) bool { return holdsOne(a, acl.ACLPolicyRead, acl.ACLPolicyWrite) }

// sameRow is for tables whose payloads are rows, or rows without their secrets.
func sameRow[T any](payload any) *T {
	row, _ := payload.(*T)
	return row
}

// UpsertACLPolicies creates or updates policies, all or none. A policy whose Hash
// is that of the stored one changes nothing; a missing Hash is computed.
func (s *StateStore) UpsertACLPolicies(index uint64, r *structs.ACLPolicyUpsertRequest) error {
	return s.write(index, "ACLPolicyUpserted", func(tx *Txn) error {
		for _, p := range r.Policies {
			if p == nil || p.Name == "" {
				return errs.New(errs.Invalid, "a policy without a name cannot be stored")
			}
			upsertACLPolicy(tx, p.Copy())
		}
		return nil
	})
}

func upsertACLPolicy(tx *Txn, row *structs.ACLPolicy) {
	if len(row.Hash) == 0 {
		row.SetHash()
	}
	row.CreateIndex, row.ModifyIndex = tx.opIndex, tx.opIndex
	if before := ACLPolicies.read(tx, ACLPolicies.key(row)); before != nil {
		if bytes.Equal(before.Hash, row.Hash) {
			return
		}
		row.CreateIndex = before.CreateIndex
	}
	ACLPolicies.put(tx, row)
}

// DeleteACLPolicies deletes policies. Absent ones are passed over; tokens and
// roles keep the names of deleted ones, which then grant nothing.
func (s *StateStore) DeleteACLPolicies(index uint64, r *structs.ACLPolicyDeleteRequest) error {
	return s.write(index, "ACLPolicyDeleted", func(tx *Txn) error {
		for _, name := range r.Names {
			ACLPolicies.drop(tx, Key{ID: name})
		}
		return nil
	})
}

// ACLPolicy returns a policy, nil if there is none of the name.
func (sn *Snapshot) ACLPolicy(ws memdb.WatchSet, name string) *structs.ACLPolicy {
	return ACLPolicies.get(sn, ws, Key{ID: name})
}

// ACLPolicies yields the policies whose name has the prefix, in order of name.
func (sn *Snapshot) ACLPolicies(ws memdb.WatchSet, prefix string) iter.Seq[*structs.ACLPolicy] {
	in := within("", prefix)
	ACLPolicies.watch(sn, ws, in)
	return ACLPolicies.scan(sn, in, Key{}, false)
}

// WorkloadACLPolicies yields the policies that apply to some workload, which
// their JobACL says, in order of name.
func (sn *Snapshot) WorkloadACLPolicies(ws memdb.WatchSet) iter.Seq[*structs.ACLPolicy] {
	ACLPolicies.watch(sn, ws, everything)
	return ACLPolicies.scanBy(sn, ACLPolicies.orders[0], everything, Key{}, false)
}
