package state

import (
	"maps"
	"slices"

	"github.com/cairn-project/cairn/nomad/structs"
)

// anyTable is a table as a transaction and a snapshot see it.
type anyTable interface {
	describe() *TableInfo
	// revert undoes c, the last change of its operation.
	revert(tx *Txn, c change)
	event(c change) structs.Event
	persist(sn *Snapshot, e *encoder) error
	loader() loader
}

// change is what an operation did to one row. before and after are *T of the
// table, nil pointers when the row was not or is no longer there.
type change struct {
	table         anyTable
	at            int
	key           Key
	before, after any
	deleted       bool
	index         uint64
	eventType     string
}

// Txn is a write transaction of one or more operations. It belongs to the
// FSM's goroutine. Its reads see its own writes, which it keeps to itself until
// the commit.
type Txn struct {
	core  *core
	base  *Snapshot
	edits []editor // by table, nil for one not touched
	last  []uint64 // by table: logical index of the last change
	index uint64   // of the store
	// opIndex and opType belong to the operation that runs.
	opIndex uint64
	opType  string
	changes []change
	quotas  map[string]*structs.VariablesQuota
	counts  map[countKey]int
}

func newTxn(c *core) *Txn {
	base := c.current.Load()
	tx := &Txn{core: c, base: base, index: base.index, last: slices.Clone(base.last),
		changes: c.changes[:0], edits: c.edits}
	if tx.edits == nil {
		tx.edits = make([]editor, len(registry))
	}
	c.changes, c.edits = nil, nil
	return tx
}

// release gives memory back for the next transaction.
func (tx *Txn) release() {
	clear(tx.changes)
	if cap(tx.changes) <= maxSpare {
		tx.core.changes = tx.changes
	}
	for i, e := range tx.edits {
		if e != nil && !e.reset() {
			tx.edits[i] = nil
		}
	}
	tx.core.edits = tx.edits
}

// maxSpare bounds the changes and rows for which memory is kept for the next transaction.
const maxSpare = 1024

// op runs one operation: on error its changes are reverted.
func (tx *Txn) op(index uint64, eventType string, fn func(*Txn) error) error {
	tx.opIndex, tx.opType = index, eventType
	mark := len(tx.changes)
	if err := fn(tx); err != nil {
		for i := len(tx.changes) - 1; i >= mark; i-- {
			tx.changes[i].table.revert(tx, tx.changes[i])
		}
		clear(tx.changes[mark:])
		tx.changes = tx.changes[:mark]
		return err
	}
	tx.index = max(tx.index, index)
	for i := mark; i < len(tx.changes); i++ {
		tx.account(&tx.changes[i])
	}
	return nil
}

// commit publishes what the transaction did, wakes the watchers and hands the
// events on, in this order.
func (tx *Txn) commit() {
	defer tx.release()
	tx.flush()
	c := tx.core
	if tx.index == tx.base.index && len(tx.changes) == 0 {
		return
	}
	next := &Snapshot{core: c, index: tx.index, restored: tx.base.restored, txn: tx.base.txn, last: tx.last, abandon: tx.base.abandon, requests: c.requests.requestView}
	if len(tx.changes) == 0 {
		c.current.Store(next)
		return
	}
	w := c.db.Txn(true)
	defer w.Abort()
	for _, e := range tx.edits {
		if e != nil {
			e.apply(w)
		}
	}
	w.Commit()
	next.txn = c.db.Txn(false)
	c.current.Store(next)
	tx.wake()
	if c.publish == nil {
		return
	}
	if events := tx.events(); len(events) > 0 {
		c.publish(events)
	}
}

func (tx *Txn) events() []structs.Event {
	var out []structs.Event
	for i := range tx.changes {
		if tx.changes[i].eventType == "" || tx.changes[i].table.describe().Topic == structs.NoEvents {
			continue
		}
		if out == nil {
			out = make([]structs.Event, 0, len(tx.changes)-i)
		}
		out = append(out, tx.changes[i].table.event(tx.changes[i]))
	}
	return out
}

// put stores a row, which belongs to the store from then on.
func (t *Table[T]) put(tx *Txn, row *T) {
	before := t.set(tx, row)
	tx.changes = append(tx.changes, change{table: t, at: t.at, key: t.key(row), before: before, after: row,
		index: tx.opIndex, eventType: tx.opType})
}

// emit publishes a row that is stored nowhere. Nobody may change it any more.
func (t *Table[T]) emit(tx *Txn, row *T) {
	tx.changes = append(tx.changes, change{table: t, at: t.at, key: t.key(row), before: (*T)(nil), after: row,
		index: tx.opIndex, eventType: tx.opType})
}

// drop deletes the row of k, if there is one.
func (t *Table[T]) drop(tx *Txn, k Key) {
	before := t.unset(tx, k)
	if before == nil {
		return
	}
	tx.changes = append(tx.changes, change{table: t, at: t.at, key: t.key(before), before: before, after: (*T)(nil),
		deleted: true, index: tx.opIndex, eventType: tx.opType})
}

func (t *Table[T]) revert(tx *Txn, c change) {
	if before := c.before.(*T); before != nil {
		t.set(tx, before)
		return
	}
	t.unset(tx, c.key)
}

func (t *Table[T]) event(c change) structs.Event {
	row := c.after.(*T)
	if c.deleted {
		row = c.before.(*T)
	}
	e := structs.Event{Topic: t.info.Topic, Type: c.eventType, Key: c.key.ID, Namespace: c.key.Namespace,
		Index: c.index, Payload: t.events.payload(row)}
	if t.events.keys != nil {
		e.FilterKeys = t.events.keys(row)
	}
	return e
}

// flush writes what the operations accumulated: one row per namespace and key,
// however many operations touched it.
func (tx *Txn) flush() {
	for _, ns := range slices.Sorted(maps.Keys(tx.quotas)) {
		if q := tx.quotas[ns]; q != nil {
			VariableQuotas.set(tx, q)
		} else {
			VariableQuotas.unset(tx, Key{ID: ns})
		}
	}
	for k, delta := range tx.counts {
		k.table.addTo(tx, k.id, delta)
	}
}
