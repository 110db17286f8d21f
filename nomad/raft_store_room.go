package nomad

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	walfs "github.com/hashicorp/raft-wal/fs"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

const (
	// roomPause is the time between two tries to write to the log.
	roomPause = time.Second
	// roomReminder is how many tries there are between two lines of the log.
	roomReminder = 60
)

// errLogFailed is what a log says that could not begin or end a segment.
var errLogFailed = errors.New("the raft log takes no write any more, as it could not begin or end a segment: see why above in the log of this server, then start it again")

// noRoom reports whether err says that a disk, or somebody's share of it, is full.
func noRoom(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// waitForRoom has the write-ahead log wait where it cannot write, as on a disk that is
// full. The library tries once, and a log that could not begin its next segment takes no
// entry any more until it is opened anew; a server that could not write an entry would stand
// for election, and fail as leader, twice a second. A log that waits is one whose disk hangs:
// the watchdog sees it, others lead meanwhile, and it goes on when there is room.
type waitForRoom struct {
	logger hclog.Logger
	pause  time.Duration
	// open is set once the log is open: until then nobody waits, as a server that cannot
	// start says why.
	open atomic.Bool
	done chan struct{} // closed when nobody waits any more
	// failed is set once the library was told that it could not begin or end a segment.
	// It takes nothing back then: what it has in memory may not be on the disk.
	failed atomic.Bool
	// sealing is set while entries are deleted; patientWAL.writing guards it.
	sealing bool
}

// begin tries to begin a segment until it works, or nobody may wait.
func (w *waitForRoom) begin(do func() error) error {
	return w.must("begin the next segment of the raft log", do, func(error) bool { return true })
}

// must is until for what the library cannot take back.
func (w *waitForRoom) must(what string, do func() error, wait func(error) bool) error {
	err := w.until(what, do, wait)
	if err != nil {
		w.failed.Store(true)
	}
	return err
}

// until tries do again until it works, fails for another cause, or nobody may wait.
func (w *waitForRoom) until(what string, do func() error, wait func(error) bool) error {
	for try := 0; ; try++ {
		err := do()
		if err == nil {
			if try > 0 {
				w.logger.Info("could "+what+", writes go on", "tries", try+1)
			}
			return nil
		}
		if !w.open.Load() || !wait(err) {
			return err
		}
		if try%roomReminder == 0 {
			w.logger.Error("cannot "+what+": no write is taken until there is room on the disk of the data directory; will try again",
				"after", w.pause, "error", err)
		}
		if waitFor(w.done, w.pause) {
			return err
		}
	}
}

// roomFiles are the files of the segments.
type roomFiles struct {
	types.VFS
	wait *waitForRoom
}

// Create makes the file of a segment with room for all of it. What is left of a try that
// failed is removed, since it would be in the way of the next; what was there before stays.
func (r *roomFiles) Create(dir, name string, size uint64) (f types.WritableFile, err error) {
	path := filepath.Join(dir, name)
	err = r.wait.begin(func() error {
		if _, err := os.Lstat(path); err == nil {
			return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
		}
		if f, err = r.VFS.Create(dir, name, size); err == nil || errors.Is(err, fs.ErrExist) {
			return err
		}
		if left := os.Remove(path); left != nil && !errors.Is(left, fs.ErrNotExist) {
			return errors.Join(err, left)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &roomFile{WritableFile: f, wait: r.wait, dir: dir}, nil
}

// OpenWriter opens the newest segment to write on.
func (r *roomFiles) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := r.VFS.OpenWriter(dir, name)
	if err != nil {
		return nil, err
	}
	return &roomFile{WritableFile: f, wait: r.wait}, nil
}

// roomMeta keeps which segments there are.
type roomMeta struct {
	types.MetaStore
	wait *waitForRoom
}

// CommitState writes the list of segments.
func (r *roomMeta) CommitState(s types.PersistentState) error {
	return r.wait.begin(func() error { return r.MetaStore.CommitState(s) })
}

// patientWAL is a write-ahead log that waits for room.
type patientWAL struct {
	*wal.WAL
	wait    *waitForRoom
	writing sync.Mutex // held for one try to write, not between two of StoreLogs
}

// openPatient opens the log in dir, with its segments in files.
func openPatient(dir string, segmentSize int, files types.VFS, w *waitForRoom) (*patientWAL, error) {
	if err := finishSeal(dir, segmentSize); err != nil {
		return nil, err
	}
	meta := &metadb.BoltMetaDB{}
	log, err := wal.Open(dir, wal.WithLogger(w.logger), wal.WithSegmentSize(segmentSize),
		wal.WithSegmentFiler(segment.NewFiler(dir, &roomFiles{files, w})), wal.WithMetaStore(&roomMeta{meta, w}))
	if err != nil {
		return nil, errors.Join(err, meta.Close()) // the library leaves it open, and locked
	}
	w.open.Store(true)
	return &patientWAL{WAL: log, wait: w}, nil
}

func newWaitForRoom(logger hclog.Logger) *waitForRoom {
	return &waitForRoom{logger: logger.Named("wal"), pause: roomPause, done: make(chan struct{})}
}

// diskFiles returns the files of the machine.
func diskFiles() types.VFS { return walfs.New() }

// StoreLog writes an entry.
func (p *patientWAL) StoreLog(log *raft.Log) error { return p.StoreLogs([]*raft.Log{log}) }

// StoreLogs writes entries. It may need room though a segment is made with all of it: the last
// entries of a segment may exceed that, and not every file system keeps what it reserved. The
// library takes back what it could not write, so that all of it is written again; between two
// tries old entries can be deleted, which makes room.
func (p *patientWAL) StoreLogs(logs []*raft.Log) error {
	return p.wait.until("write to the raft log", func() error {
		p.writing.Lock()
		defer p.writing.Unlock()
		if p.wait.failed.Load() {
			return errLogFailed
		}
		return p.WAL.StoreLogs(logs)
	}, noRoom)
}

// DeleteRange deletes the first or the last entries. For the last ones the library ends the
// newest segment where it is, and takes nothing back if it cannot: it waits within the file.
func (p *patientWAL) DeleteRange(first, last uint64) error {
	p.writing.Lock()
	defer p.writing.Unlock()
	if p.wait.failed.Load() {
		return errLogFailed
	}
	p.wait.sealing = true
	defer func() { p.wait.sealing = false }()
	return p.WAL.DeleteRange(first, last)
}

// giveUp lets what waits for room fail, so that raft can stop. It may be called more than
// once, from one goroutine.
func (p *patientWAL) giveUp() {
	if p.wait.open.Swap(false) {
		close(p.wait.done)
	}
}

// Close gives up and closes the log.
func (p *patientWAL) Close() error {
	p.giveUp()
	return p.WAL.Close()
}
