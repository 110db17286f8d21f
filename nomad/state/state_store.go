package state

import (
	"errors"
	"sync/atomic"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-memdb"

	"github.com/cairn-project/cairn/nomad/structs"
)

// Publisher takes the events of a committed transaction. The store calls it
// after the commit from the writing goroutine; it must not block.
type Publisher func(events []structs.Event)

// StateStore is the replicated store. Write methods belong to one goroutine,
// the FSM's; everything else may be called from anywhere.
type StateStore struct {
	core *core
	txn  *Txn // set within Batch
}

// core is what a store and its batches share.
type core struct {
	log     hclog.Logger
	publish Publisher
	current atomic.Pointer[Snapshot]
	// watchers outlive the database that they watch: a restore wakes them all.
	watchers *watchers
	// db holds what current shows; Restore replaces it. changes and edits are
	// memory for the next transaction. All three are the writer's.
	db      *memdb.MemDB
	changes []change
	edits   []editor
	// requests is the writer's, too.
	requests *requestWindow
}

// New returns a store that holds the built-in namespace and node pools and nothing else. A nil
// publish means that nobody wants events; a nil logger is silent.
func New(logger hclog.Logger, publish Publisher) *StateStore {
	if logger == nil {
		logger = hclog.NewNullLogger()
	}
	s := &StateStore{core: &core{log: logger.Named("state"), watchers: newWatchers()}}
	s.core.replace(&restorer{db: newDB(), requests: newRequestWindow(), last: make([]uint64, len(registry))})
	s.Batch(func(b *StateStore) {
		_ = b.txn.op(b.NextIndex(), "", func(tx *Txn) error {
			return errors.Join(putDefaultNamespace(tx), putBuiltinNodePools(tx))
		})
	})
	s.core.publish = publish
	return s
}

// replace makes what was read the content and returns the view that it takes the place of,
// nil if there was none.
func (c *core) replace(re *restorer) *Snapshot {
	c.db, c.requests = re.db, re.requests
	next := re.view()
	next.core, next.abandon = c, make(chan struct{})
	return c.current.Swap(next)
}

// view returns what was read.
func (re *restorer) view() *Snapshot {
	return &Snapshot{index: re.index, restored: re.restored, requests: re.requests.requestView, txn: re.db.Txn(false), last: re.last}
}

// Batch runs fn, whose writes on b share one transaction: readers see all of
// them or none, and events are published once. It must not be nested. If fn
// panics, nothing of it remains.
func (s *StateStore) Batch(fn func(b *StateStore)) {
	if s.txn != nil {
		panic("state: Batch within Batch")
	}
	tx := newTxn(s.core)
	fn(&StateStore{core: s.core, txn: tx})
	tx.commit()
}

// write runs fn as one operation, in the transaction of the batch or in its own.
func (s *StateStore) write(index uint64, eventType string, fn func(*Txn) error) error {
	if s.txn != nil {
		return s.txn.op(index, eventType, fn)
	}
	var err error
	s.Batch(func(b *StateStore) { err = b.txn.op(index, eventType, fn) })
	return err
}

// NextIndex bumps the logical index and returns it. The FSM calls it once per
// operation, failed ones included, so that every server counts the same.
func (s *StateStore) NextIndex() uint64 {
	if s.txn != nil {
		s.txn.index++
		return s.txn.index
	}
	var index uint64
	s.Batch(func(b *StateStore) { index = b.NextIndex() })
	return index
}

// LatestIndex returns the logical index, within a batch that of the batch.
func (s *StateStore) LatestIndex() uint64 {
	if s.txn != nil {
		return s.txn.index
	}
	return s.core.current.Load().index
}

// Snapshot returns the state after the last commit. It takes no lock.
func (s *StateStore) Snapshot() *Snapshot { return s.core.current.Load() }

// AbandonCh returns a channel that closes when Restore replaces the content.
// Take it before the Snapshot that it guards. Restore also wakes every watcher.
func (s *StateStore) AbandonCh() <-chan struct{} { return s.Snapshot().abandon }

// Snapshot is an immutable view of the store. Rows that it returns are shared:
// callers must not change them. A nil WatchSet watches nothing; otherwise what
// is added to it closes once the rows read change, and Unwatch gives it back.
type Snapshot struct {
	core     *core // nil for what belongs to no store
	index    uint64
	restored uint64
	txn      *memdb.Txn // read only, so any number of goroutines may use it
	last     []uint64   // by table: logical index of the last change
	abandon  chan struct{}
	// requests are the outcomes that are remembered.
	requests requestView
}

// Index returns the logical index of the view.
func (sn *Snapshot) Index() uint64 { return sn.index }

// Restored returns the logical index at which an archive took the place of the state,
// 0 for never. Nothing that clients learnt before has an index as high: whoever waits
// for a change has seen one.
func (sn *Snapshot) Restored() uint64 { return sn.restored }

// TableIndex returns the greatest of the tables' last logical indexes, 0 if none
// of them was ever written. Unknown names count as never written.
func (sn *Snapshot) TableIndex(tables ...string) uint64 {
	return newest(sn.last, tables)
}

// newest returns the greatest of the last indexes of the tables.
func newest(last []uint64, tables []string) uint64 {
	var out uint64
	for i, t := range registry {
		for _, name := range tables {
			if t.describe().Name == name {
				out = max(out, last[i])
			}
		}
	}
	return out
}
