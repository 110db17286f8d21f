package state

import (
	"strings"
	"sync/atomic"

	"github.com/hashicorp/go-memdb"
)

// watchSlots bounds the channels of a store. Two keys that share a slot wake
// each other's watchers, which then find nothing changed.
const watchSlots = 1 << 15

// watchHub holds the channels on which readers wait for changes. A channel
// belongs to a hash of what is watched, not to a watcher, so that any number of
// watchers of one row share it and none has to be removed. The slots need no lock.
type watchHub struct {
	slots [watchSlots]atomic.Pointer[chan struct{}]
}

var closedCh = func() chan struct{} {
	ch := make(chan struct{})
	close(ch)
	return ch
}()

// hash is FNV-1a with 64 bits (draft-eastlake-fnv).
type hash uint64

const hashSeed hash = 14695981039346656037

func (h hash) byte(b byte) hash { return (h ^ hash(b)) * 1099511628211 }

func (h hash) text(s string) hash {
	for i := range len(s) {
		h = h.byte(s[i])
	}
	return h
}

// slot folds the hash, as its upper bits are the better ones.
func (h hash) slot() uint64 { return uint64(h^h>>32) % watchSlots }

// tableHash, namespaceHash and keyHash are what one may watch: every row of a
// table, of a namespace within it, below a directory, or one row.
func tableHash(table int) hash { return hashSeed.byte(byte(table)) }

func namespaceHash(table int, namespace string) hash {
	return tableHash(table).text(namespace).byte(0)
}

func keyHash(table int, k Key) hash {
	return namespaceHash(table, k.Namespace).text(k.ID).byte(1)
}

// rangeHash is the hash that covers the rows of a namespace with the prefix: the
// longest part of it that ends in a slash.
func rangeHash(table int, namespace, prefix string) hash {
	dir := prefix[:strings.LastIndexByte(prefix, '/')+1]
	return namespaceHash(table, namespace).text(dir)
}

// channel returns the channel that the next change of h closes. The caller must
// look at the latest snapshot after that, as the change may have been already.
func (w *watchHub) channel(h hash) <-chan struct{} {
	slot := &w.slots[h.slot()]
	for {
		if ch := slot.Load(); ch != nil {
			return *ch
		}
		ch := make(chan struct{})
		if slot.CompareAndSwap(nil, &ch) {
			return ch
		}
	}
}

func (w *watchHub) wake(h hash) {
	slot := &w.slots[h.slot()]
	if slot.Load() == nil {
		return
	}
	if ch := slot.Swap(nil); ch != nil {
		close(*ch)
	}
}

// changed wakes everybody who watches the row or a range that it lies in. The
// snapshot with the change must have been published before.
func (w *watchHub) changed(table int, k Key) {
	w.wake(tableHash(table))
	h := namespaceHash(table, k.Namespace)
	w.wake(h)
	for i := range len(k.ID) {
		h = h.byte(k.ID[i])
		if k.ID[i] == '/' {
			w.wake(h)
		}
	}
	w.wake(h.byte(1))
}

// all wakes everybody.
func (w *watchHub) all() {
	for i := range w.slots {
		if ch := w.slots[i].Swap(nil); ch != nil {
			close(*ch)
		}
	}
}

// add adds the channel of h to ws, or a closed one if moved says that the watched
// rows have changed since the caller's snapshot.
func (w *watchHub) add(ws memdb.WatchSet, h hash, moved func() bool) {
	ch := w.channel(h)
	if moved() {
		ch = closedCh
	}
	ws.Add(ch)
}
