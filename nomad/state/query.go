package state

import (
	"iter"

	"github.com/hashicorp/go-memdb"
)

// find returns the row of k, nil if there is none, and the channel that closes
// when a later transaction changes that.
func (t *Table[T]) find(sn *Snapshot, k Key) (*T, <-chan struct{}) {
	l := lookFor(k)
	ch, raw, err := sn.txn.FirstWatch(t.info.Name, byKey, l.args...)
	l.done()
	impossible(err)
	row, _ := raw.(*T)
	verify(row)
	if row != nil && t.key(row) != k {
		return nil, ch // k has a namespace that cannot be, with a NUL
	}
	return row, ch
}

// get returns the row of k, nil if there is none, and watches it. The watch of an
// absent row may also wake on changes near it.
func (t *Table[T]) get(sn *Snapshot, ws memdb.WatchSet, k Key) *T {
	row, ch := t.find(sn, k)
	sn.watch(ws, ch)
	return row
}

// findBy returns the row of a value of the table's value index, nil if there is
// none, and the channel that closes when a later transaction changes that.
func (t *Table[T]) findBy(sn *Snapshot, value string) (*T, <-chan struct{}) {
	l := lookFor(Key{ID: value})
	ch, raw, err := sn.txn.FirstWatch(t.info.Name, byValue, l.args...)
	l.done()
	impossible(err)
	row, _ := raw.(*T)
	verify(row)
	return row, ch
}

// getBy returns the row of a value of the table's value index, nil if there is
// none, and watches it as get does.
func (t *Table[T]) getBy(sn *Snapshot, ws memdb.WatchSet, value string) *T {
	row, ch := t.findBy(sn, value)
	sn.watch(ws, ch)
	return row
}

// watch watches a range, as one channel. The watch of a range without rows may
// also wake on changes near it.
func (t *Table[T]) watch(sn *Snapshot, ws memdb.WatchSet, in span) {
	if ws == nil {
		return
	}
	l := lookIn(in)
	it, err := sn.txn.Get(t.info.Name, t.primary.prefix, l.args...)
	l.done()
	impossible(err)
	sn.watch(ws, it.WatchCh())
}

// watch adds a channel of the view's database, and the one that says that another
// database has taken its place.
func (sn *Snapshot) watch(ws memdb.WatchSet, ch <-chan struct{}) {
	ws.Add(ch)
	ws.Add(sn.abandon)
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
