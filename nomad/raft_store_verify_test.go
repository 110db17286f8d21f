package nomad

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/cairn-project/cairn/internal/errs"
)

// filledStores returns stores with entries 1 to 50 and a snapshot of the first 10.
func filledStores(t *testing.T, kind LogStore) (*raftStores, string) {
	t.Helper()
	cfg := DefaultConfig()
	cfg.DataDir, cfg.Raft.LogStore = t.TempDir(), kind
	s, err := openRaftStores(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	for i := uint64(1); i <= 50; i++ {
		if err := s.Log.StoreLog(&raft.Log{Index: i, Term: 1, Data: []byte(fmt.Sprintf("entry number %03d of the log", i))}); err != nil {
			t.Fatal(err)
		}
	}
	sink, err := s.Snapshots.Create(1, 10, 1, raft.Configuration{}, 1, nil)
	if err == nil {
		_, err = sink.Write([]byte("all of the state"))
	}
	if err == nil {
		err = sink.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return s, filepath.Join(cfg.DataDir, "raft")
}

func mustVerify(t *testing.T, look func(context.Context) (*StorageCheck, error)) *StorageCheck {
	t.Helper()
	got, err := look(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// spoilFile flips a bit of text wherever it is in the files of a pattern.
func spoilFile(t *testing.T, pattern, text string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(b); at += len(text) { // boltdb leaves older copies behind
			next := bytes.Index(b[at:], []byte(text))
			if next < 0 {
				break
			}
			at += next
			found = true
			if _, err := f.WriteAt([]byte{b[at] ^ 1}, int64(at)); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if !found {
		t.Fatalf("%q is in none of %v", text, files)
	}
}

func TestVerifyFindsNothingWrong(t *testing.T) {
	for _, kind := range []LogStore{LogStoreWAL, LogStoreBolt, LogStoreMemory} {
		s, _ := filledStores(t, kind)
		log, snapshots := mustVerify(t, s.verifyLog), mustVerify(t, s.verifySnapshots)
		if log.Items != 50 || log.First != 1 || log.Last != 50 || log.Bytes != 50*27 || log.Problems != nil {
			t.Errorf("%s: the log is %+v", kind, log)
		}
		if snapshots.Items != 1 || snapshots.Last != 10 || snapshots.Bytes != 16 || snapshots.Problems != nil {
			t.Errorf("%s: the snapshots are %+v", kind, snapshots)
		}
	}
}

// TestVerifyNamesWhatIsDamaged: the entry is one that raft would not read again
// before a restart, and the cache of the log does not hide the disk.
func TestVerifyNamesWhatIsDamaged(t *testing.T) {
	for kind, files := range map[LogStore]string{LogStoreWAL: "wal/*.wal", LogStoreBolt: "raft.db"} {
		t.Run(string(kind), func(t *testing.T) {
			s, dir := filledStores(t, kind)
			spoilFile(t, filepath.Join(dir, files), "number 025")
			log := mustVerify(t, s.verifyLog)
			if log.Items != 49 || len(log.Problems) != 1 || !strings.Contains(log.Problems[0], "entry 25: its checksum does not fit") {
				t.Errorf("the log is %+v", log)
			}
			spoilFile(t, filepath.Join(dir, "snapshots", "*", "state.bin"), "all of")
			snapshots := mustVerify(t, s.verifySnapshots)
			if snapshots.Items != 0 || len(snapshots.Problems) != 1 || !strings.Contains(snapshots.Problems[0], "CRC mismatch") {
				t.Errorf("the snapshots are %+v", snapshots)
			}
		})
	}
}

func TestVerifyFindsAGap(t *testing.T) {
	s, _ := filledStores(t, LogStoreWAL)
	if err := s.Log.DeleteRange(1, 20); err != nil {
		t.Fatal(err)
	}
	log := mustVerify(t, s.verifyLog)
	if len(log.Problems) != 1 || !strings.Contains(log.Problems[0], "entries 11 to 20 are in no snapshot") {
		t.Errorf("the log is %+v", log)
	}
}

func TestVerifyBoundsWhatItSays(t *testing.T) {
	c := &StorageCheck{}
	for i := range maxStorageProblems + 3 {
		c.problem("number %d", i)
	}
	if len(c.Problems) != maxStorageProblems || c.More != 3 {
		t.Errorf("%d problems and %d more", len(c.Problems), c.More)
	}
	s, _ := filledStores(t, LogStoreMemory)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, logErr := s.verifyLog(ctx)
	_, snapshotErr := s.verifySnapshots(ctx)
	if !errors.Is(logErr, errs.Deadline) || !errors.Is(snapshotErr, errs.Deadline) {
		t.Errorf("ended looks say %v and %v", logErr, snapshotErr)
	}
}
