package state

import (
	"cmp"
	"slices"

	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// Operations is the table of long work that concerns the region, by ID.
var Operations = newTable("operations", structs.OperationSnapshot,
	func(o *structs.Operation) Key { return Key{ID: o.ID} },
	func(a *acl.ACL, _ *structs.Operation) bool { return a.AllowOperatorRead() },
	events[structs.Operation]{
		topic:   structs.TopicOperation,
		payload: func(o *structs.Operation) structs.EventPayload { return o },
		row:     sameRow[structs.Operation],
		follows: follower((*acl.ACL).AllowOperatorRead),
		keys:    func(o *structs.Operation) []string { return []string{o.NodeID} },
	}).notSearched()

// UpsertOperation stores how far an operation is. One that has ended stays as it is,
// so that a leader of before, or a late answer, changes nothing. The oldest make room.
func (s *StateStore) UpsertOperation(index uint64, r *structs.OperationUpsertRequest) error {
	if err := r.Operation.Validate(); err != nil {
		return err
	}
	return s.write(index, "Operation", func(tx *Txn) error {
		row, before := r.Operation.Copy(), Operations.read(tx, Key{ID: r.Operation.ID})
		row.CreateIndex, row.ModifyIndex = tx.opIndex, tx.opIndex
		switch {
		case before == nil:
			makeRoomForOperation(tx)
		case before.Kind != row.Kind || before.Agent != row.Agent || before.NodeID != row.NodeID:
			return errs.Newf(errs.Conflict, "operation %q is another one: choose another ID", row.ID)
		case before.State.Done():
			return errs.Newf(errs.Conflict, "operation %q has ended: it %s", row.ID, before.State)
		default:
			row.CreateIndex = before.CreateIndex
		}
		Operations.put(tx, row)
		return nil
	})
}

// makeRoomForOperation drops the oldest one that has ended, or the oldest of all,
// until there is room for one more.
func makeRoomForOperation(tx *Txn) {
	all := Operations.all(tx)
	slices.SortFunc(all, func(a, b *structs.Operation) int {
		if a.State.Done() != b.State.Done() {
			if a.State.Done() {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(a.CreateIndex, b.CreateIndex), cmp.Compare(a.ID, b.ID))
	})
	for _, o := range all[:max(0, len(all)+1-structs.MaxOperations)] {
		Operations.drop(tx, Key{ID: o.ID})
	}
}

// Operation returns an operation, nil if there is none of the ID.
func (sn *Snapshot) Operation(ws memdb.WatchSet, id string) *structs.Operation {
	return Operations.get(sn, ws, Key{ID: id})
}

// Operations returns the operations for which match holds, the newest first.
func (sn *Snapshot) Operations(ws memdb.WatchSet, match func(*structs.Operation) bool) []*structs.Operation {
	Operations.watch(sn, ws, everything)
	out := []*structs.Operation{}
	for o := range Operations.scan(sn, everything, Key{}, false) {
		if match(o) {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b *structs.Operation) int {
		return cmp.Or(cmp.Compare(b.CreateIndex, a.CreateIndex), cmp.Compare(a.ID, b.ID))
	})
	return out
}
