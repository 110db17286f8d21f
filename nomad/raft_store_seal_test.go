package nomad

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/types"
)

// scarceDisk has no room for what is written while full is set: the last bytes of each write,
// as many as missing says, do not arrive. Where atSync is set they do, and the Sync that fails drops them.
type scarceDisk struct {
	types.VFS
	full    atomic.Bool
	atSync  bool
	missing int
	tried   chan struct{}
}

func (d *scarceDisk) Create(dir, name string, size uint64) (types.WritableFile, error) {
	f, err := d.VFS.Create(dir, name, size)
	return &scarceFile{WritableFile: f, disk: d}, err
}

func (d *scarceDisk) OpenWriter(dir, name string) (types.WritableFile, error) {
	f, err := d.VFS.OpenWriter(dir, name)
	return &scarceFile{WritableFile: f, disk: d}, err
}

type scarceFile struct {
	types.WritableFile
	disk *scarceDisk
	size int
	at   int64
}

func (f *scarceFile) WriteAt(p []byte, at int64) (int, error) {
	if f.size, f.at = len(p), at; f.disk.atSync || !f.disk.full.Load() {
		return f.WritableFile.WriteAt(p, at)
	}
	n, _ := f.WritableFile.WriteAt(p[:max(0, len(p)-f.disk.missing)], at)
	return n, f.failed("write")
}

func (f *scarceFile) Sync() error {
	if !f.disk.atSync || !f.disk.full.Load() {
		return f.WritableFile.Sync()
	}
	drop := min(f.disk.missing, f.size)
	if _, err := f.WritableFile.WriteAt(make([]byte, drop), f.at+int64(f.size-drop)); err != nil {
		return err
	}
	f.size = 0
	return f.failed("sync")
}

func (f *scarceFile) failed(op string) error {
	f.disk.tried <- struct{}{}
	return &os.PathError{Op: op, Path: "a segment", Err: syscall.ENOSPC}
}

// mustOpenLog opens the log in dir, which waits for a millisecond between two tries.
func mustOpenLog(t *testing.T, dir string, segmentSize int, files types.VFS) *patientWAL {
	t.Helper()
	wait := newWaitForRoom(hclog.NewNullLogger())
	wait.pause = time.Millisecond
	log, err := openPatient(dir, segmentSize, files, wait)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return log
}

func mustClose(t *testing.T, log *patientWAL) {
	t.Helper()
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}

// mustGrow stores entries up to last, and expects all of them now and after a restart.
func mustGrow(t *testing.T, dir string, log *patientWAL, first, last uint64) {
	t.Helper()
	if n, err := fill(log, first, last); err != nil {
		t.Fatalf("after %d entries: %v", n, err)
	}
	mustHold(t, log, last)
	mustClose(t, log)
	again := mustOpenLog(t, dir, 4<<10, diskFiles())
	mustHold(t, again, last)
	mustClose(t, again)
}

// A leader of yesterday deletes its last entries once it hears of another leader, which on a
// full disk is right after it waited for room.
func TestLogWaitsForRoomToDeleteItsLastEntries(t *testing.T) {
	for name, c := range map[string]struct{ atSync, reopened bool }{
		"write":                 {false, false},
		"sync":                  {true, false},
		"write after a restart": {false, true},
		"sync after a restart":  {true, true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			disk := &scarceDisk{VFS: diskFiles(), atSync: c.atSync, missing: 40, tried: make(chan struct{})}
			log := mustOpenLog(t, dir, 64<<10, disk)
			if _, err := fill(log, 1, 9); err != nil {
				t.Fatal(err)
			}
			if c.reopened {
				mustClose(t, log)
				log = mustOpenLog(t, dir, 64<<10, disk)
			}
			disk.full.Store(true)
			deleted := make(chan error, 1)
			go func() { deleted <- log.DeleteRange(8, 9) }()
			for range 3 {
				select {
				case <-disk.tried:
				case err := <-deleted:
					t.Fatalf("the disk is full, and entries are deleted, %v", err)
				}
			}
			disk.full.Store(false)
			go func() {
				for range disk.tried { // a try may be under way
				}
			}()
			if err := <-deleted; err != nil {
				t.Error(err)
			}
			close(disk.tried)
			if last, err := log.LastIndex(); err != nil || last != 7 {
				t.Errorf("the last entry is %d, %v", last, err)
			}
			mustGrow(t, dir, log, 8, 12)
		})
	}
}

// A stop may come between any two bytes of what ends a segment.
func TestLogThatGaveUpToEndASegmentGoesOnAfterARestart(t *testing.T) {
	const size = 56 // an index of nine entries and what ends it
	for missing := 0; missing <= size; missing += 4 {
		for _, atSync := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d bytes less, %v", missing, atSync), func(t *testing.T) {
				dir := t.TempDir()
				disk := &scarceDisk{VFS: diskFiles(), atSync: atSync, missing: missing, tried: make(chan struct{}, 9)}
				log := mustOpenLog(t, dir, 64<<10, disk)
				if _, err := fill(log, 1, 9); err != nil {
					t.Fatal(err)
				}
				disk.full.Store(true)
				log.giveUp()
				if err := log.DeleteRange(8, 9); !noRoom(err) {
					t.Fatalf("deleted on a full disk: %v", err)
				}
				disk.full.Store(false)
				if _, err := fill(log, 10, 10); !errors.Is(err, errLogFailed) {
					t.Errorf("an entry is stored: %v", err)
				}
				if err := log.DeleteRange(8, 9); !errors.Is(err, errLogFailed) {
					t.Errorf("entries are deleted: %v", err)
				}
				mustHold(t, log, 9)
				mustClose(t, log)
				log = mustOpenLog(t, dir, 4<<10, diskFiles())
				if last, err := log.LastIndex(); err != nil || last != 9 {
					t.Errorf("the last entry is %d, %v", last, err)
				}
				mustGrow(t, dir, log, 10, 30)
				log = mustOpenLog(t, dir, 4<<10, diskFiles())
				if err := log.DeleteRange(8, 30); err != nil {
					t.Error(err)
				}
				mustGrow(t, dir, log, 8, 12)
			})
		}
	}
}

// The same with entries that fill a segment, whose index is written with them.
func TestLogThatGaveUpToFillASegmentGoesOnAfterARestart(t *testing.T) {
	var batch []*raft.Log
	for i := uint64(4); i <= 9; i++ {
		batch = append(batch, &raft.Log{Index: i, Term: 1, Data: fmt.Appendf(nil, "entry %d %512d", i, 0)})
	}
	for _, missing := range []int{0, 4, 8, 12, 20, 28, 36, 44, 48, 52, 56, 64, 300, 700, 2000, 1 << 20} {
		dir := t.TempDir()
		disk := &scarceDisk{VFS: diskFiles(), missing: missing, tried: make(chan struct{}, 9)}
		log := mustOpenLog(t, dir, 4<<10, disk)
		if _, err := fill(log, 1, 3); err != nil {
			t.Fatal(err)
		}
		disk.full.Store(true)
		log.giveUp()
		if err := log.StoreLogs(batch); !noRoom(err) {
			t.Fatalf("stored on a full disk: %v", err)
		}
		mustClose(t, log)
		log = mustOpenLog(t, dir, 4<<10, diskFiles())
		last, err := log.LastIndex()
		if err != nil || last != 3 && last != 9 {
			t.Errorf("the last entry is %d, %v", last, err)
		}
		mustGrow(t, dir, log, last+1, 20)
	}
}

// A stop may come between the entries that fill a segment and the list that has the next.
func TestLogWithoutItsNextSegmentGoesOnAfterARestart(t *testing.T) {
	dir := t.TempDir()
	log := mustOpenLog(t, dir, 4<<10, diskFiles())
	first, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(first) != 1 {
		t.Fatal(first, err)
	}
	list := filepath.Join(dir, metadb.FileName)
	before, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fill(log, 1, 12); err != nil {
		t.Fatal(err)
	}
	mustClose(t, log)
	if err := os.WriteFile(list, before, 0o600); err != nil {
		t.Fatal(err)
	}
	later, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil || len(later) != 2 {
		t.Fatal(later, err)
	}
	if err := os.Remove(later[1]); err != nil {
		t.Fatal(err)
	}
	log = mustOpenLog(t, dir, 4<<10, diskFiles())
	last, err := log.LastIndex()
	if err != nil || last == 0 || last >= 12 {
		t.Fatalf("the last entry is %d, %v", last, err)
	}
	mustHold(t, log, last)
	mustGrow(t, dir, log, last+1, 20)
}

// No entry goes into a segment that the list on the disk does not have any more.
func TestLogThatGaveUpToBeginAfreshTakesNoEntry(t *testing.T) {
	dir := t.TempDir()
	log, disk := mustOpenOnFullDisk(t, dir)
	if _, err := fill(log, 1, 3); err != nil {
		t.Fatal(err)
	}
	go disk.ignore()
	log.giveUp()
	if err := log.DeleteRange(1, 3); !noRoom(err) {
		t.Errorf("deleted on a full disk: %v", err)
	}
	close(disk.tried)
	if _, err := fill(log, 4, 4); !errors.Is(err, errLogFailed) {
		t.Errorf("an entry is stored: %v", err)
	}
	mustClose(t, log)
	again := mustOpenLog(t, dir, 4<<10, diskFiles())
	if n, err := fill(again, 4, 9); err != nil {
		t.Errorf("after %d entries: %v", n, err)
	}
}

// The library's files make their name last with the first Sync alone, whether that works or not.
func TestSegmentIsNotSafeBeforeItsName(t *testing.T) {
	dir := t.TempDir()
	disk := &scarceDisk{VFS: diskFiles(), atSync: true, tried: make(chan struct{}, 9)}
	f, err := (&roomFiles{disk, newWaitForRoom(hclog.NewNullLogger())}).Create(dir, "a.wal", 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	disk.full.Store(true)
	if err := f.Sync(); !noRoom(err) {
		t.Fatal(err)
	}
	disk.full.Store(false)
	away := dir + ".away"
	if err := os.Rename(dir, away); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without the directory: %v", err)
	}
	if err := os.Rename(away, dir); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Error(err)
	}
}
