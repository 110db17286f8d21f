package nomad

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/types"
)

// fullDisk has no room for a file while full is set, and leaves an empty one behind as a
// file system does.
type fullDisk struct {
	types.VFS
	full  atomic.Bool
	tried chan struct{}
}

func (f *fullDisk) Create(dir, name string, size uint64) (types.WritableFile, error) {
	if !f.full.Load() {
		return f.VFS.Create(dir, name, size)
	}
	left, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	left.Close()
	f.tried <- struct{}{}
	return nil, syscall.ENOSPC
}

// ignore takes the tries that nobody looks at, until tried is closed.
func (f *fullDisk) ignore() {
	for range f.tried {
	}
}

// mustOpenOnFullDisk opens a log with small segments and fills the disk when the log is open.
func mustOpenOnFullDisk(t *testing.T, dir string) (*patientWAL, *fullDisk) {
	t.Helper()
	disk := &fullDisk{VFS: diskFiles(), tried: make(chan struct{})}
	wait := newWaitForRoom(hclog.NewNullLogger())
	wait.pause = time.Millisecond
	log, err := openPatient(dir, 4<<10, disk, wait)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	disk.full.Store(true)
	return log, disk
}

// fill stores entries from the first one on until one fails or last is stored, and returns the
// number of those stored.
func fill(log raft.LogStore, first, last uint64) (uint64, error) {
	for i := first; i <= last; i++ {
		entry := raft.Log{Index: i, Term: 1, Data: fmt.Appendf(nil, "entry %d %512d", i, 0)}
		if err := log.StoreLog(&entry); err != nil {
			return i - 1, err
		}
	}
	return last, nil
}

func mustHold(t *testing.T, log raft.LogStore, last uint64) {
	t.Helper()
	for i := uint64(1); i <= last; i++ {
		var l raft.Log
		if err := log.GetLog(i, &l); err != nil || string(l.Data) != fmt.Sprintf("entry %d %512d", i, 0) {
			t.Fatalf("entry %d of %d: %q, %v", i, last, l.Data, err)
		}
	}
}

func TestLogGoesOnWhenTheDiskHasRoomAgain(t *testing.T) {
	log, disk := mustOpenOnFullDisk(t, t.TempDir())
	const last = 40
	type result struct {
		stored uint64
		err    error
	}
	stored := make(chan result, 1)
	go func() {
		n, err := fill(log, 1, last)
		stored <- result{n, err}
	}()
	for range 3 { // it tries again, and each try begins afresh
		select {
		case <-disk.tried:
		case r := <-stored:
			t.Fatalf("the disk is full, and %d entries are stored, %v", r.stored, r.err)
		}
	}
	go disk.ignore() // a try may be under way
	disk.full.Store(false)
	if r := <-stored; r.err != nil {
		t.Errorf("with room again, after %d entries: %v", r.stored, r.err)
	}
	close(disk.tried)
	mustHold(t, log, last)
}

// fullFiles are files that are there, on a disk that has no room for what exceeds them: of
// what is written then half arrives.
type fullFiles struct {
	types.VFS
	full  atomic.Bool
	tried chan struct{}
}

func (f *fullFiles) Create(dir, name string, size uint64) (types.WritableFile, error) {
	w, err := f.VFS.Create(dir, name, size)
	return &fullFile{w, f}, err
}

type fullFile struct {
	types.WritableFile
	disk *fullFiles
}

func (f *fullFile) WriteAt(p []byte, at int64) (int, error) {
	if !f.disk.full.Load() {
		return f.WritableFile.WriteAt(p, at)
	}
	n, _ := f.WritableFile.WriteAt(p[:len(p)/2], at)
	f.disk.tried <- struct{}{}
	return n, &os.PathError{Op: "write", Path: "a segment", Err: syscall.ENOSPC}
}

func TestLogWaitsForRoomWithinASegment(t *testing.T) {
	dir := t.TempDir()
	disk := &fullFiles{VFS: diskFiles(), tried: make(chan struct{})}
	var told strings.Builder
	wait := newWaitForRoom(hclog.New(&hclog.LoggerOptions{Output: &told}))
	wait.pause = time.Millisecond
	log, err := openPatient(dir, 64<<10, disk, wait)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	if _, err := fill(log, 1, 3); err != nil {
		t.Fatal(err)
	}
	disk.full.Store(true)
	stored := make(chan error, 1)
	go func() {
		stored <- log.StoreLogs([]*raft.Log{{Index: 4, Term: 1, Data: fmt.Appendf(nil, "entry 4 %512d", 0)}})
	}()
	for range 3 {
		select {
		case <-disk.tried:
		case err := <-stored:
			t.Fatalf("the disk is full, and an entry is stored, %v", err)
		}
	}
	disk.full.Store(false)
	go func() {
		for range disk.tried { // a try may be under way
		}
	}()
	if err := <-stored; err != nil {
		t.Error(err)
	}
	close(disk.tried)
	if _, err := fill(log, 5, 9); err != nil {
		t.Error(err)
	}
	if err := log.StoreLogs([]*raft.Log{{Index: 99}}); err == nil {
		t.Error("an entry out of order is stored")
	}
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(told.String(), "cannot write to the raft log: no write is taken until there is room") || !strings.Contains(told.String(), "writes go on") {
		t.Errorf("the log says %q", told.String())
	}
	again, err := openPatient(dir, 64<<10, diskFiles(), newWaitForRoom(hclog.NewNullLogger()))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	mustHold(t, again, 9)
}

func TestLogThatWaitsForRoomGivesUp(t *testing.T) {
	dir := t.TempDir()
	log, disk := mustOpenOnFullDisk(t, dir)
	stored := make(chan uint64, 1)
	go func() {
		n, _ := fill(log, 1, 40)
		stored <- n
	}()
	<-disk.tried
	go disk.ignore()
	log.giveUp()
	n := <-stored
	close(disk.tried)
	if err := log.Close(); err != nil {
		t.Error(err)
	}
	if n == 0 || n == 40 {
		t.Fatalf("%d entries are stored", n)
	}
	again, err := openPatient(dir, 4<<10, diskFiles(), newWaitForRoom(hclog.NewNullLogger()))
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	mustHold(t, again, n)
	if got, err := fill(again, n+1, 50); err != nil {
		t.Errorf("after %d entries: %v", got, err)
	}
	mustHold(t, again, 50)
}

func TestLogThatCannotBeginSaysSo(t *testing.T) {
	disk := &fullDisk{VFS: diskFiles(), tried: make(chan struct{}, 9)}
	disk.full.Store(true)
	if _, err := openPatient(t.TempDir(), 4<<10, disk, newWaitForRoom(hclog.NewNullLogger())); !noRoom(err) {
		t.Errorf("opened on a full disk: %v", err)
	}
	if n := len(disk.tried); n != 1 {
		t.Errorf("%d tries, want one: a start does not wait", n)
	}
}

func TestSegmentThatWasCutShortIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		left    int64
		refused bool
	}{
		"within the entries": {300, true},
		"behind the entries": {1 << 19, true},
		"never written":      {0, false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := storeConfig(t.TempDir(), LogStoreWAL)
			s, err := openRaftStores(cfg, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.refused {
				mustFill(t, s, 20)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			paths, err := filepath.Glob(filepath.Join(cfg.DataDir, "raft", "wal", "*.wal"))
			if err != nil || len(paths) != 1 {
				t.Fatal(paths, err)
			}
			if err := os.Truncate(paths[0], c.left); err != nil {
				t.Fatal(err)
			}
			s, err = openRaftStores(cfg, nil)
			if c.refused {
				if err == nil || !strings.Contains(err.Error(), "cut short") || !strings.Contains(err.Error(), "let it join again") {
					t.Errorf("%v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			mustFill(t, s, 20)
			if info, err := os.Stat(paths[0]); err != nil || info.Size() < 1<<20 {
				t.Errorf("the segment has no room: %v, %v", info, err)
			}
		})
	}
}
