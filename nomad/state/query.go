package state

import (
	"iter"

	"github.com/hashicorp/go-memdb"
)

// find returns the row of k, nil if there is none.
func (t *Table[T]) find(sn *Snapshot, k Key) *T {
	row := t.first(sn, byKey, k)
	if row != nil && t.key(row) != k {
		return nil // k has a namespace that cannot be, with a NUL
	}
	return row
}

// findBy returns the row of a value of the table's value index, nil if there is
// none.
func (t *Table[T]) findBy(sn *Snapshot, value string) *T {
	return t.first(sn, byValue, Key{ID: value})
}

func (t *Table[T]) first(sn *Snapshot, index string, k Key) *T {
	l := lookFor(k)
	raw, err := sn.txn.First(t.info.Name, index, l.args...)
	l.done()
	impossible(err)
	row, _ := raw.(*T)
	verify(row)
	return row
}

// get returns the row of k, nil if there is none, and watches it.
func (t *Table[T]) get(sn *Snapshot, ws memdb.WatchSet, k Key) *T {
	row := t.find(sn, k)
	t.watchRow(sn, ws, k, row)
	return row
}

// getBy returns the row of a value of the table's value index, nil if there is
// none, and watches it.
func (t *Table[T]) getBy(sn *Snapshot, ws memdb.WatchSet, value string) *T {
	row := t.findBy(sn, value)
	t.watchValue(sn, ws, value, row)
	return row
}

// scan yields the rows of the range from the key on, which is zero for the whole
// range, ascending or descending.
func (t *Table[T]) scan(sn *Snapshot, in span, from Key, reverse bool) iter.Seq[*T] {
	return t.scanBy(sn, t.primary, in, from, reverse)
}

// scanBy is scan along another index of the table, whose keys in and from are of.
func (t *Table[T]) scanBy(sn *Snapshot, x *rowIndex[T], in span, from Key, reverse bool) iter.Seq[*T] {
	return func(yield func(*T) bool) {
		it := t.seek(sn.txn, x, in, from, reverse)
		if it == nil {
			return
		}
		for raw := it.Next(); raw != nil; raw = it.Next() {
			row := raw.(*T)
			if !in.holds(x.key(row)) {
				return
			}
			verify(row)
			if !yield(row) {
				return
			}
		}
	}
}

// seek returns an iterator that stands at the first row to yield, nil if the
// range ends before the key.
func (t *Table[T]) seek(txn *memdb.Txn, x *rowIndex[T], in span, from Key, reverse bool) memdb.ResultIterator {
	index, l, query := x.prefix, lookIn(in), txn.Get
	defer func() { l.done() }()
	if reverse {
		query = txn.GetReverse
	}
	switch {
	case from == Key{}:
	case in.holds(from):
		l.key = from.appendTo(l.key[:0])
		index, query = x.name, txn.LowerBound
		if reverse {
			query = txn.ReverseLowerBound
		}
	case (from.compare(in.start) < 0) == reverse:
		return nil
	}
	it, err := query(t.info.Name, index, l.args...)
	impossible(err)
	return it
}
