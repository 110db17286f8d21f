package state

import (
	"errors"
	"fmt"

	"github.com/hashicorp/go-memdb"
)

// Rows on the way from decoding to storing come in batches, each of which ends with
// the row that reaches one of the bounds. Of batches no more than three are in
// memory: one that grows, one that waits, one that is stored.
const (
	batchRows  = 512
	batchBytes = 256 << 10 // of encoded rows
)

// loaded is a decoded row.
type loaded struct {
	loader loader
	row    any
	record uint64 // its place in the snapshot, from 1 on
}

// storer stores the rows of a snapshot on a goroutine of its own, in the order in
// which they are added, so that the next ones are decoded meanwhile. It stops at
// the first that cannot be stored.
type storer struct {
	batch   []loaded // the adder's, until it is sent
	bytes   int
	batches chan []loaded
	stopped chan struct{} // closed once no row is stored any more
	err     error         // to be read after that
}

// startStorer returns a storer of w, which is its own until done has returned.
func startStorer(w *memdb.Txn) *storer {
	f := &storer{batches: make(chan []loaded, 1), stopped: make(chan struct{})}
	go f.run(w)
	return f
}

func (f *storer) run(w *memdb.Txn) {
	defer close(f.stopped)
	for batch := range f.batches {
		for _, l := range batch {
			if err := l.loader.store(w, l.row); err != nil {
				f.err = fmt.Errorf("record %d: %w", l.record, err)
				return
			}
		}
	}
}

// errStopped ends the reading of a snapshot of which a row could not be stored.
var errStopped = errors.New("a row before it could not be stored")

// add hands over a row that took size bytes.
func (f *storer) add(l loaded, size int) error {
	if f.batch == nil {
		f.batch = make([]loaded, 0, batchRows)
	}
	f.batch, f.bytes = append(f.batch, l), f.bytes+size
	if len(f.batch) < batchRows && f.bytes < batchBytes {
		return nil
	}
	return f.send()
}

func (f *storer) send() error {
	batch := f.batch
	f.batch, f.bytes = nil, 0
	select {
	case f.batches <- batch:
		return nil
	case <-f.stopped:
		return errStopped
	}
}

// done waits for the rows added and returns why one could not be stored. It must be
// called once, and no row be added any more.
func (f *storer) done() error {
	if len(f.batch) > 0 {
		_ = f.send() // it fails only if f.err says why
	}
	close(f.batches)
	<-f.stopped
	return f.err
}
