package state

import (
	"slices"

	"github.com/hashicorp/go-memdb"
)

// editor is what a transaction keeps of one table, an *edits[T].
type editor interface {
	// apply writes what the transaction changed.
	apply(w *memdb.Txn)
	// reset forgets everything; false means that its memory is not worth keeping.
	reset() bool
}

// edits are the rows that a transaction read or wrote, by key. The database is
// written once, at the commit: a reader of its write transaction would make it
// copy again what it had copied, and an operation that fails would wake watchers.
type edits[T any] struct {
	name string
	rows map[Key]edit[T]
}

// edit is a row before the transaction and in it, nil for none.
type edit[T any] struct{ was, is *T }

func (e *edits[T]) apply(w *memdb.Txn) {
	for _, row := range e.rows {
		switch {
		case row.is == row.was:
		case row.is == nil:
			impossible(w.Delete(e.name, row.was))
		default:
			impossible(w.Insert(e.name, row.is))
		}
	}
}

func (e *edits[T]) reset() bool {
	small := len(e.rows) <= maxSpare
	clear(e.rows)
	return small
}

func (t *Table[T]) edits(tx *Txn) *edits[T] {
	if e := tx.edits[t.at]; e != nil {
		return e.(*edits[T])
	}
	e := &edits[T]{name: t.info.Name, rows: make(map[Key]edit[T])}
	tx.edits[t.at] = e
	return e
}

// edit returns the row of k as the transaction sees it and found it.
func (t *Table[T]) edit(tx *Txn, k Key) edit[T] {
	e := t.edits(tx)
	row, known := e.rows[k]
	if !known {
		row.was, _ = t.find(tx.base, k)
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
	t.edits(tx).rows[k] = e
	return before
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
