package state

import (
	"github.com/cairn-project/cairn/acl"
	"github.com/cairn-project/cairn/internal/errs"
	"github.com/cairn-project/cairn/nomad/structs"
)

// WorkloadEvents is the table of what programs on nodes tell. It never has a row:
// it says how their events show, and to whom.
var WorkloadEvents = newTable("workload_events", notPersisted,
	func(e *structs.WorkloadEvent) Key { return Key{Namespace: e.Namespace, ID: e.Key} },
	func(a *acl.ACL, e *structs.WorkloadEvent) bool { return a.AllowNamespace(e.Namespace) },
	events[structs.WorkloadEvent]{
		topic:   structs.TopicWorkloadEvent,
		payload: func(e *structs.WorkloadEvent) structs.EventPayload { return e },
		row:     sameRow[structs.WorkloadEvent],
		follows: (*acl.ACL).AllowNamespace,
	}).notSearched()

// RaiseWorkloadEvent publishes an event under its own type, and stores nothing.
func (s *StateStore) RaiseWorkloadEvent(index uint64, r *structs.WorkloadEventRaiseRequest) error {
	if err := r.Event.Validate(); err != nil {
		return err
	}
	return s.write(index, r.Event.Type, func(tx *Txn) error {
		if Namespaces.read(tx, Key{ID: r.Event.Namespace}) == nil {
			return errs.Newf(errs.NotFound, "namespace %q not found", r.Event.Namespace)
		}
		WorkloadEvents.emit(tx, r.Event)
		return nil
	})
}
