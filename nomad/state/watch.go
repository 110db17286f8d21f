package state

import (
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-memdb"
)

// watchers are the rows and ranges that somebody waits for. A commit closes the
// channels of those it changes and of no others, and costs nothing for what is
// not watched. Whoever waited gives a watch back with Unwatch.
type watchers struct {
	waiting atomic.Int64 // watches in all tables, so that a commit need not lock to see none
	mu      sync.Mutex
	tables  []tableWatches               // guarded by mu, by table
	byCh    map[<-chan struct{}]*watched // guarded by mu
}

// tableWatches are those of one table, by encoded key.
type tableWatches struct {
	rows, values, ranges map[string]*watched
	// lengths counts the watched ranges by the length of their key: a changed row
	// looks for the ranges that it is in with one look-up per length.
	lengths map[int]int
}

// watched is one row, value or range and the channel that all who watch it share.
type watched struct {
	ch   chan struct{}
	refs int // watch sets that hold ch
	in   map[string]*watched
	key  string
	// table is set for a range, whose length the table counts.
	table *tableWatches
}

// changed is closed: what was to be watched has changed already.
var changed = func() <-chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}()

func newWatchers() *watchers {
	w := &watchers{tables: make([]tableWatches, len(registry)), byCh: make(map[<-chan struct{}]*watched)}
	for i := range w.tables {
		w.tables[i] = tableWatches{rows: map[string]*watched{}, values: map[string]*watched{},
			ranges: map[string]*watched{}, lengths: map[int]int{}}
	}
	return w
}

// addRow makes ws wait for the row of the encoded key.
func (w *watchers) addRow(ws memdb.WatchSet, table int, key []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.addLocked(ws, w.tables[table].rows, key)
}

// addValue makes ws wait for the row of a value of the table's value index.
func (w *watchers) addValue(ws memdb.WatchSet, table int, key []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.addLocked(ws, w.tables[table].values, key)
}

// addRange makes ws wait for the rows whose encoded keys begin with prefix.
func (w *watchers) addRange(ws memdb.WatchSet, table int, prefix []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := &w.tables[table]
	if x := w.addLocked(ws, t.ranges, prefix); x.table == nil {
		x.table = t
		t.lengths[len(x.key)]++
	}
}

// addLocked adds what in has, or gets, under key to ws; the caller holds mu.
func (w *watchers) addLocked(ws memdb.WatchSet, in map[string]*watched, key []byte) *watched {
	x := in[string(key)]
	if x == nil {
		x = &watched{ch: make(chan struct{}), in: in, key: string(key)}
		in[x.key] = x
		w.byCh[x.ch] = x
		w.waiting.Add(1)
	}
	if _, has := ws[x.ch]; !has {
		ws.Add(x.ch)
		x.refs++
	}
	return x
}

// release gives back what ws watches.
func (w *watchers) release(ws memdb.WatchSet) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range ws {
		if x := w.byCh[ch]; x != nil {
			if x.refs--; x.refs == 0 {
				w.dropLocked(x)
			}
		}
	}
}

// dropLocked forgets x; the caller holds mu.
func (w *watchers) dropLocked(x *watched) {
	delete(x.in, x.key)
	delete(w.byCh, x.ch)
	w.waiting.Add(-1)
	if t := x.table; t != nil {
		if t.lengths[len(x.key)]--; t.lengths[len(x.key)] == 0 {
			delete(t.lengths, len(x.key))
		}
	}
}

// wakeLocked wakes who waits for what in has under key; the caller holds mu.
func (w *watchers) wakeLocked(in map[string]*watched, key []byte) {
	if x := in[string(key)]; x != nil {
		w.dropLocked(x)
		close(x.ch)
	}
}

// wakeRowLocked wakes who waits for the row of the encoded key or for a range
// that it is in; the caller holds mu.
func (w *watchers) wakeRowLocked(table int, key []byte) {
	t := &w.tables[table]
	w.wakeLocked(t.rows, key)
	for n := range t.lengths {
		if n <= len(key) {
			w.wakeLocked(t.ranges, key[:n])
		}
	}
}

// wake wakes who waits for what the transaction changed. The view that shows the
// change must be published before.
func (tx *Txn) wake() {
	w := tx.core.watchers
	if w.waiting.Load() == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range tx.edits {
		if e != nil {
			e.wakeLocked(w)
		}
	}
}

// wakeLocked implements editor.
func (e *edits[T]) wakeLocked(w *watchers) {
	at, value := e.table.at, e.table.value
	var buf [128]byte
	for k, row := range e.rows {
		if row.is == row.was {
			continue
		}
		w.wakeRowLocked(at, k.appendTo(buf[:0]))
		for _, r := range []*T{row.was, row.is} {
			if r != nil && value != nil {
				w.wakeLocked(w.tables[at].values, value.key(r).appendTo(buf[:0]))
			}
		}
	}
}

// Watching returns how many rows, values and ranges somebody waits for.
func (s *StateStore) Watching() int64 { return s.core.watchers.waiting.Load() }

// Unwatch gives back what was added to ws by reads of this store. Every set that
// was handed to a read is given back once nobody waits on it any more.
func (s *StateStore) Unwatch(ws memdb.WatchSet) {
	if len(ws) > 0 {
		s.core.watchers.release(ws)
	}
}

// watchRow makes ws wait for the row of k, which the view has as row.
//
// A commit publishes its view before it looks who waits. So whoever is on the
// list and then finds the row in the newest view as it was will be woken by
// every later change, and who finds another row wakes at once.
func (t *Table[T]) watchRow(sn *Snapshot, ws memdb.WatchSet, k Key, row *T) {
	if ws == nil || sn.core == nil {
		return
	}
	ws.Add(sn.abandon)
	l := lookFor(k)
	sn.core.watchers.addRow(ws, t.at, l.key)
	l.done()
	if now := sn.core.current.Load(); now != sn && t.find(now, k) != row {
		ws.Add(changed)
	}
}

// watchValue is watchRow for the row of a value of the value index.
func (t *Table[T]) watchValue(sn *Snapshot, ws memdb.WatchSet, value string, row *T) {
	if ws == nil || sn.core == nil {
		return
	}
	ws.Add(sn.abandon)
	l := lookFor(Key{ID: value})
	sn.core.watchers.addValue(ws, t.at, l.key)
	l.done()
	if now := sn.core.current.Load(); now != sn && t.findBy(now, value) != row {
		ws.Add(changed)
	}
}

// watch makes ws wait for the rows of a range. If the table has changed since the
// view was taken, ws wakes at once.
func (t *Table[T]) watch(sn *Snapshot, ws memdb.WatchSet, in span) {
	if ws == nil || sn.core == nil {
		return
	}
	ws.Add(sn.abandon)
	l := lookIn(in)
	sn.core.watchers.addRange(ws, t.at, l.key)
	l.done()
	if now := sn.core.current.Load(); now.abandon != sn.abandon || now.last[t.at] != sn.last[t.at] {
		ws.Add(changed)
	}
}
