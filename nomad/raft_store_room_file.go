package nomad

import (
	"bytes"

	"github.com/hashicorp/raft-wal/types"

	"github.com/cairn-project/cairn/nomad/archive"
)

// roomFile is a segment that is written by one goroutine at a time. While the library ends
// it before its time, it waits for room by itself.
type roomFile struct {
	types.WritableFile
	wait *waitForRoom
	// unsafe is what was written since the last Sync while entries are deleted: an index
	// and what ends it.
	unsafe []written
	dir    string // where the file was made; "" if it was there
	undone bool   // Sync failed
}

type written struct {
	at   int64
	data []byte
}

// WriteAt writes p. Whoever stores entries tries again with all of it.
func (f *roomFile) WriteAt(p []byte, at int64) (n int, err error) {
	if !f.wait.sealing {
		return f.WritableFile.WriteAt(p, at)
	}
	err = f.wait.must("end a segment of the raft log", func() (err error) {
		n, err = f.WritableFile.WriteAt(p, at)
		return err
	}, noRoom)
	if err == nil {
		f.unsafe = append(f.unsafe, written{at, bytes.Clone(p)})
	}
	return n, err
}

// Sync makes what was written last. After a Sync that failed the system may have dropped
// it and say of the next that all is well, so it is written again first.
func (f *roomFile) Sync() error {
	defer func() { f.unsafe = nil }()
	if !f.wait.sealing {
		return f.sync()
	}
	again := false
	return f.wait.must("end a segment of the raft log", func() error {
		if again {
			if err := f.rewrite(); err != nil {
				return err
			}
		}
		again = true
		return f.sync()
	}, noRoom)
}

func (f *roomFile) rewrite() error {
	for _, w := range f.unsafe {
		if _, err := f.WritableFile.WriteAt(w.data, w.at); err != nil {
			return err
		}
	}
	return nil
}

// sync makes the file last, and that it is there: the library's files do that with the
// first try alone.
func (f *roomFile) sync() error {
	err := f.WritableFile.Sync()
	if err == nil && f.undone && f.dir != "" {
		err = archive.SyncDir(f.dir)
	}
	f.undone = err != nil
	return err
}
