package state

import (
	"slices"

	"github.com/hashicorp/go-memdb"
)

// editor is what a transaction keeps of one table, an *edits[T].
type editor interface {
	// apply writes what the transaction changed.
	apply(w *memdb.Txn)
	// wakeLocked wakes who waits for what the transaction changed; the caller
	// holds the mutex of w.
	wakeLocked(w *watchers)
	// reset forgets everything; false means that its memory is not worth keeping.
	reset() bool
}

// edits are the rows that a transaction read or wrote, by key. The database is
// written once, at the commit: a reader of its write transaction would make it
// copy again what it had copied, and an operation that fails would wake watchers.
type edits[T any] struct {
	table *Table[T]
	rows  map[Key]edit[T]
	// values says by the value index which of rows there are, nil for a table
	// without such an index.
	values map[string]Key
}

// edit is a row before the transaction and in it, nil for none.
type edit[T any] struct{ was, is *T }

func (e *edits[T]) apply(w *memdb.Txn) {
	name := e.table.info.Name
	for _, row := range e.rows { // first, so that a value is free before another row takes it
		if row.was != nil && (row.is == nil || e.table.value != nil && row.is != row.was) {
			impossible(w.Delete(name, row.was))
		}
	}
	for _, row := range e.rows {
		if row.is != row.was && row.is != nil {
			impossible(w.Insert(name, row.is))
		}
	}
}

func (e *edits[T]) reset() bool {
	small := len(e.rows) <= maxSpare
	clear(e.rows)
	clear(e.values)
	return small
}

func (t *Table[T]) edits(tx *Txn) *edits[T] {
	if e := tx.edits[t.at]; e != nil {
		return e.(*edits[T])
	}
	e := &edits[T]{table: t, rows: make(map[Key]edit[T])}
	if t.value != nil {
		e.values = make(map[string]Key)
	}
	tx.edits[t.at] = e
	return e
}

// edit returns the row of k as the transaction sees it and found it.
func (t *Table[T]) edit(tx *Txn, k Key) edit[T] {
	e := t.edits(tx)
	row, known := e.rows[k]
	if !known {
		row.was = t.find(tx.base, k)
		row.is = row.was
		e.rows[k] = row
	}
	return row
}

// read returns the row of k as the transaction sees it, nil if there is none.
func (t *Table[T]) read(tx *Txn, k Key) *T {
	row := t.edit(tx, k).is
	verify(row)
	return row
}

// replace makes row, nil for none, the row of k without a trace in the change
// list and returns the one it was before.
func (t *Table[T]) replace(tx *Txn, k Key, row *T) (before *T) {
	e := t.edit(tx, k)
	before, e.is = e.is, row
	all := t.edits(tx)
	all.rows[k] = e
	if t.value != nil {
		all.revalue(before, row)
	}
	return before
}

// revalue notes that a row took the place of another, each of them nil for none.
func (e *edits[T]) revalue(before, after *T) {
	if before != nil {
		if at := e.table.value.key(before).ID; e.values[at] == e.table.key(before) {
			delete(e.values, at)
		}
	}
	if after != nil {
		e.values[e.table.value.key(after).ID] = e.table.key(after)
	}
}

// readBy returns the row that has the value in the table's value index as the
// transaction sees it, nil if there is none.
func (t *Table[T]) readBy(tx *Txn, value string) *T {
	e := t.edits(tx)
	if k, ok := e.values[value]; ok {
		return t.read(tx, k)
	}
	row := t.findBy(tx.base, value)
	if row == nil {
		return nil
	}
	if now := t.read(tx, t.key(row)); now != nil && t.value.key(now).ID == value {
		return now
	}
	return nil
}

// set stores a row without a trace in the change list.
func (t *Table[T]) set(tx *Txn, row *T) (before *T) {
	seal(row)
	return t.replace(tx, t.key(row), row)
}

// unset deletes a row without a trace in the change list.
func (t *Table[T]) unset(tx *Txn, k Key) (before *T) { return t.replace(tx, k, nil) }

// all returns the rows as the transaction sees them, in order of key.
func (t *Table[T]) all(tx *Txn) []*T {
	e := t.edits(tx)
	var out []*T
	for row := range t.scan(tx.base, everything, Key{}, false) {
		if _, known := e.rows[t.key(row)]; !known {
			out = append(out, row)
		}
	}
	for _, row := range e.rows {
		if row.is != nil {
			out = append(out, row.is)
		}
	}
	slices.SortFunc(out, func(a, b *T) int { return t.key(a).compare(t.key(b)) })
	return out
}
